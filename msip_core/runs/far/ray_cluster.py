"""A Ray cluster, as the server sees it through its bridge."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from pathlib import Path
from typing import Any

from msip_core.messages import msg
from msip_core.runs.executors import worker_environment
from msip_core.runs.far.bridge import BROKEN, GONE, PlainNode, receive, send
from msip_core.runs.far.cluster import ClusterGone, KeeperError, KeeperGone, Node, program
from msip_core.runs.lease import Seat, answers
from msip_core.workspace import Workspace

_START = 60.0  # seconds for Ray to be imported and connected
_ANSWER = 30.0
_AGAIN = 5.0  # between two tries to connect
_GB = 1e9


class RayCluster:
    """See `cluster.Cluster`. Connects when something is asked first, and again after a loss."""

    def __init__(self, address: str, workspace: Workspace, shared: Path | None = None) -> None:
        self._asked = address
        # A file by which another computer knows this very workspace, here and as seen from there.
        name = f".probe-{secrets.token_hex(6)}"
        self._mark = None if shared is None else workspace.root / name
        self._seen = [] if shared is None else [str(shared / name)]
        self._bridge: _Bridge | None = None
        self._lock = threading.Lock()
        self._failed: tuple[float, str] | None = None  # when the last try failed, and why

    def nodes(self) -> tuple[Node, ...]:
        if self._mark is not None:
            self._mark.touch()
        found = self._ask("nodes")
        hosts = Counter(_name(node) for node in found)
        return tuple(
            sorted(
                (_node(node, twice=hosts[_name(node)] > 1) for node in found),
                key=lambda node: (not node.is_head, node.computer),
            )
        )

    def address(self) -> str:
        return self._connected().address

    def open(self, name: str, seat: Seat) -> None:
        self._ask("open", name, seat)

    def call(self, name: str, method: str, *args: Any, patience: float = 60.0) -> Any:
        return self._ask("call", name, method, args, patience, patience=patience + _ANSWER)

    def close(self, name: str) -> None:
        self._ask("close", name)

    def names(self) -> tuple[str, ...]:
        return tuple(self._ask("names"))

    def leave(self) -> None:
        if self._mark is not None:
            self._mark.unlink(missing_ok=True)
        with self._lock:
            if self._bridge is not None:
                self._bridge.end()
                self._bridge = None

    def _ask(self, method: str, *args: Any, patience: float = _ANSWER) -> Any:
        kind, value = self._connected().ask(method, args, patience)
        if kind is None:
            return value
        why = (str(value).strip() or msg("no reason was given")).splitlines()[0]
        if kind == GONE:
            raise KeeperGone(why)
        if kind == BROKEN and method == "call":
            raise ClusterGone(msg("A computer of the Ray cluster does not answer: {why}", why=why))
        if kind == BROKEN:
            raise ClusterGone(self._sentence(why))
        raise KeeperError(str(value))

    def _connected(self) -> _Bridge:
        with self._lock:
            if self._bridge is not None and self._bridge.is_alive():
                return self._bridge
            now = time.monotonic()
            if self._failed and now - self._failed[0] < _AGAIN:
                raise ClusterGone(self._failed[1])
            try:
                self._bridge = self._connect()
            except ClusterGone as error:
                self._failed = (time.monotonic(), error.message)
                raise
            self._failed = None
            return self._bridge

    def _connect(self) -> _Bridge:
        # Ray itself waits for a minute for one that is not there.
        if ":" in self._asked and "://" not in self._asked and not answers(self._asked):
            raise ClusterGone(self._sentence(msg("nothing listens there")))
        bridge = _Bridge([self._asked, *self._seen])
        kind, value = bridge.hello(_START)
        if kind is not None:
            bridge.end()
            raise ClusterGone(self._sentence(str(value)))
        bridge.address = str(value)
        return bridge

    def _sentence(self, why: str) -> str:
        return msg(
            "The Ray cluster '{asked}' (MSIP_RAY_ADDRESS) does not answer: {why}. Start it "
            "with 'ray start --head', as the page Computers says, or leave MSIP_EXECUTOR out.",
            asked=self._asked,
            why=why,
        )


class _Bridge:
    """The process, and who waits for which answer."""

    def __init__(self, arguments: list[str]) -> None:
        self.address = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "msip_core.runs.far.bridge", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**worker_environment(), "RAY_USAGE_STATS_ENABLED": "0"},
            start_new_session=True,  # Ctrl-C is for us: runs are still to be paused
        )
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[tuple[str | None, Any]]] = {0: Future()}
        self._lock = threading.Lock()
        self._ears = threading.Thread(target=self._listen, name="msip-ray", daemon=True)
        self._ears.start()

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def hello(self, patience: float) -> tuple[str | None, Any]:
        return self._wait(0, self._waiting[0], patience)

    def ask(self, method: str, args: tuple[Any, ...], patience: float) -> tuple[str | None, Any]:
        future: Future[tuple[str | None, Any]] = Future()
        try:
            with self._lock:
                number = next(self._numbers)
                self._waiting[number] = future
                assert self._process.stdin is not None
                send(self._process.stdin, (number, method, args))
        except (OSError, ValueError):
            return BROKEN, msg("it has gone away")
        return self._wait(number, future, patience)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._ears.join(5.0)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # half a question that nobody reads any more
                    stream.close()

    def _wait(
        self, number: int, future: Future[tuple[str | None, Any]], patience: float
    ) -> tuple[str | None, Any]:
        try:
            return future.result(patience)
        except TooLate:
            return BROKEN, msg("no answer came in time")
        finally:
            self._waiting.pop(number, None)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            while True:
                number, kind, value = receive(self._process.stdout)
                if future := self._waiting.get(number):
                    future.set_result((kind, value))
        except (EOFError, OSError):
            pass  # the process has ended
        with self._lock:
            for future in list(self._waiting.values()):
                if not future.done():
                    future.set_result((BROKEN, msg("it has gone away")))


def _name(node: PlainNode) -> str:
    told = node["told"]
    return str(told["computer"]) if isinstance(told, dict) else str(node["host"])


def _node(found: PlainNode, *, twice: bool) -> Node:
    told, whole, free = found["told"], found["all"], found["free"]
    known = isinstance(told, dict)
    name = _name(found)
    return Node(
        id=found["id"],
        computer=f"{name}-{found['id'][:4]}" if twice else name,
        address=found["address"],
        cpus=whole.get("CPU", 0.0),
        gpus=whole.get("GPU", 0.0),
        memory_gb=whole.get("memory", 0.0) / _GB,
        free_cpus=free.get("CPU", 0.0),
        free_gpus=free.get("GPU", 0.0),
        free_memory_gb=free.get("memory", 0.0) / _GB,
        cards=told["cards"] if known else (),
        is_known=told is not None,
        problem=_problem(told),
        is_head="node:__internal_head__" in whole,
    )


def _problem(told: Any) -> str | None:
    if told is None:
        return None  # not yet
    if not isinstance(told, dict):
        return msg(
            "MSIP Lab cannot be started there ({told}): run 'ray start' in its folder, with its "
            'own Python and PYTHONPATH="$PWD".',
            told=told,
        )
    if told["program"] != program():
        return msg(
            "It has MSIP Lab {there}, this computer {here}: bring both to one.",
            there=told["program"],
            here=program(),
        )
    if not told["sees"]:
        return msg(
            "It does not see this workspace where MSIP_RAY_WORKSPACE says: mount it there, or "
            "leave that setting out."
        )
    return None
