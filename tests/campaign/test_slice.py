"""A slice of the campaign: some hostile inputs and a kill. The whole is one command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fresh import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the campaign forks"),
]


def test_a_slice_of_the_campaign_finds_nothing_wrong(tmp_path: Path) -> None:
    words = ["--inputs", "16", "--kills", "1", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.campaign", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    found = json.loads((tmp_path / "campaign.json").read_text(encoding="utf-8"))
    assert sum(row["tried"] for row in found["inputs"].values()) == 16
    assert sum(found["kills"]["kills"].values()) == 1
    assert found["kills"]["completed"] == found["kills"]["runs"]
