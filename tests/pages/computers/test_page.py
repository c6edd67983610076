"""The page Computers: this one alone, those of a cluster, and a cluster that does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from msip_core.runs.events_log import EventLog
from msip_core.runs.far.executor import FarExecutor
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.workspace import Workspace
from pages.kit.lab import lab
from tests.pages.conftest import Open, no_crash, words
from tests.runs.conftest import make_config, make_inputs
from tests.runs.made_up_cluster import MadeUpCluster


@pytest.fixture
def running(workspace: Workspace) -> str:
    """A run that lab-2 has."""
    make_inputs(workspace)
    run_id = RunService(workspace).submit(make_config(workspace), name="small *cysts*")
    log = EventLog(workspace.run_dir(run_id))
    log.transition(RunState.RUNNING, device="cuda:0", node="lab-2")
    return run_id


@pytest.fixture
def cluster(
    app: None, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MadeUpCluster]:
    found = MadeUpCluster(tmp_path / "computers")
    monkeypatch.setattr(
        "msip_core.runs.supervisor.chosen_executor", lambda _: FarExecutor(found, workspace)
    )
    yield found
    found.end()


def test_the_computers_of_a_cluster_and_what_runs_where(
    cluster: MadeUpCluster, running: str, open_page: Open
) -> None:
    test = open_page("computers")

    no_crash(test)
    assert not test.error
    table = test.dataframe[0].value
    assert list(table["computer"]) == ["lab-1", "lab-2"]
    assert list(table["runs"]) == [0, 1]
    assert "cuda:0 of lab-2" in words(test)
    assert f"--address={cluster.address()}" in words(test)
    assert isinstance(lab().supervisor.executor, FarExecutor)


def test_a_cluster_that_does_not_answer_is_said_with_how_to_start_one(
    cluster: MadeUpCluster, open_page: Open
) -> None:
    cluster.cut = True
    test = open_page("computers")

    no_crash(test)
    assert "does not answer" in test.error[0].value
    assert "ray start --head" in words(test)
