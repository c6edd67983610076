"""The computers as rows of a table, and what runs on each."""

from __future__ import annotations

from typing import Any

from msip_core.computers import Computer, Computers

Row = dict[str, Any]


def computers_info(found: Computers) -> list[Row]:
    """One row a computer: name, cores and memory in GB (free, all), GPUs, how many runs, note."""
    return [
        {
            "computer": one.name,
            "free_cores": round(one.free_cores, 1),
            "cores": round(one.cores, 1),
            "free_memory_gb": round(one.free_memory_gb, 1),
            "memory_gb": round(one.memory_gb, 1),
            "gpus": gpu_words(one),
            "runs": len(one.runs),
            "note": one.problem or "",
        }
        for one in found.found
    ]


def places_info(found: Computers) -> list[Row]:
    """One row a run that has a worker: the run, its computer and device, how far it is."""
    return [
        {
            "id": run.id,
            "run": run.name,
            "computer": one.name,
            "device": run.device,
            "state": run.state,
            "done": run.done,
        }
        for one in found.found
        for run in one.runs
    ]


def gpu_words(computer: Computer) -> str:
    """The GPUs with their free memory, "" without one."""
    words = []
    for gpu in computer.gpus:
        if gpu.free_gb is None or gpu.total_gb is None:
            words.append(gpu.name)
        else:
            words.append(f"{gpu.name} ({gpu.free_gb:.1f} / {gpu.total_gb:.0f} GB)")
    return ", ".join(words)
