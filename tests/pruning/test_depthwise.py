"""A depthwise-separable YOLOv8 is scored and cut as one chain (method sheet, pitfall 14)."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from msip_core.detector.c2f import to_stock
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.groups.coupling import prunable_groups
from msip_core.groups.members import members
from msip_core.importance.magnitude import L2Importance
from msip_core.pruning.surgery import channel_counts, prune_channels
from tests.allocation.kit import budget_of, counted
from tests.importance.kit import IMGSZ, depthwise_detector


@pytest.fixture(scope="module")
def separable() -> DetectionModel:
    return depthwise_detector()


def depthwise_layers(model: nn.Module) -> dict[str, nn.Conv2d]:
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.groups > 1}


def third(model: nn.Module) -> dict[str, list[int]]:
    return {
        name: list(range(len(group[0].idxs) // 3))
        for name, group in prunable_groups(model).groups.items()
    }


def test_pointwise_depthwise_pointwise_is_one_group(separable: DetectionModel):
    assert len(depthwise_layers(separable)) == 6
    roles = [
        {m.name: m.kind for m in members(group)}
        for group in prunable_groups(separable).groups.values()
    ]

    (chain,) = (found for found in roles if "model.4.conv" in found)
    assert chain["model.3.cv2.conv"] == "out"
    assert chain["model.4.conv"] == "depthwise"
    assert chain["model.5.conv"] == "in"


def test_every_depthwise_layer_keeps_as_many_groups_as_channels_cut_after_cut(
    separable: DetectionModel,
):
    model = copy_model(separable)
    before = channel_counts(model)
    for _ in range(2):
        prune_channels(model, third(model))

    for name, layer in depthwise_layers(model).items():
        assert layer.groups == layer.in_channels == layer.out_channels < before[name], name
        assert layer.weight.shape[:2] == (layer.groups, 1), name
    assert len(depthwise_layers(model)) == 6
    assert model(torch.zeros(1, 3, IMGSZ, IMGSZ))[0].shape[1] == 6


def test_costs_are_predicted_without_surgery(separable: DetectionModel):
    budget, removed = budget_of(separable, 128), third(separable)
    kept = budget.vector(
        {n: int(w) - len(removed[n]) for n, w in zip(budget.names, budget.widths, strict=True)}
    )
    model = copy_model(separable)
    prune_channels(model, removed)

    macs, params = counted(model, 128)
    assert budget.macs(kept) == pytest.approx(macs, rel=1e-6)
    assert budget.params(kept) == pytest.approx(params, abs=0.5)


def test_a_cut_network_can_still_be_written_as_stock_layers(separable: DetectionModel):
    model = copy_model(separable)
    prune_channels(model, third(model))
    image = torch.rand(1, 3, IMGSZ, IMGSZ, generator=torch.Generator().manual_seed(0))

    with torch.no_grad():
        torch.testing.assert_close(to_stock(model)(image)[0], model(image)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "theirs", [tp.importance.GroupMagnitudeImportance, tp.importance.GroupTaylorImportance]
)
def test_torch_pruning_does_not_see_depthwise_weights(separable: DetectionModel, theirs: type):
    model = copy_model(separable)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    groups = prunable_groups(model).groups.values()
    (group,) = (g for g in groups if any(m.name == "model.4.conv" for m in members(g)))
    ours, blind = L2Importance(), theirs(normalizer=None)
    ours.normalise = False
    seen, unseen = ours(group), blind(group)

    with torch.no_grad():
        model.model[4].conv.weight[0] *= 100

    assert torch.equal(blind(group), unseen)
    assert ours(group)[0] > 10 * seen[0]
    assert torch.equal(ours(group)[1:], seen[1:])
