"""The same run on the command line, so that a click can be repeated by a script."""

from __future__ import annotations

import shlex
from typing import Any

import streamlit as st

from msip_core.config import (
    PRUNE_PRESETS,
    RECIPES,
    TRAIN_PRESETS,
    PruneConfig,
    TrainConfig,
    TrainingRecipe,
)

_PROGRAM = ("python", "-m", "msip_core")


def command_line(config: TrainConfig | PruneConfig) -> str | None:
    """The `train` or `prune` command that makes this very config, else None.

    None: some setting has no option on the command line (a recipe edited by hand, say).
    """
    words = _train_words(config) if isinstance(config, TrainConfig) else _prune_words(config)
    if words is None:
        return None
    shared = [
        "--imgsz", config.imgsz, "--batch", config.batch, "--seed", config.seed,
        "--device", config.device,
    ]  # fmt: skip
    shared += ["--workers", config.workers] if config.workers else []
    shared += ["--name", config.name] if config.name else []
    return shlex.join(str(word) for word in [*_PROGRAM, *words, *shared])


def show_command(config: TrainConfig | PruneConfig) -> None:
    """Draw the command in a box with a copy button."""
    command = command_line(config)
    with st.expander("The same on the command line", icon=":material/terminal:"):
        if command:
            st.code(command, language="bash", wrap_lines=True)
        else:
            st.caption(
                "Some of these settings have no option on the command line; the run's "
                "config.json holds them all."
            )


def _train_words(config: TrainConfig) -> list[Any] | None:
    if config.pretrain is not None:
        return None
    for name, preset in TRAIN_PRESETS.items():
        if _same_but_epochs(config.recipe, preset["recipe"]):
            return [
                "train", "--data", config.dataset, "--weights", config.weights,
                "--preset", name, "--epochs", config.recipe.epochs,
            ]  # fmt: skip
    return None


def _prune_words(config: PruneConfig) -> list[Any] | None:
    name = _prune_preset(config)
    default = PruneConfig(dataset=config.dataset, model=config.model)
    msip = config.msip.model_copy(
        update={"weights": default.msip.weights, "dynamic_weights": default.msip.dynamic_weights}
    )
    limits = config.limits.model_copy(update={"round_to": default.limits.round_to})
    plain = (
        msip == default.msip
        and limits == default.limits
        and config.granularity == default.granularity
        and config.recovery == default.recovery
        and config.adaptive_threshold
        and config.bn_recalibration == default.bn_recalibration
        and config.pretrain in (None, RECIPES["paper-pretrain"])
    )
    if name is None or not plain:
        return None
    words: list[Any] = [
        "prune", "--data", config.dataset, "--model", config.model, "--method", config.method,
        "--keep-macs", config.keep_macs, "--preset", name, "--iterations", config.iterations,
        "--epochs", config.finetune.epochs, "--round-to", config.limits.round_to,
        "--max-drop", config.max_map50_drop or 0,
    ]  # fmt: skip
    if config.method.startswith("msip"):
        words += ["--msip-weights", *config.msip.weights.as_tuple()]
        words += [] if config.msip.dynamic_weights else ["--static-weights"]
    if config.allocation:
        words += ["--allocation", config.allocation]
    if (config.pretrain is not None) != (PRUNE_PRESETS[name].get("pretrain") is not None):
        words.append("--pretrain" if config.pretrain else "--no-pretrain")
    return words


def _prune_preset(config: PruneConfig) -> str | None:
    """The preset whose recipe and calibration these are; epochs and iterations have options."""
    default = PruneConfig(dataset=config.dataset, model=config.model)
    for name, preset in PRUNE_PRESETS.items():
        calibration = preset.get("calibration", default.calibration)
        if config.calibration == calibration and _same_but_epochs(
            config.finetune, preset["finetune"]
        ):
            return name
    return None


def _same_but_epochs(one: TrainingRecipe, other: TrainingRecipe) -> bool:
    return one.model_copy(update={"epochs": other.epochs}) == other
