"""The NVIDIA GPUs of this computer, told without torch by the driver's own tool.

They are numbered as CUDA numbers them in this process: `CUDA_VISIBLE_DEVICES` is kept, and the
order is that of the bus (`Workspace.isolate_libraries` asks CUDA for the same).
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

_DEVICES = Path("/dev")
_FIELDS = ("index", "uuid", "driver_version", "memory.total", "memory.free", "utilization.gpu")
_CAPABILITY = "compute_cap"  # drivers before 510 do not know it
_GB = 2**20 / 1e9  # of a mebibyte, which the tool counts in
_PATIENCE = 10.0  # seconds; a driver that is not kept loaded takes some to answer
_DRIVER, _NOT_INITIALIZED = "libcuda.so.1", 3  # of CUDA's driver API: CUDA_ERROR_NOT_INITIALIZED
_BF16 = 8.0  # compute capability (Ampere) from which bfloat16 is multiplied natively


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; what the driver does not tell is None.

    Attributes:
        index: number in this process: "cuda:<index>".
        word: what `CUDA_VISIBLE_DEVICES` calls it (a number on the bus, or a uuid).
        total_gb, free_gb: memory in GB (1e9 bytes).
        busy: share of the last second in which it computed, 0 to 1.
        capability: CUDA compute capability, such as 9.0.
    """

    index: int
    word: str
    name: str = "NVIDIA GPU"
    driver: str = ""
    total_gb: float | None = None
    free_gb: float | None = None
    busy: float | None = None
    capability: float | None = None
    uuid: str = ""

    @property
    def device(self) -> str:
        return f"cuda:{self.index}"

    @property
    def has_bf16(self) -> bool | None:
        """Whether it multiplies in bfloat16 itself; None where that is not known."""
        return None if self.capability is None else self.capability >= _BF16


def list_gpus() -> tuple[Gpu, ...]:
    """All GPUs that a process of ours may use, with their memory and load of this moment.

    Takes some tenths of a second. Where the tool is missing (containers without the driver's
    utilities) the device files tell how many there are.
    """
    return _visible(_asked() or _by_files(), os.environ)


@cache
def gpu_count() -> int:
    """How many GPUs there are; asked once in the life of a process."""
    return len(list_gpus())


def only(device: str) -> dict[str, str]:
    """Variables of the environment that show a process nothing but this GPU, which it then calls
    "cuda:0"; {} where there is no such GPU.

    They must be set before CUDA is begun. A process that sees all GPUs leaves half a gigabyte on
    the first one sooner or later, and a library that asks for "cuda" gets that one.
    """
    number = device.removeprefix("cuda:")
    words = _words(os.environ)
    if not number.isdecimal() or int(number) >= (gpu_count() if words is None else len(words)):
        return {}
    word = number if words is None else words[int(number)]
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": word}


def cuda_has_begun() -> bool:
    """Whether this process has begun CUDA, which reads `CUDA_VISIBLE_DEVICES` then and never again.

    Asked of the driver: torch does not tell that it has only counted GPUs, which begins CUDA too.
    """
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return False  # without a driver nothing can be begun
    count = ctypes.c_int()
    return bool(driver.cuDeviceGetCount(ctypes.byref(count)) != _NOT_INITIALIZED)


def _asked() -> tuple[Gpu, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    lines = _query(tool, (*_FIELDS, _CAPABILITY, "name"))
    if lines is None:
        lines = _query(tool, (*_FIELDS, "name")) or []
        lines = [_insert_nothing(line) for line in lines]
    return tuple(gpu for line in lines if (gpu := _read(line)) is not None)


def _query(tool: str, fields: tuple[str, ...]) -> list[str] | None:
    """One line a GPU, or None where the tool does not answer."""
    command = [tool, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return None  # the tool is there but no driver answers: no GPU that could be used
    return done.stdout.strip().splitlines()


def _insert_nothing(line: str) -> str:
    *fields, name = line.split(",", len(_FIELDS))
    return ",".join([*fields, "", name])


def _read(line: str) -> Gpu | None:
    """One line of the tool; the name comes last, since it may hold a comma."""
    parts = [part.strip() for part in line.split(",", len(_FIELDS) + 1)]
    if len(parts) < len(_FIELDS) + 2 or not parts[0].isdecimal():
        return None
    index, uuid, driver, total, free, busy, capability, name = parts
    share = _number(busy)
    return Gpu(
        int(index), index, name, driver, _gigabytes(total), _gigabytes(free),
        None if share is None else share / 100, _number(capability), uuid,
    )  # fmt: skip


def _number(text: str) -> float | None:
    """None for what this GPU does not tell ("[N/A]", "[Not Supported]")."""
    try:
        return float(text)
    except ValueError:
        return None


def _gigabytes(text: str) -> float | None:
    value = _number(text)
    return None if value is None else value * _GB


def _by_files() -> tuple[Gpu, ...]:
    # A container may be given the third of them alone: CUDA counts those that it is given.
    files = [path for path in _DEVICES.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    return tuple(Gpu(index, str(index)) for index in range(len(files)))


def _words(environment: Mapping[str, str]) -> list[str] | None:
    """What `CUDA_VISIBLE_DEVICES` names; None where it is not set.

    As CUDA reads it, a number below zero ends the list.
    """
    text = environment.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return None
    words: list[str] = []
    for word in (part.strip() for part in text.split(",")):
        if not word or word.startswith("-"):
            break
        words.append(word)
    return words


def _visible(found: tuple[Gpu, ...], environment: Mapping[str, str]) -> tuple[Gpu, ...]:
    words = _words(environment)
    if words is None or not found:
        return found
    shown = []
    for index, word in enumerate(words):
        whole = [g for g in found if g.word == word or (g.uuid and g.uuid.startswith(word))]
        # A part of a GPU (MIG) has a name of its own, and the tool tells nothing of it alone.
        if not whole and word.isdecimal():
            break  # as CUDA: what stands behind a number that there is not is not seen
        gpu = whole[0] if whole else Gpu(index, word)
        shown.append(replace(gpu, index=index, word=word))
    return tuple(shown)
