"""A run is gathered from its records and the files beside them."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

from msip_core.views.history import read_history
from msip_core.workspace import Workspace, write_json
from tests.views import samples


class Reader:
    """Tells one made-up run, as the run service does."""

    def get(self, run_id: str) -> SimpleNamespace:
        return SimpleNamespace(
            id=run_id, name="", state="completed", config=samples.prune_config(), started=100.0,
            finished=160.0, error=None,
        )  # fmt: skip

    def baseline(self, run_id: str):
        return samples.baseline_record()

    def iterations(self, run_id: str):
        return samples.iteration_records(2)

    def epochs(self, run_id: str):
        return samples.epoch_records(1, 1)

    def final(self, run_id: str):
        return samples.final_record()

    def milestones(self, run_id: str):
        return [SimpleNamespace(time=1.0, message="Careful.", level="warning")]


def test_records_and_files_come_together(workspace: Workspace):
    write_json(workspace.run_dir("run-1") / "provenance.json", {"versions": {"torch": "2.15"}})
    write_json(workspace.dataset_dir("plate7") / "summary.json", {"images": 7})

    history = read_history(workspace, Reader(), "run-1")

    assert history.name == "run-1"  # a run without a name goes by its id
    assert history.seconds == 60
    assert history.provenance["versions"]["torch"] == "2.15"
    assert history.dataset["images"] == 7
    assert history.notes == (("Careful.", True),)
    assert len(history.iterations) == 2


def test_a_run_whose_dataset_is_gone_can_still_be_told(workspace: Workspace):
    history = read_history(workspace, Reader(), "run-1")

    assert history.dataset == {}
    assert history.provenance == {}


def test_the_room_loads_neither_torch_nor_streamlit():
    code = (
        "import importlib, pkgutil, sys, msip_core.views as views\n"
        "for module in pkgutil.iter_modules(views.__path__):\n"
        "    importlib.import_module(f'msip_core.views.{module.name}')\n"
        "bad = {'torch', 'streamlit', 'ultralytics', 'matplotlib.pyplot'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
