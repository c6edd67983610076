"""What is needed of a cluster, whichever program holds it together; how its computers look, and
what each tells of itself."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import msip_core
from msip_core.errors import MsipError, WorkError
from msip_core.gpus import Gpu, list_gpus
from msip_core.runs.lease import Seat


class ClusterGone(WorkError):
    """The cluster does not answer (now); its runs may go on all the same."""


class KeeperGone(MsipError):
    """A keeper is no more, and what it looked after ended with it."""


class KeeperError(WorkError):
    """A keeper could not do what it was asked for."""


@dataclass(frozen=True, slots=True)
class Node:
    """One computer of a cluster, as it is now.

    Attributes:
        id: the cluster's own.
        computer: name for people, another one for each node.
        cpus, gpus: that the cluster may give away; the server's computer often gives none.
        memory_gb: of the processor, likewise, in GB (1e9 bytes).
        free_cpus, free_gpus, free_memory_gb: not held by anybody.
        cards: its GPUs as their driver tells them; empty until it was asked.
        is_known: it was asked and has answered.
        problem: why no run can go there, as a sentence; None where it can.
        is_head: the cluster itself is held together here.
    """

    id: str
    computer: str
    address: str
    cpus: float
    gpus: float
    memory_gb: float
    free_cpus: float
    free_gpus: float
    free_memory_gb: float
    cards: tuple[Gpu, ...] = ()
    is_known: bool = True
    problem: str | None = None
    is_head: bool = False


class Cluster(Protocol):
    """The computers, and the keepers on them. Calls come from several threads.

    All raise ClusterGone where the cluster does not answer.
    """

    def nodes(self) -> tuple[Node, ...]:
        """Every computer that is there."""

    def address(self) -> str:
        """ "host:port" that answers as long as the cluster is there."""

    def open(self, name: str, seat: Seat) -> None:
        """Have a keeper of that name on the seat's node; it outlives this process."""

    def call(self, name: str, method: str, *args: Any, patience: float = 60.0) -> Any:
        """Call a keeper.

        Raises:
            KeeperGone: there is none of that name (any more).
            KeeperError: it could not do that.
        """

    def close(self, name: str) -> None:
        """End a keeper and what it started; nothing where there is none."""

    def names(self) -> tuple[str, ...]:
        """All keepers."""

    def leave(self) -> None:
        """This process asks no more."""


def look_around(marked: str | None) -> dict[str, object]:
    """Name, program, GPUs of the computer where this runs.

    Args:
        marked: a file that the server has put into the workspace, by its path here; None where the
            workspace is not shared.
    """
    gpus: tuple[Gpu, ...] = list_gpus()
    return {
        "computer": platform.node(),
        "program": program(),
        "cards": gpus,
        "sees": marked is None or Path(marked).is_file(),
    }


@cache
def program() -> str:
    """Version of MSIP Lab, and what its source says: both sides must do the same."""
    home = Path(msip_core.__file__).resolve().parent
    whole = hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        whole.update(path.relative_to(home).as_posix().encode())
        whole.update(path.read_bytes())
    return f"{msip_core.__version__} ({whole.hexdigest()[:8]})"
