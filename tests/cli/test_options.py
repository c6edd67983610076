"""The command line and the config are one schema, read both ways."""

from __future__ import annotations

import random
import shlex
import time
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import typer

from msip_core.catalog import ALLOCATIONS, CRITERIA, GRANULARITIES, RECOVERIES
from msip_core.changes import with_settings
from msip_core.cli.main import app
from msip_core.config import (
    PRUNE_PRESETS,
    TRAIN_PRESETS,
    WEIGHT_PRESETS,
    Average,
    Loader,
    PruneConfig,
    Repair,
    TrainConfig,
    parse_run_config,
)
from msip_core.errors import ConfigError
from msip_core.options import OPTIONS, Kind, command_line, config_of
from msip_core.recipes import RECIPES

RECIPE_VALUES = [*RECIPES.values(), RECIPES["paper-finetune"].model_copy(update={"epochs": 7})]
COMMON: dict[str, list[Any]] = {
    "imgsz": [96, 640], "batch": [2, 16], "seed": [0, 2**32 - 1],
    "device": ["auto", "cpu", "cuda:1"],
    "workers": [None, 0, 3], "loader": list(get_args(Loader)), "parts": [1, 2],
    "name": ["", "plate 7, 'a' third", "$HOME; µm"], "precision": ["auto", "fp32"],
    "pretrain": [None, *RECIPE_VALUES],
}  # fmt: skip
VALUES: dict[str, dict[str, list[Any]]] = {
    "train": {**COMMON, "recipe": RECIPE_VALUES, "weights": ["yolov8n.yaml", "a b.pt"]},
    "prune": {
        **COMMON, "method": list(CRITERIA), "allocation": [None, *ALLOCATIONS],
        "granularity": list(GRANULARITIES), "recovery": list(RECOVERIES),
        "msip": [
            {}, {"dynamic_weights": False}, {"fusion": "rank"}, {"geometry": "obs"},
            {"weights": WEIGHT_PRESETS["gradient-heavy"], "dynamic_weights": False},
        ],
        "limits": [{}, {"round_to": 16}, {"round_to": 4, "min_kept": 0.3}, {"cost": "latency"}],
        "keep_macs": [0.335, 0.1 + 0.2], "keep_params": [None, 0.5], "keep_latency": [None, 1 / 3],
        "latency_device": ["cpu", "auto", "cuda:1"], "latency_batch": [1, 32],
        "latency_format": ["auto", "onnx", "pytorch", "tensorrt"],
        "latency_precision": ["fp32", "fp16"], "iterations": [1, 4, 16], "finetune": RECIPE_VALUES,
        "finetune_after": ["every-cut", "last-cut"], "average": list(get_args(Average)),
        "repair": list(get_args(Repair)), "max_map50_drop": [None, 0.03, 1e-05],
        "adaptive_threshold": [True, False], "blocks": [2, 5], "prox": [0.0, 1e-4],
        "modules": [("C2f",), ("Conv", "SPPF")],
        "distill": [{}, {"temperature": 4.0, "layers": [15, 18]}], "search": [{}, {"trials": 7}],
        "calibration": [{}, {"batches": 2}],
    },
}  # fmt: skip
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PRESETS = {"train": TRAIN_PRESETS, "prune": PRUNE_PRESETS}
NEEDED = {"train": {"weights": "w.pt"}, "prune": {"model": "baseline-1"}}


def configs(kind: str, many: int) -> Iterator[TrainConfig | PruneConfig]:
    """So many different ones: a preset, then up to six settings by lot."""
    luck = random.Random(15)
    while many:
        settings = {**NEEDED[kind], **luck.choice(list(PRESETS[kind].values()))}
        for name in luck.sample(list(VALUES[kind]), luck.randrange(7)):
            settings[name] = luck.choice(VALUES[kind][name])
        try:
            config = parse_run_config({"kind": kind, "dataset": "d", **settings})
        except ConfigError:
            continue  # such settings contradict each other
        many -= 1
        yield config


def read(line: str) -> TrainConfig | PruneConfig:
    """What the command line makes of these words, without a look at the workspace."""
    program, kind, *words = shlex.split(line.removeprefix("python -m "))
    assert program == "msip_core"
    given = VERBS[kind].make_context(kind, words).params
    asked = {o.name: given[o.name] for o in OPTIONS[kind] if given[o.name] is not None}
    return with_settings(config_of(kind, asked), given["set"] or ())  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["train", "prune"])
def test_the_command_line_of_any_config_makes_the_same_config_again(kind: str) -> None:
    for config in configs(kind, 120):
        line = command_line(config)
        assert read(line) == config, line


def test_a_line_says_no_option_that_changes_nothing() -> None:
    for config in configs("prune", 20):
        words = shlex.split(command_line(config))
        for option in OPTIONS["prune"]:
            if option.always or not option.path or option.switch not in words:
                continue
            start = words.index(option.switch)
            end = next(
                (n for n in range(start + 1, len(words)) if words[n].startswith("--")), len(words)
            )
            try:
                other = read(shlex.join([*words[:start], *words[end:]]))
            except ConfigError:
                continue
            assert other != config, option.switch


@pytest.mark.parametrize("kind", ["train", "prune"])
def test_every_option_of_the_table_is_an_option_of_its_verb(kind: Kind) -> None:
    known = {flag for p in VERBS[kind].params for flag in p.opts}

    assert {option.switch for option in OPTIONS[kind]} <= known


def test_a_line_is_made_fast_enough_to_be_on_a_page() -> None:
    made = list(configs("prune", 20))
    started = time.process_time()
    for config in made:
        command_line(config)

    assert (time.process_time() - started) / len(made) < 0.1
