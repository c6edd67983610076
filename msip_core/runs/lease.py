"""place.json in the folder of a run: which keeper on which computer holds its worker."""

from __future__ import annotations

import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from msip_core.documents import read_as
from msip_core.runs.executors import PLACE_FILE
from msip_core.workspace import write_json

_PATIENCE = 1.0  # seconds, for a computer that does not answer at all
_ASKED_ANEW = 5.0
_answers: dict[str, tuple[float, bool]] = {}  # address -> when asked (monotonic), whether it was


@dataclass(frozen=True, slots=True)
class Seat:
    """What a run holds of a node while it has a worker there.

    Attributes:
        node, computer: id and name of the node.
        device: as the worker calls it: it sees its own GPU alone.
        gpus: a share below 1 lets others use the same GPU.
        memory_gb: of the processor.
    """

    node: str
    computer: str
    device: str
    cpus: float
    gpus: float
    memory_gb: float


@dataclass(frozen=True, slots=True)
class Lease:
    """Written before the keeper is there, so that no keeper is ever unknown.

    Attributes:
        address: "host:port" of the cluster, which answers as long as it is there.
        after: seq of the history here that the history there was begun with.
        log_from: size of the log here at that time.
    """

    keeper: str
    seat: Seat
    address: str
    after: int
    log_from: int

    def write(self, run_dir: Path) -> None:
        write_json(run_dir / PLACE_FILE, asdict(self))

    @classmethod
    def read(cls, run_dir: Path) -> Lease | None:
        """None where the run is on this computer, or nothing can be known."""
        return read_as(run_dir / PLACE_FILE, cls)

    @staticmethod
    def remove(run_dir: Path) -> None:
        (run_dir / PLACE_FILE).unlink(missing_ok=True)


def is_held_elsewhere(run_dir: Path) -> bool:
    """A cluster holds the worker, and answers: only who is connected to it can judge the run."""
    lease = Lease.read(run_dir)
    return lease is not None and answers(lease.address)


def answers(address: str) -> bool:
    """Somebody listens at "host:port"."""
    known = _answers.get(address)
    now = time.monotonic()
    if known is None or now - known[0] > _ASKED_ANEW:
        known = _answers[address] = (now, _connects(address))
    return known[1]


def _connects(address: str) -> bool:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return False
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE):
            return True
    except OSError:
        return False
