"""An executor whose workers are on other computers, and the places that it has there."""

from __future__ import annotations

import hashlib
import logging
import secrets
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from msip_core.errors import WorkError
from msip_core.runs.events_log import EventLog
from msip_core.runs.executors import (
    HEARTBEAT_FILE,
    STOP_FILE,
    WORKER_FILE,
    LocalExecutor,
    Place,
    announce,
)
from msip_core.runs.far.carrier import PACE, Carrier
from msip_core.runs.far.cluster import Cluster, Node
from msip_core.runs.far.placing import Need, choose_seat, no_place
from msip_core.runs.gpu_memory import host_gb
from msip_core.runs.lease import Lease, Seat
from msip_core.runs.placing import Wishes
from msip_core.runs.slots import is_gpu
from msip_core.runs.store import RunStore
from msip_core.settings import get_settings
from msip_core.workspace import Workspace

logger = logging.getLogger(__name__)

_SWEEP = 60.0  # seconds between two looks for keepers that nobody knows
_ENDING = 60.0  # seconds that a worker which is about to end may take, with all that it wrote


class FarExecutor:
    """Starts, watches and stops workers through keepers (`executors.Executor`, `Elsewhere`).

    Attributes:
        cluster: its computers.
    """

    def __init__(
        self, cluster: Cluster, workspace: Workspace, *, shared: Path | None = None,
        arguments: Sequence[str] = (), pace: float = PACE,
    ) -> None:  # fmt: skip
        self.cluster, self._workspace, self._shared = cluster, workspace, shared
        self._arguments, self._pace = tuple(arguments), pace
        # Workers that were started here before this engine was chosen.
        self._here = LocalExecutor(arguments)
        self._carriers: dict[Path, Carrier] = {}
        self._seats: dict[str, Seat] = {}  # run -> where it will start
        self._lock = threading.Lock()

    # --- executors.Executor -------------------------------------------------------

    def start(self, run_dir: Path, workspace: Workspace) -> None:
        for name in (WORKER_FILE, STOP_FILE, HEARTBEAT_FILE):
            (run_dir / name).unlink(missing_ok=True)
        seat = self._seats.pop(run_dir.name)
        lease = Lease(
            f"{self._prefix}{run_dir.name[:40]}-{secrets.token_hex(3)}",
            seat,
            self.cluster.address(),
            EventLog(run_dir).last_seq(),
            announce(run_dir, seat.computer),
        )
        lease.write(run_dir)
        self._carry(run_dir, lease, begun=False)

    def is_alive(self, run_dir: Path) -> bool:
        """True also while nobody can tell: a run is given up by its heartbeat then."""
        carrier = self._carrier(run_dir)
        if carrier is None:
            return self._here.is_alive(run_dir)
        return not carrier.ended.is_set()

    def stop(self, run_dir: Path, *, force: bool) -> None:
        carrier = self._carrier(run_dir)
        if carrier is None:
            self._here.stop(run_dir, force=force)
        else:
            carrier.stop(force=force)

    def exit_code(self, run_dir: Path) -> int | None:
        with self._lock:
            carrier = self._carriers.get(run_dir)
        if carrier is None:
            return self._here.exit_code(run_dir)
        carrier.join(_ENDING)
        if not carrier.ended.is_set():
            return None
        with self._lock:
            self._carriers.pop(run_dir, None)
        Lease.remove(run_dir)
        return carrier.code

    # --- executors.Elsewhere ------------------------------------------------------

    def rooms(self, store: RunStore) -> FarRooms:
        return FarRooms(self, store)

    def lost(self, run_dir: Path) -> str | None:
        carrier = self._carrier(run_dir)
        return None if carrier is None else carrier.lost

    def close(self) -> None:
        with self._lock:
            carriers = list(self._carriers.values())
        for carrier in carriers:
            carrier.detach()

    # --- for its rooms ------------------------------------------------------------

    def reserve(self, run_id: str, seat: Seat) -> None:
        """The run will be started there."""
        self._seats[run_id] = seat

    def held(self, run_ids: Mapping[str, str]) -> dict[str, list[Seat]]:
        """Node -> the seats of these runs on it."""
        found: dict[str, list[Seat]] = {}
        for run_id in run_ids:
            carrier = self._carrier(self._workspace.run_dir(run_id))
            if carrier is not None and not carrier.ended.is_set():
                found.setdefault(carrier.lease.seat.node, []).append(carrier.lease.seat)
        return found

    def sweep(self) -> None:
        """End keepers of this workspace that no run knows: they were given up while they could not
        be reached, or the folder of their run was removed while no server was there."""
        known = set()
        for folder in self._workspace.runs.iterdir():
            lease = Lease.read(folder)
            if lease is not None and EventLog(folder).state().has_worker:
                known.add(lease.keeper)
        for name in self.cluster.names():
            if name.startswith(self._prefix) and name not in known:
                logger.warning("The keeper %s has no run any more: it is ended", name)
                self.cluster.close(name)

    @property
    def _prefix(self) -> str:
        whole = f"{socket.gethostname()}:{self._workspace.root}"
        return f"msip-{hashlib.sha256(whole.encode()).hexdigest()[:8]}-"

    def _carrier(self, run_dir: Path) -> Carrier | None:
        """The carrier of a run; one whose server is gone gets ours."""
        with self._lock:
            known = self._carriers.get(run_dir)
        if known is not None:
            return known
        lease = Lease.read(run_dir)
        return None if lease is None else self._carry(run_dir, lease, begun=True)

    def _carry(self, run_dir: Path, lease: Lease, *, begun: bool) -> Carrier:
        carrier = Carrier(
            self.cluster, self._workspace, run_dir, lease, begun=begun,
            shared=self._shared, arguments=self._arguments, pace=self._pace,
        )  # fmt: skip
        with self._lock:
            self._carriers[run_dir] = carrier
        return carrier.start()


class FarRooms:
    """The places on the computers of a cluster (`executors.Rooms`)."""

    def __init__(self, executor: FarExecutor, store: RunStore) -> None:
        self._executor, self._store = executor, store
        self._wishes = Wishes(store)
        self._nodes: tuple[Node, ...] = ()
        self._blocked: set[bool] = set()  # runs on GPUs, runs on processors
        self._swept = -_SWEEP

    def look(self) -> None:
        self._blocked = set()
        self._nodes = self._executor.cluster.nodes()
        if why := no_place(self._nodes):
            raise WorkError(why)
        if time.monotonic() - self._swept > _SWEEP:
            self._executor.sweep()
            self._swept = time.monotonic()

    def place(self, run_id: str, slot: str, watched: Mapping[str, str]) -> Place | None:
        if is_gpu(slot) in self._blocked:
            return None
        settings = get_settings()
        seat = choose_seat(
            self._need(run_id, slot),
            self._nodes,
            self._executor.held(watched),
            cpu_runs=settings.cpu_runs,
            gpu_runs=settings.gpu_runs,
        )
        if seat is None:
            self._blocked.add(is_gpu(slot))  # nobody overtakes it
            return None
        self._executor.reserve(run_id, seat)
        return Place(seat.device, seat.computer)

    def left(self, watched: Mapping[str, str]) -> None:
        self._wishes.keep(watched)

    def _need(self, run_id: str, slot: str) -> Need:
        wish = self._wishes.of(run_id, slot)
        config, workspace = self._store.row(run_id).config, self._store.workspace
        host = (host_gb(config, workspace, on_gpu=True), host_gb(config, workspace, on_gpu=False))
        return Need(slot, wish.needs_gb, host, wish.node)
