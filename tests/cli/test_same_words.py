"""The command that a page shows makes the very run that the page would start."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from msip_core.cli.main import main
from msip_core.config import (
    PRUNE_PRESETS,
    RECIPES,
    WEIGHT_PRESETS,
    AllocationOptions,
    MsipOptions,
    PruneConfig,
    TrainConfig,
)
from msip_core.data.synthetic import import_example
from msip_core.runs.service import RunService
from msip_core.workspace import Workspace
from pages.shared.command import command_line


@pytest.fixture
def weights(workspace: Workspace) -> Path:
    """The drawn dataset "d", and a file where weights should be."""
    import_example(workspace, "d", images=8, size=64)
    path = workspace.uploads / "w.pt"
    path.write_bytes(b"not opened here")
    return path


def _made_by(command: str, workspace: Workspace) -> TrainConfig | PruneConfig:
    words = shlex.split(command)[3:]
    assert main([*words, "--detach", "--workspace", str(workspace.root)]) == 0
    return RunService(workspace).list(limit=1)[0].config


@pytest.mark.parametrize("preset", PRUNE_PRESETS)
def test_a_pruning_run(workspace: Workspace, weights: Path, preset: str) -> None:
    settings = {**PRUNE_PRESETS[preset], "iterations": 3}
    config = PruneConfig(
        name="plate 7 to 60 %", dataset="d", model=str(weights), imgsz=96, batch=2, seed=5,
        device="cpu", keep_macs=0.6, limits=AllocationOptions(round_to=4), max_map50_drop=None,
        msip=MsipOptions(weights=WEIGHT_PRESETS["gradient-heavy"], dynamic_weights=False),
        **settings,
    )  # fmt: skip
    command = command_line(config)
    assert command is not None
    assert _made_by(command, workspace) == config


def test_a_pruning_run_of_another_method(workspace: Workspace, weights: Path) -> None:
    config = PruneConfig(
        dataset="d", model=str(weights), method="lamp", allocation="global", device="cpu",
        **PRUNE_PRESETS["quick"],
    )  # fmt: skip
    command = command_line(config)
    assert command is not None
    assert _made_by(command, workspace) == config


@pytest.mark.parametrize("recipe", ["quick-baseline", "paper-baseline"])
def test_a_training_run(workspace: Workspace, weights: Path, recipe: str) -> None:
    config = TrainConfig(
        name="a b", dataset="d", weights=str(weights), device="cpu", imgsz=128, workers=1,
        recipe=RECIPES[recipe].model_copy(update={"epochs": 3}),
    )  # fmt: skip
    command = command_line(config)
    assert command is not None
    assert _made_by(command, workspace) == config
