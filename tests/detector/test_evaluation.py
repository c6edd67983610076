"""Accuracy equals stock Ultralytics', and evaluating leaves no trace in the model."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn.modules import Conv

from msip_core.data.dataset import Dataset
from msip_core.detector.checkpoints import save_stock
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.images import EvaluationBatches, SplitImages
from msip_core.detector.library import copy_model, threads_kept
from msip_core.detector.prediction import predict
from msip_core.detector.quiet_loss import QuietLoss
from msip_core.errors import ConfigError, DatasetError, OutOfMemoryError, Stopped
from tests.detector.conftest import finding_model, thin_model


@pytest.fixture(scope="module")
def model():
    return finding_model()


@pytest.fixture(scope="module")
def evaluator(dataset) -> Evaluator:
    return Evaluator(dataset, "train", 96, batch=4)


@pytest.fixture(scope="module")
def labelled_by_the_model(dataset, model, tmp_path_factory) -> Dataset:
    """The same images, with some of the model's own boxes as labels, so that it scores well."""
    root = tmp_path_factory.mktemp("labelled") / dataset.name
    shutil.copytree(dataset.root, root)
    copy = dataclasses.replace(dataset, root=root)
    margin = 16  # evaluation pads 96 px to 128
    for record in copy.split("train"):
        padded = np.pad(copy.pixels(record), ((16, 16), (16, 16), (0, 0)), constant_values=114)
        found = predict(model, [padded], imgsz=128)[0]
        inside = [d for d in found if min(d.xyxy) >= margin and max(d.xyxy) <= 96 + margin]
        lines = []
        for d in inside[:6]:
            corners = (np.array(d.xyxy) - margin) / 96
            (x, y), (w, h) = (corners[:2] + corners[2:]) / 2, corners[2:] - corners[:2]
            lines.append(f"{d.cls} {x:.6f} {y:.6f} {w:.6f} {h:.6f}")
        copy.label_path(record).write_text("\n".join(lines))
    return copy


def test_metrics_equal_stock_ultralytics(model, labelled_by_the_model, tmp_path):
    save_stock(model, tmp_path / "model.pt")

    ours = Evaluator(labelled_by_the_model, "train", 96, batch=4)(model)

    with threads_kept():
        stock = YOLO(tmp_path / "model.pt").val(
            data=str(labelled_by_the_model.root / "data.yaml"), split="train", imgsz=96, batch=4,
            device="cpu", workers=0, plots=False, save_dir=str(tmp_path / "val"), verbose=False,
        )  # fmt: skip
    expected = (stock.box.map50, stock.box.map, stock.box.mp, stock.box.mr)
    # 1e-3: labels reach stock Ultralytics through six decimals of text.
    found = (ours.map50, ours.map50_95, ours.precision, ours.recall)
    assert found == pytest.approx(expected, abs=1e-3)
    assert ours.map50 > 0.02
    assert ours.images == len(labelled_by_the_model.split("train"))
    assert list(ours.per_class.values()) == pytest.approx(list(stock.box.ap50), abs=1e-3)


def test_evaluating_leaves_the_model_unfused_and_ready_for_gradients(model, evaluator):
    before = {name: value.clone() for name, value in model.state_dict().items()}

    evaluator(model)

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(hasattr(m, "bn") for m in model.modules() if isinstance(m, Conv))
    model(torch.rand(1, 3, 64, 64))[0].sum().backward()  # anchors made under inference would raise
    model.zero_grad(set_to_none=True)
    model.model[-1].shape = None


def test_the_loss_does_not_depend_on_how_the_model_was_trained(model, evaluator):
    other = copy_model(model)
    other.args.cls = 5.6

    assert evaluator(other).loss == evaluator(model).loss


def test_the_loss_is_the_mean_over_batches_of_ultralytics_loss(model, evaluator, dataset):
    twin = copy_model(model).eval()
    losses = []
    with torch.no_grad():
        for batch in EvaluationBatches(dataset, "train", imgsz=96, batch=4):
            inputs = {**batch, "img": batch["img"].float() / 255}
            losses.append(sum(v.item() for v in twin.loss(inputs, twin(inputs["img"]))[1].values()))

    assert evaluator(model).loss == pytest.approx(np.mean(losses), rel=1e-4)


def test_images_are_read_once(dataset, model, monkeypatch):
    evaluator = Evaluator(dataset, "val", 96, batch=4)
    first = evaluator(model)

    def gone(*_):
        raise AssertionError("read again")

    monkeypatch.setattr(SplitImages, "load_image", gone)

    assert evaluator(model) == first


