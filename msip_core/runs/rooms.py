"""Which device of this computer a queued run gets: on a processor as many runs as the engineer
allows, on each GPU as many as its memory (`placing`). First come, first served, for each device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msip_core.runs.events_log import EventLog
from msip_core.runs.executors import Place
from msip_core.runs.gpu_memory import needed_gb
from msip_core.runs.placing import WHOLE, GpuRooms, Wish
from msip_core.runs.slots import is_gpu, room_of
from msip_core.runs.store import RunStore
from msip_core.runs.tight_memory import shortage
from msip_core.settings import get_settings


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
