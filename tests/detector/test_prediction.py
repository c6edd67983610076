"""Predictions equal stock Ultralytics', in the pixels of the image that was given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ultralytics import YOLO

from msip_core.boxes import Detection
from msip_core.detector.checkpoints import save_stock
from msip_core.detector.library import threads_kept
from msip_core.detector.prediction import Predictor, one_class_each, predict
from msip_core.errors import InputError
from tests.detector.conftest import assert_same_boxes, finding_model


@pytest.fixture(scope="module")
def model():
    return finding_model()


@pytest.fixture(scope="module")
def image(dataset) -> np.ndarray:
    """A micrograph wider than high, so that it is scaled and padded."""
    pixels = dataset.pixels(dataset.images[0])
    return np.concatenate([pixels, pixels[::-1]], axis=1)


def test_boxes_scores_and_classes_equal_stock_ultralytics(model, image, tmp_path):
    save_stock(model, tmp_path / "model.pt")

    ours = predict(model, [image], imgsz=128, conf=0.3, iou=0.5)[0]

    with threads_kept():
        stock = YOLO(tmp_path / "model.pt").predict(
            np.ascontiguousarray(image[..., ::-1]), imgsz=128, conf=0.3, iou=0.5, device="cpu",
            save=False, verbose=False,
        )[0]  # fmt: skip
    rows = [[*d.xyxy, d.score, d.cls] for d in ours]
    assert rows == stock.boxes.data.tolist()  # in the last digit too: the same way to compute


def test_numbers_count_from_the_best_score(model, image):
    found = predict(model, [image], imgsz=128, conf=0.3)[0]

    assert [d.number for d in found] == list(range(1, len(found) + 1))
    assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)
    assert all(0 <= d.x1 < d.x2 <= image.shape[1] for d in found)
    assert all(0 <= d.y1 < d.y2 <= image.shape[0] for d in found)


def test_each_image_has_its_own_list_and_order(model, image):
    empty = np.full_like(image, 114)

    alone = [predict(model, [one], imgsz=128, conf=0.3)[0] for one in (image, empty)]

    assert predict(model, [image, empty], imgsz=128, conf=0.3) == alone


def test_images_that_go_through_the_network_together_are_found_as_one_by_one(
    model, image, monkeypatch
):
    images = [image, image[:, ::-1].copy(), image[:48].copy(), image]  # one of another size
    predictor = Predictor(model, imgsz=128)
    alone = [predictor(one, conf=0.3) for one in images]
    monkeypatch.setattr(Predictor, "together", 3)
    sizes: list[int] = []
    network = predictor._model
    monkeypatch.setattr(predictor, "_model", lambda x: sizes.append(len(x)) or network(x))

    found = predictor.several(images, conf=0.3)

    assert sizes == [2, 1, 1]
    for one, other in zip(found, alone, strict=True):
        rows = [[[*d.xyxy, d.score, d.cls] for d in boxes] for boxes in (one, other)]
        assert_same_boxes(*map(np.array, rows), atol=1e-2)


def test_the_model_is_left_as_it_is(model, image):
    before = {name: value.clone() for name, value in model.state_dict().items()}

    predict(model, [image], imgsz=128)

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    model(torch.rand(1, 3, 64, 64))[0].sum().backward()
    model.zero_grad(set_to_none=True)


@pytest.mark.parametrize("bad", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32)])
def test_another_kind_of_array_is_refused_with_what_was_expected(model, bad):
    with pytest.raises(InputError, match=r"needs an 8-bit colour picture \(height, width, 3\)"):
        predict(model, [bad], imgsz=64)


def test_one_organoid_is_not_counted_in_both_classes() -> None:
    def box(cls: int, x1: float, score: float) -> Detection:
        return Detection(cls=cls, x1=x1, y1=0, x2=x1 + 10, y2=10, score=score)

    found = [box(0, 0, 0.9), box(1, 1, 0.8), box(1, 30, 0.7), box(0, 34, 0.6)]

    # 9 of 11 columns in common are 0.82; 6 of 14 are 0.43.
    assert [(d.x1, d.number) for d in one_class_each(found, 0.7)] == [(0, 1), (30, 2), (34, 3)]
    assert [(d.x1, d.number) for d in one_class_each(found, 0.4)] == [(0, 1), (30, 2)]
    assert one_class_each([], 0.7) == []
