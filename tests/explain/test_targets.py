from __future__ import annotations

import numpy as np
import pytest
import torch

from msip_core.boxes import Box
from msip_core.detector.frame import Frame
from msip_core.explain.targets import Candidates, box_iou, choose_target, private_copy, similarity
from tests.explain.toy import micrograph


def candidates(*rows: tuple[float, ...]) -> torch.Tensor:
    """One row an anchor: x1, y1, x2, y2, then logits."""
    return torch.tensor(rows, dtype=torch.float32).T


def test_iou_is_the_shared_area_over_the_joined_area():
    boxes = candidates((0, 0, 10, 10), (5, 0, 15, 10), (20, 20, 30, 30))

    found = box_iou(boxes, (0, 0, 10, 10))

    np.testing.assert_allclose(found, [1, 50 / 150, 0], atol=1e-6)


def test_the_target_is_the_mean_logit_of_all_anchors_that_overlap_by_half():
    found = candidates((0, 0, 10, 10, 1, 7), (0, 0, 10, 8, 3, 9), (30, 0, 40, 10, 50, 50))

    target = choose_target(found, (0, 0, 10, 10), cls=1)

    assert target.anchors == (0, 1)
    assert float(target(found)) == 8.0
    assert target.score == pytest.approx(1 / (1 + np.exp(-9)))
    assert target.note == ""


def test_without_a_match_the_best_overlap_is_explained_and_said():
    found = candidates((0, 0, 10, 10, 1), (4, 0, 24, 10, 2), (50, 0, 60, 10, 3))

    target = choose_target(found, (0, 0, 30, 10), cls=0)

    assert target.anchors == (1,)  # 20 of 30
    found = candidates((0, 0, 10, 10, 1), (4, 0, 12, 10, 2), (50, 0, 60, 10, 3))
    target = choose_target(found, (0, 0, 30, 10), cls=0)
    assert target.anchors == (0,)
    assert target.best_iou == pytest.approx(1 / 3)
    assert "best overlap 0.33" in target.note


def test_where_nothing_overlaps_the_closest_centre_is_explained():
    found = candidates((0, 0, 10, 10, 1), (40, 40, 50, 50, 2), (90, 90, 99, 99, 3))

    assert choose_target(found, (55, 55, 60, 60), cls=0).anchors == (1,)


def test_the_similarity_is_the_best_product_of_overlap_and_probability():
    one = candidates((0, 0, 10, 10, 0.0), (0, 0, 10, 5, 20.0))  # 1 x .5 and .5 x 1

    found = similarity(
        torch.stack([one, one + torch.tensor([0, 0, 0, 0, 1.0])[:, None]]), (0, 0, 10, 10), cls=0
    )

    np.testing.assert_allclose(found, [0.5, 1 / (1 + np.exp(-1))], atol=1e-6)


def test_candidates_are_the_models_boxes_and_logits(layouts):
    for model in layouts.values():
        images = torch.rand(2, 3, 96, 64)
        twin = private_copy(model)
        with torch.no_grad():
            decoded, raw = twin(images)
            found = Candidates(twin)(images)
        centre = (found[:, :2] + found[:, 2:4]) / 2
        torch.testing.assert_close(centre, decoded[:, :2], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(found[:, 4:].sigmoid(), decoded[:, 4:], rtol=1e-4, atol=1e-5)
        # Another order of the same sums: float32 differs in its last digits.
        torch.testing.assert_close(found[:, 4:], raw["scores"], rtol=1e-4, atol=1e-4)


def test_a_box_finds_its_way_into_the_input_and_a_map_back_out():
    image = micrograph(60, 120)
    frame = Frame.fit(image, 96)
    assert (frame.content, frame.size, frame.top) == ((48, 96), (64, 96), 8)

    assert frame.box_in_input(Box(cls=0, x1=0, y1=0, x2=120, y2=60)) == (0, 8, 96, 56)
    assert frame.box_in_input(Box(cls=0, x1=10, y1=20, x2=30, y2=40)) == (8, 24, 24, 40)
    spot = np.zeros(frame.size, np.float32)
    spot[24:40, 8:24] = 1  # rows, columns of that box
    back = frame.map_to_image(spot)
    assert back.shape == (60, 120)
    assert back[21:39, 11:29].min() > 0.9
    assert back[:18].max() == 0
    assert back[:, 33:].max() == 0


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("shape", [(50, 77), (200, 61), (96, 96), (1, 40)])
def test_the_input_is_that_of_ultralytics_own_letterbox(shape, square):
    from ultralytics.data.augment import LetterBox

    image = micrograph(*shape)

    theirs = LetterBox((96, 96), auto=not square, stride=32)(image=image)

    ours = Frame.fit(image, 96, square=square).tensor(image)
    np.testing.assert_array_equal((ours * 255).round().permute(1, 2, 0).numpy(), theirs)
