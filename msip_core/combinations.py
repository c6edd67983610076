"""Which strategies go together, and in one sentence why the others do not. No torch.

Asked before a run starts: by the queue, by the form while a person still chooses, by the loop.
"""

from __future__ import annotations

from functools import reduce

from msip_core.catalog import FAMILIES, Entry, find
from msip_core.config import (
    TERMS,
    AllocationOptions,
    DistillOptions,
    MsipOptions,
    PruneConfig,
    SearchOptions,
)
from msip_core.errors import ConfigError


def allocation_name(config: PruneConfig) -> str:
    """The allocation that a config asks for: its own, else the one its method came with."""
    if not config.adaptive_threshold:
        return "uniform"
    return config.allocation or find("criterion", config.method).default_allocation


def takes_channels(config: PruneConfig) -> bool:
    """Whether channels are scored and removed at all, not whole blocks alone."""
    granularity = FAMILIES["granularity"].get(config.granularity)
    return granularity is None or "channels" in granularity.takes


def what_chose(config: PruneConfig) -> str:
    """What said what goes: the criterion, or the granularity where whole blocks go."""
    return config.method if takes_channels(config) else config.granularity


def check_combination(config: PruneConfig) -> None:
    """Raise unless criterion, allocation, granularity and recovery make sense together.

    Raises:
        ConfigError: a name that nobody knows, or the reason why two of them do not fit.
    """
    criterion = find("criterion", config.method)
    allocation = find("allocation", allocation_name(config))
    granularity = find("granularity", config.granularity)
    recovery = find("recovery", config.recovery)
    _check_ranking(criterion, allocation)
    _check_images(criterion, config.calibration.batches * config.calibration.batch)
    _check_ablation(config)
    _check_geometry(config, criterion)
    _check_blocks(config)
    _check_search(config, allocation, granularity)
    if recovery.needs_teacher and not config.finetune.epochs:
        raise ConfigError(
            "{label} works while the model is fine-tuned, and this run trains no epoch "
            "after a cut: give it at least one.",
            label=recovery.label,
        )


def idle_settings(config: PruneConfig) -> list[str]:
    """Settings that are not as they come, and that nothing chosen in this run reads."""
    chosen = [
        find("criterion", config.method),
        find("allocation", allocation_name(config)),
        find("granularity", config.granularity),
        find("recovery", config.recovery),
    ]
    criterion, allocation, _, recovery = chosen
    every = {name for some in FAMILIES.values() for one in some.values() for name in one.settings}
    idle = every - {name for one in chosen for name in one.settings}
    switches = {f"msip.{name}" for name in MsipOptions.model_fields} - {"msip.dynamic_weights"}
    if not criterion.has_term_weights:
        idle |= switches | {"msip.dynamic_weights"}
    elif criterion.adapted != TERMS:  # the printed formulas, whatever is asked for
        idle |= switches - {"msip.weights"}
    elif not criterion.loss_unit:
        idle |= {"msip.fusion"}
    if not allocation.searches:
        idle |= {f"search.{name}" for name in SearchOptions.model_fields}
    if not recovery.needs_teacher:
        idle |= {f"distill.{name}" for name in DistillOptions.model_fields}
    else:
        idle |= set() if recovery.taught_by == "maps" else {"distill.layers"}
        idle |= set() if recovery.softened else {"distill.temperature"}
    if config.keep_latency is None and config.limits.cost != "latency":
        idle |= {name for name in PruneConfig.model_fields if name.startswith("latency_")}
    if not takes_channels(config):  # blocks go by a score of their own
        idle |= {"method", "adaptive_threshold"} | switches | {"msip.dynamic_weights"}
        idle |= {f"limits.{name}" for name in AllocationOptions.model_fields}
    if (config.granularity, config.layerdrop_rule) == ("layerdrop", "every-other"):
        idle |= {"block_score"}
    if config.iterations == 1:  # weights follow from one iteration to the next
        idle |= {"msip.dynamic_weights"}
    if config.iterations == 1 or config.finetune_after == "last-cut":  # one fine-tune carries none
        idle |= {"average"}
    plain = PruneConfig(dataset=config.dataset, model=config.model)
    return sorted(name for name in idle if _at(config, name) != _at(plain, name))


def _at(config: PruneConfig, name: str) -> object:
    return reduce(getattr, name.split("."), config)


def _check_ranking(criterion: Entry, allocation: Entry) -> None:
    """Scores that compare only inside a layer, or only across layers, used the other way."""
    if criterion.ranking == "network" and allocation.ranking == "layer":
        raise ConfigError(
            "{label} only says something when all layers are ranked together, and the "
            "allocation '{allocation}' decides layer by layer, where it is the same as L2: "
            "choose L2, or an allocation that ranks the whole network.",
            label=criterion.label,
            allocation=allocation.label,
        )
    if criterion.ranking == "layer" and allocation.ranking == "network":
        raise ConfigError(
            "Scores of {label} compare only inside a layer, and the allocation '{allocation}' "
            "ranks all layers together: choose an allocation that decides layer by layer.",
            label=criterion.label,
            allocation=allocation.label,
        )


def _check_images(criterion: Entry, images: int) -> None:
    if images < criterion.least_images:
        raise ConfigError(
            "{label} compares responses over at least {least} "
            "calibration images, and this run asks for {images}: raise the calibration batches.",
            label=criterion.label,
            least=criterion.least_images,
            images=images,
        )


def _check_ablation(config: PruneConfig) -> None:
    if not config.adaptive_threshold and config.allocation not in (None, "uniform"):
        raise ConfigError(
            "Without the adaptive threshold every layer loses the same share, so no other "
            "allocation can be chosen: leave the allocation out."
        )


def _check_geometry(config: PruneConfig, criterion: Entry) -> None:
    """A cost in the unit of the loss is a term of the scheme that scores in it."""
    if config.msip.geometry == "obs" and criterion.has_term_weights and not criterion.loss_unit:
        raise ConfigError(
            "The geometry 'obs' belongs to the method 'msip': choose that, or another geometry."
        )


def _check_search(config: PruneConfig, allocation: Entry, granularity: Entry) -> None:
    """A search tries widths of channels."""
    if allocation.searches and "blocks" in granularity.takes:
        raise ConfigError(
            "The allocation '{label}' tries out how many channels each layer can lose, which the "
            "granularity '{granularity}' does not leave open: choose the granularity 'channels'.",
            label=allocation.label,
            granularity=config.granularity,
        )


def _check_blocks(config: PruneConfig) -> None:
    """What cannot be asked of granularities that take whole blocks and no channels."""
    if takes_channels(config):
        return
    if config.allocation is not None:
        raise ConfigError(
            "Whole blocks are removed by their own score, so the allocation '{allocation}' "
            "would have no effect: leave it out, or choose the granularity 'mixed'.",
            allocation=config.allocation,
        )
    if config.keep_latency is not None:
        raise ConfigError(
            "Whole blocks are too coarse to land on milliseconds: choose a share of the "
            "multiply-adds, or a granularity that goes on with channels."
        )
