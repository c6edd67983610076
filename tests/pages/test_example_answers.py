"""The example's answers: they come with it, they fit on every computer, and they are true."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import pages.kit.lab as lab_module
from msip_core.example import install_example, unpack
from msip_core.questions.base import Job, Question, form_of, question_from
from msip_core.questions.detecting import Compare, Predict
from msip_core.questions.looking import GradCam, HeatMap, Shap
from msip_core.runs.compute import Compute
from msip_core.workspace import Workspace
from tests.fresh import ROOT
from tests.pages.conftest import Open, no_crash

EXAMPLE = ROOT / "assets" / "example"
AGAIN = "run python assets/answers.py again"


class _NoWork(Compute):
    """Answers what is kept; what is not is noted, and never done."""

    asked: list[Question[Any]]

    def submit(self, question: Question[Any], ticket: str = "") -> str:
        key = self.key(question)
        if not self._is_kept(key):
            self.asked.append(question)
        return key


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """The example as it is installed, files as new as on a computer that has just got them."""
    workspace = Workspace.open(tmp_path_factory.mktemp("elsewhere") / "workspace")
    install_example(workspace, EXAMPLE)
    for path in workspace.root.rglob("*.pt"):
        os.utime(path)
    yield workspace
    shutil.rmtree(workspace.root)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The answers as they come, before anybody looks at them."""
    unpack(EXAMPLE, folder := tmp_path_factory.mktemp("shipped"), ["cache"])
    return folder / "cache"


def _questions(shipped: Path) -> dict[str, Question[Any]]:
    found = {}
    for path in shipped.glob("*/job.json"):
        about = json.loads(path.read_text(encoding="utf-8"))
        found[path.parent.name] = question_from(about["question"], about["fields"])
    return found


def test_all_first_questions_are_answered(shipped: Path) -> None:
    kinds = Counter(type(question) for question in _questions(shipped).values())

    assert kinds == {Compare: 1, GradCam: 2, Predict: 2, Shap: 2}, AGAIN


def test_the_answers_are_small_and_name_no_folder_of_the_computer_that_made_them(
    shipped: Path,
) -> None:
    files = [path for path in shipped.rglob("*") if path.is_file()]

    assert files
    assert sum(path.stat().st_size for path in files) < 600_000
    for path in files:
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
            assert "/tmp" not in text, path
            assert "/home" not in text, path


def test_the_keys_are_those_of_this_program_on_any_computer(
    example: Workspace, shipped: Path
) -> None:
    for key, question in _questions(shipped).items():
        assert question.key(example) == key, f"The answer to {question!r} is stale: {AGAIN}."


@pytest.mark.parametrize("page", ["compare", "look"])
def test_the_pages_are_full_at_first_start(
    example: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    compute = _NoWork(example)
    compute.asked = []
    monkeypatch.setenv("MSIP_WORKSPACE", str(example.root))
    monkeypatch.setattr(lab_module, "get_compute", lambda _: compute)

    test: AppTest = open_page(page)

    no_crash(test)
    assert compute.asked == [], AGAIN
    if page == "look":
        assert len(test.image) == 4  # two heat maps, two SHAP maps
    else:
        assert "Lighter model: " in json.dumps([e.proto.json for e in test.get("bidi_component")])


def test_the_runs_page_says_which_steps_came_without_weights(
    example: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = _NoWork(example)
    compute.asked = []
    monkeypatch.setenv("MSIP_WORKSPACE", str(example.root))
    monkeypatch.setattr(lab_module, "get_compute", lambda _: compute)

    test: AppTest = open_page("runs")

    no_crash(test)
    assert len(compute.asked) == 2  # the first and the last step
    assert sum("weights not here" in e.proto.body for e in test.get("html")) == 4


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_heat_maps_are_what_the_program_makes_today(
    example: Workspace, shipped: Path, tmp_path: Path
) -> None:
    import numpy as np

    at = Job(example, tmp_path, lambda done, message: None)
    for key, question in _questions(shipped).items():
        if not isinstance(question, GradCam):
            continue
        result = question.model_copy(update={"randomised": False, "device": "cpu"}).answer(at)
        with np.load(tmp_path / "heat.npz") as now, np.load(shipped / key / "heat.npz") as kept:
            close = np.corrcoef(now["heat"].ravel(), kept["heat"].ravel())[0, 1]
        kept = form_of(HeatMap).read(shipped / key)
        assert close > 0.99, AGAIN
        assert result.scores.ber == pytest.approx(kept.scores.ber, abs=0.01), AGAIN
