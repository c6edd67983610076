"""The example's answers: they come with it, they fit on every computer, and they are true."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import pages.shared.lab as lab_module
from msip_core.example import install_example
from msip_core.runs.compute import Compute
from msip_core.runs.content_key import content_key
from msip_core.workspace import Workspace
from tests.fresh import ROOT
from tests.pages.conftest import Open, no_crash

SHIPPED = ROOT / "assets" / "example" / "cache"
AGAIN = "run python assets/answers.py again"


class _NoWork(Compute):
    """Answers what is kept; what is not is noted, and never done."""

    asked: list[str]

    def submit(self, job: str, params: dict[str, Any]) -> str:
        key = self.key(job, params)
        if not self._is_kept(key):
            self.asked.append(f"{job} {params}")
        return key


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """The example as it is installed, files as new as on a computer that has just got them."""
    workspace = Workspace.open(tmp_path_factory.mktemp("elsewhere") / "workspace")
    install_example(workspace, ROOT / "assets" / "example")
    for path in workspace.root.rglob("*.pt"):
        os.utime(path)
    yield workspace
    shutil.rmtree(workspace.root)


def _jobs() -> dict[str, dict[str, Any]]:
    return {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in SHIPPED.glob("*/job.json")
    }


def test_all_first_questions_are_answered() -> None:
    jobs = sorted(about["job"] for about in _jobs().values())

    assert jobs == ["compare", "gradcam", "gradcam", "predict", "predict", "shap", "shap"], AGAIN


def test_the_answers_are_small_and_name_no_folder_of_the_computer_that_made_them() -> None:
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]

    assert sum(path.stat().st_size for path in files) < 3_000_000
    for path in files:
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
            assert "/tmp" not in text, path
            assert "/home" not in text, path


def test_the_keys_are_those_of_this_program_on_any_computer(example: Workspace) -> None:
    for key, about in _jobs().items():
        assert content_key(example, about["job"], about["params"]) == key, (
            f"The answer to {about['job']} is stale: {AGAIN}."
        )


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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_heat_maps_are_what_the_program_makes_today(example: Workspace, tmp_path: Path) -> None:
    import numpy as np

    from msip_core.explain.jobs import gradcam

    for key, about in _jobs().items():
        if about["job"] != "gradcam":
            continue
        params = {**about["params"], "randomised": False, "device": "cpu"}
        result = gradcam(example, params, tmp_path, lambda done, message: None)
        with np.load(tmp_path / "heat.npz") as now, np.load(SHIPPED / key / "heat.npz") as kept:
            close = np.corrcoef(now["heat"].ravel(), kept["heat"].ravel())[0, 1]
        kept_scores = json.loads((SHIPPED / key / "result.json").read_text("utf-8"))["scores"]
        assert close > 0.99, AGAIN
        assert result["scores"]["ber"] == pytest.approx(kept_scores["ber"], abs=0.01), AGAIN
