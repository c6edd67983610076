"""YOLOv8s with two classes at 640 px, from 14.27 to a third: where a whole schedule lands.

No training: which channels go does not matter for the count, only how many of each group.
"""

from __future__ import annotations

import pytest
import torch

from msip_core.allocation.msip import LossPerMacAllocation
from msip_core.config import AllocationOptions
from msip_core.detector.build import build_model
from msip_core.detector.c2f import to_c2f_v2
from msip_core.pruning.schedule import corridor
from msip_core.pruning.surgery import prune_channels
from tests.allocation.kit import budget_of, counted, random_table, widths_of

IMGSZ, KEEP, ITERATIONS = 640, 0.335, 4


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 8])
def test_a_third_of_the_macs_is_4_78_giga(step: int):
    model = to_c2f_v2(build_model("yolov8s.yaml", ("crypt", "no_crypt")))
    first = budget_of(model, IMGSZ)
    assert first.macs_now / 1e9 == pytest.approx(14.273, abs=1e-3)
    allocation = LossPerMacAllocation(AllocationOptions(round_to=step))
    for t in range(1, ITERATIONS + 1):
        budget = budget_of(model, IMGSZ)
        band = corridor(
            t, ITERATIONS, baseline=first.macs_now, now=budget.macs_now, keep=KEEP, round_to=step
        )
        found = allocation.allocate(random_table(budget, t, widths_of(first)), band)
        assert band.low <= found.macs <= band.high
        prune_channels(model, found.removed)

    giga = counted(model, IMGSZ)[0] / 1e9
    if step == 1:
        assert giga == pytest.approx(4.78, abs=0.05)
    else:
        goal = KEEP * first.macs_now / 1e9
        assert 0.99 * goal <= giga <= goal
        assert all(w % 8 == 0 for w in budget_of(model, IMGSZ).widths)
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 64))[0].shape == (1, 6, 84)
