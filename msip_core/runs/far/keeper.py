"""Looks after one run on its own computer: gets what it needs, starts its worker, tells of it.

A keeper knows nothing of clusters. It lies wherever its owner can call it, one call at a time, and
all that goes in and out is plain data. Its folder, on a computer that does not share the workspace:

    <node_folder>/contents/         datasets and models, for all runs (`contents`)
                  runs/<name>/      one keeper
                      workspace/    datasets/, models/ (links), runs/<id>/
                      frozen/       what is just being brought back
                  cache/, libraries/ for all runs
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from msip_core.documents import read_as
from msip_core.errors import IllegalTransitionError, WorkError
from msip_core.runs.events_log import Event, EventLog
from msip_core.runs.executors import (
    HEARTBEAT_FILE,
    LOG_FILE,
    STOP_FILE,
    WORKER_FILE,
    end_leftovers,
    has_ended,
    worker_command,
    worker_environment,
)
from msip_core.runs.far.contents import Contents, State, write_pieces
from msip_core.runs.far.parcels import Part, Piece, read_part
from msip_core.runs.far.snapshots import Files, freeze, model_files, run_files
from msip_core.runs.folding import CONFIG_FILE
from msip_core.runs.processes import ProcessIdentity, start_process
from msip_core.runs.state import RunState
from msip_core.runs.tight_memory import SHARED_GPU
from msip_core.settings import get_settings
from msip_core.workspace import Workspace, check_name, write_json, write_text

Phase = Literal["new", "working", "ended"]
MOST_LOG = 1 << 20  # bytes of the log that are told at a time
_LOCK, _USES = ".lock", "uses.json"
_ASKED = {"pause": RunState.PAUSING, "cancel": RunState.CANCELLING}
# Of the server's computer: what is chosen there means nothing here.
_NOT_OURS = ("MSIP_EXECUTOR", "MSIP_RAY_ADDRESS", "MSIP_RAY_WORKSPACE", "MSIP_WORKSPACE")


@dataclass(frozen=True)
class Order:
    """What is to be done.

    Attributes:
        workspace: where this computer sees the workspace itself; None where it does not.
        config: config.json as it holds here.
        events: the history so far.
        parcels: place -> key of what the run reads (`parcels`).
        arguments: more of them for the worker.
        threads: of the processor, at most.
        shares_gpu: others may use the same GPU.
    """

    run_id: str
    workspace: str | None = None
    config: str = ""
    events: bytes = b""
    parcels: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    threads: int = 1
    shares_gpu: bool = False


@dataclass(frozen=True)
class Look:
    """How it stands.

    Attributes:
        files: changed since the last time, by their paths in the workspace; they can be read
            until the next look.
        gone: files that are no more.
        events: of the history there, behind what was asked for.
        log: bytes of the worker's output behind what was asked for.
        heart: time of the last heartbeat, in nanoseconds.
        worker: of the run's folder there.
        code: how it ended; negative: by a signal.
    """

    phase: Phase
    files: Files = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    log: bytes = b""
    heart: int = 0
    worker: ProcessIdentity | None = None
    code: int | None = None


class Keeper:
    """See above. The order of calls: `begin`, what is missing, `start`, then `look` again and
    again, `leave`."""

    def __init__(self, name: str, folder: str | None = None, most_gb: float | None = None) -> None:
        """
        Args:
            folder, most_gb: instead of this computer's settings.
        """
        root = Path(folder or get_settings().node_folder).expanduser().resolve()
        self._root, self._folder = root, root / "runs" / check_name(name, "keeper")
        self._most_gb = most_gb or get_settings().node_cache_gb
        self._kept: Contents | None = None
        self._order: Order | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._code: int | None = None
        self._known: Files = {}  # what the owner has
        self._frozen: Files = {}  # and what it has once it took in the last look
        self._ever: set[str] = set()  # files that there were
        self._told = (0, 0)  # seq and place in the history up to which it was told
        self._lock: FileLock | None = None

    # --- getting ready ------------------------------------------------------------

    def begin(self, order: Order) -> dict[str, State]:
        """Take an order; key -> whether it is here. May be called again."""
        if self._child is not None:
            return {}
        self._order = order
        if order.workspace is None:
            self._make_home(order)
        return {key: self._contents.state(key) for key in order.parcels.values()}

    def state(self, key: str) -> State:
        return self._contents.state(key)

    def receive(self, key: str, size: int) -> None:
        self._contents.begin(key, size, self._in_use())

    def take(self, key: str, pieces: Sequence[Piece]) -> None:
        self._contents.take(key, pieces)

    def finish(self, key: str, files: dict[str, str]) -> None:
        self._contents.finish(key, files)

    def files(self) -> Files:
        """Of the run's folder, so far."""
        return run_files(self._run_dir)

    def put(self, pieces: Sequence[Piece]) -> None:
        """Parts of files of the run's folder."""
        write_pieces(self._run_dir, pieces)

    def start(self) -> None:
        """Start the worker, with what is here."""
        order, run_dir = self._ordered, self._run_dir
        if self._child is not None:
            return
        if order.workspace is None:
            for place, key in order.parcels.items():
                _link(self._home / place, self._contents.use(key))
            write_text(run_dir / CONFIG_FILE, order.config)
            EventLog(run_dir).path.write_bytes(order.events)
            self._known = self._frozen = self._scan()
            self._told = (EventLog(run_dir).last_seq(), len(order.events))
        root = Path(order.workspace) if order.workspace else self._home
        given = os.environ.get("OMP_NUM_THREADS", "")
        threads = min(order.threads, int(given)) if given.isdecimal() else order.threads
        environment = {**worker_environment(), "OMP_NUM_THREADS": str(max(1, threads))}
        for name in _NOT_OURS:
            environment.pop(name, None)
        if order.shares_gpu:
            environment[SHARED_GPU] = "1"
        with (run_dir / LOG_FILE).open("ab") as log:
            command = worker_command(run_dir, root, ("--leash", *order.arguments))
            self._child = start_process(command, log, environment, stdin=subprocess.PIPE, home=root)
        if identity := ProcessIdentity.of(self._child.pid):
            identity.write(run_dir / WORKER_FILE)

    # --- telling ------------------------------------------------------------------

    def look(
        self, after: int = 0, log_from: int = 0, taken: bool = True, has: Files | None = None
    ) -> Look:
        """How it stands, and what is new.

        Args:
            after: seq in the history here up to which the owner knows it.
            log_from: bytes of the output that it has.
            taken: the owner has taken in all of the last look.
            has: all that it has, where it did not look before.
        """
        if self._child is None:
            return Look("new")
        # Before the files: once it has ended, they are all there is.
        phase: Phase = "working" if self._poll() is None else "ended"
        run_dir = self._run_dir
        if self._ordered.workspace is not None:
            return Look(phase, code=self._code)
        if has is not None:
            self._known = dict(has)
        elif taken:
            self._known = self._frozen
        files, (events, told) = freeze(
            self._scan,
            self._known,
            self._home,
            self._folder / "frozen",
            lambda: self._history(after),
        )
        self._frozen, self._told = files, told
        self._ever |= files.keys()
        return Look(
            phase,
            {path: stamp for path, stamp in files.items() if self._known.get(path) != stamp},
            tuple(path for path in self._known if path in self._ever and path not in files),
            tuple(events),
            _tail(run_dir / LOG_FILE, log_from),
            _changed(run_dir / HEARTBEAT_FILE),
            ProcessIdentity.read(run_dir / WORKER_FILE),
            self._code,
        )

    def read(self, parts: Sequence[Part]) -> list[Piece]:
        """Parts of the files that the last look told."""
        return [read_part(self._folder / "frozen", part) for part in parts]

    # --- asking -------------------------------------------------------------------

    def ask(self, request: str) -> None:
        """A person wants the run to "pause" or to be cancelled ("cancel")."""
        if self._child is None or self._ordered.workspace is not None:
            return  # not begun; or the note lies in the folder that both see
        # Refused: it knows already, or has just said its last word.
        with contextlib.suppress(IllegalTransitionError):
            EventLog(self._run_dir).transition(_ASKED[request])
        write_json(self._run_dir / STOP_FILE, {"request": request})

    def stop(self, force: bool) -> None:
        """Ask the worker to end (SIGTERM); with `force`, kill it and its children."""
        if self._child is not None and (identity := ProcessIdentity.of(self._child.pid)):
            identity.stop(force=force)

    def leave(self) -> None:
        """End: what the owner wanted, it has."""
        if self._child is not None and self._poll() is None:
            self.stop(force=True)
            end_leftovers(self._child.pid)
            self._poll()
        if self._kept is not None:
            self._kept.close()
        if self._lock is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._lock.release()
            self._lock = None

    # --- pieces -------------------------------------------------------------------

    @property
    def _ordered(self) -> Order:
        if self._order is None:
            raise WorkError("This keeper was given no order.")
        return self._order

    @property
    def _contents(self) -> Contents:
        if self._kept is None:
            self._kept = Contents(self._root / "contents", self._most_gb)
        return self._kept

    @property
    def _home(self) -> Path:
        return self._folder / "workspace"

    @property
    def _run_dir(self) -> Path:
        order = self._ordered
        root = Path(order.workspace) if order.workspace else self._home
        return Workspace(root).run_dir(order.run_id)

    def _make_home(self, order: Order) -> None:
        if self._lock is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self._folder / _LOCK, thread_local=False)
            self._lock.acquire(timeout=0)
            self._sweep()
        write_json(self._folder / _USES, sorted(order.parcels.values()))
        Workspace.open(self._home)
        for name in ("cache", "libraries"):
            (self._root / name).mkdir(exist_ok=True)
            _link(self._home / name, self._root / name)
        self._run_dir.mkdir(exist_ok=True)

    def _sweep(self) -> None:
        """Remove what keepers left that ended with their computer's power, or with Ray."""
        for folder in self._folder.parent.iterdir():
            try:
                with FileLock(folder / _LOCK, timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
            except (Timeout, OSError):
                continue  # it is at work

    def _in_use(self) -> set[str]:
        """Keys that runs on this computer need, living keepers' and swept ones' alike."""
        used: set[str] = set()
        for file in self._folder.parent.glob(f"*/{_USES}"):
            used |= set(read_as(file, list[str]) or ())  # none where its keeper has just left
        return used

    def _scan(self) -> Files:
        runs = {f"runs/{self._run_dir.name}/{p}": s for p, s in run_files(self._run_dir).items()}
        models = model_files(self._home / "models")
        return {**runs, **{f"models/{path}": stamp for path, stamp in models.items()}}

    def _history(self, after: int) -> tuple[list[Event], tuple[int, int]]:
        log = EventLog(self._run_dir)
        place = self._told[1] if self._told[0] == after else 0
        events, place = log.read_from(place)
        events = [event for event in events if event["seq"] > after]
        return events, (events[-1]["seq"] if events else after, place)

    def _poll(self) -> int | None:
        child = self._child
        if child is not None and self._code is None and has_ended(child):
            end_leftovers(child.pid)
            self._code = child.wait()
            if child.stdin is not None:
                child.stdin.close()
        return self._code


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    elif link.is_dir():
        link.rmdir()  # made empty with the workspace
    link.symlink_to(target, target_is_directory=True)


def _tail(path: Path, start: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(MOST_LOG)
    except FileNotFoundError:
        return b""


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
