"""What every criterion of the catalog must keep (method sheet, section 2), on a YOLOv8 and on one
with depthwise convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from msip_core.catalog import CRITERIA
from msip_core.config import MsipOptions
from msip_core.detector.library import copy_model
from msip_core.groups.coupling import prunable_groups
from msip_core.groups.members import group_name, width
from msip_core.importance.statistics import gather
from msip_core.pruning.surgery import prune_channels
from tests.importance.kit import (
    IMGSZ,
    depthwise_detector,
    drawn_calibration,
    permuted,
    thin_detector,
)

OPTIONS = MsipOptions()
EVERYTHING = frozenset().union(*(e.load().required(OPTIONS) for e in CRITERIA.values()))
every_criterion = pytest.mark.parametrize("name", list(CRITERIA))


@pytest.fixture(scope="module", params=[thin_detector, depthwise_detector])
def model(request):
    return request.param()


@pytest.fixture(scope="module")
def groups(model):
    return prunable_groups(model).groups


@pytest.fixture(scope="module")
def statistics(model):
    return gather(model, drawn_calibration(), EVERYTHING)


def scores_of(name, statistics, groups):
    criterion = CRITERIA[name].load()(statistics, OPTIONS, 0)
    return {key: criterion(group) for key, group in groups.items()}


@every_criterion
def test_one_finite_score_for_each_channel(name, statistics, groups):
    scores = scores_of(name, statistics, groups)

    assert all(s.shape == (width(groups[key]),) for key, s in scores.items())
    assert all(torch.isfinite(s).all() for s in scores.values())
    assert all((s >= 0).all() for s in scores.values())


@every_criterion
def test_the_catalog_says_whether_data_is_needed(name):
    assert CRITERIA[name].needs_data == bool(CRITERIA[name].load().required(OPTIONS))


@pytest.fixture(scope="module")
def shuffled(model, groups):
    """The group with most members (over an addition and a concatenation), channels permuted."""
    group = max(groups.values(), key=len)
    order = torch.randperm(width(group), generator=torch.Generator().manual_seed(0))
    twin = permuted(model, group, order)
    return group_name(group), order, twin, gather(twin, drawn_calibration(), EVERYTHING)


def test_the_permuted_network_is_the_same_function(model, shuffled):
    image = torch.rand(1, 3, IMGSZ, IMGSZ)

    torch.testing.assert_close(shuffled[2](image)[0], model(image)[0])


@pytest.mark.parametrize("name", [n for n in CRITERIA if n != "random"])
def test_scores_go_along_when_channels_are_permuted(name, statistics, groups, shuffled):
    key, order, twin, its_statistics = shuffled
    before = scores_of(name, statistics, {key: groups[key]})[key]

    after = scores_of(name, its_statistics, {key: prunable_groups(twin).groups[key]})[key]

    torch.testing.assert_close(after, before[order], rtol=2e-3, atol=1e-9)


@every_criterion
def test_weights_and_mode_are_unchanged(name, model, statistics, groups):
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}

    scores_of(name, statistics, groups)

    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model.eval()


@every_criterion
def test_masking_equals_removing(name, model, statistics, groups):
    """Zero gamma and beta of the removed channels give the pruned network's output. Zeroing
    convolution weights alone would not: act(beta) is still there. Every criterion takes every
    third group, another one than its neighbour, to save time."""
    turn = list(CRITERIA).index(name) % 3
    scores = scores_of(name, statistics, {k: groups[k] for k in list(groups)[turn::3]})
    removed = {key: s.argsort()[: len(s) // 3].tolist() for key, s in scores.items()}
    masked, pruned = copy_model(model), copy_model(model)
    layers = dict(masked.named_modules())
    for key, gone in removed.items():
        for item in groups[key].items:
            if isinstance(item.dep.layer, nn.BatchNorm2d):
                layer = layers[item.dep.target._name]
                places = [i for i, r in zip(item.idxs, item.root_idxs) if r in set(gone)]
                with torch.no_grad():
                    layer.weight[places] = 0
                    layer.bias[places] = 0
    prune_channels(pruned, removed)

    image = torch.rand(2, 3, IMGSZ, IMGSZ, generator=torch.Generator().manual_seed(0))
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in model.parameters())
    torch.testing.assert_close(pruned(image)[0], masked(image)[0], atol=1e-3, rtol=1e-4)
