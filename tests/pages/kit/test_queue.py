"""How long a waiting run still waits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.runs.store import RunRow
from msip_core.workspace import Workspace
from pages.kit.run_head import waiting_time
from tests.pages import lab_samples


@pytest.fixture
def row(workspace: Workspace) -> RunRow:
    """A waiting run, the third in the queue of the CPU."""
    lab_samples.draw_dataset(workspace, images=6)
    lab_samples.add_model(workspace, lab_samples.BASELINE)
    service = RunService(workspace)
    run = service.get(service.submit(lab_samples.prune_config()))
    return replace(run, queue_position=3)


def test_the_run_at_work_and_equal_ones_before_it_are_added(row: RunRow) -> None:
    working = replace(row, id="w", state=RunState.RUNNING, seconds_left=60.0, queue_position=None)
    before = replace(row, id="b", queue_position=1)
    behind = replace(row, id="z", queue_position=4)
    elsewhere = replace(working, id="e", slot="cuda:0")
    done = replace(row, id="d", state=RunState.COMPLETED, started=100.0, finished=400.0)

    wait = waiting_time(row, [working, before, behind, elsewhere, row], [done])

    assert (wait.runs, wait.seconds, wait.is_complete) == (2, 360.0, True)


def test_a_run_of_unknown_length_makes_it_a_lower_bound(row: RunRow) -> None:
    working = replace(row, id="w", state=RunState.RUNNING, seconds_left=60.0, queue_position=None)
    longer = row.config.model_copy(update={"iterations": 9})
    before = replace(row, id="b", queue_position=1, config=longer)
    done = replace(row, id="d", state=RunState.COMPLETED, started=100.0, finished=400.0)

    wait = waiting_time(row, [working, before], [done])

    assert (wait.runs, wait.seconds, wait.is_complete) == (2, 60.0, False)


def test_nothing_before_it_means_no_wait(row: RunRow) -> None:
    assert waiting_time(row, [row], []).runs == 0
