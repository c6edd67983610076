"""Soft masks: the weakest channels are silenced once an epoch, and may come back."""

from __future__ import annotations

import pytest
import torch

from msip_core.config import PruneConfig, TrainConfig
from msip_core.groups.coupling import prunable_groups
from msip_core.groups.members import members, width
from msip_core.importance.bnweight import BnWeightImportance
from msip_core.pruning.recovery import _terms
from msip_core.pruning.soft_masks import SoftMasks
from msip_core.recipes import RECIPES
from tests.importance.kit import thin_detector


def silent(model, group) -> set[int]:
    """Channels of a group whose batch norms all let nothing through."""
    quiet = set(range(width(group)))
    for member in members(group):
        if member.kind != "norm":
            continue
        dead = (member.layer.weight[member.indices] == 0) & (member.layer.bias[member.indices] == 0)
        alive = set(member.positions[~dead].tolist())
        quiet -= alive
    return quiet


def test_the_weakest_share_of_every_group_is_silenced_once_an_epoch():
    model = thin_detector()
    groups = list(prunable_groups(model).groups.values())
    expected = []
    for group in groups:
        order = BnWeightImportance()(group).argsort(stable=True)
        expected.append(set(order[: int(0.3 * width(group))].tolist()))
    term = SoftMasks(0.3)
    term.bind(model)

    term.add(0.0)

    assert [silent(model, group) for group in groups] == expected
    back = groups[0][0].dep.layer  # trained within the epoch: a channel that grows is left alone
    norm = next(m.layer for m in members(groups[0]) if m.kind == "norm")
    assert back is not None
    with torch.no_grad():
        norm.weight.fill_(5.0)
    term.add(0.0)
    assert silent(model, groups[0]) == set()
    with torch.no_grad():  # the next epoch looks anew: others are weakest now
        norm.weight[:2] = 1e-3
    term.add(0.5)
    assert {0, 1} <= silent(model, groups[0])


def test_a_recipe_with_soft_masks_is_trained_with_them_and_keeps_its_last_weights():
    recipe = RECIPES["pruned-yolo-pretrain"]
    assert recipe.is_sparse
    (term,) = _terms(recipe)
    assert isinstance(term, SoftMasks)
    assert term.share == recipe.soft_mask
    with pytest.raises(ValueError, match="soft_mask needs coupled channels"):
        TrainConfig(dataset="d", weights="yolov8n.yaml", recipe=recipe)


def test_training_after_the_last_cut_alone_costs_one_fine_tune_and_needs_no_guard():
    def config(**more) -> PruneConfig:
        return PruneConfig(dataset="d", model="m", iterations=3, **more)

    late = config(finetune_after="last-cut")
    assert late.max_map50_drop is None
    assert config().max_map50_drop == 0.03
    assert [late.epochs_after(t) for t in (1, 2, 3)] == [0, 0, 30]
    assert (late.finetune_epochs, config().finetune_epochs) == (30, 90)
    with pytest.raises(ValueError, match="turn the guard off"):
        config(finetune_after="last-cut", max_map50_drop=0.03)
