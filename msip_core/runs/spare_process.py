"""The spare itself: loads the libraries, waits for its run, becomes its worker.

`python -m msip_core.runs.spare_process ROOT`; the order comes as one JSON line on stdin. The end
of stdin without one (whoever started it is gone) ends it at once, also while it is loading.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import TypedDict

from msip_core.leaving import leave
from msip_core.runs import worker
from msip_core.workspace import Workspace

logger = logging.getLogger("msip_core.spare")

# All that a run of any kind loads before its first stage, then what it loads in it.
LOADED = (
    "torch",
    "msip_core.detector.run",
    "msip_core.pruning.loop",
    "msip_core.runs.verify",
    "numpy.ma",
    "torchvision",
)


class _Order(TypedDict):
    """One line of JSON: what the worker is called with, and where it writes."""

    log: str
    arguments: list[str]


def main() -> int:
    """Wait for a run, and work on it."""
    orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), name="order", daemon=True).start()
    Workspace.open(sys.argv[1]).isolate_libraries()
    load_ahead(until=lambda: not orders.empty())
    order = orders.get()
    _write_to(order["log"])
    sys.argv = [worker.__file__, *order["arguments"]]
    return worker.run_and_tell(order["arguments"])


def load_ahead(until: Callable[[], bool] = lambda: False) -> None:
    """Load what can be loaded, `until` there is a run: that begins with what it needs first. What
    is not there is met again by the run, which then says so."""
    for module in LOADED:
        if until():
            return
        try:
            import_module(module)
        except (ImportError, OSError):
            logger.exception("%s could not be loaded ahead", module)


def _listen(orders: queue.SimpleQueue[_Order]) -> None:
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        os._exit(0)
    orders.put(json.loads(line))


def _write_to(log: str) -> None:
    """What this process says, and what its libraries print, belongs to the run from now on; and
    nobody can give it more to read."""
    sys.stdout.flush()
    sys.stderr.flush()
    for path, flags, numbers in (
        (os.devnull, os.O_RDONLY, (0,)),
        (log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, (1, 2)),
    ):
        opened = os.open(path, flags, 0o644)
        for number in numbers:
            os.dup2(opened, number)
        os.close(opened)


if __name__ == "__main__":
    leave(main())
