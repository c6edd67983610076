"""What this computer offers, found without torch: a GPU by its driver's tool, else the CPU."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

import psutil
import streamlit as st

from msip_core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Machine:
    """A sentence for people, and whether a GPU was found; sizes in GB (1e9 bytes)."""

    gpu: bool
    sentence: str
    cores: int
    memory_free_gb: float
    disk_free_gb: float


@st.cache_data(ttl=60, show_spinner=False)
def find_machine(root: str) -> Machine:
    """Look at the hardware; kept for a minute, so that a rerun does not wait for the driver."""
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(Workspace.open(root).root).free / 1e9
    gpu = _nvidia()
    if gpu:
        sentence = f"GPU found: {gpu}."
    else:
        sentence = (
            f"No GPU found: the {cores} CPU cores are fine for the example and for looking, "
            "but slow for long runs."
        )
    return Machine(gpu is not None, sentence, cores, memory.available / 1e9, disk)


def _nvidia() -> str | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True)
    except (subprocess.SubprocessError, OSError):
        return None  # the tool is there but no driver answers: no GPU that could be used
    name, _, free = found.stdout.strip().splitlines()[0].rpartition(",")
    return f"{name.strip()}, {float(free) / 1024:.1f} GB free"
