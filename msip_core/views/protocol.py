"""A run's settings in words, and the command that repeats it."""

from __future__ import annotations

import json
import shlex
from typing import Any, NamedTuple

from msip_core.catalog import ALLOCATIONS, CRITERIA, GRANULARITIES, RECOVERIES, Entry
from msip_core.combinations import allocation_name
from msip_core.config import (
    PRUNE_PRESETS,
    TRAIN_PRESETS,
    After,
    AllocationOptions,
    Average,
    MsipOptions,
    Precision,
    PruneConfig,
    Repair,
    TrainConfig,
    TrainingRecipe,
)
from msip_core.views import wording


class Setting(NamedTuple):
    """One line of the protocol; `detail` is the expert's version, in small type."""

    what: str
    value: str
    detail: str = ""


PRECISIONS: dict[Precision, str] = {
    "auto": "convolutions are trained in bfloat16 where the device multiplies in it",
    "fp32": "trained in float32",
}


REPAIRS: dict[Repair, str] = {
    "none": "measured and trained as cut",
    "recalibrate": "fresh batch-norm statistics from the images for scoring",
    "refit": "weights by least squares on the images for scoring, the ridge by validation",
    "auto": "as cut, recalibrated or refitted, whichever validation likes best",
}


_STEPS: dict[After, str] = {
    "every-cut": "each scores, prunes and fine-tunes",
    "last-cut": "each scores, prunes and repairs; the last one fine-tunes",
}
AVERAGES: dict[Average, str] = {
    "restart": "counts the steps of each fine-tuning anew",
    "carry": "counts the steps of all iterations",
}


def protocol(config: TrainConfig | PruneConfig, multiple: int | None = None) -> list[Setting]:
    """What was set, in the order of the work.

    Args:
        multiple: of the channels of a layer, where the run measured it.
    """
    common = [
        Setting("Data", config.dataset, f"{config.imgsz} px, batch {config.batch}"),
        Setting("Seed", str(config.seed), "the same seed repeats the run"),
        Setting("Device", config.device, PRECISIONS[config.precision]),
    ]
    if isinstance(config, TrainConfig):
        lines = [Setting("Start from", config.weights), *_schedule("Training", config.recipe)]
        if config.pretrain:
            lines[1:1] = _schedule("Pre-training", config.pretrain)
        return lines + common
    method = CRITERIA.get(config.method)
    allocation = allocation_name(config) if method else config.allocation or ""
    lines = [
        Setting("Start from", config.model),
        Setting(
            "Method",
            method.label if method else config.method,
            f"{method.description} {method.paper}" if method else "",
        ),
        *(_weights(config.msip, method.name) if method and method.adapted else []),
        Setting(
            "How many channels each layer loses",
            ALLOCATIONS[allocation].label if allocation in ALLOCATIONS else allocation,
            ALLOCATIONS[allocation].description if allocation in ALLOCATIONS else "",
        ),
        _strategy("What is taken out", GRANULARITIES.get(config.granularity), config.granularity),
        Setting("Goal", f"keep {_goal(config)}"),
        Setting("Iterations", str(config.iterations), _STEPS[config.finetune_after]),
        *(_schedule("Pre-training", config.pretrain) if config.pretrain else []),
        *_schedule("Fine-tuning", config.finetune),
        Setting("Running average of the weights", config.average, AVERAGES[config.average]),
        _strategy("How it learns again", RECOVERIES.get(config.recovery), config.recovery),
        _guard(config),
        _limits(config, multiple),
        Setting(
            "Images for scoring",
            f"{config.calibration.batches} batches of {config.calibration.batch}",
            "a fixed list of training images",
        ),
        Setting("Repair after a cut", config.repair, REPAIRS[config.repair]),
    ]
    return lines + common


def _strategy(what: str, entry: Entry | None, name: str) -> Setting:
    """A strategy in words; by its bare name where a newer version wrote the run."""
    if entry is None:
        return Setting(what, name)
    return Setting(what, entry.label, f"{entry.description} {entry.paper}")


