"""What a computer of a cluster tells of itself; runs there."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from pathlib import Path

import msip_core
from msip_core.gpus import Gpu, list_gpus


def look_around(marked: str | None) -> dict[str, object]:
    """Name, program, GPUs.

    Args:
        marked: a file that the server has put into the workspace, by its path here; None where the
            workspace is not shared.
    """
    gpus: tuple[Gpu, ...] = list_gpus()
    return {
        "computer": platform.node(),
        "program": program(),
        "cards": gpus,
        "sees": marked is None or Path(marked).is_file(),
    }


@cache
def program() -> str:
    """Version of MSIP Lab, and what its source says: both sides must do the same."""
    home = Path(msip_core.__file__).resolve().parent
    whole = hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        whole.update(path.relative_to(home).as_posix().encode())
        whole.update(path.read_bytes())
    return f"{msip_core.__version__} ({whole.hexdigest()[:8]})"
