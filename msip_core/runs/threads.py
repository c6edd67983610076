"""How many processor threads a worker takes: decided at its start, before anything is computed."""

from __future__ import annotations

import os
import sys

from msip_core.processors import Processors
from msip_core.runs.slots import room_of
from msip_core.runs.state import WITH_WORKER
from msip_core.workspace import Workspace


def take_threads(device: str, found: Processors, workspace: Workspace) -> int:
    """Tell the libraries how many threads they may start, and return it.

    `OMP_NUM_THREADS`, where it was set, is the most.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    most = int(given) if given.isdecimal() and int(given) else None
    threads = found.threads(most=most, runs=_sharing(device, workspace))
    os.environ["OMP_NUM_THREADS"] = str(
        threads
    )  # read by what is loaded later, here and in children
    torch = sys.modules.get("torch")
    if torch is not None:  # a spare, which has loaded all libraries but computed nothing yet
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)
        torch.set_num_threads(threads)
    return threads


def _sharing(device: str, workspace: Workspace) -> int:
    """Runs of ours that share the processor. On a processor, all that there may be: the others may
    start a moment later."""
    if device == "cpu":
        return room_of("cpu")
    from msip_core.runs.store import RunStore  # takes time to import, and few runs need it

    return max(1, len(RunStore(workspace).slots(WITH_WORKER)))
