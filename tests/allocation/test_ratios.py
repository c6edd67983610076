"""Ratios per group: the shared device, stage presets, and the words about them."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from msip_core.allocation.ratios import by_name, unscaled_sentence, unscaled_share
from msip_core.allocation.searched import SearchedAllocation, named
from msip_core.allocation.stages import (
    OrderAllocation,
    StageAllocation,
    StrongStageAllocation,
    stage_of,
)
from msip_core.allocation.table import lowest_widths
from msip_core.catalog import ALLOCATIONS
from msip_core.config import AllocationOptions
from msip_core.detector.library import DetectionModel
from msip_core.errors import WrongModelError
from msip_core.groups.budget import Budget
from msip_core.groups.coupling import prunable_groups
from msip_core.groups.layout import YOLOV8, Layout, layer_of, layout_of
from msip_core.pruning.schedule import corridor, final_window
from tests.allocation.kit import random_table
from tests.importance.kit import depthwise_detector, thin_detector

SEARCHED = [n for n, e in ALLOCATIONS.items() if issubclass(e.load(), SearchedAllocation)]
every_search = pytest.mark.parametrize("name", SEARCHED)


def found(budget: Budget, seed: int = 0) -> dict[str, float]:
    """Ratios as a search may find them: some groups give nothing, some nearly all."""
    rng = np.random.default_rng(seed)
    ratios = rng.choice([0.0, 0.05, 0.3, 0.5, 0.8], len(budget.names))
    return dict(zip(budget.names, (float(r) for r in ratios)))


def test_every_method_of_the_sheet_that_searches_is_there():
    assert SEARCHED == ["sensitivity", "search", "netadapt", "amc"]


@every_search
@pytest.mark.parametrize("step", [1, 8])
@pytest.mark.parametrize("keep", [0.335, 0.6])
def test_found_ratios_meet_the_macs_of_every_iteration(budget: Budget, name, step, keep):
    allocation = ALLOCATIONS[name].load()(AllocationOptions(round_to=step))
    allocation.adopt(found(budget))
    table = random_table(budget)

    band = corridor(1, 4, baseline=budget.macs_now, now=budget.macs_now, keep=keep, round_to=step)
    first = allocation.allocate(table, band)
    window = final_window(keep * budget.macs_now, step)
    goal = allocation.allocate(table, window, iterations=4)

    assert band.low <= first.macs <= band.high
    assert window.low <= goal.macs <= window.high
    low = lowest_widths(table.original, budget.widths, AllocationOptions(round_to=step), 4)
    assert (budget.vector(goal.widths) >= low).all()


@every_search
def test_before_a_search_all_groups_lose_the_same_share(budget: Budget, name):
    allocation = ALLOCATIONS[name].load()(AllocationOptions(round_to=1))

    cut = allocation.allocate(random_table(budget), final_window(0.7 * budget.macs_now, 1))

    share = 1 - budget.vector(cut.widths) / budget.widths
    assert np.ptp(share[budget.widths > 30]) < 0.05


class Half(StageAllocation):
    """Ratios by hand: the first group twice those of the second, the others none."""

    def ratios(self, table):
        return np.array([0.4, 0.2] + [0.0] * (len(table.names) - 2))


def test_widths_are_the_original_ones_times_one_less_x_times_the_ratio(budget: Budget):
    table = random_table(budget)
    allocation = Half(AllocationOptions(round_to=8))

    # x = 1 stands for the factor that takes the smallest ratio to .8: here 4.
    quarter, whole = allocation.wanted(table, 0.25), allocation.wanted(table, 1.0)

    a, b = budget.widths[:2]
    assert quarter[:2] == pytest.approx([0.6 * a, 0.8 * b])
    assert whole[:2] == pytest.approx([0.2 * a, 0.2 * b])  # clipped at .8
    assert (whole[2:] == budget.widths[2:]).all()


def test_a_group_with_ratio_zero_gives_channels_only_where_the_goal_needs_them(budget: Budget):
    table = random_table(budget)
    ratios = {name: 0.0 if i == 3 else 0.5 for i, name in enumerate(budget.names)}
    allocation = ALLOCATIONS["sensitivity"].load()(AllocationOptions(round_to=1))
    allocation.adopt(ratios)

    gentle = allocation.allocate(table, final_window(0.6 * budget.macs_now, 1), iterations=8)
    least = 1.02 * float(
        budget.macs(lowest_widths(table.original, budget.widths, allocation.limits, 8))
    )
    hard = allocation.allocate(table, final_window(least, 1), iterations=8)

    assert gentle.widths[budget.names[3]] == budget.widths[3]
    assert hard.widths[budget.names[3]] < budget.widths[3]
    assert hard.reached


def test_a_stage_is_where_the_root_convolution_lies():
    assert layer_of("model.15.m.0.cv1.conv") == 15
    assert [stage_of(f"model.{n}.conv") for n in (0, 9, 10, 21, 22)] == [0, 0, 1, 1, 2]
    with pytest.raises(WrongModelError, match="not in YOLOv8's list of layers"):
        layer_of("features.3")


def test_stages_are_read_from_the_network_of_each_group():
    """In a depthwise-separable YOLOv8 the neck begins at layer 14 and the head is layer 28."""
    model = depthwise_detector()
    assert layout_of(model) == Layout(14, 28)
    groups = prunable_groups(model).groups
    names = Budget(model, list(groups.values()), 64).names
    assert names == tuple(groups)
    for name in (*groups, *names, *copy.deepcopy(names)):
        layer = layer_of(name)
        assert stage_of(name) == (0 if layer < 14 else 1 if layer < 28 else 2)
    assert json.loads(json.dumps({names[0]: 1})) == {str(names[0]): 1}


def test_stages_are_found_without_a_description_and_in_other_networks():
    model = depthwise_detector()
    del model.yaml
    assert layout_of(model) == Layout(14, 28)  # the first upsampling
    assert layout_of(thin_detector()) == YOLOV8
    six = DetectionModel("yolov8n-p6.yaml", nc=1, verbose=False)
    head = len(six.model) - 1
    assert layout_of(six) == Layout(12, head)
    assert layout_of(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1))) is None


def test_the_preset_cuts_the_backbone_of_a_depthwise_network_as_a_backbone():
    model = depthwise_detector()
    budget = Budget(model, list(prunable_groups(model).groups.values()), 64)
    ratios = StageAllocation(AllocationOptions()).ratios(random_table(budget))
    deep = [r for name, r in zip(budget.names, ratios) if 10 <= layer_of(name) < 14]
    assert deep
    assert set(deep) == {0.3}  # not the neck's .2, as in the layers that YOLOv8 numbers so


def test_by_sensitivity_the_head_loses_least_and_the_deep_backbone_most(budget: Budget):
    ratios = OrderAllocation(AllocationOptions()).ratios(random_table(budget))
    by_layer = {layer_of(name): r for name, r in zip(budget.names, ratios)}
    assert by_layer[22] < by_layer[2] < by_layer[15] < by_layer[8]
    assert by_layer[4] == by_layer[0]
    assert by_layer[5] == by_layer[9]  # deep from the middle of the backbone on


@pytest.mark.parametrize(
    ("kind", "shares"), [(StageAllocation, (3, 2, 1)), (StrongStageAllocation, (3.5, 2.5, 1.25))]
)
def test_presets_keep_their_proportions_when_they_are_scaled(budget: Budget, kind, shares):
    table = random_table(budget)
    limits = AllocationOptions(round_to=1)

    cut = kind(limits).allocate(table, final_window(0.6 * budget.macs_now, 1), iterations=4)

    lost = 1 - budget.vector(cut.widths) / budget.widths
    stages = np.array([stage_of(name) for name in budget.names])
    wide = budget.widths >= 32
    mean = [lost[(stages == s) & wide].mean() for s in range(3)]
    assert mean[1] / mean[0] == pytest.approx(shares[1] / shares[0], abs=0.05)
    assert mean[2] / mean[0] == pytest.approx(shares[2] / shares[0], abs=0.05)
    assert cut.macs == pytest.approx(0.6 * budget.macs_now, rel=0.01)


def test_what_a_preset_leaves_unscaled_is_counted_and_said(budget: Budget):
    table = random_table(budget)
    ratios = StageAllocation(AllocationOptions()).ratios(table)

    share = unscaled_share(table, ratios)

    kept = table.original * np.array([(0.7, 0.8, 0.9)[stage_of(name)] for name in budget.names])
    assert share == pytest.approx(float(budget.macs(kept)) / budget.macs_now)
    assert 0.55 < share < 0.75
    assert f"leave {share:.1%} of the multiply-adds" in unscaled_sentence(share, 0.335)
    assert "to 33.5%" in unscaled_sentence(share, 0.335)
    assert "of the milliseconds" in unscaled_sentence(share, 0.5, "milliseconds")
    assert "next to nothing" in unscaled_sentence(0.999, 0.335)


def test_ratios_that_are_missing_or_senseless_are_refused(budget: Budget):
    table = random_table(budget)
    ratios = named(table, np.full(len(budget.names), 0.3))

    with pytest.raises(ValueError, match=r"no ratio for model\.0\.conv"):
        by_name(table, {n: r for n, r in ratios.items() if n != "model.0.conv"})
    with pytest.raises(ValueError, match=r"0\.3 to 1$"):
        by_name(table, {**ratios, "model.0.conv": 1.0})