def _weights(options: MsipOptions, method: str) -> list[Setting]:
    weights = " / ".join(f"{value:g}" for value in options.weights.as_tuple())
    follow = "follow validation" if options.dynamic_weights else "stay as they are"
    return [
        Setting(
            "Weights",
            weights,
            f"gradient / geometry / sparsity / information; they {follow}"
            f"{f'; fusion: {options.fusion}' if method == 'msip' else ''}",
        )
    ]


def _schedule(what: str, recipe: TrainingRecipe) -> list[Setting]:
    decay = "cosine" if recipe.cos_lr else "linear"
    detail = (
        f"SGD, learning rate {recipe.lr0:g} to {recipe.lr0 * recipe.lrf:g} ({decay}), momentum "
        f"{recipe.momentum:g}, weight decay {recipe.weight_decay:g}, "
        f"rotation ±{recipe.degrees:g}°, scale ±{recipe.scale:g}, mixup {recipe.mixup:g}, "
        f"mosaic {recipe.mosaic:g} (off for the last {recipe.close_mosaic})"
    )
    return [Setting(what, wording.plural(recipe.epochs, "epoch"), detail)]


def _guard(config: PruneConfig) -> Setting:
    if config.max_map50_drop is None:
        return Setting("Guard rail", "off")
    return Setting(
        "Guard rail",
        f"stop if mAP50 falls more than {config.max_map50_drop:g}",
        "below the baseline after fine-tuning; the last good model is kept",
    )


def _limits(config: PruneConfig, measured: int | None) -> Setting:
    limits, multiple = config.limits, measured or config.limits.multiple
    return Setting(
        "Limits",
        f"channels in multiples of {multiple}" if multiple > 1 else "widths free",
        f"at most {wording.percent(limits.max_removed_per_iteration)} of a layer in one "
        f"iteration; at least {wording.percent(limits.min_kept)} of it stays",
    )


# --- repeating ----------------------------------------------------------------


def repeat_command(config: TrainConfig | PruneConfig, run_id: str) -> str:
    """The line that repeats the run exactly, from inside the workspace."""
    path = f"runs/{run_id}/config.json"
    return f"python -m msip_core {config.kind} --config {path} --workspace ."


def command_line(config: TrainConfig | PruneConfig) -> str:
    """The verb with the options that differ from their defaults; `--set` says what has none."""
    words = ["python", "-m", "msip_core", config.kind]
    for option, value in [*_options(config), *_others(config)]:
        words.append(option)
        if value is not None:
            words += [shlex.quote(str(part)) for part in value]
    return " ".join(words)


def _others(config: TrainConfig | PruneConfig) -> list[tuple[str, tuple[Any, ...]]]:
    """What the options leave unsaid, by dotted names."""
    whole, said = (c.model_dump(mode="json") for c in (config, _as_commanded(config)))
    return [("--set", (f"{name}={_value(whole, name)}",)) for name in _different(whole, said)]


def _value(settings: Any, name: str) -> str:
    for part in name.split("."):
        settings = settings[part]
    return settings if isinstance(settings, str) else json.dumps(settings)


def _preset_of(config: TrainConfig | PruneConfig) -> tuple[str, dict[str, Any]]:
    """The preset with the most settings in common; its number of epochs may differ."""
    presets = TRAIN_PRESETS if isinstance(config, TrainConfig) else PRUNE_PRESETS

    def differences(name: str) -> int:
        shown = config.model_copy(update=presets[name])
        return len(_different(config.model_dump(mode="json"), shown.model_dump(mode="json")))

    name = min(presets, key=differences)
    return name, presets[name]


def _options(config: TrainConfig | PruneConfig) -> list[tuple[str, tuple[Any, ...] | None]]:
    name, preset = _preset_of(config)
    options: list[tuple[str, tuple[Any, ...] | None]] = [("--data", (config.dataset,))]
    if isinstance(config, TrainConfig):
        options += [("--weights", (config.weights,)), ("--preset", (name,))]
        if config.recipe.epochs != preset["recipe"].epochs:
            options.append(("--epochs", (config.recipe.epochs,)))
    else:
        options += [("--model", (config.model,)), ("--method", (config.method,))]
        options += _prune_options(config, name, preset)
    options += [("--imgsz", (config.imgsz,)), ("--batch", (config.batch,))]
    options.append(("--seed", (config.seed,)))
    if config.device != "auto":
        options.append(("--device", (config.device,)))
    if config.workers is not None:
        options.append(("--workers", (config.workers,)))
    if config.loader != "auto":
        options.append(("--loader", (config.loader,)))
    if config.name:
        options.append(("--name", (config.name,)))
    return options


