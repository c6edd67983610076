"""Which process is meant: its number and its birth, so that a recycled number is never mistaken."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, BinaryIO

import psutil

from msip_core.documents import read_as
from msip_core.messages import msg
from msip_core.workspace import write_json

_LOG_LIMIT = 5_000_000  # bytes; a log starts anew beyond


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process on one machine.

    Attributes:
        born: start of the process. On Linux "boot id/ticks since boot": unlike a time of day
            it does not move when the clock is set.
    """

    pid: int
    born: str
    host: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The process that has this number now, or None."""
        born = _born(pid)
        return cls(pid, born, socket.gethostname()) if born else None

    @classmethod
    def read(cls, path: Path) -> ProcessIdentity | None:
        """The identity a file holds; None where it is missing or unreadable."""
        return read_as(path, cls)

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    def is_alive(self) -> bool:
        """The very process still runs (a zombie does not)."""
        if _born(self.pid) != self.born:
            return False
        try:
            return bool(psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False

    @property
    def is_here(self) -> bool:
        """It ran on this computer, so that its number means something here."""
        return self.host == socket.gethostname()

    def is_ending(self) -> bool:
        """The process was killed and is only giving back what it holds (Linux; else False)."""
        try:
            flags = int(_stat_fields(self.pid)[6])
            status = Path(f"/proc/{self.pid}/status").read_text()
        except (OSError, ValueError, IndexError):
            return False
        pending = 0
        for line in status.splitlines():
            if line.startswith(("SigPnd:", "ShdPnd:")):
                pending |= int(line.split()[1], 16)
        return bool(flags & _PF_EXITING or pending & _SIGKILL_BIT)

    def stop(self, *, force: bool) -> None:
        """Ask the process to end (SIGTERM); with `force`, kill it and all it started."""
        if not self.is_alive():
            return
        try:
            process = psutil.Process(self.pid)
            if not force:
                process.terminate()
                return
            for child in process.children(recursive=True):
                child.kill()
            process.kill()
        except psutil.NoSuchProcess:
            return  # it ended by itself meanwhile


def describe_exit(code: int) -> str:
    """An exit code in words; negative codes are signals (subprocess)."""
    if code >= 0:
        return msg("it ended with exit code {code}", code=code)
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    if name == "SIGKILL":
        return msg(
            "it was ended by signal {name} (often a sign that the computer ran out of memory)",
            name=name,
        )
    return msg("it was ended by signal {name}", name=name)


# Linux: `flags` of /proc/PID/stat, and the place of SIGKILL in a mask of signals.
_PF_EXITING = 0x4
_SIGKILL_BIT = 1 << (9 - 1)


def _stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from field 3 (state) on; the name before it may hold spaces and brackets."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _born(pid: int) -> str | None:
    boot = Path("/proc/sys/kernel/random/boot_id")
    if os.path.exists("/proc/self/stat") and boot.exists():
        try:
            return f"{boot.read_text().strip()}/{_stat_fields(pid)[19]}"  # field 22
        except (OSError, IndexError):
            return None
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return None


def start_process(
    command: Sequence[str],
    log: IO[bytes],
    environment: Mapping[str, str],
    *,
    stdin: int = subprocess.DEVNULL,
    home: Path | None = None,
) -> subprocess.Popen[bytes]:
    """A process of its own session, so that it outlives whoever starts it and Ctrl-C in that one's
    terminal does not reach it; what it says goes to the log."""
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=home,
        start_new_session=True,
    )


def open_log(path: Path) -> BinaryIO:
    """Where a process that is started writes what it says."""
    full = path.exists() and path.stat().st_size > _LOG_LIMIT
    return path.open("wb" if full else "ab")
