"""Batches made on the device are Ultralytics' batches: pixels, boxes and what is drawn."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from ultralytics.data import augment as theirs

from msip_core.config import ImportConfig, SplitConfig, TrainingRecipe
from msip_core.data.dataset import open_dataset
from msip_core.data.importing import import_dataset
from msip_core.detector.augment import Augmentation, Draws, draw, place
from msip_core.detector.batch import MOST
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.images import SplitImages
from msip_core.detector.library import hyperparameters
from msip_core.detector.pool import DataPool, DeviceImages, DeviceLoader, home_of, resolve_loader
from msip_core.detector.training import fit
from msip_core.detector.warping import Labels, coloured, warped_boxes, warped_pictures
from msip_core.errors import ConfigError, Stopped
from tests.detector.augmentation import reference
from tests.detector.conftest import IMGSZ, short, thin_model

SIDE = 96
STRONG = Augmentation(mosaic=1.0, mixup=0.5, degrees=20, scale=0.5, shear=5, flipud=0.5, fliplr=0.5)


@pytest.fixture(scope="module")
def split(tmp_path_factory, shared_workspace):
    """Ten images of different shapes with smooth colours; one without boxes, one grey."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(5)
    for kind in ("images", "labels"):
        (folder / "train" / kind).mkdir(parents=True)
        (folder / "val" / kind).mkdir(parents=True)
    for number in range(12):
        part = folder / ("val" if number >= 10 else "train")
        size = (int(rng.integers(70, 140)), int(rng.integers(70, 140)))
        small = rng.integers(0, 255, (7, 9, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
        picture = picture.convert("L") if number == 3 else picture
        picture.save(part / "images" / f"{number}.png")
        count = 0 if number == 4 else 4
        rows = [
            f"{k % 2} {c[0]:.4f} {c[1]:.4f} {s[0]:.4f} {s[1]:.4f}"
            for k, (s, c) in enumerate(
                (s, s / 2 + rng.uniform(0, 1, 2) * (1 - s))
                for s in rng.uniform(0.05, 0.5, (count, 2))
            )
        ]
        (part / "labels" / f"{number}.txt").write_text("\n".join(rows))
    (folder / "data.yaml").write_text("train: train\nval: val\nnames:\n  0: a\n  1: b\n")
    import_dataset(
        shared_workspace,
        ImportConfig(source=folder, name="pictures", split=SplitConfig(keep_existing=True)),
    )
    return open_dataset(shared_workspace, "pictures")


@pytest.fixture(scope="module")
def images(split) -> DeviceImages:
    return DeviceImages(split, split.split("train"), imgsz=SIDE, device="cpu")


@pytest.fixture(scope="module")
def theirs_images(split) -> SplitImages:
    return SplitImages(split, split.split("train"), imgsz=SIDE, batch=4, augment=True)


def drawn(seed: int, how: Augmentation = STRONG, n: int = 10) -> Draws:
    return draw(np.random.default_rng(seed), np.arange(n), n, SIDE, how)


def made(images: DeviceImages, draws: Draws):
    placed = place(draws, images.sizes, SIDE)
    pictures = warped_pictures(images.gather, draws, placed, SIDE, "cpu")
    return pictures, warped_boxes(images.boxes, draws, placed, SIDE)


# --- what is done -------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        STRONG,
        Augmentation(mosaic=0.0, mixup=0.0, degrees=15, scale=0.2, flipud=0.5),
        Augmentation(mosaic=0.5, mixup=1.0, degrees=0, scale=0.9),
        Augmentation(mosaic=1.0, scale=0.0, translate=0.0, hsv_h=0, hsv_s=0, hsv_v=0),
    ],
    ids=["all", "closed mosaic", "half mosaic, all mixed", "mosaic alone"],
)
def test_pixels_and_boxes_are_those_of_ultralytics(images, theirs_images, how):
    for seed in range(3):
        draws = drawn(seed, how)

        pictures, targets = made(images, draws)
        expected = reference(theirs_images, draws, SIDE)

        apart = (pictures.int() - expected["img"].int()).abs().float()
        assert apart.mean() < 0.5
        assert apart.quantile(0.995) <= 4
        assert targets.boxes == pytest.approx(expected["bboxes"].numpy(), abs=2e-5)
        assert np.array_equal(targets.classes, expected["cls"].numpy())
        assert np.array_equal(targets.picture, expected["batch_idx"].numpy())


