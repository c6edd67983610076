"""A cluster without Ray: keepers in this process, each computer a folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msip_core.runs.far.cluster import ClusterGone, KeeperError, KeeperGone, Node
from msip_core.runs.far.keeper import Keeper
from msip_core.runs.lease import Seat

SEAT = Seat("1", "lab-1", "cpu", 1.0, 0.0, 1.0)


class MadeUpCluster:
    """Computers "lab-1", "lab-2" … which can be cut off and killed.

    Attributes:
        cut: nothing answers now.
        sent: calls of keepers, (method, key or "").
    """

    def __init__(self, folder: Path, computers: int = 2, cores: float = 1.0) -> None:
        self._folder, self._cores = folder, cores
        self._alive = {str(n): f"lab-{n}" for n in range(1, computers + 1)}
        self._keepers: dict[str, tuple[Keeper, Seat]] = {}
        self._lock = threading.RLock()
        self.cut = False
        self.sent: list[tuple[str, str]] = []
        # Something that answers as long as the cluster is there.
        self._listener = socket.create_server(("127.0.0.1", 0))

    def nodes(self) -> tuple[Node, ...]:
        self._check()
        with self._lock:
            return tuple(
                Node(node, name, "127.0.0.1", self._cores, 0.0, 16.0,
                     self._cores - self._held(node), 0.0, 16.0)
                for node, name in self._alive.items()
            )  # fmt: skip

    def address(self) -> str:
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def open(self, name: str, seat: Seat) -> None:
        self._check()
        with self._lock:
            if seat.node in self._alive and name not in self._keepers:
                folder = self._folder / seat.node
                self._keepers[name] = (Keeper(name, str(folder), 1.0), seat)

    def call(self, name: str, method: str, *args: Any, patience: float = 60.0) -> Any:
        with self._keeper(name) as keeper:
            self.sent.append((method, args[0] if args and isinstance(args[0], str) else ""))
            try:
                return getattr(keeper, method)(*args)
            except Exception as error:
                raise KeeperError(str(error)) from error

    def close(self, name: str) -> None:
        self._check()
        with self._lock:
            found = self._keepers.pop(name, None)
        if found is not None and found[0]._child is not None:
            found[0]._child.stdin.close()  # what the end of its process does
            found[0]._child.wait(20)

    def names(self) -> tuple[str, ...]:
        return tuple(self._keepers)

    def leave(self) -> None:
        self._listener.close()

    def kill(self, node: str, *, comes_back: bool = False) -> None:
        """Power off: keepers and workers are gone; it may be started again at once."""
        with self._lock:
            if not comes_back:
                del self._alive[node]
            gone = [name for name, (_, seat) in self._keepers.items() if seat.node == node]
            for name in gone:
                keeper, _ = self._keepers.pop(name)
                if keeper._child is not None:
                    with suppress(ProcessLookupError):  # it has ended by itself just now
                        os.killpg(keeper._child.pid, signal.SIGKILL)
                    keeper._child.wait()
                    keeper._child.stdin.close()

    def end(self) -> None:
        for node in list(self._alive):
            self.kill(node)
        self.leave()

    def pids(self) -> list[int]:
        return [k._child.pid for k, _ in self._keepers.values() if k._child is not None]

    def where(self, run_id: str) -> str:
        """The node whose keeper has the run."""
        return next(
            seat.node
            for k, seat in self._keepers.values()
            if k._order and k._order.run_id == run_id
        )

    @contextmanager
    def _keeper(self, name: str) -> Iterator[Keeper]:
        self._check()
        with self._lock:
            if name not in self._keepers:
                raise KeeperGone(f"no {name}")
            yield self._keepers[name][0]

    def _check(self) -> None:
        if self.cut:
            raise ClusterGone("The made-up cluster does not answer.")

    def _held(self, node: str) -> float:
        return sum(seat.cpus for _, seat in self._keepers.values() if seat.node == node)
