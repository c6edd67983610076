"""A process that has torch ends at once, and as properly as any."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fresh import ROOT

CODE = """
import atexit, sys, threading, time, types
from concurrent.futures import ThreadPoolExecutor
from msip_core.leaving import leave

class Slow:
    def __del__(self):
        sys.stderr.write("taken apart")

if sys.argv[1] == "torch":
    sys.modules["torch"] = types.ModuleType("torch")
    sys.modules["torch"].kept = Slow()
pool = ThreadPoolExecutor()
pool.submit(int).result()  # leaves an idle thread
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
atexit.register(lambda: print("at exit"))
print("said", end=" ")
leave(3)
"""


@pytest.mark.parametrize("loaded", ["torch", "nothing"])
def test_what_was_asked_for_at_the_end_is_done_and_what_was_printed_is_written(loaded: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, loaded],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout.split() == ["said", "thread", "at", "exit"]
    assert done.stderr == ""
