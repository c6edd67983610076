"""The lab behind the pages: one per server process, shared by every tab.

Opened once through Streamlit's resource cache, so that a rerun costs nothing; the supervisor thread
starts with the server (server.py). Pages never keep run or model objects in the session: ids only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from msip_core.data.dataset import Dataset, DatasetSummary, list_datasets, open_dataset
from msip_core.models import list_models
from msip_core.runs.compute import Compute, get_compute
from msip_core.runs.service import RunService
from msip_core.runs.supervisor import Supervisor
from msip_core.serving import start_serving
from msip_core.settings import get_settings
from msip_core.workspace import Workspace

ASSETS = Path(__file__).resolve().parents[2] / "assets"


@dataclass(frozen=True, slots=True)
class Lab:
    """What a page may ask: the runs, the interactive work, and where the files lie."""

    workspace: Workspace
    runs: RunService
    compute: Compute
    supervisor: Supervisor


def lab() -> Lab:
    """The lab of the workspace in the settings."""
    return _open_lab(str(get_settings().workspace))


@st.cache_resource(show_spinner=False)
def _open_lab(root: str) -> Lab:
    workspace = Workspace.open(root)
    supervisor = start_serving(workspace)  # started with the server already, unless that failed
    return Lab(workspace, RunService(workspace), get_compute(workspace), supervisor)


def example_runs() -> frozenset[str]:
    """Ids of the runs that came with the example: everything else is a person's own."""
    return frozenset(folder.name for folder in (ASSETS / "example" / "runs").glob("*"))


def datasets() -> list[DatasetSummary]:
    """All datasets of the workspace (small summary files only)."""
    return list_datasets(lab().workspace)


def still_here(**ids: str) -> dict[str, str]:
    """Of a model and a dataset that a run names, those that a new run can begin with: for a link.
    Some were deleted since, and a model may have been a file."""
    begins = {card.id for card in list_models(lab().workspace) if card.kind != "pruned"}
    there = {"model": begins, "dataset": {item.name for item in datasets() if item.ready}}
    return {what: name for what, name in ids.items() if name in there[what]}


def dataset(name: str) -> Dataset:
    """One dataset; its list of images is parsed once per change of the file on disk."""
    workspace = lab().workspace
    path = workspace.dataset_dir(name) / "dataset.json"
    return _dataset(str(workspace.root), name, path.stat().st_mtime_ns if path.is_file() else 0)


@st.cache_resource(show_spinner=False, max_entries=8)
def _dataset(root: str, name: str, changed: int) -> Dataset:
    # `changed` is not used here: it makes a new import of the same name a new cache entry.
    return open_dataset(Workspace(Path(root)), name)
