"""benchmarks/gpu.py on a computer without a GPU: the same parts, small, on the processor."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    """What a small run of some parts wrote, and where."""
    out = tmp_path_factory.mktemp("gpu")
    parts = ("training", "scoring", "placing", "killing", "explaining", "whole-table")
    command = ["gpu.py", "--small", "--device", "cpu", "--out", str(out), "--only", *parts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        threads = torch.get_num_threads()
        assert gpu.main() == 0
        torch.set_num_threads(threads)
    return json.loads((out / "gpu.json").read_text(encoding="utf-8")), out


def _row(found: dict, words: str) -> dict:
    (row,) = [row for row in found["rows"] if words in row["what"]]
    return row


def test_images_a_second_are_the_images_by_the_seconds(measured):
    found, _ = measured
    row = _row(found, "images a second")
    seconds = row["details"]["seconds_an_epoch"]
    assert set(seconds) == {"device", "ultralytics", "plain Ultralytics"}
    rate = found["machine"]["training images"] / seconds["device"]
    assert f"device {rate:.0f}" in row["found"]
    assert f"{seconds['plain Ultralytics'] / seconds['device']:.1f} ×" in row["found"]


def test_hours_of_the_whole_table_follow_from_an_epoch_and_a_scoring(measured):
    found, _ = measured
    epoch = _row(found, "images a second")["details"]["seconds_an_epoch"]["device"]
    scoring = _row(found, "MSIP's terms")["details"]["msip"]
    hours = 7 * 16 * (30 * epoch + scoring) / 3600
    assert _row(found, "table 3-1")["found"] == f"{hours:.2f} h"


def test_what_a_computer_cannot_do_is_a_row_that_says_why(measured):
    found, out = measured
    if torch.cuda.is_available():
        pytest.skip("a computer with a GPU skips nothing")
    for part in ("placing", "killing"):
        assert _row(found, part)["found"] == "skipped: no GPU"
    assert _row(found, "explaining")["found"].startswith("skipped: no model was pruned")
    table = (out / "table.md").read_text(encoding="utf-8")
    assert all(f"| {row['what']} | {row['found']} |" in table for row in found["rows"])


def test_nothing_is_judged_by_a_goal_for_gpus_on_a_processor(measured):
    found, _ = measured
    assert {row["holds"] for row in found["rows"]} == {None}


def test_a_part_that_fails_is_a_row_and_takes_no_other_parts_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def breaks(_lab):
        yield gpu.Row("its first half", "2 s")
        raise RuntimeError("out of | luck")

    parts = {"breaks": breaks, "placing": gpu.PARTS["placing"]}
    monkeypatch.setattr(gpu, "PARTS", parts)
    command = ["gpu.py", "--small", "--device", "cpu", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)

    assert gpu.main() == 1

    rows = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["rows"]
    told = [(row["what"], row["found"], row["holds"]) for row in rows]
    assert told[:2] == [
        ("its first half", "2 s", None),
        ("breaks", "failed: RuntimeError: out of / luck", False),
    ]
    assert len(rows) == 3
    assert "Traceback" in capsys.readouterr().err
