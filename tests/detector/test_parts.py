"""A batch in parts: less memory, the same images for every step of the optimizer."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from msip_core.config import ImportConfig
from msip_core.data.importing import import_dataset
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.pool import DataPool
from msip_core.detector.trainer import Fit
from msip_core.detector.training import fit
from msip_core.errors import Stopped
from tests.detector.conftest import CLASSES, IMGSZ, finding_model, short, thin_model

BATCH = 4


@pytest.fixture
def train(dataset, history, tmp_path):
    def run(parts: int, loader="ultralytics", **changes):
        pool = DataPool(dataset, imgsz=IMGSZ, batch=BATCH, parts=parts, loader=loader)
        settings = {
            "workdir": tmp_path / f"fit{parts}", "seed": 0, "phase": "finetune", "iteration": 1,
            "ctx": history(), "pool": pool, **changes,
        }  # fmt: skip
        return fit(thin_model(), short(2), **settings)

    return run


@pytest.fixture
def watched(monkeypatch):
    """For each step of the optimizer: its images, how many at a time, and rate and momentum."""
    steps: list[dict] = []
    images: list[torch.Tensor] = []
    forward, step = Fit._forward, Fit._step

    def seen(self, batch):
        images.append(batch["img"].clone())
        return forward(self, batch)

    def stepped(self):
        group = self.optimizer.param_groups[0]
        steps.append(
            {
                "images": torch.cat(images),
                "at_a_time": max(map(len, images)),
                "set": (group["lr"], group["momentum"], group["weight_decay"]),
            }
        )
        images.clear()
        return step(self)

    monkeypatch.setattr(Fit, "_forward", seen)
    monkeypatch.setattr(Fit, "_step", stepped)
    return steps


@pytest.mark.parametrize("loader", ["ultralytics", "device"])
@pytest.mark.parametrize("parts", [2, 4])
def test_the_optimizer_takes_the_same_steps_on_the_same_images(train, watched, loader, parts):
    train(1, loader)
    whole = watched.copy()
    watched.clear()
    train(parts, loader)

    assert len(whole) == len(watched) == 8  # 14 images in batches of 4, two epochs
    assert (whole[0]["at_a_time"], watched[0]["at_a_time"]) == (BATCH, BATCH // parts)
    for one, other in zip(whole, watched, strict=True):
        assert one["set"] == other["set"]
        assert torch.equal(one["images"], other["images"])


def test_a_fit_that_began_in_whole_batches_goes_on_in_halves(train, history, tmp_path):
    place = tmp_path / "same"
    with pytest.raises(Stopped):
        train(1, workdir=place, ctx=history(6))  # in the second epoch
    rest = history()

    result = train(2, workdir=place, ctx=rest)

    assert [epoch.epoch for epoch in rest.epochs()] == [2]
    assert result.epochs_done == 2


def test_a_fit_in_parts_is_not_taken_for_one_in_whole_batches(train, tmp_path, history):
    cache, second = tmp_path / "cache", history()
    train(2, cache=cache)
    train(1, cache=cache, ctx=second)
    assert len(second.epochs()) == 2


def test_images_of_many_shapes_are_seen_as_in_whole_batches(shared_workspace, tmp_path):
    """A batch is padded to one shape, and its loss divided once, however many parts it comes in."""
    for n in range(16):
        pixels = np.full((96, 40 + 10 * n), 60, np.uint8)
        pixels[20:50, 10:30] = 200
        assert cv2.imwrite(str(tmp_path / f"series{n}.png"), pixels)
        (tmp_path / f"series{n}.txt").write_text(f"{n % 2} 0.5 0.4 0.3 0.3\n" * (1 + n % 3))
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    uneven = import_dataset(shared_workspace, ImportConfig(source=tmp_path, name="uneven"))
    model = thin_model()

    def measured(parts: int):
        return Evaluator(uneven, "train", 96, batch=4, parts=parts).measured(model)

    whole, parts = measured(1), measured(3)  # one image at a time

    assert whole.metrics.loss == pytest.approx(parts.metrics.loss, rel=1e-5)
    assert any(len(one.conf) for one in whole.found)
    for one, other in zip(whole.found, parts.found, strict=True):
        np.testing.assert_allclose(other.boxes, one.boxes, atol=0.01)
        np.testing.assert_allclose(other.label_boxes, one.label_boxes, atol=1e-3)


def test_what_is_measured_does_not_depend_on_parts(dataset):
    model = finding_model()

    def measured(parts: int):
        return DataPool(dataset, imgsz=96, batch=BATCH, parts=parts).evaluator("train")(model)

    whole, halves = measured(1), measured(2)

    assert whole.map50 > 0
    assert halves.map50 == pytest.approx(whole.map50, abs=1e-6)
    assert halves.map50_95 == pytest.approx(whole.map50_95, abs=1e-6)
