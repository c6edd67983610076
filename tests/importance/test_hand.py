"""Criteria against numbers computed by hand (method sheet, section 2)."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from msip_core.importance.bnscale import BnScaleImportance
from msip_core.importance.fpgm import FpgmImportance, distance_sums
from msip_core.importance.lamp import LampImportance, lamp
from msip_core.importance.magnitude import L1Importance, L2Importance
from msip_core.importance.members import members, width
from msip_core.importance.random import RandomImportance
from msip_core.importance.statistics import Statistics
from msip_core.importance.taylor import TaylorAbsImportance, TaylorImportance
from tests.importance.kit import chain, groups_of


def only_group(net: nn.Module, channels: int = 1):
    (group, *_) = groups_of(net, torch.zeros(1, channels, 4, 4), [list(net.children())[-1]])
    return group


def raw(kind):
    """The criterion without division by the group's mean."""
    criterion = kind()
    criterion.normalise = False
    return criterion


def test_l1_and_l2_sum_absolute_and_squared_weights():
    net = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.Conv2d(3, 1, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[3.0, -4], [0, 1], [1, 1]]).view(3, 2, 1, 1))
    (member, *_) = members(only_group(net, 2))

    assert L1Importance().member_score(member).tolist() == [7, 1, 2]
    assert L2Importance().member_score(member).tolist() == [25, 1, 2]


def test_a_group_scores_the_mean_over_its_members():
    group = only_group(chain([1, 2, 3], [1, 1, 1], [1, 0, 2]))

    torch.testing.assert_close(
        raw(L2Importance)(group), torch.tensor([1, 5 / 3, 14 / 3], dtype=torch.float64)
    )


def test_dividing_by_the_mean_keeps_the_order():
    group = only_group(chain([1, 2, 3], [1, 1, 1], [1, 0, 2]))

    score = L2Importance()(group)

    assert score.mean() == pytest.approx(1)
    assert score.argsort().tolist() == raw(L2Importance)(group).argsort().tolist()


def test_lamp_divides_by_the_energies_at_least_as_large():
    torch.testing.assert_close(
        lamp(torch.tensor([1.0, 2, 3])), torch.tensor([1 / 6, 2 / 5, 1], dtype=torch.float64)
    )


def test_lamp_treats_equal_energies_alike_and_keeps_the_largest_at_one():
    score = lamp(torch.tensor([2.0, 1, 2, 1]))

    assert score.tolist() == [0.5, 1 / 6, 0.5, 1 / 6]
    assert LampImportance()(only_group(chain([1, 2, 3], [1, 1, 1], [1, 0, 2]))).max() == 1


def test_bn_scale_orders_by_absolute_gamma():
    group = only_group(chain([1, 1, 1], [-2, 0.1, 1], [1, 1, 1]))

    assert BnScaleImportance()(group).argsort().tolist() == [1, 2, 0]


def test_fpgm_removes_the_middle_filter_and_keeps_signs():
    group = only_group(chain([-1, 0, 1], [1, 1, 1], [5, 5, 5]))

    assert raw(FpgmImportance)(group).tolist() == [3, 2, 3]
    # torch-pruning loses the sign, so that the middle filter looks the farthest away.
    theirs = tp.importance.FPGMImportance(normalizer=None, group_reduction="first")(group)
    assert theirs.argmax() == 1


def test_distances_are_exact_for_nearly_equal_filters():
    rows = torch.tensor([[1000.0], [1000.0 + 2**-10], [1000.0]])

    assert distance_sums(rows)[0] == pytest.approx(2**-10, rel=1e-6)


def test_taylor_sums_per_weight_not_jointly():
    group = only_group(chain([1.0], [1.0], [1.0]))
    change = torch.tensor([1.0, 2]) * torch.tensor([0.5, -1])  # w * g
    zero = {"1": torch.zeros(1), "2": torch.zeros(1, 1)}

    def score(kind, key, values):
        statistics = Statistics({key: {"0": values.view(1, 2), **zero}}, gathered=frozenset({key}))
        return kind(statistics)(group).item()

    assert score(TaylorAbsImportance, "taylor-abs", change.abs()) == 2.5
    assert score(TaylorImportance, "taylor", change**2) == 4.25


def test_the_same_seed_draws_the_same_order_and_another_seed_another():
    group = only_group(chain([1.0] * 8, [1.0] * 8, [1.0] * 8))

    first = RandomImportance(seed=3)(group)

    assert torch.equal(first, RandomImportance(seed=3)(group))
    assert not torch.equal(first, RandomImportance(seed=4)(group))
    assert first.min() >= 0
    assert first.max() <= 1


def test_depthwise_filters_count_although_torch_pruning_does_not_see_them():
    net = nn.Sequential(
        nn.Conv2d(1, 3, 1, bias=False), nn.Conv2d(3, 3, 1, groups=3, bias=False),
        nn.Conv2d(3, 1, 1, bias=False),
    )  # fmt: skip
    with torch.no_grad():
        net[0].weight.fill_(1)
        net[1].weight.copy_(torch.tensor([1.0, 2, 3]).view(3, 1, 1, 1))
        net[2].weight.fill_(1)
    group = only_group(net)

    assert sorted(m.kind for m in members(group)) == ["depthwise", "in", "out"]
    assert width(group) == 3
    torch.testing.assert_close(
        raw(L2Importance)(group), torch.tensor([1, 2, 11 / 3], dtype=torch.float64)
    )
    theirs = tp.importance.GroupMagnitudeImportance(p=2, normalizer=None)(group)
    assert theirs.tolist() == [1, 1, 1]
