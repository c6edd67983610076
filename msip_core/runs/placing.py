"""Which GPU a run gets at the moment it starts: the least busy one that has room for it.

A run claims what `gpu_memory` says it needs. A GPU has room if that is no more than what is neither
used now nor claimed by our runs on it; one that holds no run of ours takes one in any case, since
an estimate may be wrong. As many runs as there are processor cores share all GPUs at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from msip_core.gpus import Gpu, list_gpus
from msip_core.processors import usable_cores
from msip_core.runs.slots import ANY_GPU

WHOLE = float("inf")  # claimed by a run that needs a GPU of its own
_LOOK = 5.0  # seconds between two looks at the GPUs, which take some tenths of one
_COMPUTING = 0.1  # a GPU that works more than this share of the time for others is busy
_OTHERS_GB = 2.0  # and so is one of which others hold more than this; a screen takes less


@dataclass(frozen=True, slots=True)
class Wish:
    """What a run asks for.

    Attributes:
        slot: "cuda:N", or ANY_GPU.
        needs_gb: memory that it will take; WHOLE for a GPU of its own.
        before: the device that it was on, which it goes back to where it can: kernels, and so the
            last digits and all milliseconds, are those of that GPU.
        node: the other computer that it was on, likewise.
    """

    slot: str
    needs_gb: float
    before: str | None = None
    node: str | None = None


Claims = Mapping[str, Sequence[float]]  # device -> GB claimed by each run of ours there


def choose_gpu(
    wish: Wish,
    gpus: Sequence[Gpu],
    claims: Claims,
    *,
    most: int | None,
    blocked: Collection[str] = (),
) -> str | None:
    """The device that the run gets, or None while it has to wait.

    Args:
        gpus: as they are now.
        claims: of the runs that have a worker.
        most: runs on each GPU, instead of what their memory allows.
        blocked: devices that a run before this one waits for.
    """
    named = "cuda:0" if wish.slot == ANY_GPU and not gpus else wish.slot
    if named != ANY_GPU and named not in {gpu.device for gpu in gpus}:
        # The driver's tool does not tell it (now): the run itself says what there is instead.
        return named if named not in blocked and not claims.get(named) else None
    wanted = [g for g in gpus if wish.slot in (ANY_GPU, g.device) and g.device not in blocked]
    fitting = [gpu for gpu in wanted if _has_room(gpu, wish, claims, most)]
    # Without any run of ours: then nothing of ours will ever make more room there.
    fitting = fitting or [gpu for gpu in wanted if not claims.get(gpu.device)]
    if not fitting:
        return None
    return min(fitting, key=lambda gpu: _busyness(gpu, wish, claims)).device


def _has_room(gpu: Gpu, wish: Wish, claims: Claims, most: int | None) -> bool:
    ours = claims.get(gpu.device, ())
    if wish.needs_gb == WHOLE or WHOLE in ours:
        return not ours
    if most is not None:
        return len(ours) < most
    room = _room_gb(gpu, ours)
    return not ours if room is None else wish.needs_gb <= room


def _room_gb(gpu: Gpu, ours: Sequence[float]) -> float | None:
    """Memory that is neither used nor claimed: what our runs claim may not all be used yet."""
    if gpu.total_gb is None or gpu.free_gb is None:
        return None
    return min(gpu.free_gb, gpu.total_gb - sum(ours))


def _busyness(gpu: Gpu, wish: Wish, claims: Claims) -> tuple[float, ...]:
    """Less is better: runs of ours and work of others; then the GPU from before; then memory."""
    ours = claims.get(gpu.device, ())
    room = _room_gb(gpu, ours) or 0.0
    works = not ours and (gpu.busy or 0.0) > _COMPUTING
    used = (gpu.total_gb or 0.0) - (gpu.free_gb or 0.0)
    others = works or used - sum(ours) > _OTHERS_GB
    return (len(ours) + others, gpu.device != wish.before, -room, gpu.index)


class GpuRooms:
    """The GPUs as one supervisor sees them, asked anew every few seconds at most.

    Args:
        look: tells the GPUs; other ones in tests.
    """

    def __init__(self, look: Callable[[], Sequence[Gpu]] = list_gpus) -> None:
        self._look, self._gpus, self._looked = look, tuple[Gpu, ...](), -_LOOK

    def choose(
        self, wish: Wish, claims: Claims, *, most: int | None, blocked: Collection[str]
    ) -> str | None:
        """As `choose_gpu`, with the GPUs of now."""
        if sum(map(len, claims.values())) >= max(usable_cores(), len(self._gpus)):
            return None
        now = time.monotonic()
        if now - self._looked >= _LOOK:
            self._gpus, self._looked = tuple(self._look()), now
        return choose_gpu(wish, self._gpus, claims, most=most, blocked=blocked)

    def devices(self, slot: str) -> tuple[str, ...]:
        """What a slot may mean."""
        return tuple(gpu.device for gpu in self._gpus) if slot == ANY_GPU else (slot,)
