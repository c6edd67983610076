"""Settings in words, and a command line that the program understands."""

from __future__ import annotations

import shlex

import pytest
import typer

from msip_core.config import PRUNE_PRESETS, TRAIN_PRESETS, MsipOptions, MsipWeights, TrainConfig
from msip_core.options import command_line, repeat_command
from msip_core.views import protocol
from tests.views import samples


def test_the_protocol_names_method_goal_and_guard():
    lines = {s.what: s for s in protocol.protocol(samples.prune_config())}

    assert lines["Method"].value == "MSIP, loss per MAC"
    assert lines["Weights"].value == "0.4 / 0.3 / 0.2 / 0.1"
    assert lines["Goal"].value == "keep 33.5 % of the MACs"
    assert lines["Guard rail"].value == "stop if mAP50 falls more than 0.03"
    assert lines["Fine-tuning"].value == "30 epochs"
    assert "learning rate 0.001 to 1e-05 (cosine)" in lines["Fine-tuning"].detail


def test_methods_without_weights_show_none():
    lines = {s.what for s in protocol.protocol(samples.prune_config(method="l1"))}

    assert "Weights" not in lines


def test_the_multiple_of_the_channels_is_the_one_that_was_measured():
    config = samples.prune_config(keep_latency=0.5)

    said = {s.what: s.value for s in protocol.protocol(config, 16)}
    unknown = {s.what: s.value for s in protocol.protocol(config)}

    assert said["Limits"] == "channels in multiples of 16"
    assert unknown["Limits"] == "channels in multiples of 8"


def test_a_goal_in_milliseconds_says_in_which_way_they_are_measured():
    here = samples.prune_config(keep_latency=0.5)
    there = samples.prune_config(
        keep_latency=0.5, latency_device="auto", latency_precision="fp16", latency_batch=32
    )

    goals = [
        next(s.value for s in protocol.protocol(config) if s.what == "Goal")
        for config in (here, there)
    ]

    assert goals == [
        "keep 50.0 % of the milliseconds (ONNX Runtime, processor, fp32, batch 1)",
        "keep 50.0 % of the milliseconds (where the run runs, fp16, batch 32)",
    ]


def test_a_training_run_shows_its_schedules_in_order():
    config = TrainConfig(
        dataset="d", weights="yolov8n.yaml", pretrain=TRAIN_PRESETS["quick"]["recipe"]
    )

    names = [s.what for s in protocol.protocol(config)]

    assert names[:3] == ["Start from", "Pre-training", "Training"]


CONFIGS = [
    samples.prune_config(),
    samples.prune_config(**PRUNE_PRESETS["quick"]),
    samples.prune_config(
        **PRUNE_PRESETS["paper"], method="lamp", allocation="uniform", max_map50_drop=None,
        seed=3, device="cpu", workers=2,
        loader="ultralytics", imgsz=256,
    ),
    samples.prune_config(
        msip=MsipOptions(
            weights=MsipWeights(gradient=0.6, geometry=0.2, sparsity=0.1, information=0.1),
            dynamic_weights=False,
        ),
        limits={"round_to": 16},
    ),
    TrainConfig(dataset="d", weights="yolov8n.yaml", **TRAIN_PRESETS["quick"]),
]  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_the_command_line_says_the_whole_run_in_options_that_exist(config):
    from msip_core.cli.main import app

    line = shlex.split(command_line(config))

    verb = typer.main.get_command(app).commands[line[3]]  # type: ignore[attr-defined]
    known = {name for p in verb.params for name in (*p.opts, *p.secondary_opts)}
    assert line[:3] == ["python", "-m", "msip_core"]
    assert {word for word in line if word.startswith("--")} <= known


def test_settings_that_have_no_option_are_set_by_name():
    config = samples.prune_config(
        repair="none", msip=MsipOptions(fusion="rank"), limits={"min_kept": 0.3}
    )

    line = command_line(config)

    assert "--set msip.fusion=rank --set limits.min_kept=0.3" in line
    assert " --repair none " in line


def test_the_exact_repeat_reads_the_runs_own_settings_file():
    line = repeat_command(samples.prune_config(), "run-1")

    assert line == "python -m msip_core prune --config runs/run-1/config.json --workspace ."
