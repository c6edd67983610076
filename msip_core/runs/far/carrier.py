"""Keeps the folder of one run the truth while its worker is on another computer.

A thread of the server for each such run. It sends what the run needs, starts the worker there,
passes on what a person asks, and brings back what the worker writes until it has ended and all of
it is here. It may begin anywhere on that way: another server may have gone before it.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from msip_core.errors import MsipError
from msip_core.events import MemoryRecord
from msip_core.messages import msg
from msip_core.runs.context import read_request
from msip_core.runs.events_log import Event, EventLog
from msip_core.runs.executors import HEARTBEAT_FILE, LOG_FILE, WORKER_FILE
from msip_core.runs.far.cluster import Cluster, ClusterGone, KeeperError, KeeperGone
from msip_core.runs.far.keeper import MOST_LOG, Look, Order
from msip_core.runs.far.parcels import Parcel, Part, Piece, parcels_of, portions, read_part
from msip_core.runs.far.snapshots import Files, run_files
from msip_core.runs.folding import CONFIG_FILE, config_of
from msip_core.runs.gpu_memory import remember
from msip_core.runs.lease import Lease
from msip_core.runs.processes import ProcessIdentity
from msip_core.runs.state import RunState
from msip_core.speeds import ask_after_run
from msip_core.workspace import Workspace

logger = logging.getLogger(__name__)

PACE = 1.0  # seconds between two looks
_NO_ROOM = 120.0  # a keeper must be there this soon after it was asked for
_UNREACHED = 10.0  # after so long, a run that is to be ended counts as ended without an answer


class Carrier:
    """See above. `start` it; then its attributes tell.

    Attributes:
        ended: nothing more will come: the worker has ended and all that it wrote is here.
        lost: why its computer is gone, a sentence, where that is what ended it.
        code: of the worker's end, where it is known.
    """

    def __init__(
        self, cluster: Cluster, workspace: Workspace, run_dir: Path, lease: Lease, *,
        begun: bool = False, shared: Path | None = None, arguments: Sequence[str] = (),
        pace: float = PACE,
    ) -> None:  # fmt: skip
        """
        Args:
            begun: another carrier has asked for the keeper already; if there is none, it is lost.
            shared: where the other computers see the workspace; None: it is carried.
            arguments: more of them for the worker.
        """
        self.lease = lease
        self.ended, self.lost, self.code = threading.Event(), None, None
        self._cluster, self._workspace, self._run_dir = cluster, workspace, run_dir
        self._shared, self._arguments, self._pace = shared, tuple(arguments), pace
        self._log = EventLog(run_dir)
        self._after, self._heart = lease.after, 0
        self._answered = self._has_looked = self._taken = False
        self._wake, self._detached = threading.Event(), threading.Event()
        self._stop: bool | None = None  # asked for: True by force
        self._passed = ""  # the last request of a person that was passed on
        self._opened = time.monotonic() if begun else None
        self._trouble = ""
        name = f"msip-carrier-{run_dir.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    lost: str | None
    code: int | None

    def start(self) -> Carrier:
        self._thread.start()
        return self

    def stop(self, *, force: bool) -> None:
        """Have the worker ended; soon, not at once."""
        self._stop = force or bool(self._stop)
        self._wake.set()

    def detach(self) -> None:
        """Look after it no more, unless it is just ending; the worker goes on."""
        self._detached.set()
        self._wake.set()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    # --- the thread -----------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._follow()
        finally:
            if not self._detached.is_set():
                self.ended.set()  # also after a fault of ours: nobody would carry it any more

    def _follow(self) -> None:
        asked_since: float | None = None
        while not (self._detached.is_set() and self._is_wanted()):
            try:
                more = self._step()
                if self.ended.is_set():
                    return
                self._trouble = ""
            except KeeperGone as gone:
                logger.warning("%s: %s", self._run_dir.name, gone)
                self._end(self._is_lost())
                return
            except ClusterGone as error:
                self._stumble(error)
                asked_since = asked_since or (time.monotonic() if self._stop else None)
                if asked_since and time.monotonic() - asked_since > _UNREACHED:
                    self._end(self._is_lost())
                    return
                more = False
            except (MsipError, OSError) as error:
                if not self._run_dir.is_dir():  # removed by a person
                    self._stop = True
                self._stumble(error)
                if isinstance(error, KeeperError) and not self._has_looked:
                    where = self.lease.seat.computer
                    self._end(
                        msg(
                            "The computer {where} could not take the run: {error}",
                            where=where,
                            error=error,
                        )
                    )
                    return
                more = False
            if not more:
                self._wake.wait(self._pace)
                self._wake.clear()

    def _is_wanted(self) -> bool:
        """The run has not said its last word: another server goes on with it."""
        try:
            return self._log.state().has_worker
        except (MsipError, OSError):
            return False  # its folder was removed

    def _step(self) -> bool:
        """One look and what follows from it; True if there is more to do at once."""
        if self._stop is not None and not self._run_dir.is_dir():
            self._cluster.close(self.lease.keeper)
            self.ended.set()
            return False
        if self._opened is None:
            self._cluster.open(self.lease.keeper, self.lease.seat)
            self._opened = time.monotonic()
        if self._stop is not None:
            self._call("stop", self._stop)
            if self._stop and not self._has_looked:
                self._end()  # it had not begun
                return False
            self._stop = None
        look = self._look()
        if look.phase == "new":
            self._prepare()
            return True
        self._has_looked = True
        self._pass_on()
        if self._shared is None:
            self._take_in(look)
        if look.phase == "ended" and len(look.log) < MOST_LOG:
            self.code = look.code
            self._end()
        return len(look.log) == MOST_LOG

    def _look(self) -> Look:
        has = None if self._has_looked or self._shared is not None else self._files_here()
        size = (self._run_dir / LOG_FILE).stat().st_size
        log_from = max(0, size - self.lease.log_from)
        try:
            look: Look = self._call("look", self._after, log_from, self._taken, has)
        except ClusterGone as error:
            waited = time.monotonic() - (self._opened or 0.0)
            if not self._answered and waited > _NO_ROOM:
                raise KeeperGone(msg("There was no room for it after all.")) from error
            raise
        return look

    def _call(self, method: str, *args: Any) -> Any:
        found = self._cluster.call(self.lease.keeper, method, *args)
        self._answered = True
        return found

    def _end(self, lost: str | None = None) -> None:
        self.lost = lost  # before it counts as ended
        try:
            if lost is None:
                self._call("leave")
        except MsipError as error:
            logger.info("%s: its keeper ended by itself: %s", self._run_dir.name, error)
        try:
            self._cluster.close(self.lease.keeper)
        except ClusterGone as error:
            logger.info("%s: its keeper cannot be ended: %s", self._run_dir.name, error)
        self.ended.set()

    def _is_lost(self) -> str:
        where = self.lease.seat.computer
        return msg(
            "The worker is gone: the connection to the computer {where} is lost.", where=where
        )

    def _stumble(self, error: Exception) -> None:
        if str(error) != self._trouble:  # once, not every second
            self._trouble = str(error)
            logger.warning("%s: %s", self._run_dir.name, error)

    # --- there ----------------------------------------------------------------------

    def _prepare(self) -> None:
        """Send everything, and start the worker."""
        text = (self._run_dir / CONFIG_FILE).read_text(encoding="utf-8")
        seat = self.lease.seat
        order = Order(
            self._run_dir.name,
            arguments=self._arguments,
            threads=max(1, int(seat.cpus)),
            shares_gpu=0 < seat.gpus < 1,
        )
        if self._shared is not None:
            self._call("begin", replace(order, workspace=str(self._shared)))
            self._call("start")
            return
        parcels, config = parcels_of(config_of(text), self._workspace, self._beat)
        order = replace(
            order,
            config=config.model_dump_json(),
            events=self._history_so_far(),
            parcels={parcel.place: parcel.key for parcel in parcels},
        )
        states = self._call("begin", order)
        for parcel in parcels:
            if not self._send(parcel, states[parcel.key]):
                return  # asked to stop
        there: Files = self._call("files")
        ours = run_files(self._run_dir)
        missing = {path: stamp.size for path, stamp in ours.items() if there.get(path) != stamp}
        for parts in portions(missing):
            self._call("put", [read_part(self._run_dir, part) for part in parts])
            self._beat()
        self._taken = True
        self._call("start")

    def _send(self, parcel: Parcel, state: str) -> bool:
        while state != "here":
            if self._stop is not None or self._detached.is_set():
                return False
            self._beat()
            if state == "coming":  # another run's carrier sends it
                time.sleep(self._pace)
            else:
                self._call("receive", parcel.key, parcel.size)
                for pieces in parcel.pieces():
                    self._call("take", parcel.key, pieces)
                    self._beat()
                self._call("finish", parcel.key, parcel.files)
            state = self._call("state", parcel.key)
        return True

    def _history_so_far(self) -> bytes:
        """Up to the event that the lease names: what is told later comes by asking."""
        whole = bytearray()
        for line in self._log.lines():
            if line.event and line.event["seq"] <= self.lease.after:
                whole += line.text
        return bytes(whole)

    def _pass_on(self) -> None:
        """What a person asks lies in the folder here."""
        if self._shared is not None:
            return
        request = read_request(self._run_dir)
        if request is not None and request != self._passed:
            self._call("ask", request)
            self._passed = request

    # --- here -----------------------------------------------------------------------

    def _take_in(self, look: Look) -> None:
        """Bring over all that a look told: files, then what the history says of them."""
        self._taken = False
        if look.heart != self._heart:
            self._heart = look.heart
            self._beat()
        known = self._run_dir / WORKER_FILE
        if look.worker is not None and look.worker != ProcessIdentity.read(known):
            look.worker.write(known)
        self._replace(look.files, look.gone)
        with (self._run_dir / LOG_FILE).open("ab") as file:
            file.write(look.log)
        if look.events:
            self._log.take_in(look.events, self.lease.after)
            self._after = look.events[-1]["seq"]
            self._learn(look.events)
        self._taken = True

    def _replace(self, files: Files, gone: Iterable[str]) -> None:
        root, drafts = self._workspace.root, {}
        mark = f"{os.getpid()}-{secrets.token_hex(4)}"  # as workspace.atomic_path, for the repair
        try:
            for name in files:
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                drafts[name] = path.with_name(f".{path.stem}.{mark}{path.suffix}")
            for parts in portions({name: stamp.size for name, stamp in files.items()}):
                self._fetch(parts, drafts)
            # In the order in which they were written.
            for name, stamp in sorted(files.items(), key=lambda item: item[1].changed):
                os.utime(drafts[name], ns=(stamp.changed, stamp.changed))
                os.replace(drafts[name], root / name)
            for name in gone:
                (root / name).unlink(missing_ok=True)
        finally:
            for draft in drafts.values():
                draft.unlink(missing_ok=True)

    def _fetch(self, parts: list[Part], drafts: dict[str, Path]) -> None:
        pieces: list[Piece] = self._call("read", parts)
        for piece in pieces:
            with drafts[piece.path].open("r+b" if piece.start else "wb") as file:
                file.seek(piece.start)
                file.write(piece.data)
        self._beat()

    def _learn(self, events: Iterable[Event]) -> None:
        """What a run took of its GPU helps to place the next of its kind, here too; and a model
        that is complete is timed here, where people compare it with others."""
        for event in events:
            if event.get("state") == RunState.COMPLETED.value:
                self._ask_for_speed()
            if event["kind"] == "memory" and event.get("fits") and event.get("peak_gb"):
                record = MemoryRecord.model_validate(event)
                config = config_of((self._run_dir / CONFIG_FILE).read_text(encoding="utf-8"))
                remember(config, self._workspace, record.parts, float(record.peak_gb or 0.0))

    def _ask_for_speed(self) -> None:
        if final := self._log.last("final"):
            model, imgsz = final["model_id"], final["cost"]["imgsz"]
            ask_after_run(self._workspace, self._run_dir, model, imgsz)

    def _files_here(self) -> Files:
        folder = f"runs/{self._run_dir.name}"
        return {f"{folder}/{path}": stamp for path, stamp in run_files(self._run_dir).items()}

    def _beat(self) -> None:
        (self._run_dir / HEARTBEAT_FILE).touch()
