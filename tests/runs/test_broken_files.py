"""Damaged indexes, stories and places: the rest of the lab stays in sight, nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from msip_core.cli.main import main
from msip_core.errors import DiskFullError, InputError, WorkError
from msip_core.events import MilestoneRecord
from msip_core.repair import repair
from msip_core.runs import foreground, index_file
from msip_core.runs.context import read_request
from msip_core.runs.events_log import LINE_LIMIT, EventLog
from msip_core.runs.executors import STOP_FILE, LocalExecutor
from msip_core.runs.failures import explain_failure
from msip_core.runs.foreground import run_foreground
from msip_core.runs.service import RunService
from msip_core.runs.state import Action, RunState
from msip_core.runs.store import RunStore
from msip_core.runs.supervisor import Supervisor, Timing
from msip_core.workspace import Workspace
from tests.runs.conftest import make_config


@pytest.fixture
def runs(service: RunService) -> list[str]:
    """Two runs whose index was closed well, newest first."""
    found = [service.submit(make_config(service.workspace)) for _ in range(2)]
    service.store._file.engine().dispose()
    return found[::-1]


def _sql(*statements: str) -> Callable[[Path], None]:
    def break_(path: Path) -> None:
        with sqlite3.connect(path) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    return break_


def _overwrite(start: int, length: int) -> Callable[[Path], None]:
    def break_(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[start : start + length] = os.urandom(len(data[start : start + length]))
        path.write_bytes(data)

    return break_


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


BREAKS: dict[str, Callable[[Path], None]] = {
    "header": _overwrite(0, 100),
    "schema page": _overwrite(100, 3000),
    "inner pages": _overwrite(4096, 1 << 20),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: path.write_bytes(b"") and None,
    "text": lambda path: path.write_text("hello") and None,
    "folder": _directory,
    "no table": _sql("DROP TABLE records"),
    "no column": _sql("ALTER TABLE runs DROP COLUMN map50"),
    "other table": _sql("DROP TABLE runs", "CREATE TABLE runs (id TEXT)"),
    "journal": lambda path: path.with_name("lab.sqlite-wal").write_bytes(os.urandom(9000)) and None,
    "rows of a lie": _sql("UPDATE runs SET state = 'running', seq = 1"),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_index_is_built_anew_by_who_finds_it(
    service: RunService, runs: list[str], kind: str
) -> None:
    BREAKS[kind](service.workspace.index_path)
    found = RunService(service.workspace).list()
    assert [row.id for row in found] == runs
    assert RunService(service.workspace).reindex().runs == 2
    assert {row.state for row in RunService(service.workspace).list()} == {RunState.QUEUED}


def test_an_index_of_a_newer_version_is_left_alone_until_it_is_asked_for(
    service: RunService, runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    _sql("PRAGMA user_version = 999")(service.workspace.index_path)
    with pytest.raises(WorkError, match="newer MSIP Lab"):
        RunStore(service.workspace)
    assert main(["runs", "reindex", "--workspace", str(service.workspace.root)]) == 0
    assert "2 runs in the index" in capsys.readouterr().out
    assert [row.id for row in RunService(service.workspace).list()] == runs
    assert len(list(service.workspace.root.glob("lab.sqlite.broken-*"))) >= 1


def test_an_index_that_is_held_for_long_is_said(
    service: RunService, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_file, "_WAIT", 0.1)
    holder = sqlite3.connect(service.workspace.index_path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(WorkError, match="Another program holds the index"):
        RunService(service.workspace).reindex()
    holder.close()
    assert [row.id for row in RunService(service.workspace).list()] == runs


def test_an_open_lab_notices_that_its_index_was_built_anew(
    service: RunService, runs: list[str]
) -> None:
    service.list()
    index_file.move_aside(service.workspace.index_path)
    third = RunService(service.workspace).submit(make_config(service.workspace))
    assert [row.id for row in service.list()] == [third, *runs]


DAMAGE: dict[str, tuple[bytes, int]] = {
    "no objects": (b'[1]\n5\nnull\n"x"\ntrue\n', 5),
    "no JSON": (b"\xff\xfe{}\n{'a': 1}\n", 2),
    "zeros": (bytes(4096) + b"\n", 1),
    "unknown state": (b'{"seq":9,"time":1,"kind":"state","state":"melted"}\n', 1),
    "state of another type": (b'{"seq":9,"time":1,"kind":"state","state":["queued"]}\n', 1),
    "no fields": (b'{"seq":9,"kind":"iteration"}\n{"seq":9,"time":1,"kind":"final"}\n', 2),
    "wrong types": (b'{"seq":"9","time":1,"kind":"note"}\n{"seq":9,"time":"x","kind":"a"}\n', 2),
    "no number": (b'{"seq":9,"time":NaN,"kind":"state","state":"running"}\n', 1),
    "beyond the index": (b'{"seq":%d,"time":1,"kind":"note","message":"x"}\n' % 2**63, 1),
    "deep": (b"[" * 100_000 + b"\n", 1),
    "long": (b'{"seq":9,"time":1,"kind":"state","x":"' + b"x" * 3 * LINE_LIMIT + b'"}\n', 1),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_line_is_left_out_and_counted(
    service: RunService, runs: list[str], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, damaged = DAMAGE[kind]
    log = EventLog(service.run_dir(runs[0]))
    with log.path.open("ab") as file:
        file.write(lines)
    assert log.state() is RunState.QUEUED
    EventLog(log.path.parent).emit(MilestoneRecord(message="goes on"))
    assert [e["seq"] for e in log.read()] == [1, 2]
    assert sum(line.is_damaged for line in log.lines()) == damaged
    root = str(service.workspace.root)
    assert [row.id for row in service.list()] == runs
    assert main(["runs", "show", runs[0], "--workspace", root]) == 0
    assert f"damaged lines of events.jsonl that were left out: {damaged}" in capsys.readouterr().out
    assert service.milestones(runs[0])[-1].message.endswith(f"left out: {damaged}.")


def test_a_line_that_leaves_out_what_has_a_default_is_read_with_it(
    service: RunService, runs: list[str]
) -> None:
    log = EventLog(service.run_dir(runs[0]))
    with log.path.open("ab") as file:
        file.write(
            b'{"seq":2,"time":1,"kind":"stage","stage":"pruning"}\n'
            b'{"seq":3,"time":1,"kind":"progress","done":0.5}\n'
            b'{"seq":4,"time":1,"kind":"milestone","message":"half"}\n'
        )
    row = service.get(runs[0])
    assert (row.stage, row.iteration, row.done, row.message) == ("pruning", 0, 0.5, "")
    assert service.milestones(runs[0])[-1].level == "info"


@pytest.mark.parametrize("kind", ["missing", "empty", "garbage"])
def test_a_run_that_lost_its_story_can_be_resumed(
    service: RunService, runs: list[str], kind: str
) -> None:
    file = EventLog(service.run_dir(runs[1])).path
    if kind == "missing":
        file.unlink()
    else:
        file.write_bytes(b"" if kind == "empty" else b"\x93garbage\n\x00\n")
    assert RunService(service.workspace).reindex().skipped == ()
    row = RunService(service.workspace).get(runs[1])
    assert row.state is RunState.INTERRUPTED
    assert "missing or damaged" in str(row.error)


def test_one_bad_folder_hides_no_other(
    service: RunService, runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = service.workspace.runs / "prune-copied"
    shutil.copytree(service.run_dir(runs[0]), bad)
    (bad / "config.json").write_text('{"kind": "melt"}')
    cut = service.workspace.runs / "prune-cut"
    shutil.copytree(service.run_dir(runs[0]), cut)
    (cut / "config.json").write_text('{"kind": "pr')
    assert [row.id for row in service.list()] == runs
    assert service.left_out()[1] == (
        f"prune-cut: {cut / 'config.json'} is damaged and cannot be read. Restore it from a backup,"
        " or begin its run or study anew."
    )
    assert main(["runs", "list", "--workspace", str(service.workspace.root)]) == 0
    assert "Left out: prune-copied: " in capsys.readouterr().out
    assert main(["runs", "show", bad.name, "--workspace", str(service.workspace.root)]) == 2
    assert "The run prune-copied cannot be read: " in capsys.readouterr().err


def test_a_place_that_cannot_be_written_can_be_looked_at(
    service: RunService, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = service.workspace.root
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    really = os.access
    monkeypatch.setattr(
        os, "access", lambda p, m: not (m & os.W_OK and str(p) == str(root)) and really(p, m)
    )
    looking = RunService(Workspace.open(root))
    assert [row.id for row in looking.list()] == runs
    assert looking.get(runs[0]).state is RunState.QUEUED
    assert not looking.is_supervised()
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before, "nothing was touched"


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("file", "it is a file, not a folder"),
        ("file/below", "a part of the path is a file"),
        ("x" * 300, "the name is too long"),
        ("zero\0", "cannot be a workspace"),
    ],
)
def test_what_can_be_no_workspace_is_said_in_a_sentence(
    tmp_path: Path, place: str, sentence: str
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=sentence):
        Workspace.open(f"{tmp_path}/{place}")


def test_a_file_in_the_place_of_a_folder_of_the_workspace_is_named(tmp_path: Path) -> None:
    Workspace.open(tmp_path)
    (tmp_path / "models").rmdir()
    (tmp_path / "models").write_text("x")
    with pytest.raises(InputError, match=r"models is a file, and the workspace needs a folder"):
        Workspace.open(tmp_path)


def test_a_full_disk_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", full)
    assert main(["runs", "list", "--workspace", str(tmp_path / "new")]) == 1
    assert "is full: delete old runs or files there" in capsys.readouterr().err


def test_repair_says_what_it_did_and_keeps_what_lives(service: RunService, runs: list[str]) -> None:
    root = service.workspace.root
    service.workspace.index_path.write_bytes(b"not a database" * 100)
    mine = service.workspace.models / f".half.{os.getpid()}-0123abcd.pt"
    dead = service.workspace.models / ".half.999999999-0123abcd.pt"
    named_long_ago = root / "cache" / ".old.0123abcd.json"
    for file in (mine, dead, named_long_ago, root / ".example"):
        file.write_bytes(b"half")
    os.utime(named_long_ago, (1, 1))
    model = service.workspace.models / "m"
    model.mkdir()
    (model / "model.json").write_text("{}")
    (model / "model.pt").write_bytes(b"no weights")
    found = {finding.what: finding for finding in repair(service.workspace)}
    assert "broken and lies in lab.sqlite.broken-" in found["index"].found
    assert found["temporary files"].found == (
        "removed: cache/.old.0123abcd.json; models/.half.999999999-0123abcd.pt"
    )
    assert (mine.exists(), dead.exists(), (root / ".example").exists()) == (True, False, True)
    assert found["models"].found == "m/model.pt is not whole; do not use it"
    assert found["datasets"].level == "problem", "the drawn manifest of these tests is no dataset"
    assert [row.id for row in service.list()] == runs


def test_a_command_whose_disk_is_full_ends_and_the_run_can_be_resumed(
    service: RunService, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = runs[1]
    log = EventLog(service.run_dir(run_id))
    log.transition(RunState.RUNNING)
    identity = {"pid": 999999999, "born": "gone", "host": socket.gethostname()}
    log.path.with_name("worker.json").write_text(json.dumps(identity))

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(foreground, "_STUCK", 0.2)
    quick = Timing(tick=0.01, start_grace=0.0, stumble=0.05)
    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "_append", full)
        supervisor = Supervisor(service.workspace, LocalExecutor(), quick).start()
        try:
            with pytest.raises(DiskFullError, match="Make room there and try again"):
                run_foreground(service.workspace, run_id, lambda _: None, supervisor=supervisor)
        finally:
            supervisor.close()
    assert service.get(run_id).state is RunState.INTERRUPTED
    assert service.act(run_id, Action.RESUME) is RunState.QUEUED


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file", "images/a.png"),
        FileNotFoundError("Image Not Found images/a.png"),
    ],
)
def test_a_file_that_was_deleted_under_a_run_is_named(error: OSError) -> None:
    sentence = explain_failure(error).message
    assert "A file that the run needs is gone" in sentence
    assert "images/a.png" in sentence


@pytest.mark.parametrize(
    ("note", "asked"),
    [
        ('{"request": "cancel"}', "cancel"),
        ('{"request": "pause"}', "pause"),
        ('{"request": "canc', "pause"),
        ("\0" * 20, "pause"),
        ("[]", "pause"),
    ],
)
def test_a_damaged_note_that_asks_for_a_stop_pauses_the_run(
    tmp_path: Path, note: str, asked: str
) -> None:
    assert read_request(tmp_path) is None
    (tmp_path / STOP_FILE).write_text(note)

    assert read_request(tmp_path) == asked
