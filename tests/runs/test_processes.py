"""A process is its number and its birth."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from msip_core.runs.processes import ProcessIdentity, describe_exit
from msip_core.runs.tail import last_lines


def test_a_recycled_number_is_not_mistaken_for_the_worker(tmp_path: Path) -> None:
    me = ProcessIdentity.of(os.getpid())
    assert me is not None
    assert me.is_alive()
    stranger = replace(me, born="another boot/1")
    assert not stranger.is_alive()
    stranger.stop(force=True)  # must not end this very process
    me.write(tmp_path / "worker.json")
    assert ProcessIdentity.read(tmp_path / "worker.json") == me


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = ProcessIdentity.of(child.pid)
    assert identity is not None
    assert identity.is_alive()
    identity.stop(force=True)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet collected
    assert not identity.is_alive()
    child.communicate()
    assert ProcessIdentity.of(child.pid) is None


def test_a_half_written_identity_is_no_identity(tmp_path: Path) -> None:
    (tmp_path / "worker.json").write_text('{"pid": 1')
    assert ProcessIdentity.read(tmp_path / "worker.json") is None
    assert ProcessIdentity.read(tmp_path / "nothing.json") is None


def test_exits_are_described_in_words() -> None:
    assert describe_exit(3) == "it ended with exit code 3"
    assert describe_exit(-15) == "it was ended by signal SIGTERM"
    assert "ran out of memory" in describe_exit(-9)


def test_the_tail_of_a_log_shows_progress_bars_as_they_stood_last(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"first\n" + b"x" * 100_000 + b"\n10 %\r50 %\r100 %\r\nend\n")
    assert last_lines(log, 2) == "100 %\nend"
    assert last_lines(log, 100).startswith("first\n")
    assert last_lines(tmp_path / "none", 5) == ""
    log.write_text("x" * 3_000_000)  # what draws over one line for weeks ends it never
    assert 1 << 20 <= len(last_lines(log, 2)) < 1_200_000