_LATENCY = ("latency_device", "latency_format", "latency_precision", "latency_batch")


def _goal(config: PruneConfig) -> str:
    kind, keep = config.goal
    measured = f" ({wording.goal_way(config)})" if kind == "latency" else ""
    return f"{wording.percent(keep, 1)} of the {wording.GOALS[kind]}{measured}"


def _prune_options(
    config: PruneConfig, name: str, preset: dict[str, Any]
) -> list[tuple[str, tuple[Any, ...] | None]]:
    options: list[tuple[str, tuple[Any, ...] | None]] = []
    if config.msip.weights != MsipOptions().weights:
        options.append(("--msip-weights", config.msip.weights.as_tuple()))
    if not config.msip.dynamic_weights:
        options.append(("--static-weights", None))
    if config.allocation is not None:
        options.append(("--allocation", (config.allocation,)))
    for option in ("granularity", "recovery", "repair", "finetune_after", "average"):
        value = getattr(config, option)
        if value != preset.get(option, PruneConfig.model_fields[option].default):
            options.append((f"--{option.replace('_', '-')}", (value,)))
    options += [("--keep-macs", (config.keep_macs,)), ("--preset", (name,))]
    for option in ("keep_params", "keep_latency", *_LATENCY):
        value = getattr(config, option)
        # A device without a format means the usual format there, not that of the processor.
        named = option == "latency_format" and config.latency_device != "cpu"
        if named or value != PruneConfig.model_fields[option].default:
            options.append((f"--{option.replace('_', '-')}", (value,)))
    if config.iterations != preset["iterations"]:
        options.append(("--iterations", (config.iterations,)))
    if config.finetune.epochs != preset["finetune"].epochs:
        options.append(("--epochs", (config.finetune.epochs,)))
    if config.limits.round_to != AllocationOptions().round_to:
        options.append(("--round-to", (config.limits.round_to,)))
    waits = config.finetune_after == "last-cut"
    usual = None if waits else PruneConfig.model_fields["max_map50_drop"].default
    if config.max_map50_drop != usual:
        options.append(("--max-drop", (config.max_map50_drop or 0,)))
    if (config.pretrain is None) != (preset.get("pretrain") is None):
        options.append(("--pretrain" if config.pretrain else "--no-pretrain", None))
    return options


def _as_commanded(config: TrainConfig | PruneConfig) -> TrainConfig | PruneConfig:
    """The config that the command line's options give: the preset, then what they name."""
    _, preset = _preset_of(config)
    shared = {
        key: getattr(config, key)
        for key in ("name", "dataset", "imgsz", "batch", "workers", "loader", "device", "seed")
    }
    if isinstance(config, TrainConfig):
        recipe = preset["recipe"].model_copy(update={"epochs": config.recipe.epochs})
        return TrainConfig(weights=config.weights, recipe=recipe, **shared)
    finetune = preset["finetune"].model_copy(update={"epochs": config.finetune.epochs})
    pretrain = PRUNE_PRESETS["paper"]["pretrain"] if config.pretrain else None
    settings = {**preset, "finetune": finetune, "pretrain": pretrain}
    return PruneConfig(
        model=config.model, method=config.method, allocation=config.allocation,
        granularity=config.granularity, recovery=config.recovery, repair=config.repair,
        keep_macs=config.keep_macs, keep_params=config.keep_params,
        keep_latency=config.keep_latency, **{name: getattr(config, name) for name in _LATENCY},
        max_map50_drop=config.max_map50_drop,
        msip=MsipOptions(
            weights=config.msip.weights, dynamic_weights=config.msip.dynamic_weights
        ),
        limits=AllocationOptions(round_to=config.limits.round_to),
        **{
            **settings, "iterations": config.iterations, "average": config.average,
            "finetune_after": config.finetune_after,
        },
        **shared,
    )  # fmt: skip


def _different(one: Any, other: Any, place: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            name
            for key in one
            for name in _different(one[key], other.get(key), f"{place}.{key}".lstrip("."))
        ]
    return [] if one == other else [place]
