"""Finds the computers that the runs of a workspace may go to, and what runs on each."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence

import psutil

from msip_core.computers import Computer, Computers, RunThere
from msip_core.gpus import list_gpus
from msip_core.messages import msg
from msip_core.processors import free_cores, usable_cores
from msip_core.runs.events_log import EventLog
from msip_core.runs.executors import Executor
from msip_core.runs.far.cluster import ClusterGone, Node
from msip_core.runs.far.executor import FarExecutor
from msip_core.runs.service import RunService
from msip_core.runs.slots import is_gpu
from msip_core.runs.state import WITH_WORKER, RunState

_LOOK = 0.3
_MOST = 1000


def find_computers(service: RunService, executor: Executor, *, patience: float = 0.0) -> Computers:
    """All computers as they are now.

    Args:
        patience: seconds to wait for those that were asked just now.
    """
    runs = _running(service)
    waiting = service.count((RunState.QUEUED,))
    if not isinstance(executor, FarExecutor):
        return Computers("local", (_this_one([run for _, run in runs]),), waiting=waiting)
    try:
        nodes = executor.cluster.nodes()
        end = time.monotonic() + patience
        while not all(node.is_known for node in nodes) and time.monotonic() < end:
            time.sleep(_LOOK)
            nodes = executor.cluster.nodes()
        address = executor.cluster.address()
    except ClusterGone as error:
        return Computers("ray", (), waiting=waiting, trouble=error.message)
    found = tuple(
        _of_node(node, [r for name, r in runs if name == node.computer]) for node in nodes
    )
    return Computers("ray", found, address, waiting)


def _running(service: RunService) -> list[tuple[str | None, RunThere]]:
    """Name of the computer (None: this one), and the run."""
    return [
        (
            EventLog(service.workspace.run_dir(row.id)).node(),
            RunThere(row.id, row.name, row.state.value, row.slot, row.done),
        )
        for row in service.list(limit=_MOST, states=WITH_WORKER)
    ]


def _this_one(runs: Sequence[RunThere]) -> Computer:
    memory, cores = psutil.virtual_memory(), usable_cores()
    on_processor = any(not is_gpu(run.device) for run in runs)
    return Computer(
        platform.node(), "", cores, 0.0 if on_processor else round(free_cores(), 1),
        memory.total / 1e9, memory.available / 1e9, list_gpus(), tuple(runs),
    )  # fmt: skip


def _of_node(node: Node, runs: Sequence[RunThere]) -> Computer:
    problem = node.problem
    if problem is None and not node.is_known:
        problem = msg("It was just found and is being asked what it has.")
    if problem is None and node.cpus <= 0:
        problem = msg("It gives no processor cores to runs (started with --num-cpus=0).")
    return Computer(
        node.computer, node.address, node.cpus, node.free_cpus, node.memory_gb,
        node.free_memory_gb, node.cards, tuple(runs), problem,
    )  # fmt: skip
