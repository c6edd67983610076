"""MACs predicted without surgery equal those that torch-pruning counts after it."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch_pruning.utils import op_counter

from msip_core.detector.library import copy_model
from msip_core.groups.budget import Budget
from msip_core.pruning.surgery import prune_channels
from tests.allocation.kit import budget_of, counted


def test_the_unpruned_network_costs_what_the_counter_says(detector, budget: Budget):
    macs, params = counted(detector, 128)

    assert budget.macs_now == pytest.approx(macs, rel=1e-9)
    assert budget.params_now == params


def test_counting_copies_the_network_once(detector, monkeypatch: pytest.MonkeyPatch):
    copied, copy = [], deepcopy

    def seen(value, memo=None):
        found = copy(value, memo)
        copied.extend([value] if isinstance(value, nn.Module) and found is not value else [])
        return found

    monkeypatch.setattr(op_counter.copy, "deepcopy", seen)
    budget_of(detector, 128)
    assert copied == []


@pytest.mark.parametrize("seed", [0, 1])
def test_prediction_agrees_with_the_counter_after_surgery(detector, budget: Budget, seed: int):
    rng = np.random.default_rng(seed)
    removed = {
        name: rng.choice(width, int(width * rng.uniform(0, 0.8)), replace=False).tolist()
        for name, width in zip(budget.names, budget.widths, strict=True)
    }
    kept = budget.widths - np.array([len(removed[name]) for name in budget.names])
    model = copy_model(detector)
    prune_channels(model, removed)

    macs, params = counted(model, 128)

    # The method sheet asks for .02 %; pooling and upsampling are counted too, so it is exact.
    assert budget.macs(kept) == pytest.approx(macs, rel=1e-6)
    assert budget.params(kept) == pytest.approx(params, abs=0.5)


def test_macs_grow_with_the_image_area(detector, budget: Budget):
    assert budget_of(detector, 256).macs_now == pytest.approx(4 * budget.macs_now)


def test_yolov8s_with_two_classes_counts_as_the_paper_says():
    from ultralytics.nn.tasks import DetectionModel

    from msip_core.detector.c2f import to_c2f_v2

    budget = budget_of(to_c2f_v2(DetectionModel("yolov8s.yaml", nc=2, verbose=False)), 640)

    assert len(budget.names) == 59
    assert budget.macs_now / 1e9 == pytest.approx(14.273, abs=5e-4)
    assert budget.params_now / 1e6 == pytest.approx(11.136, abs=5e-4)


def test_kappa_is_what_one_channel_frees(budget: Budget):
    kappa = budget.kappa()

    for g in (0, 7, 30, 58):
        fewer = budget.widths.copy()
        fewer[g] -= 1
        assert kappa[g] == pytest.approx(float(budget.macs(budget.widths) - budget.macs(fewer)))
    assert (kappa > 0).all()
    assert (budget.kappa("params") > 0).all()


def test_kappa_of_the_first_layer_by_hand(detector, budget: Budget):
    """3 -> 16 channels at 64 x 64 (128 px, stride 2), read by 16 -> 32 at 32 x 32, all 3x3."""
    own = 9 * 3 * 64 * 64
    norm = 2 * 64 * 64
    read = 9 * 32 * 32 * 32

    assert budget.names[0] == "model.0.conv"
    assert budget.kappa()[0] == pytest.approx(own + norm + read)
    assert budget.kappa("params")[0] == pytest.approx(9 * 3 + 2 + 9 * 32)


class Depthwise(nn.Module):
    """conv 3 -> 4, depthwise 4, conv 4 -> 2; a Detect-like end for the budget."""

    def __init__(self) -> None:
        super().__init__()
        head = nn.Module()
        head.shape = None
        self.model = nn.Sequential(
            nn.Conv2d(3, 4, 1, bias=False),
            nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
            nn.Conv2d(4, 2, 1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


def test_a_depthwise_filter_reads_one_channel_whatever_the_width():
    from tests.importance.kit import groups_of

    net = Depthwise()
    groups = groups_of(net, torch.zeros(1, 3, 64, 64), [net.model[-1]])
    budget = Budget(net, groups, 64)

    assert budget.macs(np.array([4])) == (3 * 4 + 9 * 4 + 4 * 2) * 64 * 64
    assert budget.macs(np.array([3])) == (3 * 3 + 9 * 3 + 3 * 2) * 64 * 64
