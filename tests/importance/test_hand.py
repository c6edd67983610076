"""Criteria against numbers computed by hand (method sheet, section 2)."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from msip_core.groups.members import members, width
from msip_core.importance.bnscale import BnScaleImportance
from msip_core.importance.bnweight import BnWeightImportance
from msip_core.importance.fpgm import FpgmImportance, distance_sums
from msip_core.importance.groupnorm import GroupNormImportance
from msip_core.importance.lamp import LampImportance, lamp
from msip_core.importance.magnitude import L1Importance, L2Importance
from msip_core.importance.random import RandomImportance
from msip_core.importance.slim import SlimImportance
from msip_core.importance.statistics import Statistics
from msip_core.importance.taylor import (
    TaylorAbsImportance,
    TaylorImportance,
    TaylorSecondImportance,
)
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


def test_lamp_of_what_is_no_number_is_none():
    assert lamp(torch.tensor([1.0, float("nan"), 3.0])).isnan().any()
    assert lamp(torch.zeros(3)).tolist() == [1, 1, 1]


def test_bn_scale_orders_by_absolute_gamma():
    group = only_group(chain([1, 1, 1], [-2, 0.1, 1], [1, 1, 1]))

    assert BnScaleImportance()(group).argsort().tolist() == [1, 2, 0]


def test_slimming_compares_raw_gammas_where_bn_scale_gives_every_layer_the_mean_one():
    strong, weak = (only_group(chain([1] * 2, gamma, [1] * 2)) for gamma in ([-2, 4], [0.1, 0.3]))

    assert SlimImportance()(strong).tolist() == pytest.approx([2, 4])
    assert SlimImportance()(weak).tolist() == pytest.approx([0.1, 0.3])
    # After division by the mean, a channel of the weak layer beats one of the strong layer.
    assert BnScaleImportance()(weak).max() > BnScaleImportance()(strong).max()


def test_bn_weight_is_the_product_of_gamma_and_the_filters_l1():
    net = nn.Sequential(
        nn.Conv2d(2, 3, 1, bias=False), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1, bias=False)
    )
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[3.0, -4], [0, 1], [1, 1]]).view(3, 2, 1, 1))
        net[1].weight.copy_(torch.tensor([-2, 0.1, 1]))

    assert raw(BnWeightImportance)(only_group(net, 2)).tolist() == pytest.approx([14, 0.1, 2])


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(3, affine=False), nn.Identity()])
def test_a_channel_that_nothing_scales_counts_with_gamma_one(norm: nn.Module):
    net = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), norm, nn.Conv2d(3, 1, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([3.0, -1, 2]).view(3, 1, 1, 1))
    group = only_group(net)

    assert raw(BnWeightImportance)(group).tolist() == pytest.approx([3, 1, 2])
    assert BnScaleImportance()(group).tolist() == [1, 1, 1]
    assert SlimImportance()(group).tolist() == [1, 1, 1]  # not 0: the first to go everywhere


class Joined(nn.Module):
    """Two convolutions with a batch norm each, added; then one that reads the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(1, 2, 1, bias=False)
        self.norm_a, self.norm_b = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
        self.last = nn.Conv2d(2, 1, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm_a(self.a(x)) + self.norm_b(self.b(x)))


def test_bn_weight_pairs_every_filter_with_the_batch_norm_that_follows_it():
    net = Joined()
    with torch.no_grad():
        net.a.weight.copy_(torch.tensor([10.0, 1]).view(2, 1, 1, 1))
        net.b.weight.copy_(torch.tensor([1.0, 10]).view(2, 1, 1, 1))
        net.norm_a.weight.copy_(torch.tensor([0.1, 3]))
        net.norm_b.weight.copy_(torch.tensor([2, 0.5]))

    # a: 10 * .1 and 1 * 3;  b: 1 * 2 and 10 * .5
    assert raw(BnWeightImportance)(only_group(net)).tolist() == pytest.approx(
        [(1 + 2) / 2, (3 + 5) / 2]
    )


def test_bn_weight_tells_a_depthwise_filters_norm_from_the_one_before_it():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 1, bias=False),
        nn.BatchNorm2d(2),
        nn.Conv2d(2, 2, 1, groups=2, bias=False),
        nn.BatchNorm2d(2),
        nn.Conv2d(2, 1, 1, bias=False),
    )
    with torch.no_grad():
        for layer, values in zip(net, ([1, 2], [3, 5], [7, 11], [13, 17])):
            layer.weight.copy_(torch.tensor(values).view_as(layer.weight))

    # (1 * 3 + 7 * 13) / 2 and (2 * 5 + 11 * 17) / 2
    assert raw(BnWeightImportance)(only_group(net)).tolist() == pytest.approx([47, 98.5])


def test_group_norm_sums_the_energy_of_all_members_as_torch_pruning_does():
    group = only_group(chain([1, 2, 3], [1, 1, 1], [1, 0, 2]))

    score = GroupNormImportance()(group)

    assert score.tolist() == pytest.approx([3 / 14, 5 / 14, 1])
    theirs = tp.importance.GroupMagnitudeImportance(p=2, group_reduction="sum", normalizer="max")(
        group
    )
    torch.testing.assert_close(score.float(), theirs)


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


def test_second_order_taylor_halves_the_mean_of_single_images():
    """w = (1, 2), gradients (.5, -1) and (1.5, 0): F = (1.25, .5), score (1.25 + 4 * .5) / 2."""
    group = only_group(chain([1.0], [1.0], [1.0]))
    weight, gradients = torch.tensor([1.0, 2]), torch.tensor([[0.5, -1], [1.5, 0]])
    per_weight = ((weight * gradients) ** 2 / 2).mean(0)
    statistics = Statistics(
        {"taylor-2": {"0": per_weight.view(1, 2), "1": torch.zeros(1), "2": torch.zeros(1, 1)}},
        gathered=frozenset({"taylor-2"}),
    )

    assert TaylorSecondImportance(statistics)(group).item() == pytest.approx(1.625)


def test_torch_prunings_hessian_score_keeps_only_the_last_sample():
    net = chain([1, 2], [1, 1], [1, 1])
    group, scorer = (
        only_group(net),
        tp.importance.GroupHessianImportance(group_reduction="first", normalizer=None),
    )
    gradients = [torch.tensor([g]).view(2, 1, 1, 1) for g in ([3.0, 0.5], [1.0, 2.0])]
    for gradient in gradients:
        net[0].weight.grad = gradient.clone()
        scorer.accumulate_grad(net)

    mean = [1 * (9 + 1) / 2, 4 * (0.25 + 4) / 2]  # w^2 times the mean of g^2
    last = [1 * 1, 4 * 4]
    assert scorer(group).tolist() == pytest.approx(last)
    assert last != pytest.approx(mean)


def test_the_same_seed_draws_the_same_order_and_another_seed_another():
    group = only_group(chain([1.0] * 8, [1.0] * 8, [1.0] * 8))

    first = RandomImportance(seed=3)(group)

    assert torch.equal(first, RandomImportance(seed=3)(group))
    assert not torch.equal(first, RandomImportance(seed=4)(group))
    assert first.min() >= 0
    assert first.max() <= 1


def test_depthwise_filters_count_although_torch_pruning_does_not_see_them():
    net = nn.Sequential(
        nn.Conv2d(1, 3, 1, bias=False),
        nn.Conv2d(3, 3, 1, groups=3, bias=False),
        nn.Conv2d(3, 1, 1, bias=False),
    )
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
