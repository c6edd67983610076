"""The story on disk: appended by several processes, never half a line, one compare-and-set."""

from __future__ import annotations

import json
import logging
import math
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from msip_core.errors import IllegalTransitionError, NotFoundError
from msip_core.events import EpochRecord, MilestoneRecord, parse_record
from msip_core.runs import events_log, tail
from msip_core.runs.events_log import EventLog
from msip_core.runs.state import TRANSITIONS, RunState


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    found = EventLog(tmp_path)
    found.append({"kind": "state", "state": "queued", "before": None})
    return found


def test_seq_counts_from_one_without_gaps(log: EventLog) -> None:
    assert [log.emit(MilestoneRecord(message=str(i))) for i in range(3)] == [2, 3, 4]
    assert [e["message"] for e in log.read()[1:]] == ["0", "1", "2"]


def test_reading_goes_on_from_an_offset(log: EventLog) -> None:
    first, offset = log.read_from(0)
    log.emit(MilestoneRecord(message="new"))
    second, end = log.read_from(offset)
    assert (len(first), [e["message"] for e in second]) == (1, ["new"])
    assert log.read_from(end) == ([], end)


def test_two_processes_and_threads_write_whole_lines_in_one_count(log: EventLog) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from msip_core.runs.events_log import EventLog\n"
        "log = EventLog(Path(sys.argv[1]))\n"
        "for i in range(100): log.append({'kind': 'milestone', 'message': 'x' * 500})"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", code, str(log.path.parent)]) for _ in range(2)
    ]

    def write() -> None:
        for _ in range(100):
            log.append({"kind": "milestone", "message": "y" * 500})

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait() for other in others] == [0, 0]
    assert [e["seq"] for e in log.read()] == list(range(1, 402))


@pytest.mark.parametrize("rest", [b'{"seq":2,"kind":"mile', b'{"seq":2,"kind":"milestone"}', b"\0"])
def test_half_a_line_is_not_read_and_the_next_writer_cuts_it_off(
    log: EventLog, rest: bytes
) -> None:
    with log.path.open("ab") as file:
        file.write(rest)
    assert len(log.read()) == 1
    assert log.state() is RunState.QUEUED
    assert log.emit(MilestoneRecord(message="after the crash")) == 2
    assert EventLog(log.path.parent).emit(MilestoneRecord(message="and on")) == 3
    assert [e["seq"] for e in log.read()] == [1, 2, 3]


