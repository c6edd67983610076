"""What this computer offers, found without torch: a GPU by its driver's tool, else the CPU."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

import psutil
import streamlit as st

from msip_core.language import t
from msip_core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first NVIDIA GPU."""

    name: str
    free_gb: float
    whole_gb: float


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found; sizes in GB (1e9 bytes). `gpu` is None where there is no NVIDIA GPU."""

    gpu: Gpu | None
    cores: int
    memory_free_gb: float
    memory_gb: float
    disk_free_gb: float

    def room(self, slot: str) -> tuple[float, float] | None:
        """(free, whole) memory of the device of that name; None where it is not known."""
        if slot == "cpu":
            return self.memory_free_gb, self.memory_gb
        if slot == "cuda:0" and self.gpu:
            return self.gpu.free_gb, self.gpu.whole_gb
        return None

    def sentence(self) -> str:
        """What a person should know before the first run."""
        free = t(
            "{memory} GB of memory and {disk} GB of disk are free.",
            memory=f"{self.memory_free_gb:.0f}", disk=f"{self.disk_free_gb:.0f}",
        )  # fmt: skip
        if self.gpu:
            found = t(
                "GPU found: {name}, {free} GB of {whole} GB free.", name=self.gpu.name,
                free=f"{self.gpu.free_gb:.1f}", whole=f"{self.gpu.whole_gb:.0f}",
            )  # fmt: skip
        else:
            found = t(
                "No GPU found: the {cores} processor cores are fine for the example and for "
                "looking, but slow for long runs.",
                cores=self.cores,
            )
        return f"{found} {free}"


@st.cache_data(ttl=30, show_spinner=False)
def find_machine(root: str) -> Machine:
    """Look at the hardware; kept for a while, so that a rerun does not wait for the driver."""
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(Workspace.open(root).root).free / 1e9
    return Machine(_nvidia(), cores, memory.available / 1e9, memory.total / 1e9, disk)


def _nvidia() -> Gpu | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    fields = "name,memory.free,memory.total"
    query = [tool, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True)
        name, free, whole = found.stdout.strip().splitlines()[0].rsplit(",", 2)
        mebibytes = 2**20 / 1e9
        return Gpu(name.strip(), float(free) * mebibytes, float(whole) * mebibytes)
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return None  # the tool is there but no driver answers: no GPU that could be used
