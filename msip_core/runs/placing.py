"""Which device of this computer a queued run gets: on a processor as many runs as the engineer
allows; of GPUs the least busy one that has room for it. First come, first served, for each device.

A run claims what `gpu_memory` says it needs. A GPU has room if that is no more than what is neither
used now nor claimed by our runs on it; one that holds no run of ours takes one in any case, since
an estimate may be wrong. As many runs as there are processor cores share all GPUs at most.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from msip_core.gpus import Gpu, list_gpus
from msip_core.processors import usable_cores
from msip_core.runs.events_log import EventLog
from msip_core.runs.executors import Place
from msip_core.runs.gpu_memory import needed_gb
from msip_core.runs.slots import ANY_GPU, is_gpu, room_of
from msip_core.runs.store import RunStore
from msip_core.runs.tight_memory import shortage
from msip_core.settings import get_settings

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


class Wishes:
    """What runs need of a GPU; kept until a run has ended, which may have measured more."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._known: dict[str, Wish] = {}

    def of(self, run_id: str, slot: str) -> Wish:
        if run_id not in self._known:
            workspace = self._store.workspace
            log = EventLog(workspace.run_dir(run_id))
            short = shortage(log)
            parts = short.parts if short else 1
            needs = WHOLE
            if short is None or not short.alone:
                needs = needed_gb(self._store.row(run_id).config, workspace, parts)
            self._known[run_id] = Wish(slot, needs, log.device(), log.node())
        return self._known[run_id]

    def keep(self, run_ids: Mapping[str, str]) -> None:
        """Forget all but these."""
        self._known = {run: wish for run, wish in self._known.items() if run in run_ids}


class LocalRooms:
    """The devices of this computer (`executors.Rooms`)."""

    def __init__(self, store: RunStore) -> None:
        self.gpus = GpuRooms()
        self._wishes = Wishes(store)
        self._blocked: set[str] = set()

    def look(self) -> None:
        self._blocked = set()

    def place(self, run_id: str, slot: str, watched: Mapping[str, str]) -> Place | None:
        device = self._device_for(run_id, slot, watched)
        if device is None:
            self._blocked |= {slot, *self.gpus.devices(slot)}  # nobody overtakes it there
            return None
        return Place(device)

    def left(self, watched: Mapping[str, str]) -> None:
        self._wishes.keep(watched)

    def _device_for(self, run_id: str, slot: str, watched: Mapping[str, str]) -> str | None:
        if slot in self._blocked:
            return None
        if not is_gpu(slot):
            return slot if Counter(watched.values())[slot] < room_of(slot) else None
        claims: dict[str, list[float]] = {}
        for other, device in watched.items():
            if is_gpu(device):
                needs = self._wishes.of(other, device).needs_gb
                claims.setdefault(device, []).append(needs)
        wish = self._wishes.of(run_id, slot)
        most = get_settings().gpu_runs
        return self.gpus.choose(wish, claims, most=most, blocked=self._blocked)
