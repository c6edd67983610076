"""Jobs for the tests of the compute process: quick, without torch."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from msip_core.errors import DatasetError
from msip_core.runs.jobs import Progress
from msip_core.workspace import Workspace

FAKE_JOBS = {
    name: f"tests.runs.fake_jobs:{name}" for name in ("count", "crash", "sulk", "fail", "noise")
}


def count(
    workspace: Workspace, params: dict[str, Any], out: Path, progress: Progress
) -> dict[str, Any]:
    """Counts slowly; says which process counted."""
    for i in range(params["to"]):
        progress(i / params["to"], f"{i}")
        time.sleep(params.get("pause", 0.0))
    (out / "numbers.txt").write_text(str(params["to"]))
    return {"counted": params["to"], "pid": os.getpid(), "nice": os.nice(0), "params": params}


def crash(
    workspace: Workspace, params: dict[str, Any], out: Path, progress: Progress
) -> dict[str, Any]:
    os.kill(os.getpid(), 9)
    return {}


def sulk(
    workspace: Workspace, params: dict[str, Any], out: Path, progress: Progress
) -> dict[str, Any]:
    """Never looks whether it was cancelled."""
    time.sleep(60)
    return {}


def fail(
    workspace: Workspace, params: dict[str, Any], out: Path, progress: Progress
) -> dict[str, Any]:
    (out / "half.txt").write_text("half")
    if params["how"] == "bug":
        raise KeyError("layer")
    raise DatasetError("There is no image 'x'.")


def noise(
    workspace: Workspace, params: dict[str, Any], out: Path, progress: Progress
) -> dict[str, Any]:
    """Prints as libraries do."""
    os.write(1, b"a library says hello\n")
    return {}
