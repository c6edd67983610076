"""Recovery after a cut: what gives the network its accuracy back.

    finetune   trains on
    cwd        trains on, while the unpruned network shows what each channel should attend to
    feature    trains on, while the unpruned network shows its feature maps
    prediction trains on, while the unpruned network shows what it predicts
    crosskd    trains on, while the head of the unpruned network reads what its own head computed
    sparse     trains on; before the first cut, factors were pushed to zero (config.preparation)

All have one signature, and all end like unbroken when they are stopped and called again on the
same folder. The network keeps its shape, and nothing that only helped stays in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from msip_core import catalog
from msip_core.config import DistillOptions, PruneConfig, TrainingRecipe
from msip_core.detector.devices import laid_out
from msip_core.detector.extras import ExtraLoss, GradientTerm
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.detector.pool import DataPool
from msip_core.detector.training import FitResult, Phase, fit
from msip_core.events import RunContext
from msip_core.importance.calibration import CalibrationSet
from msip_core.pruning.distillation import Distillation, channel_wise, check_layers, feature_error
from msip_core.pruning.group_sparsity import GroupDecay
from msip_core.pruning.prediction_distillation import PredictionDistillation, check_head
from msip_core.pruning.soft_masks import SoftMasks

Recovery = Callable[..., FitResult]


@dataclass(frozen=True)
class Aids:
    """What a recovery may ask for beside the network.

    Attributes:
        teacher: makes the run's iteration 0: the network before any cut.
        calibration: the run's fixed training images.
        averaged: steps that the running average of the weights goes on from.
    """

    teacher: Callable[[], DetectionModel]
    calibration: CalibrationSet
    averaged: int = 0


def finetune(
    model: DetectionModel,
    config: PruneConfig,
    recipe: TrainingRecipe,
    *,
    workdir: Path,
    pool: DataPool,
    iteration: int,
    ctx: RunContext,
    aids: Aids | None = None,
    phase: Phase = "finetune",
    extra: ExtraLoss | None = None,
) -> FitResult:
    """Train a copy of `model` by `recipe`; called again on the same folder it goes on there.

    The optimizer, the averaged weights and everything else that knew the old parameters are made
    anew, since surgery replaces the parameters. What the average may carry over is how many steps
    it has counted (`Aids.averaged`), which decide how slowly it follows. A pre-training is done
    once for all runs that begin with it: those of a study, say.
    """
    return fit(
        model, recipe, pool=pool, workdir=workdir, seed=config.seed, phase=phase,
        iteration=iteration, ctx=ctx, precision=config.precision, extra=extra, terms=_terms(recipe),
        cache=ctx.workspace.cache if phase == "pretrain" else None,
        averaged=aids.averaged if aids else 0,
    )  # fmt: skip


def _terms(recipe: TrainingRecipe) -> tuple[GradientTerm, ...]:
    """What a recipe asks of coupled channels."""
    found: list[GradientTerm] = []
    if recipe.group_l2:
        found.append(GroupDecay(recipe.group_l2))
    if recipe.soft_mask:
        found.append(SoftMasks(recipe.soft_mask))
    return tuple(found)


def _taught(loss: Callable[..., ExtraLoss]) -> Recovery:
    """`finetune` beside the network before any cut, with this loss."""

    def recover(
        model: DetectionModel,
        config: PruneConfig,
        recipe: TrainingRecipe,
        *,
        workdir: Path,
        pool: DataPool,
        iteration: int,
        ctx: RunContext,
        aids: Aids,
    ) -> FitResult:
        teacher = laid_out(copy_model(aids.teacher()), pool.device)
        extra = loss(
            teacher,
            model,
            options=config.distill,
            calibration=aids.calibration,
            tick=ctx.check_stop,
        )
        return finetune(
            model, config, recipe, workdir=workdir, pool=pool, iteration=iteration, ctx=ctx,
            aids=aids, extra=extra,
        )  # fmt: skip

    return recover


def _channel_wise(
    teacher: DetectionModel, student: DetectionModel, *, options: DistillOptions, **more: Any
) -> ExtraLoss:
    divergence = partial(channel_wise, temperature=options.temperature)
    return Distillation(
        teacher, student, method="cwd", divergence=divergence, options=options, **more
    )


cwd = _taught(_channel_wise)
feature = _taught(partial(Distillation, method="feature", divergence=feature_error))
prediction = _taught(partial(PredictionDistillation, crossed=False))
crosskd = _taught(partial(PredictionDistillation, crossed=True))


def check_recovery(config: PruneConfig, model: DetectionModel) -> None:
    """Refuse a recovery that this detector or these settings do not allow, before any work.

    Raises:
        ConfigError: no such recovery, or a teacher's layer or head that the detector lacks.
    """
    match catalog.find("recovery", config.recovery).taught_by:
        case "maps":
            check_layers(model, config.distill)
        case "predictions":
            check_head(model)
