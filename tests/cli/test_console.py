"""What is written where."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from msip_core.cli.console import ProgressLines, clean_stdout, say, table
from tests.fresh import ROOT


def test_only_the_answer_reaches_stdout_whatever_libraries_and_children_print(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with clean_stdout():
        sys.stdout.write("python\n")
        os.write(1, b"native code\n")
        subprocess.run([sys.executable, "-c", "print('child')"], check=True)
    sys.stdout.write("answer\n")
    sys.stdout.flush()

    out, err = capfd.readouterr()
    assert out == "answer\n"
    assert all(word in err for word in ("python", "native code", "child"))


def test_stdout_is_given_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="x"), clean_stdout():
        raise ValueError("x")
    os.write(1, b"here\n")
    assert capfd.readouterr().out == "here\n"


def test_a_table_puts_numbers_right_and_text_left() -> None:
    text = table(("name", "mAP50"), [("a", 0.5), ("long", None)])
    assert text.splitlines() == ["name  mAP50", "----  -----", "a     0.500", "long      -"]


def test_a_table_without_rows_is_its_header() -> None:
    assert table(("run", "state"), []).splitlines() == ["run  state", "---  -----"]


def test_progress_is_told_now_and_then_and_always_at_the_end(
    capfd: pytest.CaptureFixture[str],
) -> None:
    tell = ProgressLines(every_seconds=60)
    for step in range(100):
        tell(step / 100, "reading images")
    tell(1.0, "done")
    assert capfd.readouterr().err.splitlines() == ["  0%  reading images", "100%  done"]


def _called(workspace: Path, how: str) -> tuple[int, str]:
    """`methods` as a shell calls it, and what it said on stderr."""
    words = f"{sys.executable} -m msip_core methods --json --workspace {workspace}"
    done = subprocess.run(
        ["bash", "-c", how.format(words)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("{} | true; exit ${{PIPESTATUS[0]}}", 1, ""),
        ("{} > /dev/full", 1, "The answer could not be written: No space left on device.\n"),
        ("{} <&- >&-", 0, ""),
    ],
    ids=["nobody reads", "the disk is full", "closed"],
)
def test_an_answer_that_nobody_takes_ends_in_a_sentence_at_most(
    tmp_path: Path, how: str, code: int, said: str
) -> None:
    assert _called(tmp_path / "w", how) == (code, said)


def test_work_goes_on_where_nobody_reads_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with monkeypatch.context() as patch, open(writer, "wb", buffering=0) as unread:
        stream = io.TextIOWrapper(unread, write_through=True)
        patch.setattr(sys, "stderr", stream)
        say("half way")
        stream.detach()
