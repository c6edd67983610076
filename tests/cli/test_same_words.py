"""The command that a page shows makes the very run that the page would start."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from msip_core.cli.main import main
from msip_core.compositions import COMPOSITIONS
from msip_core.config import (
    PRUNE_PRESETS,
    RECIPES,
    WEIGHT_PRESETS,
    AllocationOptions,
    MsipOptions,
    PruneConfig,
    TrainConfig,
)
from msip_core.options import command_line, repeat_command
from msip_core.runs.service import RunService
from msip_core.ways import Way
from msip_core.workspace import Workspace
from tests.drawn import copy_example


@pytest.fixture
def weights(workspace: Workspace) -> Path:
    """The drawn dataset "d", and a file where weights should be."""
    copy_example(workspace, "d", images=8, size=64)
    path = workspace.uploads / "w.pt"
    path.write_bytes(b"not opened here")
    return path


def _made_by(command: str, workspace: Workspace) -> TrainConfig | PruneConfig:
    words = shlex.split(command)[3:]
    assert main([*words, "--detach", "--workspace", str(workspace.root)]) == 0
    return RunService(workspace).list(limit=1)[0].config


@pytest.mark.parametrize("preset", PRUNE_PRESETS)
def test_a_pruning_run(workspace: Workspace, weights: Path, preset: str) -> None:
    settings = {**PRUNE_PRESETS[preset], "iterations": 3}
    config = PruneConfig(
        name="plate 7 to 60 %", dataset="d", dataset_version=1, model=str(weights),
        imgsz=96, batch=2, seed=5,
        device="cpu", keep_macs=0.6, limits=AllocationOptions(round_to=4), max_map50_drop=None,
        msip=MsipOptions(weights=WEIGHT_PRESETS["gradient-heavy"], dynamic_weights=False),
        **settings,
    )  # fmt: skip
    command = command_line(config)
    assert command is not None
    assert _made_by(command, workspace) == config


def test_a_pruning_run_of_another_method(workspace: Workspace, weights: Path) -> None:
    config = PruneConfig(
        dataset="d",
        dataset_version=1,
        model=str(weights),
        method="lamp",
        allocation="global",
        device="cpu",
        **PRUNE_PRESETS["quick"],
    )
    command = command_line(config)
    assert command is not None
    assert _made_by(command, workspace) == config


@pytest.mark.parametrize("recipe", ["quick-baseline", "paper-baseline"])
def test_a_training_run(workspace: Workspace, weights: Path, recipe: str) -> None:
    config = TrainConfig(
        name="a b", dataset="d", dataset_version=1, weights=str(weights), device="cpu",
        imgsz=128, workers=1,
        recipe=RECIPES[recipe].model_copy(update={"epochs": 3}),
    )  # fmt: skip
    command = command_line(config)
    assert command is not None
    assert _made_by(command, workspace) == config


def test_the_line_in_the_report_is_the_same_run(workspace: Workspace, weights: Path) -> None:
    config = PruneConfig(
        name="a b", dataset="d", dataset_version=1, model=str(weights), keep_macs=0.5, imgsz=96,
        **PRUNE_PRESETS["standard"],
    )  # fmt: skip
    assert _made_by(command_line(config), workspace) == config


def test_a_run_with_settings_that_have_no_option(workspace: Workspace, weights: Path) -> None:
    config = PruneConfig(
        name="by half the weights", dataset="d", dataset_version=1, model=str(weights),
        keep_params=0.5,
        msip=MsipOptions(fusion="rank"), repair="none", granularity="mixed", blocks=1,
        recovery="cwd", distill={"temperature": 4.0, "layers": [15, 18]}, imgsz=96,
        limits=AllocationOptions(round_to=4, min_kept=0.2), **PRUNE_PRESETS["quick"],
    )  # fmt: skip
    assert _made_by(command_line(config), workspace) == config


def test_a_run_that_trains_otherwise_than_its_schedule_does(
    workspace: Workspace, weights: Path
) -> None:
    """Each way to train is an option beside the preset, with the guard that goes with it."""
    common = f"python -m msip_core prune --data d --model {weights} --device cpu --preset"
    often = _made_by(f"{common} standard --finetune-after every-cut --average carry", workspace)
    once = _made_by(f"{common} quick --finetune-after last-cut", workspace)

    assert isinstance(often, PruneConfig)
    assert isinstance(once, PruneConfig)
    assert (often.finetune_after, often.average, often.max_map50_drop) == (
        "every-cut",
        "carry",
        0.03,
    )
    assert (once.finetune_after, once.average, once.max_map50_drop) == ("last-cut", "restart", None)
    for config in (often, once):
        assert _made_by(command_line(config), workspace) == config


def test_a_published_whole_is_one_word_and_can_be_changed(
    workspace: Workspace, weights: Path
) -> None:
    line = f"python -m msip_core prune --data d --model {weights} --composition slimming-cwd"
    made = _made_by(f"{line} --keep-macs 0.5 --round-to 4 --device cpu", workspace)

    assert isinstance(made, PruneConfig)
    assert (made.method, made.allocation, made.recovery) == ("bnscale", "uniform", "cwd")
    assert (made.keep_macs, made.limits.round_to) == (0.5, 4)
    assert made.limits.max_removed_per_iteration == 0.6


@pytest.mark.parametrize("name", [n for n in COMPOSITIONS if not COMPOSITIONS[n].weights])
def test_every_published_whole_is_one_word(workspace: Workspace, weights: Path, name: str) -> None:
    line = f"python -m msip_core prune --data d --model {weights} --composition {name}"
    made = _made_by(f"{line} --device cpu", workspace)

    assert isinstance(made, PruneConfig)
    for setting, value in COMPOSITIONS[name].settings.items():
        found = getattr(made, setting)
        if isinstance(value, dict):
            found = {key: getattr(found, key) for key in value}
        assert found == value, setting


@pytest.mark.parametrize("more", ["", "--composition lamp-guide", "--method l2"])
def test_a_speed_up_is_an_option_of_every_run(
    workspace: Workspace, weights: Path, more: str
) -> None:
    line = f"python -m msip_core prune --data d --model {weights} --device cpu {more}"
    made = _made_by(f"{line} --speed-up 4", workspace)

    assert isinstance(made, PruneConfig)
    assert made.goal == ("latency", 0.25)


@pytest.mark.parametrize("device", ["", "--device cuda:1"])
def test_a_speed_up_may_be_asked_of_a_gpu(workspace: Workspace, weights: Path, device: str) -> None:
    """Whoever names the GPU of the milliseconds has named that of the run."""
    line = f"python -m msip_core prune --data d --model {weights} --speed-up 2 {device}"
    more = "--latency-device cuda:1 --latency-precision fp16 --latency-batch 32 --round-to 64"
    made = _made_by(f"{line} {more}", workspace)

    assert isinstance(made, PruneConfig)
    assert made.goal == ("latency", 0.5)
    assert made.device == "cuda:1"
    assert made.latency_way("cuda:1") == Way("cuda:1", "cudagraph", "fp16", 32)
    assert made.limits.multiple == 64


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--speed-up", "2", "--keep-latency", "0.5"], "are the same goal"),
        (["--speed-up", "2", "--latency-precision", "fp16"], "a processor only imitates it"),
        (["--speed-up", "2", "--latency-device", "gpu7"], "not on 'gpu7'"),
        (["--speed-up", "1"], "above 1"),
        (["--speed-up", "nan"], "cannot be nan"),
        (["--speed-up", "-2"], "above 1"),
    ],
)
def test_a_wrong_speed_up_is_one_sentence(
    workspace: Workspace,
    weights: Path,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    line = ["prune", "--data", "d", "--model", str(weights), "--workspace", str(workspace.root)]

    assert main([*line, *words, "--detach"]) == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("msip.nonsense=1", "There is no setting 'msip.nonsense'"),
        ("fusion", "'fusion' is no setting: write its name"),
        ("finetune=5", "finetune: it has parts, which are set one by one"),
        ("imgsz=33", "imgsz: it must be a multiple of 32"),
        ("msip.fusion=cold", "msip.fusion: it must be 'product' or 'rank' (got 'cold')"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    workspace: Workspace, weights: Path, capfd: pytest.CaptureFixture[str], word: str, said: str
) -> None:
    words = ["prune", "--data", "d", "--model", str(weights), "--workspace", str(workspace.root)]

    assert main([*words, "--set", word, "--detach"]) == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--keep-macs", "33", "keep_macs: it must be below 1; 33 % is 0.33 (got 33.0)."),
        ("--keep-macs", "1", "keep_macs: it must be below 1 (got 1.0)."),
        ("--keep-macs", "0,335", "'--keep-macs': it must be a number with a point, not a comma"),
        ("--keep-macs", "a third", "'--keep-macs': it must be a number (got 'a third')."),
        ("--seed", "1.5", "'--seed': it must be a whole number (got '1.5')."),
        ("--seed", "-1", "'--seed': it must be at least 0 (got '-1')."),
    ],
)
def test_a_wrong_number_is_told_in_words_that_say_how_to_write_it(
    workspace: Workspace, weights: Path, capfd: pytest.CaptureFixture[str],
    option: str, value: str, said: str,
) -> None:  # fmt: skip
    words = ["prune", "--data", "d", "--model", str(weights), "--workspace", str(workspace.root)]

    assert main([*words, option, value, "--detach"]) == 2
    assert said in capfd.readouterr().err


def test_repeat_from_the_file_of_a_run_takes_even_what_has_no_option(
    workspace: Workspace, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PruneConfig(
        dataset="d",
        dataset_version=1,
        model=str(weights),
        msip=MsipOptions(fusion="rank"),
        repair="none",
    )
    run_id = RunService(workspace).submit(config)
    monkeypatch.chdir(workspace.root)
    assert _made_by(repeat_command(config, run_id), workspace) == config


def test_a_file_of_settings_and_settings_beside_it_are_refused(
    workspace: Workspace, weights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_id = RunService(workspace).submit(
        PruneConfig(dataset="d", dataset_version=1, model=str(weights))
    )
    file = str(workspace.run_dir(run_id) / "config.json")
    words = ["--config", file, "--workspace", str(workspace.root)]

    assert main(["prune", *words, "--keep-macs", "0.5"]) == 2
    assert "leave out keep_macs" in capfd.readouterr().err
    assert main(["train", *words]) == 2
    assert "'prune' run: use that verb" in capfd.readouterr().err
