"""Run a few lines in a fresh interpreter: what is loaded there is loaded by them alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run_fresh(code: str, *, timeout: float = 120, **environment: str) -> str:
    """stdout of `python -c code` in the repository root; fails with stderr if it fails."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
