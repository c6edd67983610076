"""What is written where."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from msip_core.cli.console import ProgressLines, clean_stdout, table


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