def test_hue_saturation_and_value_are_opencvs(images):
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)
    pixels[0] = pixels[0, ..., :1]  # grey
    gains = rng.uniform(-1, 1, (6, 3)) * (0.5, 0.7, 0.4)

    ours = coloured(torch.from_numpy(pixels).permute(0, 3, 1, 2).float(), gains)

    for number in range(6):
        bgr = np.ascontiguousarray(pixels[number, ..., ::-1])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(np.random, "uniform", lambda *_, n=number: gains[n])
            theirs.RandomHSV(1.0, 1.0, 1.0)({"img": bgr})
        apart = (ours[number].permute(1, 2, 0).numpy().astype(int) - bgr[..., ::-1]).ravel()
        # Hue in steps of two degrees: where it lies between two, one of them may be taken.
        assert np.quantile(np.abs(apart), 0.98) <= 3


def test_grey_images_alone_are_kept_in_one_colour_and_give_the_same(split, monkeypatch):
    def grey(self, index, **_):
        ramp = (np.add.outer(np.arange(80), np.arange(96)) + index) % 250
        return np.repeat(ramp[..., None].astype(np.uint8), 3, axis=2), (80, 96), (80, 96)

    monkeypatch.setattr(SplitImages, "load_image", grey)
    records = split.split("train")
    one = DeviceImages(split, records, imgsz=SIDE, device="cpu")
    files = DeviceImages(split, records, imgsz=SIDE, device="cpu", home="files")

    assert one.gather(np.array([0])).shape[1] == 1
    assert files.gather(np.array([0])).shape[1] == 3
    a, b = made(one, drawn(1))[0], made(files, drawn(1))[0]
    assert torch.equal(a.expand(-1, 3, -1, -1), b)


def test_boxes_at_the_border_go_by_ultralytics_rule():
    """Alone on a canvas of 100 px that lies 60 px to the left of the picture."""
    boxes = [(50, 10, 90, 50), (0, 0, 63, 30), (61, 0, 62.9, 90), (0, 0, 64.5, 99), (0, 0, 59, 9)]
    labels = Labels(np.array(boxes, np.float32), np.arange(5, dtype=np.float32), np.array([0, 5]))
    still = Augmentation(mosaic=0, scale=0, translate=0, fliplr=0)
    draws = draw(np.random.default_rng(0), np.array([0]), 1, 100, still)
    draws.shifts[0, 0] = -0.1

    found = warped_boxes(labels, draws, place(draws, np.array([[100, 100]]), 100), 100)

    # Kept: 30 of 40 px; lost: 3 of 63, thinner than 2, 4.5 of 64.5, outside.
    assert found.classes.ravel().tolist() == [0]
    assert found.boxes[0] == pytest.approx([0.15, 0.3, 0.3, 0.4])


def test_an_image_without_boxes_gives_a_picture_without_targets(images):
    draws = draw(np.random.default_rng(0), np.array([4]), 10, SIDE, Augmentation(mosaic=0))

    pictures, targets = made(images, draws)

    # Files are sorted by name: number 4 is the fifth.
    assert pictures.shape == (1, 3, SIDE, SIDE)
    assert (targets.boxes.shape, targets.classes.shape, targets.picture.shape) == (
        (0, 4),
        (0, 1),
        (0,),
    )


# --- what is drawn ------------------------------------------------------------


def _same_spread(ours, others) -> None:
    """Two samples of one distribution: every tenth of one is near that of the other."""
    shares = np.linspace(0.1, 0.9, 9)
    span = float(np.ptp(others))
    assert np.quantile(ours, shares) == pytest.approx(np.quantile(others, shares), abs=0.07 * span)
    assert np.ptp(ours) == pytest.approx(span, rel=0.1)


