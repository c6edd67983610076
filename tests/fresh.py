"""Run a few lines in a fresh interpreter: what is loaded there is loaded by them alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run_fresh(
    code: str, *, cwd: Path = ROOT, without: tuple[str, ...] = (), timeout: float = 120,
    **environment: str,
) -> str:  # fmt: skip
    """stdout of `python -c code`; fails with stderr if it fails.

    Args:
        without: beginnings of variables that it does not inherit.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(without)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
