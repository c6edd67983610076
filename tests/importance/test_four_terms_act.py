"""The four weights on a trained network: each of them changes what is removed.

The network is the example's baseline, since the terms of an untrained one are noise. Whether a term
is any good must be judged on real micrographs (benchmarks/terms.py); that it acts is tested here.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from msip_core.allocation.msip import LossPerMacAllocation
from msip_core.allocation.table import GroupTable
from msip_core.config import (
    TERMS,
    WEIGHT_PRESETS,
    AllocationOptions,
    CalibrationConfig,
    MsipOptions,
    MsipWeights,
)
from msip_core.data.dataset import open_dataset
from msip_core.detector.c2f import to_c2f_v2
from msip_core.detector.checkpoints import load_model
from msip_core.example import install_example
from msip_core.groups.budget import Budget
from msip_core.groups.coupling import prunable_groups
from msip_core.importance.calibration import choose_images, load_calibration
from msip_core.importance.msip import MsipImportance
from msip_core.importance.statistics import Statistics, gather
from msip_core.importance.taylor import TaylorImportance
from msip_core.models import list_models, weights_path
from msip_core.pruning.schedule import final_window
from msip_core.workspace import Workspace
from tests.fresh import ROOT

SIZE = 160


class Lab(NamedTuple):
    """A trained network with what one calibration pass found on it."""

    groups: dict
    budget: Budget
    statistics: Statistics


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    workspace = Workspace.open(tmp_path_factory.mktemp("example"))
    install_example(workspace, ROOT / "assets" / "example")
    dataset = open_dataset(workspace, "example")
    config = CalibrationConfig(batches=2)
    images = choose_images(dataset, config, 0)
    calibration = load_calibration(dataset, images, config, SIZE, 0)
    baseline = next(card for card in list_models(workspace) if card.kind == "baseline")
    model = to_c2f_v2(load_model(weights_path(workspace, baseline.id)))
    groups = prunable_groups(model).groups
    statistics = gather(model, calibration, MsipImportance.required(MsipOptions()))
    return Lab(groups, Budget(model, list(groups.values()), SIZE), statistics)


def removed(lab: Lab, weights: MsipWeights) -> set[tuple[str, int]]:
    """The channels that go on the way to a third of the multiply-adds."""
    criterion = MsipImportance(lab.statistics, MsipOptions(weights=weights))
    scores = {name: score.numpy() for name, score in criterion.scores(lab.groups).items()}
    widths = {name: len(score) for name, score in scores.items()}
    found = LossPerMacAllocation(AllocationOptions()).allocate(
        GroupTable(lab.budget, scores, widths),
        final_window(0.335 * lab.budget.macs_now, 8),
        iterations=16,
    )
    return {(name, channel) for name, some in found.removed.items() for channel in some}


def jaccard(a: set[tuple[str, int]], b: set[tuple[str, int]]) -> float:
    return len(a & b) / len(a | b)


def test_the_papers_weights_remove_other_channels_than_the_gradient_alone(lab: Lab) -> None:
    paper, gradient = (removed(lab, WEIGHT_PRESETS[n]) for n in ("paper", "gradient-only"))

    assert jaccard(paper, gradient) < 0.9


@pytest.mark.parametrize("term", TERMS)
def test_every_slider_moved_by_thirty_percent_changes_what_is_removed(lab: Lab, term: str) -> None:
    before = WEIGHT_PRESETS["paper"].model_dump()
    rest = (1 - before[term] - 0.3) / (1 - before[term])
    after = {name: value * rest for name, value in before.items()} | {term: before[term] + 0.3}

    moved = removed(lab, MsipWeights(**after))

    assert 1 - jaccard(moved, removed(lab, MsipWeights(**before))) >= 0.05


def test_all_weight_on_the_gradient_is_taylor(lab: Lab) -> None:
    options = MsipOptions(weights=WEIGHT_PRESETS["gradient-only"])
    ours = MsipImportance(lab.statistics, options).scores(lab.groups)
    taylor = TaylorImportance(lab.statistics).scores(lab.groups)

    assert all(ours[name].equal(taylor[name]) for name in lab.groups)
