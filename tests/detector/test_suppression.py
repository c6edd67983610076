"""Overlapping boxes are suppressed exactly as Ultralytics does it, and sooner."""

from __future__ import annotations

import pytest
import torch
from ultralytics.utils import nms

from msip_core.detector.prediction import suppressed
from tests.fresh import run_fresh


@pytest.mark.parametrize("iou", [0.3, 0.7])
def test_what_stays_is_what_ultralytics_keeps_bit_by_bit(iou: float) -> None:
    import torchvision  # noqa: F401 - where it is, Ultralytics takes its kernel too

    drawn = torch.Generator().manual_seed(3)
    middles = torch.rand(2, 2, 2100, generator=drawn) * 640
    sizes = torch.rand(2, 2, 2100, generator=drawn) * 90 + 8
    cells = torch.cat((middles, sizes, torch.rand(2, 3, 2100, generator=drawn)), 1)

    found = suppressed(cells, 0.9, iou)

    wanted = nms.non_max_suppression(cells, 0.9, iou, max_det=300)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, wanted, strict=True))
    assert 30 < len(found[0]) <= 300
    assert [len(rows) for rows in suppressed(cells, 1.0, iou)] == [0, 0]


def test_a_count_begins_without_the_compiler_that_torchvision_loads() -> None:
    code = (
        "import sys, torch, msip_core.plates.counting\n"
        "from msip_core.detector.prediction import best\n"
        "boxes = torch.tensor([[0., 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])\n"
        "print(best(boxes, torch.tensor([.5, .9, .7]), .5).tolist(),"
        " {'torchvision', 'torch._dynamo'} & set(sys.modules))"
    )
    assert run_fresh(code).split("\n")[-2] == "[1, 2] set()"