def test_the_same_is_drawn_as_by_ultralytics(theirs_images, monkeypatch):
    n = 2000
    how = Augmentation(mosaic=0.7, mixup=0.3, degrees=15, scale=0.4, shear=3, flipud=0.2)
    ours = draw(np.random.default_rng(0), np.zeros(n, int), 10, SIDE, how)
    random.seed(0)
    np.random.seed(0)
    affine = theirs.RandomPerspective(15, 0.1, 0.4, 3, 0.0, size=(SIDE, SIDE))
    canvas = np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8)
    maps, zooms = map(
        np.array,
        zip(*(affine._compute_affine_matrix(canvas, (SIDE, SIDE)) for _ in range(n)), strict=True),
    )
    mosaic = theirs.Mosaic(theirs_images, imgsz=SIDE)
    layout = [mosaic.get_params(theirs_images.get_image_and_label(0)) for _ in range(300)]
    placed = place(ours, np.full((10, 2), SIDE), SIDE)

    _same_spread(ours.zooms, zooms)
    _same_spread(ours.centres[:, 0], [one["layout"][0]["x2a"] for one in layout])
    _same_spread(ours.centres[:, 1], [one["layout"][0]["y2a"] for one in layout])
    fours = placed.maps[ours.mosaic]
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (1, 2)):
        _same_spread(fours[:, row, column], maps[:, row, column])
    _same_spread(ours.shares, np.random.beta(32, 32, n))
    assert ours.flips.mean(0) == pytest.approx([0.5, 0.2], abs=0.04)
    assert ours.mosaic.mean() == pytest.approx(0.7, abs=0.04)
    assert len(ours.mixed) / n == pytest.approx(0.3, abs=0.04)
    assert np.bincount(ours.images[:, 1:].ravel()) / ours.images[:, 1:].size == pytest.approx(
        np.full(10, 0.1), abs=0.02
    )
    seen: list[np.ndarray] = []
    real = np.random.uniform
    monkeypatch.setattr(np.random, "uniform", lambda *a: seen.append(real(*a)) or seen[-1])
    hsv = theirs.RandomHSV(0.015, 0.7, 0.4)
    for _ in range(500):
        hsv({"img": np.zeros((2, 2, 3), np.uint8)})
    for column, largest in enumerate((0.015, 0.7, 0.4)):
        _same_spread(ours.gains[:, column], np.array(seen)[:, column] * largest)


def test_settings_are_read_as_ultralytics_has_them():
    how = Augmentation.from_settings(hyperparameters(degrees=7, mixup=0.2))

    assert (how.degrees, how.mixup, how.mosaic, how.translate) == (7, 0.2, 1.0, 0.1)
    assert (how.hsv_h, how.hsv_s, how.hsv_v, how.shear) == (0.015, 0.7, 0.4, 0.0)
    with pytest.raises(ConfigError, match="no cutmix: set loader to ultralytics"):
        Augmentation.from_settings(hyperparameters(cutmix=0.1))


# --- the loader ---------------------------------------------------------------


def epoch(loader: DeviceLoader, seed: int) -> list[dict[str, torch.Tensor]]:
    loader.generator.manual_seed(seed)
    loader.reset()
    return list(loader)


def test_an_epoch_follows_from_its_seed_and_begins_with_every_image_once(images, monkeypatch):
    images.renew(hyperparameters(mixup=0.5, degrees=10))
    loader = DeviceLoader(images, 4)
    firsts = []
    monkeypatch.setattr(
        "msip_core.detector.pool.draw",
        lambda rng, some, *rest: (firsts.extend(some), draw(rng, some, *rest))[1],
    )

    one, same, other = epoch(loader, 1), epoch(loader, 1), epoch(loader, 2)

    assert [len(batch["img"]) for batch in one] == [4, 4, 2]
    assert sorted(firsts[:10]) == list(range(10))
    for a, b in zip(one, same, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in ("img", "cls", "bboxes", "batch_idx"))
    assert not torch.equal(one[0]["img"], other[0]["img"])


def test_a_batch_has_what_the_loss_reads(images):
    images.renew(hyperparameters())
    batch = epoch(DeviceLoader(images, 4), 0)[0]

    found = len(batch["bboxes"])
    assert batch["img"].dtype == torch.uint8
    assert batch["img"].shape == (4, 3, SIDE, SIDE)
    assert (batch["cls"].shape, batch["batch_idx"].shape) == ((found, 1), (found,))
    assert set(batch["batch_idx"].tolist()) <= {0.0, 1.0, 2.0, 3.0}
    assert 0 <= batch["bboxes"].min() <= batch["bboxes"].max() <= 1
    assert batch[MOST] == int(batch["batch_idx"].long().bincount().max())


def test_closed_mosaic_puts_no_images_together(images):
    images.renew(hyperparameters(mixup=1.0))
    images.close_mosaic(hyperparameters(mixup=1.0, degrees=4))

    assert images.augmentation == Augmentation(mosaic=0, mixup=0, degrees=4)


