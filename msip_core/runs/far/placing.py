"""Which computer a run gets, and how much of it.

A run on a GPU holds the share of it that its estimated memory takes (`gpu_memory`), or one of
`MSIP_GPU_RUNS`, and the like share of the processor's cores; a run on a processor holds one of
`MSIP_CPU_RUNS` shares of its cores. Both hold their estimated memory of the computer, at most all
of it, since an estimate may be wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msip_core.messages import joined, msg
from msip_core.runs.far.cluster import Node
from msip_core.runs.lease import Seat
from msip_core.runs.placing import WHOLE
from msip_core.runs.slots import ANY_GPU, is_gpu

_LITTLE = 1e-6
_STEP = 100  # shares of a GPU are hundredths


@dataclass(frozen=True, slots=True)
class Need:
    """What a run asks for.

    Attributes:
        slot: as in `placing.Wish`; "cuda:N" asks for a GPU, since each run sees its own alone.
        gpu_gb: memory of a GPU that it will take; WHOLE for one of its own.
        host_gb: memory of the processor, on a GPU and without one.
        before: the computer that it was on, which it goes back to where it can.
    """

    slot: str
    gpu_gb: float
    host_gb: tuple[float, float]
    before: str | None = None


def choose_seat(
    need: Need,
    nodes: Sequence[Node],
    held: Mapping[str, Sequence[Seat]],
    *,
    cpu_runs: int,
    gpu_runs: int | None,
) -> Seat | None:
    """The seat that a run gets, or None while it has to wait.

    Args:
        nodes: as they are now.
        held: node -> seats of our runs there, those that the cluster does not count yet, too.
        cpu_runs, gpu_runs: runs at a time on each processor, on each GPU (None: by memory).
    """
    usable = [node for node in nodes if _is_usable(node)]
    on_gpu = is_gpu(need.slot) and any(node.gpus >= 1 for node in usable)
    seats = []
    for node in usable:
        ours = held.get(node.id, ())
        seat = _on_gpu(need, node, gpu_runs) if on_gpu else _on_processor(need, node, cpu_runs)
        if seat is not None and _fits(seat, node, ours):
            seats.append((_busyness(seat, node, ours, need.before), seat))
    return min(seats, key=lambda found: found[0])[1] if seats else None


def no_place(nodes: Sequence[Node]) -> str | None:
    """Why no run can start anywhere, however long it waits, as a sentence; None where one can."""
    if any(_is_usable(node) or not node.is_known for node in nodes):
        return None
    wrong = [
        msg("{computer}: {problem}", computer=node.computer, problem=node.problem)
        for node in nodes
        if node.problem is not None
    ]
    if wrong:
        return msg("No computer of the cluster can take runs. {wrong}", wrong=joined(" ", wrong))
    return msg(
        "No computer of the cluster gives processor cores to runs: add one, as the page Computers "
        "says."
    )


def _is_usable(node: Node) -> bool:
    return node.problem is None and node.is_known and node.cpus > 0


def _on_gpu(need: Need, node: Node, gpu_runs: int | None) -> Seat | None:
    if node.gpus < 1:
        return None
    share = _share(need, node, gpu_runs)
    cores = max(1.0, math.floor(node.cpus * share / node.gpus))
    memory = min(need.host_gb[0], node.memory_gb)
    return Seat(node.id, node.computer, "cuda:0", min(cores, node.cpus), share, memory)


def _share(need: Need, node: Node, gpu_runs: int | None) -> float:
    if need.gpu_gb == WHOLE:
        return 1.0
    if gpu_runs is not None:
        return math.floor(_STEP / gpu_runs) / _STEP or 1 / _STEP
    smallest = min((card.total_gb or 0.0 for card in node.cards), default=0.0)
    if not smallest:
        return 1.0  # its driver does not tell
    return min(1.0, math.ceil(need.gpu_gb / smallest * _STEP) / _STEP)


def _on_processor(need: Need, node: Node, cpu_runs: int) -> Seat:
    cores = node.cpus / cpu_runs
    cores = float(math.floor(cores)) if cores >= 1 else cores
    # A GPU that was named where there is none: the run itself says what there is instead.
    device = "cpu" if need.slot == ANY_GPU else need.slot
    memory = min(need.host_gb[1], node.memory_gb)
    return Seat(node.id, node.computer, device, cores, 0.0, memory)


def _fits(seat: Seat, node: Node, ours: Sequence[Seat]) -> bool:
    cores = min(node.free_cpus, node.cpus - sum(one.cpus for one in ours))
    memory = min(node.free_memory_gb, node.memory_gb - sum(one.memory_gb for one in ours))
    if seat.cpus > cores + _LITTLE or seat.memory_gb > memory + _LITTLE:
        return False
    return not seat.gpus or max(_rooms(node, ours), default=0.0) >= seat.gpus - _LITTLE


def _rooms(node: Node, ours: Sequence[Seat]) -> list[float]:
    """What is free of each GPU: ours as the cluster packs them, then what others hold."""
    rooms = [1.0] * int(node.gpus)
    for share in sorted((one.gpus for one in ours if one.gpus), reverse=True):
        _take(rooms, share)
    others = node.gpus - sum(one.gpus for one in ours) - node.free_gpus
    for share in [1.0] * int(others) + [others % 1]:
        if share > _LITTLE:
            _take(rooms, share)
    return rooms


def _take(rooms: list[float], share: float) -> None:
    fitting = [i for i, room in enumerate(rooms) if room >= share - _LITTLE]
    place = min(fitting, key=lambda i: rooms[i], default=None)
    if place is not None:
        rooms[place] = max(0.0, rooms[place] - share)


def _busyness(
    seat: Seat, node: Node, ours: Iterable[Seat], before: str | None
) -> tuple[float, bool, str]:
    """Less is better: the share that is held, then the computer from before."""
    if seat.gpus:
        busy = max(sum(one.gpus for one in ours), node.gpus - node.free_gpus) / node.gpus
    else:
        busy = max(sum(one.cpus for one in ours), node.cpus - node.free_cpus) / node.cpus
    return (round(busy, 3), seat.computer != before, node.computer)
