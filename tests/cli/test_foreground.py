"""Runs from a terminal: worked on, paused by Ctrl-C, resumed, failed, handed over."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from msip_core.cli import foreground
from msip_core.config import PruneConfig, TrainConfig
from msip_core.runs.executors import LocalExecutor
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.runs.supervisor import Supervisor
from msip_core.workspace import Workspace
from tests.cli.conftest import Verb
from tests.drawn import copy_example


@pytest.fixture
def quick_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real queue, real worker process, our own work in it."""
    executor = LocalExecutor(("--work", "tests.cli.work:run", "--check", "tests.cli.work:check"))
    monkeypatch.setattr(foreground, "Supervisor", partial(Supervisor, executor=executor))
    monkeypatch.setenv("PYTHONPATH", os.getcwd())


@pytest.fixture
def dataset(workspace: Workspace) -> str:
    """A few drawn micrographs."""
    return copy_example(workspace, "drawn", images=8, size=64).name


TRAIN = ("train", "--weights", "yolov8n.yaml", "--imgsz", 64)


@pytest.mark.usefixtures("quick_work")
def test_a_run_in_the_foreground_tells_its_epochs_and_ends_with_its_document(
    msip: Verb, dataset: str
) -> None:
    said = msip(*TRAIN, "--data", dataset, "--json")
    assert said.code == 0, said.err
    assert said.document["state"] == "completed"
    assert said.document["config"]["dataset"] == dataset
    assert [line for line in said.err.splitlines() if "epoch" in line] == [
        f"  epoch {i}/3  loss 1.000  (0 s)" for i in (1, 2, 3)
    ]


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """A process that a shell started in the background ignores Ctrl-C, its tests included."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("quick_work", "heeds_ctrl_c")
def test_ctrl_c_pauses_and_says_how_to_go_on_and_resume_does(
    msip: Verb, dataset: str, workspace: Workspace
) -> None:
    _interrupt_when(lambda: any(workspace.runs.glob("*/begun")))
    said = msip(*TRAIN, "--data", dataset, "--name", "slow")
    run = RunService(workspace).list()[0]

    assert (said.code, run.state) == (1, RunState.PAUSED)
    assert f"runs resume {run.id}" in said.out

    resumed = msip("runs", "resume", run.id, "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.document["state"] == "completed"


@pytest.mark.usefixtures("quick_work")
@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [("broken", 1, "The disk is full."), ("wrong", 2, "These classes are not in the dataset.")],
)
def test_a_run_that_fails_gives_its_reason_as_one_sentence(
    msip: Verb, dataset: str, name: str, code: int, sentence: str
) -> None:
    said = msip(*TRAIN, "--data", dataset, "--name", name, "--json")
    assert said.code == code
    assert said.document["error"].startswith(sentence)
    assert "runs resume" in said.document["error"]


def test_detach_queues_the_run_and_returns(msip: Verb, dataset: str, workspace: Workspace) -> None:
    said = msip(*TRAIN, "--data", dataset, "--detach", "--json")
    assert (said.code, said.document["state"]) == (0, "queued")
    assert RunService(workspace).get(said.document["id"]).state is RunState.QUEUED
    assert said.document["queue_position"] == 1


def test_presets_and_options_become_the_same_config_as_on_the_pages(
    msip: Verb, dataset: str, workspace: Workspace
) -> None:
    said = msip(
        *TRAIN, "--data", dataset, "--preset", "paper", "--epochs", 7, "--seed", 3, "--batch", 4,
        "--detach", "--json",
    )  # fmt: skip
    config = RunService(workspace).get(said.document["id"]).config
    assert isinstance(config, TrainConfig)
    assert (config.recipe.epochs, config.recipe.lr0, config.recipe.warmup_epochs) == (7, 0.01, 3.0)
    assert (config.seed, config.batch, config.imgsz) == (3, 4, 64)


@pytest.fixture
def weights(workspace: Workspace) -> str:
    """A file where weights should be; nobody opens it before a worker does."""
    path = workspace.uploads / "some.pt"
    path.write_bytes(b"not opened here")
    return str(path)


def test_prune_takes_weights_goal_and_preset_as_its_page_does(
    msip: Verb, dataset: str, weights: str, workspace: Workspace
) -> None:
    said = msip(
        "prune", "--data", dataset, "--model", weights, "--preset", "standard",
        "--msip-weights", 0.6, 0.2, 0.1, 0.1, "--keep-macs", 0.6, "--iterations", 5,
        "--round-to", 4, "--max-drop", 0, "--detach", "--json",
    )  # fmt: skip
    config = RunService(workspace).get(said.document["id"]).config
    assert isinstance(config, PruneConfig)
    assert config.msip.weights.as_tuple() == (0.6, 0.2, 0.1, 0.1)
    assert (config.keep_macs, config.iterations, config.finetune.epochs) == (0.6, 5, 80)
    assert config.finetune_after == "last-cut"
    assert (config.limits.round_to, config.max_map50_drop, config.pretrain) == (4, None, None)


def test_prune_by_default_is_the_paper(
    msip: Verb, dataset: str, weights: str, workspace: Workspace
) -> None:
    said = msip("prune", "--data", dataset, "--model", weights, "--detach", "--json")
    config = RunService(workspace).get(said.document["id"]).config
    assert isinstance(config, PruneConfig)
    assert (config.method, config.keep_macs, config.iterations) == ("msip", 0.335, 16)
    assert config.finetune.epochs == 30
    assert config.pretrain is not None
    assert config.pretrain.epochs == 50


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--msip-weights", 0.9, 0.9, 0.1, 0.1), "sum to 1"),
        (("--keep-macs", 1.5), "keep_macs"),
        (("--method", "magic"), "magic"),
        (("--round-to", 3), "round_to"),
        (("--preset", "fast"), "fast"),
        (("--imgsz", 100), "multiple of 32"),
    ],
)
def test_settings_out_of_range_are_code_2_and_name_the_setting(
    msip: Verb, dataset: str, weights: str, words: tuple[object, ...], named: str
) -> None:
    said = msip("prune", "--data", dataset, "--model", weights, "--detach", "--json", *words)
    assert said.code == 2
    assert named in said.document["error"]


def test_pause_resume_cancel_and_show_follow_the_table_of_states(msip: Verb, dataset: str) -> None:
    run = msip(*TRAIN, "--data", dataset, "--detach", "--json").document["id"]

    assert msip("runs", "pause", run, "--json").document["state"] == "paused"
    assert msip("runs", "resume", run, "--detach", "--json").document["state"] == "queued"
    assert msip("runs", "cancel", run, "--json").document["state"] == "cancelled"
    again = msip("runs", "pause", run, "--json")
    assert again.code == 2
    assert again.document["kind"] == "IllegalTransitionError"
    shown = msip("runs", "show", run, "--json").document
    assert (shown["id"], shown["state"], shown["iterations"]) == (run, "cancelled", [])
    assert msip("runs", "list", "--state", "queued", "--json").document == {"runs": []}


def test_the_index_is_rebuilt_from_the_folders(
    msip: Verb, dataset: str, workspace: Workspace
) -> None:
    run = msip(*TRAIN, "--data", dataset, "--detach", "--json").document["id"]
    for file in workspace.root.glob("lab.sqlite*"):
        file.unlink()

    assert msip("runs", "reindex", "--json").document["runs"] == 1
    assert msip("runs", "list", "--json").document["runs"][0]["id"] == run


def _interrupt_when(condition: Callable[[], bool]) -> None:
    """Press Ctrl-C once, from another thread, when the condition holds."""

    def watch() -> None:
        until = time.monotonic() + 60
        while not condition() and time.monotonic() < until:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
