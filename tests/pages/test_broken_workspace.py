"""A workspace that was damaged from outside: every page opens and says what is wrong in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest

from msip_core.workspace import Workspace
from tests.pages import lab_samples
from tests.pages.conftest import PAGES, Open, no_crash

Damage = Callable[[Workspace, str], None]


def _images_gone(workspace: Workspace, run_id: str) -> None:
    shutil.rmtree(workspace.dataset_dir("example") / "images")


def _labels_gone(workspace: Workspace, run_id: str) -> None:
    shutil.rmtree(workspace.dataset_dir("example") / "labels")


def _dataset_gone(workspace: Workspace, run_id: str) -> None:
    shutil.rmtree(workspace.dataset_dir("example"))


def _dataset_json_gone(workspace: Workspace, run_id: str) -> None:
    (workspace.dataset_dir("example") / "dataset.json").unlink()


def _weights_gone(workspace: Workspace, run_id: str) -> None:
    for path in workspace.models.glob("*/model.pt"):
        path.unlink()


def _models_gone(workspace: Workspace, run_id: str) -> None:
    shutil.rmtree(workspace.models)
    workspace.models.mkdir()


def _card_damaged(workspace: Workspace, run_id: str) -> None:
    (workspace.model_dir(lab_samples.BASELINE) / "model.json").write_text("{", encoding="utf-8")


def _config_damaged(workspace: Workspace, run_id: str) -> None:
    (workspace.run_dir(run_id) / "config.json").write_text("{}", encoding="utf-8")


def _config_gone(workspace: Workspace, run_id: str) -> None:
    (workspace.run_dir(run_id) / "config.json").unlink()


def _events_gone(workspace: Workspace, run_id: str) -> None:
    (workspace.run_dir(run_id) / "events.jsonl").unlink()


def _events_damaged(workspace: Workspace, run_id: str) -> None:
    path = workspace.run_dir(run_id) / "events.jsonl"
    with path.open("a", encoding="utf-8") as out:
        out.write('[1, 2]\n"text"\nnot json\n{"kind": "iteration"}\n{"kind": "baseline"}\n')


def _state_unknown(workspace: Workspace, run_id: str) -> None:
    path = workspace.run_dir(run_id) / "events.jsonl"
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps({"kind": "state", "state": "dancing", "time": 1.0}) + "\n")


def _run_gone(workspace: Workspace, run_id: str) -> None:
    shutil.rmtree(workspace.run_dir(run_id))


DAMAGES: list[Damage] = [
    _images_gone, _labels_gone, _dataset_gone, _dataset_json_gone, _weights_gone, _models_gone,
    _card_damaged, _config_damaged, _config_gone, _events_gone, _events_damaged, _state_unknown,
    _run_gone,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__.strip("_"))
def test_every_page_opens_and_speaks_in_words(
    full: str, workspace: Workspace, open_page: Open, damage: Damage
) -> None:
    damage(workspace, full)
    crashed = []
    for page in PAGES:
        test = open_page(page)
        try:
            no_crash(test)
        except AssertionError:
            said = [item.value for item in (*test.exception, *test.error)]
            crashed.append(f"{page}: {said}")

    assert crashed == []
