"""Which strategies go together, and in one sentence why the others do not. No torch.

Asked before a run starts: by the queue, by the form while a person still chooses, by the loop.
"""

from __future__ import annotations

from msip_core.catalog import Entry, find
from msip_core.config import PruneConfig
from msip_core.errors import ConfigError


def allocation_name(config: PruneConfig) -> str:
    """The allocation that a config asks for: its own, else the one its method came with."""
    if not config.adaptive_threshold:
        return "uniform"
    return config.allocation or find("criterion", config.method).default_allocation


def check_combination(config: PruneConfig) -> None:
    """Raise unless criterion, allocation, granularity and recovery make sense together.

    Raises:
        ConfigError: a name that nobody knows, or the reason why two of them do not fit.
    """
    criterion = find("criterion", config.method)
    allocation = find("allocation", allocation_name(config))
    find("granularity", config.granularity)
    recovery = find("recovery", config.recovery)
    _check_ranking(criterion, allocation)
    _check_images(criterion, config.calibration.batches * config.calibration.batch)
    _check_ablation(config)
    _check_geometry(config)
    _check_blocks(config)
    _check_search(config, allocation)
    if recovery.needs_teacher and not config.finetune.epochs:
        raise ConfigError(
            f"{recovery.label} works while the model is fine-tuned, and this run trains no epoch "
            "after a cut: give it at least one."
        )


def _check_ranking(criterion: Entry, allocation: Entry) -> None:
    """Scores that compare only inside a layer, or only across layers, used the other way."""
    if criterion.ranking == "network" and allocation.ranking == "layer":
        raise ConfigError(
            f"{criterion.label} only says something when all layers are ranked together, and the "
            f"allocation '{allocation.label}' decides layer by layer, where it is the same as L2: "
            "choose L2, or an allocation that ranks the whole network."
        )
    if criterion.ranking == "layer" and allocation.ranking == "network":
        raise ConfigError(
            f"Scores of {criterion.label} compare only inside a layer, and the allocation "
            f"'{allocation.label}' ranks all layers together: choose an allocation that decides "
            "layer by layer."
        )


def _check_images(criterion: Entry, images: int) -> None:
    if images < criterion.least_images:
        raise ConfigError(
            f"{criterion.label} compares responses over at least {criterion.least_images} "
            f"calibration images, and this run asks for {images}: raise the calibration batches."
        )


def _check_ablation(config: PruneConfig) -> None:
    if not config.adaptive_threshold and config.allocation not in (None, "uniform"):
        raise ConfigError(
            "Without the adaptive threshold every layer loses the same share, so no other "
            "allocation can be chosen: leave the allocation out."
        )


def _check_geometry(config: PruneConfig) -> None:
    """A cost in the unit of the loss is a term of the scheme that scores in it."""
    if config.msip.geometry == "obs" and config.method in ("msip-literal", "msip-published"):
        raise ConfigError(
            "The geometry 'obs' belongs to the method 'msip': choose that, or another geometry."
        )


def _check_search(config: PruneConfig, allocation: Entry) -> None:
    """A search tries widths of channels."""
    if not allocation.searches:
        return
    if config.granularity not in ("channels", "modules"):
        raise ConfigError(
            f"The allocation '{allocation.label}' tries out how many channels each layer can "
            f"lose, which the granularity '{config.granularity}' does not leave open: choose the "
            "granularity 'channels'."
        )


def _check_blocks(config: PruneConfig) -> None:
    """What cannot be asked of granularities that take whole blocks and no channels."""
    if config.granularity not in ("blocks", "layerdrop"):
        return
    if config.allocation is not None:
        raise ConfigError(
            f"Whole blocks are removed by their own score, so the allocation '{config.allocation}' "
            "would have no effect: leave it out, or choose the granularity 'mixed'."
        )
    if config.keep_latency is not None:
        raise ConfigError(
            "Whole blocks are too coarse to land on milliseconds: choose a share of the "
            "multiply-adds, or a granularity that goes on with channels."
        )
