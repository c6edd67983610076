"""One table of steps: runs that are on disk already are read, planned and resumed by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from msip_core import steps
from msip_core.config import PRUNE_PRESETS, PruneConfig
from msip_core.events import Stage
from msip_core.example import EXAMPLE, unpack
from msip_core.language import LANGUAGES, read_catalog
from msip_core.pruning.folder import IterationFolder
from msip_core.pruning.progress import plan
from msip_core.steps import ITERATION, SECONDS, Step


def test_the_marks_are_the_files_that_runs_have_on_disk() -> None:
    """Renamed, they would make a run of last year do all its work again."""
    marks = {step.name: step.marks for step in vars(steps).values() if isinstance(step, Step)}

    assert marks == {
        "time single layers": (), "choose the multiple of channels": (),
        "evaluate the baseline": ("baseline.json",), "pre-train": ("reference.json",),
        "search ratios": ("search/allocation.json",), "test and save": ("final.json",),
        "choose blocks": ("blocks.json",), "score channels": ("importance.json",),
        "cut": ("cut.json", "kept.npz"), "repair": ("pruned.json",), "fine-tune": (),
        "measure": ("metrics.json",),
    }  # fmt: skip


def test_a_step_is_done_once_all_its_marks_are_there(tmp_path: Path) -> None:
    files = IterationFolder(tmp_path)
    (tmp_path / "cut.json").write_text("{}")
    assert not files.done(steps.CUTTING)

    (tmp_path / "kept.npz").write_bytes(b"")
    assert files.done(steps.CUTTING)
    assert not files.done(steps.TUNING)  # goes on by itself, epoch by epoch


def test_the_seconds_of_runs_on_disk_are_in_the_columns_of_the_steps(tmp_path: Path) -> None:
    unpack(EXAMPLE, tmp_path, ["runs"])
    files = tmp_path.glob("runs/*/iterations/*/metrics.json")
    records = [json.loads(path.read_text()) for path in files]

    assert records
    assert all(set(record["seconds"]) == set(SECONDS) for record in records)
    assert SECONDS == ("importance", "pruning", "evaluation", "finetuning")


@pytest.mark.parametrize("preset", PRUNE_PRESETS)
def test_the_plan_has_every_step_of_every_iteration_in_order(preset: str) -> None:
    config = PruneConfig(dataset="d", model="m", **PRUNE_PRESETS[preset])

    keys = [part.key for part in plan(config, train=8, val=2, test=2, calibration=4)]

    inside = [key for key in keys if key[0] in ITERATION]
    assert inside == [(step, t) for t in range(1, config.iterations + 1) for step in ITERATION]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_every_stage_can_be_said_in_every_language(language: str) -> None:
    found = {m.id for m in read_catalog(language) if m.string}

    assert {stage.value for stage in Stage} <= found
