"""The computers that runs may go to, and what runs where, as pages and commands tell it."""

from __future__ import annotations

from dataclasses import dataclass

from msip_core.gpus import Gpu


@dataclass(frozen=True, slots=True)
class RunThere:
    """One run that has a worker.

    Attributes:
        device: that it was given.
        done: share of its work, 0 to 1.
    """

    id: str
    name: str
    state: str
    device: str
    done: float


@dataclass(frozen=True, slots=True)
class Computer:
    """One of them, as it is now.

    Attributes:
        address: of another computer; "" for this one.
        cores, memory_gb: that runs may take, in GB (1e9 bytes).
        free_cores, free_memory_gb: that no run holds; of this computer, that nobody takes.
        gpus: as their driver tells them.
        problem: why no run goes there, as a sentence (English); None where runs do.
    """

    name: str
    address: str
    cores: float
    free_cores: float
    memory_gb: float
    free_memory_gb: float
    gpus: tuple[Gpu, ...] = ()
    runs: tuple[RunThere, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Computers:
    """All of them.

    Attributes:
        engine: "local" (this one alone) or "ray".
        address: of the cluster, "host:port"; "" without one.
        waiting: runs in the queue.
        trouble: why the cluster cannot be asked, as a sentence (English).
    """

    engine: str
    found: tuple[Computer, ...]
    address: str = ""
    waiting: int = 0
    trouble: str | None = None

    @property
    def others(self) -> int:
        """How many computers beside this one take runs."""
        return sum(bool(one.address) and one.problem is None for one in self.found)


PORT = 6379
_INSTALL = ".venv/bin/python -m pip install -r requirements-ray.txt"


def commands_here() -> str:
    """What is typed on the computer of the server, once."""
    return (
        f"{_INSTALL}\n"
        f'PYTHONPATH="$PWD" .venv/bin/ray start --head --port={PORT} --disable-usage-stats\n'
        "MSIP_EXECUTOR=ray make run"
    )


def commands_there(address: str = "") -> str:
    """What is typed on each other computer, in its own folder of MSIP Lab of the same version.

    Args:
        address: of the cluster where there is one.
    """
    at = address or f"ADDRESS-OF-THIS-COMPUTER:{PORT}"
    return f'{_INSTALL}\nPYTHONPATH="$PWD" .venv/bin/ray start --address={at} --disable-usage-stats'
