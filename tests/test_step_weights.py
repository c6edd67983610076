"""Where the weights of a run's step lie: in the run, else with the model it began or ended with."""

from __future__ import annotations

from pathlib import Path

import pytest

from msip_core.models import lacks_weights, step_path
from msip_core.workspace import Workspace, write_json

MODELS = ("base", "light")


@pytest.fixture
def light(tmp_path: Path) -> Workspace:
    """A run of three steps without weights, as the example is shipped, with both its models."""
    workspace = Workspace.open(tmp_path)
    from tests.pages.lab_samples import fill

    fill(workspace)
    made = sorted(workspace.models.iterdir())
    for folder, name in zip(made, MODELS):
        folder.rename(workspace.models / name)
        card = workspace.models / name / "model.json"
        card.write_text(card.read_text("utf-8").replace(folder.name, name), encoding="utf-8")
        (workspace.models / name / "model.pt").write_bytes(b"weights")
    run = workspace.run_dir("r")
    write_json(run / "config.json", {"model": "base"})
    write_json(run / "final.json", {"iteration": 3, "model_id": "light"})
    for step in (1, 2, 3):
        write_json(run / "iterations" / str(step) / "metrics.json", {})
    return workspace


def test_the_first_and_the_last_step_are_the_models_of_the_run(light: Workspace) -> None:
    assert [step_path(light, "r", step).parent.name for step in (0, 3)] == list(MODELS)
    assert [lacks_weights(light, "r", step) for step in range(5)] == [
        False,
        True,
        True,
        False,
        False,  # a step 4 never was
    ]


def test_the_runs_own_weights_come_first(light: Workspace) -> None:
    own = light.run_dir("r") / "iterations" / "3" / "model.pt"
    own.write_bytes(b"weights")

    assert step_path(light, "r", 3) == own


@pytest.mark.parametrize("model", ["gone", "/elsewhere/base.pt", "yolov8n.yaml"])
def test_a_model_that_is_gone_or_lies_elsewhere_is_not_taken_for_one_of_the_workspace(
    light: Workspace, model: str
) -> None:
    write_json(light.run_dir("r") / "config.json", {"model": model})

    assert not step_path(light, "r", 0).exists()
