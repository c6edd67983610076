"""`train` and `prune` have a worker loading before their words are understood, and only they."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from msip_core.cli import early
from msip_core.runs.settling import SUPERVISOR_LOCK
from msip_core.workspace import Workspace

TRAIN = ["train", "--data", "d", "--weights", "w"]


class Executor:
    """Knows whether a process is kept ready."""

    made: list[Executor]
    ready = False

    def __init__(self) -> None:
        self.made.append(self)

    def prepare(self, workspace: Workspace, *, wanted: int) -> None:
        self.ready = wanted


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Executor]]:
    """The executors that were made, starting no process."""
    Executor.made = []
    monkeypatch.setattr(early, "LocalExecutor", Executor)
    monkeypatch.setattr(early, "may_wait", lambda: True)
    monkeypatch.setattr(Workspace, "isolate_libraries", lambda _: None)
    yield Executor.made
    early._begun.clear()


@pytest.mark.parametrize("verb", [TRAIN, ["prune", "--model", "m", "--data", "d"]])
def test_the_run_gets_the_worker_that_was_begun_with_the_command(
    workspace: Workspace, made: list[Executor], verb: list[str]
) -> None:
    early.begin([*verb, f"--workspace={workspace.root}"])
    assert [one.ready for one in made] == [True]

    with early.worker_ready(workspace, begin_now=False) as executor:
        assert executor is made[0]  # type: ignore[comparison-overlap]
    assert not made[0].ready  # nothing is left behind


def test_nothing_is_begun_for_words_that_start_no_run_here(
    workspace: Workspace, made: list[Executor], tmp_path: Path
) -> None:
    here = ["--workspace", str(workspace.root)]
    for words in (
        [],
        ["runs", "list", *here],
        [*TRAIN, "--detach", *here],
        ["train", "--help", *here],
        [*TRAIN, "--workspace", str(tmp_path / "none")],
        [*TRAIN, "--workspace", "~nobody/x"],
        [*TRAIN, "--workspace", "a\0b"],
    ):
        early.begin(words)
    with FileLock(workspace.root / SUPERVISOR_LOCK):  # a server works on the queue
        early.begin([*TRAIN, *here])
        with early.worker_ready(workspace, begin_now=True) as executor:
            assert executor is None
    assert made == []
    assert not (tmp_path / "none").exists()


def test_where_nothing_was_begun_a_run_that_is_estimated_first_begins_then(
    workspace: Workspace, made: list[Executor]
) -> None:
    with early.worker_ready(workspace, begin_now=False) as executor:
        assert executor is None
    with early.worker_ready(workspace, begin_now=True) as executor:
        assert executor is made[0]  # type: ignore[comparison-overlap]
        assert made[0].ready
    assert not made[0].ready
