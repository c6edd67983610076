"""DepGraph's sparse regularisation by hand, beside torch-pruning's, and where that one fails."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from msip_core.pruning.group_sparsity import GroupDecay, strengths
from tests.importance.kit import chain, groups_of, thin_detector

REG = 0.01


def zero_gradients(net: nn.Module) -> nn.Module:
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return net


def gradients(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in net.named_parameters()}


def ours(net: nn.Module, example: torch.Tensor, ignored=()) -> dict[str, torch.Tensor]:
    term = GroupDecay(REG)
    term.watch(groups_of(net, example, ignored))
    zero_gradients(net)
    term.add(0.0)
    return gradients(net)


def theirs(net: nn.Module, example: torch.Tensor, ignored=()) -> dict[str, torch.Tensor]:
    pruner = tp.pruner.GroupNormPruner(
        net,
        example,
        tp.importance.GroupMagnitudeImportance(p=2, normalizer=None),
        reg=REG,
        ignored_layers=list(ignored),
        root_module_types=[nn.Conv2d],
    )
    zero_gradients(net)
    pruner.regularize(net)
    return gradients(net)


def test_the_weakest_channel_shrinks_sixteen_times_as_fast():
    assert strengths(torch.tensor([1.0, 2.0, 3.0])).tolist() == pytest.approx([16.0, 4.0, 1.0])


def test_equal_channels_shrink_alike():
    assert strengths(torch.tensor([0.7, 0.7])).tolist() == [1.0, 1.0]


def test_a_chain_by_hand():
    """Norms 3 and 6 (filter, factor and reader): the strong one gets reg * w, the weak 16 times."""
    net = chain(first=(2.0, 4.0), gamma=(1.0, 2.0), last=(2.0, 4.0))

    found = ours(net, torch.rand(1, 1, 4, 4), ignored=[net[2]])

    assert found["0.weight"].flatten().tolist() == pytest.approx([REG * 16 * 2, REG * 4])
    assert found["1.weight"].tolist() == pytest.approx([REG * 16, REG * 2])
    assert found["2.weight"].flatten().tolist() == pytest.approx([REG * 16 * 2, REG * 4])
    assert float(found["1.bias"].abs().sum()) == 0


def test_where_torch_pruning_is_right_the_gradients_are_its():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 5, 3),
        nn.BatchNorm2d(5),
        nn.Conv2d(5, 2, 1),
    )
    with torch.no_grad():
        for norm in (net[1], net[3]):
            norm.weight.uniform_(0.5, 1.5)
    example = torch.rand(1, 3, 8, 8)

    found, expected = (how(net, example, [net[4]]) for how in (ours, theirs))

    assert any(float(value.abs().sum()) > 0 for value in expected.values())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_equal_importances_make_torch_prunings_gradients_nan_and_not_ours():
    net = chain(first=(1.0, 1.0), gamma=(1.0, 1.0), last=(1.0, 1.0))
    example = torch.rand(1, 1, 4, 4)

    found, broken = (how(net, example, [net[2]]) for how in (ours, theirs))

    assert broken["0.weight"].isnan().all()
    assert found["0.weight"].flatten().tolist() == pytest.approx([REG, REG])


def test_depthwise_filters_shrink_along_which_torch_pruning_forgets():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1))
    example = torch.rand(1, 3, 8, 8)

    found, forgetful = (how(net, example, [net[2]]) for how in (ours, theirs))

    assert float(forgetful["1.weight"].abs().sum()) == 0
    ratio = found["1.weight"] / net[1].weight.detach() / REG
    assert float(ratio.min()) >= 0.999
    assert float(ratio.max()) <= 16.001
    # One factor a channel, the same in every layer of the group.
    torch.testing.assert_close(
        ratio.flatten(1).mean(1), (found["0.weight"] / net[0].weight.detach() / REG)[:, 0, 0, 0]
    )


def test_in_a_detector_every_prunable_filter_shrinks_and_the_fixed_head_keeps_its_outputs():
    model = zero_gradients(thin_detector())
    term = GroupDecay(REG)

    term.bind(model)
    term.add(0.0)

    head = model.model[-1]
    assert len(term.groups) == 59
    assert float(head.dfl.conv.weight.grad.abs().sum()) == 0
    first = model.model[0].conv
    ratio = (first.weight.grad / first.weight.detach()).flatten(1).mean(1) / REG
    assert float(ratio.max()) == pytest.approx(16, rel=1e-3)
    assert float(ratio.min()) == pytest.approx(1, rel=1e-3)
