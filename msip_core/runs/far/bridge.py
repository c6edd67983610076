"""The process that is connected to Ray: `python -m msip_core.runs.far.bridge ADDRESS [MARKED]`.

Ray ends a process whose cluster goes away, and the server must not go with it. So the server talks
to this process: (number, method, arguments) in at stdin, (number, good, value) out at stdout, each
pickled behind its length; requests are worked on side by side. It ends when stdin does.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, TypedDict

from msip_core.messages import msg
from msip_core.runs.lease import Seat

NAMESPACE = "msip-lab"
GONE, BROKEN, REFUSED = "gone", "broken", "refused"
_THREADS = 64
_PROBE_PATIENCE, _PROBE_ANEW = 30.0, 30.0  # seconds
_LENGTH = struct.Struct(">Q")


def send(stream: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next value, or EOFError."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)


class PlainNode(TypedDict):
    """A node: what it has, what of it is free, and what its probe told."""

    id: str
    address: str
    host: str
    all: dict[str, float]
    free: dict[str, float]
    told: Any


class RayBridge:
    """What the other side may ask: methods of `cluster.Cluster`, with plain data."""

    def __init__(self, address: str, marked: str | None) -> None:
        import ray

        from msip_core.runs.far.cluster import look_around
        from msip_core.runs.far.keeper import Keeper

        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
        self._ray, self._marked = ray, marked
        self._keeper = ray.remote(Keeper)
        self._probe = ray.remote(num_cpus=0, max_retries=0)(look_around)
        self._handles: dict[str, Any] = {}
        self._probed: dict[str, tuple[float, Any]] = {}  # node -> when, what it told
        self._probing: dict[str, tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def address(self) -> str:
        return str(self._ray.get_runtime_context().gcs_address)

    def nodes(self) -> list[PlainNode]:
        """Each node that is alive: what it has, what of it is free, and what it told."""
        from ray._private.state import available_resources_per_node

        free = available_resources_per_node()
        alive = [node for node in self._ray.nodes() if node["Alive"]]
        with self._lock:
            for node in alive:
                self._ask_around(node["NodeID"])
            self._listen()
            return [
                {
                    "id": node["NodeID"],
                    "address": node["NodeManagerAddress"],
                    "host": node["NodeManagerHostname"],
                    "all": node["Resources"],
                    "free": free.get(node["NodeID"], {}),
                    "told": self._probed.get(node["NodeID"], (0.0, None))[1],
                }
                for node in alive
            ]

    def open(self, name: str, seat: Seat) -> None:
        where = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            seat.node, soft=False
        )
        self._handles[name] = self._keeper.options(
            name=name, namespace=NAMESPACE, lifetime="detached", get_if_exists=True,
            num_cpus=seat.cpus, num_gpus=seat.gpus, memory=int(seat.memory_gb * 1e9),
            max_restarts=0, scheduling_strategy=where,
        ).remote(name)  # fmt: skip

    def call(self, name: str, method: str, args: tuple[Any, ...], patience: float) -> Any:
        asked = getattr(self._handle(name), method).remote(*args)
        return self._ray.get(asked, timeout=patience)

    def close(self, name: str) -> None:
        try:
            handle = self._handle(name)
        except ValueError:
            return  # it has ended
        self._ray.kill(handle)
        self._handles.pop(name, None)

    def names(self) -> list[str]:
        return list(self._ray.util.list_named_actors())

    def _handle(self, name: str) -> Any:
        if name not in self._handles:
            self._handles[name] = self._ray.get_actor(name, namespace=NAMESPACE)
        return self._handles[name]

    def _ask_around(self, node: str) -> None:
        asked = self._probed.get(node)
        if node in self._probing or (asked and time.monotonic() - asked[0] < _PROBE_ANEW):
            return
        where = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            node, soft=False
        )
        task = self._probe.options(scheduling_strategy=where).remote(self._marked)
        self._probing[node] = (time.monotonic(), task)

    def _listen(self) -> None:
        """Take what nodes have told by now; nobody waits for one that does not."""
        for node, (since, task) in list(self._probing.items()):
            done, _ = self._ray.wait([task], timeout=0)
            if done:
                try:
                    told = self._ray.get(task)
                except Exception as error:  # noqa: BLE001 - whatever is wrong on that computer
                    told = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
            elif time.monotonic() - since > _PROBE_PATIENCE:
                told = msg("it does not answer")
            else:
                continue
            self._probed[node] = (time.monotonic(), told)
            del self._probing[node]


def answer(bridge: RayBridge, method: str, args: tuple[Any, ...]) -> tuple[str | None, Any]:
    """(None, value), or one of GONE, BROKEN, REFUSED and a sentence."""
    import ray.exceptions as trouble

    try:
        return None, getattr(bridge, method)(*args)
    except (trouble.GetTimeoutError, trouble.ActorUnavailableError) as error:
        return BROKEN, str(error)
    except trouble.RayTaskError as error:  # before ValueError: it may be one of the keeper's own
        return REFUSED, str(getattr(error, "cause", None) or error)
    except (trouble.RayActorError, trouble.ActorUnschedulableError, ValueError) as error:
        return GONE, str(error)  # ValueError: there is no actor of that name
    except Exception as error:  # noqa: BLE001 - the other side says it, and tries again
        return BROKEN, f"{type(error).__name__}: {error}"


def main(arguments: list[str]) -> int:
    """Serve until stdin ends."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # What Ray prints must not get between the answers.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    lock = threading.Lock()

    def tell(number: int, kind: str | None, value: Any) -> None:
        with lock:
            send(out, (number, kind, value))

    try:
        bridge = RayBridge(arguments[0], arguments[1] if len(arguments) > 1 else None)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side says it
        tell(0, BROKEN, f"{type(error).__name__}: {error}".splitlines()[0])
        return 1
    tell(0, None, bridge.address())

    def work(number: int, method: str, args: tuple[Any, ...]) -> None:
        tell(number, *answer(bridge, method, args))

    with ThreadPoolExecutor(_THREADS) as pool:
        while True:
            try:
                pool.submit(work, *receive(sys.stdin.buffer))
            except EOFError:
                os._exit(0)  # without waiting for what nobody wants to know any more


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