def test_without_room_in_memory_images_are_read_again_with_equal_results(
    dataset, model, monkeypatch, evaluator
):
    monkeypatch.setattr("msip_core.detector.images.MEMORY_SHARE", 0.0)
    frugal = Evaluator(dataset, "train", 96, batch=4)

    assert frugal(model) == frugal(model) == evaluator(model)
    assert frugal.batches._kept == []


def test_a_limit_takes_images_evenly_from_the_split(dataset):
    batches = EvaluationBatches(dataset, "train", imgsz=96, batch=4, limit=3)

    assert batches.images == 3
    assert sum(len(batch["img"]) for batch in batches) == 3


def test_labels_reach_ultralytics_in_its_own_coordinates(dataset):
    images = SplitImages(dataset, dataset.split("train"), imgsz=96, batch=4, augment=False)
    record = next(r for r in dataset.split("train") if str(dataset.path(r)) == images.im_files[0])

    box = dataset.boxes(record)[0]

    expected = [
        (box.x1 + box.x2) / 2 / record.width,
        (box.y1 + box.y2) / 2 / record.height,
        (box.x2 - box.x1) / record.width,
        (box.y2 - box.y1) / record.height,
    ]
    assert images.labels[0]["bboxes"][0] == pytest.approx(expected)
    assert images.labels[0]["cls"][0, 0] == box.cls


def test_no_cache_files_are_left_beside_the_labels(dataset, model, evaluator):
    evaluator(model)

    assert not list(dataset.root.rglob("*.cache"))
    assert not list(dataset.root.rglob("*.npy"))


def test_other_classes_are_refused_with_both_lists(evaluator):
    with pytest.raises(ConfigError, match=r"detects cat, dog, but the dataset has crypt, no_crypt"):
        evaluator(thin_model(("cat", "dog")))


def test_an_empty_part_of_the_split_says_so(dataset):
    with pytest.raises(DatasetError, match="no images in this part"):
        SplitImages(dataset, (), imgsz=96, batch=4, augment=False)


@pytest.mark.parametrize(
    ("error", "batch", "advice"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), 4, "use a batch of 2"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), 4, "use a batch of 2"),
        (RuntimeError("[enforce fail] can't allocate memory"), 1, "use images of 32 px"),
    ],
)
def test_too_little_memory_names_a_smaller_batch(dataset, model, monkeypatch, error, batch, advice):
    evaluator = Evaluator(dataset, "val", 96, batch=batch)

    def full(*_, **__):
        raise error

    monkeypatch.setattr("msip_core.detector.evaluation._Validator.postprocess", full)

    with pytest.raises(OutOfMemoryError, match=advice):
        evaluator(model)


def test_other_errors_keep_their_own_words(dataset, model, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("msip_core.detector.evaluation._Validator.postprocess", broken)

    with pytest.raises(RuntimeError, match="shapes do not match"):
        Evaluator(dataset, "val", 96, batch=2)(model)


def test_a_stop_is_possible_between_two_batches(dataset, model):
    asked = []

    def tick() -> None:
        asked.append(1)
        if len(asked) > 2:
            raise Stopped("pause")

    with pytest.raises(Stopped):
        Evaluator(dataset, "train", 96, batch=2, tick=tick)(model)


def test_pixels_are_kept_on_the_device_and_labels_in_memory(dataset, monkeypatch):
    """The device "meta" is one whose tensors hold nothing."""
    batches = EvaluationBatches(dataset, "val", imgsz=96, batch=2, device="meta")
    first, second = list(batches), list(batches)

    assert batches.home == "device"
    assert all(batch["img"].device.type == "meta" for batch in first)
    assert all(batch["cls"].device.type == "cpu" for batch in first)
    assert [id(batch["img"]) for batch in second] == [id(batch["img"]) for batch in first]

    monkeypatch.setattr("msip_core.detector.images.home_of", lambda *_: "memory")
    tight = EvaluationBatches(dataset, "val", imgsz=96, batch=2, device="meta")
    assert all(batch["img"].device.type == "cpu" for batch in tight)
    assert [id(b["img"]) for b in tight] == [id(b["img"]) for b in tight]


def test_the_loss_that_asks_a_gpu_nothing_is_the_loss(model, evaluator, monkeypatch):
    expected = evaluator(model)
    monkeypatch.setattr(
        "msip_core.detector.evaluation.criterion_of", lambda twin, _device: QuietLoss(twin)
    )

    found = evaluator(model)

    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert found.model_copy(update={"loss": expected.loss}) == expected
