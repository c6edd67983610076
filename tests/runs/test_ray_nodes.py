"""A study on a real Ray cluster: two nodes on this machine, one of which is killed in the middle.

Takes a minute and three copies of Ray, so it is asked for: MSIP_TEST_RAY=1. With real training the
same is done by `python benchmarks/ray_nodes.py`.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.ray_nodes import prove
from msip_core.studies.plan import StudyPlan
from msip_core.workspace import Workspace
from tests.drawn import copy_example
from tests.runs.ray_work import EPOCHS
from tests.studies.conftest import make_plan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.skipif(not os.environ.get("MSIP_TEST_RAY"), reason="MSIP_TEST_RAY is not set"),
]

WORK = (
    "--work",
    "tests.runs.ray_work:run",
    "--check",
    "tests.studies.fake_work:check",
    "--measure",
    "tests.studies.fake_work:measure",
)
METHODS = ("l2", "msip", "msip-literal", "taylor", "bnscale", "group-norm")


def _plan(_model: str) -> StudyPlan:
    rows = [{"key": m, "label": m, "settings": {"method": m}} for m in METHODS]
    return make_plan(seeds=[0], honest=["more-epochs", "random"], rows=rows)


def test_a_study_whose_computer_dies_ends_in_the_same_table_with_nothing_done_twice(
    tmp_path: Path,
) -> None:
    workspace = Workspace.open(tmp_path / "template")
    copy_example(workspace, images=20, size=64)
    found = prove(tmp_path, _plan, (workspace, ""), EPOCHS, WORK)

    assert len(found["spread"]) == 9
    assert {row["state"] for row in found["spread"].values()} == {"completed"}
    assert found["spread"] == found["alone"]
    assert found["processes_killed"] > 3, "Ray's own, the keeper, the worker"
    assert found["epochs_told_twice"] == {}
    told = [*found["epochs_before"], *found["epochs_after"]]
    assert told == [(1, "finetune", epoch) for epoch in range(1, EPOCHS + 1)]
    assert len(set(found["computers_of_it"])) == 2
    assert found["interruptions"] == {found["run_on_it"]: 1}
    assert found["keepers_left"] == []