# --- where images are kept ----------------------------------------------------


def test_images_from_memory_and_from_files_are_the_same(split, images):
    index = np.array([3, 0, 9])
    for home in ("memory", "files"):
        other = DeviceImages(split, split.split("train"), imgsz=SIDE, device="cpu", home=home)
        assert torch.equal(other.gather(index), images.gather(index))


def test_home_is_the_device_then_memory_then_the_files(monkeypatch):
    free = {"device": 8000, "memory": 4000}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free["device"], 9999))
    monkeypatch.setattr(
        "msip_core.detector.images.psutil.virtual_memory",
        lambda: SimpleNamespace(available=free["memory"]),
    )

    assert home_of(1900, "cuda:0") == "device"  # a quarter of what is free
    assert home_of(2100, "cuda:0") == "files"
    free["memory"] = 9000
    assert home_of(2100, "cuda:0") == "memory"
    assert (home_of(2100, "cpu"), home_of(2300, "cpu")) == ("device", "files")


def test_a_stop_is_possible_while_images_are_decoded(split):
    def tick() -> None:
        raise Stopped("pause")

    with pytest.raises(Stopped):
        DeviceImages(split, split.split("train"), imgsz=SIDE, device="cpu", tick=tick)


def test_images_are_decoded_once(split, monkeypatch):
    images = DeviceImages(split, split.split("train"), imgsz=SIDE, device="cpu")

    def again(*_, **__):
        raise AssertionError("an image was read again")

    monkeypatch.setattr("ultralytics.data.base.imread", again)

    assert len(epoch(DeviceLoader(images, 4), 0)) == 3


# --- in a training ------------------------------------------------------------


def test_auto_is_the_device_on_a_gpu_and_ultralytics_on_the_processor():
    assert resolve_loader("auto", "cuda:1") == "device"
    assert resolve_loader("auto", "cpu") == "ultralytics"
    assert resolve_loader("auto", "mps") == "ultralytics"
    assert resolve_loader("ultralytics", "cuda:0") == "ultralytics"
    assert resolve_loader("device", "cpu") == "device"


@pytest.fixture
def train(dataset, history, tmp_path):
    pool = DataPool(dataset, imgsz=IMGSZ, batch=4, loader="device")

    def run(recipe, **changes):
        settings = {
            "workdir": tmp_path / "fit", "seed": 0, "phase": "finetune", "iteration": 1,
            "ctx": history(), "pool": pool, **changes,
        }  # fmt: skip
        return fit(thin_model(), recipe, **settings)

    return run


def test_a_resumed_fit_ends_like_an_unbroken_one(train, history, tmp_path):
    unbroken = train(short(2), workdir=tmp_path / "unbroken")

    with pytest.raises(Stopped):
        train(short(2), ctx=history(5))
    resumed = train(short(2))

    different = [
        name
        for name, value in resumed.model.state_dict().items()
        if not torch.equal(value, unbroken.model.state_dict()[name])
    ]
    assert different == []
    assert resumed.metrics == unbroken.metrics


def test_another_loader_is_another_fit(train, dataset, history):
    train(short(1))
    again, other = history(), history()

    train(short(1), ctx=again)
    train(short(1), ctx=other, pool=DataPool(dataset, imgsz=IMGSZ, batch=4))

    assert (len(again.epochs()), len(other.epochs())) == (0, 1)


def test_training_learns_from_its_batches(train, dataset):
    recipe = TrainingRecipe(epochs=4, lr0=0.02, mosaic=0, mixup=0, degrees=0, close_mosaic=0)
    evaluate = Evaluator(dataset, "train", IMGSZ, 4)

    trained = train(recipe, validate_every=0).model

    assert evaluate(trained).loss < 0.9 * evaluate(thin_model()).loss


def test_mosaic_closes_for_the_last_epochs(train, monkeypatch):
    seen = []
    real = draw
    monkeypatch.setattr(
        "msip_core.detector.pool.draw",
        lambda rng, some, n, imgsz, how: (seen.append(how.mosaic), real(rng, some, n, imgsz, how))[
            1
        ],
    )

    train(short(2), validate_every=0)  # close_mosaic=1, 4 batches an epoch

    assert seen == [1.0] * 4 + [0.0] * 4