def test_a_torn_line_in_the_middle_is_left_out_with_a_warning(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    with log.path.open("ab") as file:
        file.write(b"\0\0\0\n")
    log.emit(MilestoneRecord(message="good"))
    with caplog.at_level(logging.WARNING):
        assert [e["kind"] for e in log.read()] == ["state", "milestone"]
    assert "damaged lines were left out: 1" in caplog.text


def test_the_state_is_found_from_the_end_of_a_long_story(log: EventLog) -> None:
    log.transition(RunState.RUNNING)
    lines = b"".join(
        json.dumps({"seq": i, "time": 0, "kind": "milestone", "message": "x" * 300}).encode()
        + b"\n"
        for i in range(3, 1003)
    )
    with log.path.open("ab") as file:
        file.write(lines)
    assert log.state() is RunState.RUNNING
    assert [e["seq"] for e in log._backwards()] == list(range(1002, 0, -1))


def test_a_transition_counts_only_from_the_expected_state(log: EventLog) -> None:
    assert log.transition(RunState.RUNNING, expected=[RunState.QUEUED]) is RunState.QUEUED
    with pytest.raises(IllegalTransitionError, match="is running by now"):
        log.transition(RunState.RUNNING, expected=[RunState.QUEUED])


@pytest.mark.parametrize("current", list(RunState))
@pytest.mark.parametrize("target", list(RunState))
def test_the_table_of_states_holds_on_disk(
    tmp_path: Path, current: RunState, target: RunState
) -> None:
    log = EventLog(tmp_path)
    log.append({"kind": "state", "state": current.value, "before": None})
    if target in TRANSITIONS[current]:
        log.transition(target)
        assert log.state() is target
    else:
        with pytest.raises(IllegalTransitionError, match=f"is {current} cannot become {target}"):
            log.transition(target)


def test_of_many_who_want_the_same_change_one_wins(log: EventLog) -> None:
    won = []

    def take() -> None:
        try:
            EventLog(log.path.parent).transition(RunState.RUNNING, expected=[RunState.QUEUED])
            won.append(1)
        except IllegalTransitionError:
            return

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_numbers_that_are_not_numbers_survive_the_disk(log: EventLog) -> None:
    record = EpochRecord(
        iteration=1, phase="finetune", epoch=1, epochs=2, losses={"box": math.nan}, seconds=1.0
    )
    log.emit(record)
    back = parse_record(log.read()[-1])
    assert isinstance(back, EpochRecord)
    assert math.isnan(back.losses["box"])


def test_a_folder_without_a_story_is_no_run(tmp_path: Path) -> None:
    assert EventLog(tmp_path).read() == []
    with pytest.raises(NotFoundError, match="not a run folder"):
        EventLog(tmp_path).state()


def test_the_state_of_years_is_found_without_reading_them_again(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.transition(RunState.RUNNING)
    line = b'{"seq":3,"time":1,"kind":"progress","done":0.5,"message":"states"}\n'
    with log.path.open("ab") as file:
        file.write(line * 4000)
    looked: list[bytes] = []
    parse = events_log.parse_line
    monkeypatch.setattr(events_log, "parse_line", lambda one: looked.append(one) or parse(one))

    assert EventLog(log.path.parent).state() is RunState.RUNNING
    assert len(looked) == 1  # none of the others holds the word
    log.append({"kind": "progress", "done": 0.5})
    looked.clear()
    assert EventLog(log.path.parent).state() is RunState.RUNNING
    assert looked == []
    log.transition(RunState.PAUSING)
    assert EventLog(log.path.parent).state() is RunState.PAUSING
    shutil.copyfile(_older(log), log.path)  # a backup in its place
    assert EventLog(log.path.parent).state() is RunState.QUEUED


def _older(log: EventLog) -> Path:
    first = log.path.read_bytes().partition(b"\n")[0]
    kept = log.path.with_name("older.jsonl")
    kept.write_bytes(first + b"\n")
    return kept


@pytest.mark.parametrize("size", [3, 64, 100, 1 << 16])
def test_lines_are_found_from_the_end_whatever_the_blocks(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_BLOCK", size)
    words = [b"a", b"state", b"x" * 150, b"", b"b" * 70, b"the state", b"y" * 99, b"c"]
    path = tmp_path / "lines"
    path.write_bytes(b"\n".join(words) + b"\nhalf")
    with path.open("rb") as file:
        end = tail.end_of_lines(file)
        found = [word for _, word in tail.newest_first(file, end, 120)]
        assert found == [word for word in reversed(words) if word and len(word) <= 120]
        holding = list(tail.newest_first(file, end, 120, holding=b"state"))
        assert [word for _, word in holding] == [b"the state", b"state"]
        assert [path.read_bytes()[at : at + len(word)] for at, word in holding] == [
            word for _, word in holding
        ]


@pytest.mark.parametrize("again", [False, True])
def test_who_writes_into_a_run_that_is_just_deleted_is_told(log: EventLog, again: bool) -> None:
    folder = log.path.parent

    class Deleting:
        """The lock of somebody who has waited for it while the run was deleted."""

        lock_file = str(folder / ".events.lock")

        def __enter__(self) -> None:
            folder.rename(folder.with_name(f"{folder.name}-deleted"))
            if again:  # as it makes the folder anew for its file
                folder.mkdir()
                Path(self.lock_file).touch()

        def __exit__(self, *_: object) -> None: ...

    late = EventLog(folder)
    log.__dict__["_lock"] = Deleting()
    with pytest.raises(NotFoundError, match=f"'{folder.name}' was deleted meanwhile"):
        log.emit(MilestoneRecord(message="renamed"))
    assert not folder.exists()
    folder.mkdir()
    (folder / ".events.lock").touch()  # of another one who came too late, and still holds it
    with pytest.raises(NotFoundError, match="was deleted meanwhile"):
        late.emit(MilestoneRecord(message="renamed"))
    assert not folder.exists()
