"""Fixtures for every room: a fresh workspace, and libraries kept out of the user's home."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

# Before anything imports ultralytics or matplotlib: both read these once.
_HOME = Path(tempfile.mkdtemp(prefix="msip-tests-"))
os.environ["YOLO_CONFIG_DIR"] = str(_HOME)
os.environ["MPLCONFIGDIR"] = str(_HOME)
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ["YOLO_OFFLINE"] = "true"
# What an engineer has set for the computer is not what the tests are about.
for name in ("MSIP_CPU_RUNS", "MSIP_DEVICE", "MSIP_WORKSPACE", "MSIP_EXECUTOR"):
    os.environ.pop(name, None)
# Processes that tests start compile our modules once, not each of them anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A process that waits costs seconds of a processor: the tests that are about it ask for it.
os.environ["MSIP_WARM"] = "false"

from msip_core.workspace import Workspace  # noqa: E402


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace in a temporary folder."""
    return Workspace.open(tmp_path / "workspace")
