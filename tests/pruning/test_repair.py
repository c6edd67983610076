"""Which repair a run takes after a cut: what is tried, and that validation chooses."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import nn

from msip_core.config import Repair, TrainingRecipe, parse_run_config
from msip_core.detector.library import copy_model
from msip_core.errors import ConfigError
from msip_core.events import Metrics, Stage
from msip_core.groups.coupling import prunable_groups
from msip_core.pruning import repair as module
from msip_core.pruning.loop import run
from msip_core.pruning.refit import kept_filters
from msip_core.pruning.repair import repair, tried
from msip_core.pruning.surgery import channel_counts, prune_channels
from msip_core.workspace import Workspace
from tests.importance.kit import drawn_calibration
from tests.pruning.kit import Camera, Counter, Listener, config

REFITS = ["refitted, ridge 0.01", "refitted, ridge 0.1", "refitted, ridge 1"]
TRIED = {
    "none": ["as cut"],
    "recalibrate": ["recalibrated"],
    "absorb": ["betas absorbed"],
    "refit": REFITS,
    "auto": ["as cut", "recalibrated", "betas absorbed", *REFITS],
}


def metrics(map50: float, map50_95: float) -> Metrics:
    values = {n: 0.0 for n, field in Metrics.model_fields.items() if field.is_required()}
    return Metrics.model_validate(values | {"split": "val", "map50": map50, "map50_95": map50_95})


@pytest.mark.parametrize("how", TRIED)
@pytest.mark.parametrize("best", range(6))
def test_the_best_by_map50_then_map50_95_is_kept(how, best, monkeypatch: pytest.MonkeyPatch):
    made: dict[str, Any] = {name: nn.Identity() for name in TRIED["auto"]}
    monkeypatch.setattr(module, "recalibrated", lambda *_: made["recalibrated"])
    monkeypatch.setattr(module, "absorbed", lambda *_: made["betas absorbed"])
    monkeypatch.setattr(module, "refitted", lambda *a, **_: made[module.refit_name(a[4])])
    names = {id(model): name for name, model in made.items()}
    winner = TRIED["auto"][best]

    def evaluate(model):  # equal mAP50: the other one decides
        return metrics(0.8, 0.5 + 0.1 * (names[id(model)] == winner))

    found = repair(
        made["as cut"], how, drawn_calibration(2), evaluate, lambda: (made["as cut"], {})
    )
    assert list(found.map50) == TRIED[how]
    expected = winner if winner in TRIED[how] else TRIED[how][0]
    assert found.name == expected
    assert found.model is made[expected]


@pytest.mark.parametrize(
    ("old", "new"), [("always", "recalibrate"), ("never", "none"), ("auto", "auto")]
)
def test_a_config_from_before_the_refit_means_what_it_meant(old, new):
    value = config().model_dump(mode="json")
    del value["repair"]
    made = parse_run_config(value | {"bn_recalibration": old})
    assert made.repair == new
    assert made.bn_recalibration == old


@pytest.mark.parametrize(
    "wrong",
    [
        {"repair": "sometimes"},
        {"bn_recalibration": "perhaps"},
        {"bn_recalibration": "never", "repair": "auto"},
    ],
)
def test_a_repair_that_there_is_not_is_refused(wrong):
    value = config().model_dump(mode="json")
    if "repair" not in wrong:
        del value["repair"]
    with pytest.raises(ConfigError, match=r"repair|bn_recalibration"):
        parse_run_config(value | wrong)


@pytest.mark.parametrize("how", TRIED)
def test_a_run_records_what_was_tried_and_taken(lab: Workspace, how: str):
    ctx = Listener(lab, f"repair-{how}")
    run(
        config(
            repair=how, method="l2", iterations=1, keep_macs=0.7, finetune=TrainingRecipe(epochs=0)
        ),
        ctx,
    )
    (record,) = ctx.iterations
    assert list(record.repair_map50) == TRIED[how]
    assert record.repair in TRIED[how]
    assert record.repair_map50[record.repair] == max(record.repair_map50.values())
    assert record.repair_map50[record.repair] == record.map50_before
    assert record.bn_recalibrated == (record.repair == "recalibrated")
    assert not (ctx.run_dir / "iterations/1/kept.npz").exists()


def test_a_run_that_was_killed_amid_its_repair_ends_like_an_unbroken_one(lab: Workspace):
    short = config(
        repair="refit", method="l2", iterations=1, keep_macs=0.7, finetune=TrainingRecipe(epochs=0)
    )
    amid = Counter(Stage.EVALUATION_BEFORE, 1, points=40)
    whole = Camera(lab, "repair-whole", {"repair-broken": amid})
    run(short, whole)
    again = Listener(lab, "repair-broken")
    assert (again.run_dir / "iterations/1/kept.npz").is_file()
    run(short, again)
    (one,), (two,) = whole.iterations, again.iterations
    assert one.repair_map50 == two.repair_map50
    assert (one.repair, one.map50_after) == (two.repair, two.map50_after)


def test_a_network_that_is_only_tried_out_is_repaired_as_the_run_repairs(detector):
    """By its name: nothing, fresh statistics, or weights that come closer to what was there."""
    groups = prunable_groups(detector).groups
    removed = {name: range(len(g[0].idxs) // 2) for name, g in groups.items()}
    kept = kept_filters(groups, removed, channel_counts(detector))
    cut = copy_model(detector)
    prune_channels(cut, removed)
    images = drawn_calibration(batch=8)

    found = {how: tried(cut, how, images, (detector, kept)) for how in get_args(Repair)}

    assert found["none"] is cut
    weight, mean = "model.1.conv.weight", "model.1.bn.running_mean"
    state = {how: model.state_dict() for how, model in found.items()}
    assert torch.equal(state["recalibrate"][weight], state["none"][weight])
    assert not torch.equal(state["recalibrate"][mean], state["none"][mean])
    assert not torch.equal(state["refit"][weight], state["none"][weight])
    assert torch.equal(state["auto"][weight], state["refit"][weight])
