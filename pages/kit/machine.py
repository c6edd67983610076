"""What this computer offers, found without torch (a GPU by its driver's tool, else the CPU), and
how long a run takes by what was measured on it before."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import psutil
import streamlit as st

from msip_core.gpus import Gpu, list_gpus
from msip_core.language import t
from msip_core.processors import Sample
from msip_core.questions.planning import Effort
from msip_core.runs.slots import ANY_GPU
from msip_core.workspace import Workspace
from pages.kit.lab import lab


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found; sizes in GB (1e9 bytes).

    Attributes:
        gpu: the NVIDIA GPU with most free memory; None where there is none.
        gpus: all of them.
        busy: a sentence (English) where other work takes much of the processor.
        pace: what a run would get done on the processor now (`Processors.pace`); None: not known.
    """

    gpu: Gpu | None
    cores: int
    memory_free_gb: float
    memory_gb: float
    disk_free_gb: float
    gpus: tuple[Gpu, ...] = ()
    busy: str | None = None
    pace: float | None = None

    def room(self, slot: str) -> tuple[float, float] | None:
        """(free, whole) memory of the device of that name; None where it is not known."""
        if slot == "cpu":
            return self.memory_free_gb, self.memory_gb
        named = {gpu.device: gpu for gpu in self.gpus}
        gpu = self.gpu if slot == ANY_GPU else named.get(slot)
        if gpu is None or gpu.free_gb is None or gpu.total_gb is None:
            return None
        return gpu.free_gb, gpu.total_gb

    def sentence(self) -> str:
        """What a person should know before the first run."""
        free = t(
            "{memory} GB of memory and {disk} GB of disk are free.",
            memory=f"{self.memory_free_gb:.0f}",
            disk=f"{self.disk_free_gb:.0f}",
        )
        if self.gpu:
            found = " ".join(map(_of_gpu, self.gpus))
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
    sample = Sample(without_runs=True)
    gpus = list_gpus()
    roomiest = max(gpus, key=lambda gpu: gpu.free_gb or 0.0, default=None)
    found = sample.look()
    return Machine(
        roomiest, cores, memory.available / 1e9, memory.total / 1e9, disk, gpus,
        found.sentence(), found.pace,
    )  # fmt: skip


def _of_gpu(gpu: Gpu) -> str:
    if gpu.free_gb is None or gpu.total_gb is None:
        return t("GPU found: {name}.", name=gpu.name)
    return t(
        "GPU found: {name}, {free} GB of {whole} GB free.",
        name=gpu.name,
        free=f"{gpu.free_gb:.1f}",
        whole=f"{gpu.total_gb:.0f}",
    )


def seconds_now(effort: Effort) -> float:
    """Seconds of the run, if what else keeps the processor busy now stays as it is."""
    now = find_machine(str(lab().workspace.root)).pace
    return effort.seconds * effort.pace / now if effort.pace and now else effort.seconds
