"""A run's settings in words."""

from __future__ import annotations

from typing import NamedTuple

from msip_core.catalog import ALLOCATIONS, CRITERIA, GRANULARITIES, RECOVERIES, Entry
from msip_core.combinations import allocation_name, takes_channels
from msip_core.config import (
    After,
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
    "absorb": "what removed channels gave at rest, act(beta), goes on in the layers that read them",
    "refit": "weights by least squares on the images for scoring, the ridge by validation",
    "auto": "as cut, recalibrated, absorbed or refitted, whichever validation likes best",
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
    lines = [
        Setting("Start from", config.model),
        *(
            _channels(config) if takes_channels(config) else ()
        ),  # whole blocks go by their own score
        _strategy("What is taken out", GRANULARITIES.get(config.granularity), config.granularity),
        Setting("Goal", f"keep {_goal(config)}"),
        Setting("Iterations", str(config.iterations), _STEPS[config.finetune_after]),
        *_transfer(config),
        *(_schedule("Pre-training", config.preparation) if config.preparation else []),
        *_schedule("Fine-tuning", config.finetune),
        Setting("Running average of the weights", config.average, AVERAGES[config.average]),
        _strategy("How it learns again", RECOVERIES.get(config.recovery), config.recovery),
        _guard(config),
        *([_limits(config, multiple)] if takes_channels(config) else ()),
        Setting(
            "Images for scoring",
            f"{config.calibration.batches} batches of {config.calibration.batch}",
            "a fixed list of training images",
        ),
        Setting("Repair after a cut", config.repair, REPAIRS[config.repair]),
    ]
    return lines + common


def _channels(config: PruneConfig) -> list[Setting]:
    """What scores channels, and how many each layer loses."""
    method = CRITERIA.get(config.method)
    allocation = allocation_name(config) if method else config.allocation or ""
    known = ALLOCATIONS.get(allocation)
    how_many = (known.label, known.description) if known else (allocation, "")
    return [
        _strategy("Method", method, config.method),
        *(_weights(config.msip, method) if method and method.has_term_weights else []),
        Setting("How many channels each layer loses", *how_many),
    ]


def _strategy(what: str, entry: Entry | None, name: str) -> Setting:
    """A strategy in words; by its bare name where a newer version wrote the run."""
    if entry is None:
        return Setting(what, name)
    return Setting(what, entry.label, f"{entry.description} {entry.paper}")


def _transfer(config: PruneConfig) -> list[Setting]:
    """Of weights to the opened C2f blocks, where it is not exact."""
    if not config.prox:
        return []
    detail = "weights and batch-norm factors of the convolutions that opening C2f makes"
    return [Setting("L1 at the transfer", f"soft-thresholded by {config.prox:g}", detail)]


def _weights(options: MsipOptions, method: Entry) -> list[Setting]:
    weights = " / ".join(f"{value:g}" for value in options.weights.as_tuple())
    follow = "follow validation" if options.dynamic_weights else "stay as they are"
    return [
        Setting(
            "Weights",
            weights,
            f"gradient / geometry / sparsity / information; they {follow}"
            f"{f'; fusion: {options.fusion}' if method.loss_unit else ''}",
        )
    ]


def _schedule(what: str, recipe: TrainingRecipe) -> list[Setting]:
    decay = "cosine" if recipe.cos_lr else "linear"
    detail = (
        f"SGD, learning rate {recipe.lr0:g} to {recipe.lr0 * recipe.lrf:g} ({decay}), momentum "
        f"{recipe.momentum:g}, weight decay {recipe.weight_decay:g}, "
        f"rotation ±{recipe.degrees:g}°, scale ±{recipe.scale:g}, mixup {recipe.mixup:g}, "
        f"mosaic {recipe.mosaic:g} (off for the last {recipe.close_mosaic}){wording.added(recipe)}"
    )
    return [Setting(what, wording.plural(recipe.epochs, "epoch"), detail)]


def _goal(config: PruneConfig) -> str:
    kind, keep = config.goal
    measured = f" ({wording.goal_way(config)})" if kind == "latency" else ""
    return f"{wording.percent(keep, 1)} of the {wording.GOALS[kind]}{measured}"


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
