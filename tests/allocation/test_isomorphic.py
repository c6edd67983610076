"""Ranking like among like: the structures are torch-pruning's, and each loses the same share."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import torch_pruning as tp

from msip_core.allocation.ranked import GlobalAllocation, IsomorphicAllocation, places
from msip_core.allocation.table import GroupTable
from msip_core.config import AllocationOptions
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.groups.budget import Budget
from msip_core.groups.coupling import fixed_layers
from msip_core.pruning.schedule import final_window
from tests.allocation.kit import budget_of, random_table, widths_of
from tests.importance.kit import depthwise_detector, thin_detector

FREE = AllocationOptions(round_to=1, max_removed_per_iteration=0.99, min_kept=0.01)


@pytest.mark.parametrize("make", [thin_detector, depthwise_detector])
def test_structures_are_those_that_torch_pruning_ranks_together(make):
    model: DetectionModel = make()
    budget = budget_of(model, 64)
    sizes: Counter[str] = Counter()
    for structure, width in zip(budget.structures, budget.widths, strict=True):
        sizes[structure] += int(width)

    twin = copy_model(model).eval()
    theirs = tp.pruner.BasePruner(
        twin,
        torch.zeros(1, 3, 64, 64),
        tp.importance.GroupMagnitudeImportance(),
        global_pruning=True,
        isomorphic=True,
        ignored_layers=fixed_layers(twin),
    )
    theirs.step()

    assert sorted(sizes.values()) == sorted(theirs._scope_initial_channels.values())
    assert 1 < len(sizes) < len(budget.names)


def shares_lost(table: GroupTable, removed) -> dict[str, float]:
    lost: Counter[str] = Counter()
    all_: Counter[str] = Counter()
    for name, structure, width in zip(
        table.names, table.budget.structures, table.budget.widths, strict=True
    ):
        lost[structure] += len(removed.get(name, ()))
        all_[structure] += int(width)
    return {structure: lost[structure] / all_[structure] for structure in all_}


def test_every_structure_loses_the_same_share(budget: Budget):
    table = random_table(budget)
    window = final_window(0.6 * budget.macs_now, 1)

    found = IsomorphicAllocation(FREE).allocate(table, window)
    anywhere = GlobalAllocation(FREE).allocate(table, window)

    shares = shares_lost(table, found.removed)
    assert max(shares.values()) - min(shares.values()) < 0.05
    spread = shares_lost(table, anywhere.removed)
    assert max(spread.values()) - min(spread.values()) > 0.2


def test_the_scale_of_a_structures_scores_does_not_matter(budget: Budget):
    table = random_table(budget)
    scale = {s: 10.0**i for i, s in enumerate(dict.fromkeys(budget.structures))}
    scaled = {
        n: s * scale[structure]
        for n, s, structure in zip(table.names, table.scores, budget.structures, strict=True)
    }
    other = GroupTable(budget, scaled, widths_of(budget))
    window = final_window(0.6 * budget.macs_now, 1)

    first, second = (IsomorphicAllocation(FREE).allocate(t, window) for t in (table, other))

    assert first.removed == second.removed


def test_a_place_is_the_share_of_the_structure_that_scores_lower(budget: Budget):
    """The first and the last layer of one structure; all others of it score 0."""
    counts = Counter(budget.structures)
    structure = counts.most_common(1)[0][0]
    first, *_, last = (
        n for n, s in zip(budget.names, budget.structures, strict=True) if s == structure
    )
    scores = {n: np.zeros(w) for n, w in widths_of(budget).items()}
    scores[first] = np.arange(1, len(scores[first]) + 1) * 2.0
    scores[last][:2] = 3, 5
    table = GroupTable(budget, scores, widths_of(budget))

    found = dict(zip(budget.names, places(table), strict=True))

    channels = sum(
        w for w, s in zip(budget.widths, budget.structures, strict=True) if s == structure
    )
    zeros = channels - len(scores[first]) - 2
    # 2, [3], 4, [5], 6, 8, ...
    assert found[last][:3].tolist() == pytest.approx(
        [(zeros + 1) / channels, (zeros + 3) / channels, 0]
    )
    assert found[first][:3].tolist() == pytest.approx(
        [zeros / channels, (zeros + 2) / channels, (zeros + 4) / channels]
    )
