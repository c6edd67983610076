"""Train a detector, pruned or not, so that an interrupted training ends like an unbroken one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from msip_core.cache import ContentStore, key_of
from msip_core.config import Precision, TrainingRecipe
from msip_core.data.dataset import ensure_ready
from msip_core.detector.c2f import new_conv_names
from msip_core.detector.checkpoints import normalise
from msip_core.detector.devices import laid_out, training_dtype
from msip_core.detector.evaluation import check_classes
from msip_core.detector.extras import ExtraLoss, GradientTerm
from msip_core.detector.fit_state import (
    FITS,
    FitState,
    fingerprint,
    made_with,
    random_state_kept,
    read_state,
    write_state,
)
from msip_core.detector.library import DetectionModel, copy_model, threads_kept
from msip_core.detector.loss_ratio import Gains
from msip_core.detector.memory import memory_errors_named
from msip_core.detector.pool import DataPool
from msip_core.detector.sparsity import share_near_zero
from msip_core.detector.trainer import EpochReport, Fit, FitPlan
from msip_core.errors import ConfigError
from msip_core.events import EpochRecord, Metrics, MilestoneRecord, RunContext
from msip_core.messages import msg

logger = logging.getLogger(__name__)

Phase = Literal["train", "pretrain", "finetune"]
_LITTLE = 0.01  # share of the factors


class FitResult(NamedTuple):
    """The trained copy, ready for any room.

    Attributes:
        seconds: of training and validating, over all sittings.
        metrics: on validation, of `model`; None where it was not validated.
        taken: from an equal fit of another run; nothing was trained here.
        averaged: steps that the running average has counted, those before this fit too.
    """

    model: DetectionModel
    epochs_done: int
    seconds: float
    metrics: Metrics | None
    taken: bool = False
    averaged: int = 0


def fit(
    model: DetectionModel,
    recipe: TrainingRecipe,
    *,
    pool: DataPool,
    workdir: Path,
    seed: int,
    phase: Phase,
    iteration: int,
    ctx: RunContext,
    precision: Precision = "auto",
    validate_every: int = 1,
    extra: ExtraLoss | None = None,
    terms: tuple[GradientTerm, ...] = (),
    cache: Path | None = None,
    averaged: int = 0,
) -> FitResult:
    """Train a copy of `model` on the pool's train split; `model` itself is left as it is.

    After every epoch `workdir/state.pt` holds all that is needed to go on. Called again with the
    same arguments on the same folder, it goes on from there (or returns the finished result at
    once), and the weights are those of an unbroken fit; on one CPU thread, to the last bit. One
    that was begun in whole batches may go on in parts of them.

    Args:
        validate_every: so many epochs; 0 never. `Fit._keep` says whose weights are the result.
        terms: of the gradient; what they do must follow from `recipe`.
        cache: folder in which finished fits are kept under all that decides how they end; an equal
            one is taken from there instead of being done again.

    Raises:
        Stopped: a person asked to pause or cancel; the last finished epoch is kept.
        DatasetError: the dataset is not ready.
        ConfigError: other classes than the dataset's, or a sparse term with nothing to act on.
        OutOfMemoryError: the batch does not fit.
    """
    check_classes(model, ensure_ready(pool.dataset).classes)
    names = new_conv_names(model) if recipe.l1_lambda else ()
    _check_terms(recipe, names, terms)
    plan = FitPlan(
        model=laid_out(copy_model(model).float(), pool.device), pool=pool, recipe=recipe,
        workdir=workdir, seed=seed, phase=phase, iteration=iteration,
        validate_every=validate_every, l1_names=names, before_batch=ctx.check_stop,
        after_epoch=_reporter(ctx, phase, iteration, recipe.epochs),
        extra=extra, terms=terms, dtype=training_dtype(pool.device, precision),
        weighed=_teller(ctx, recipe), averaged=averaged,
    )  # fmt: skip
    # In parts a fit ends a little differently: batch norm sees fewer images at a time.
    kept = ContentStore(cache, FITS) if cache and pool.parts == 1 else None
    return _done(plan, model, kept, ctx)


def _done(
    plan: FitPlan, model: DetectionModel, kept: ContentStore[FitState] | None, ctx: RunContext
) -> FitResult:
    """Begin, go on, or take what is finished."""
    path, key = plan.workdir / "state.pt", fingerprint(plan.model, _facts(plan))
    state, taken = read_state(path, key) or FitState(key), False
    if not state.finished:
        state, taken = _finished(plan, state, kept, ctx)
        write_state(path, state)
        _tell_sparsity(plan.recipe, model, state, ctx)
    return _result(copy_model(model), state)._replace(taken=taken)


def _teller(ctx: RunContext, recipe: TrainingRecipe) -> Callable[[Gains], None]:
    def tell(gains: Gains) -> None:
        bce, iou = recipe.loss_ratio or (0, 0)
        said = msg(
            "BCE and IoU loss contribute {bce:g} : {iou:g} at the start, with gains "
            "of {cls:.3g} and {box:.3g}.",
            bce=bce,
            iou=iou,
            cls=gains.cls,
            box=gains.box,
        )
        ctx.emit(MilestoneRecord(message=said))

    return tell


def _facts(plan: FitPlan) -> dict[str, object]:
    """All but the start weights that decides how a fit ends."""
    pool, extra = plan.pool, plan.extra
    return {
        "recipe": plan.recipe.model_dump(), "imgsz": pool.imgsz, "batch": pool.batch,
        "seed": plan.seed, "phase": plan.phase, "iteration": plan.iteration,
        "validate_every": plan.validate_every, "l1": plan.l1_names,
        "data": pool.dataset.content_hash, "extra": extra.facts if extra else None,
        "precision": str(plan.dtype or torch.float32), "averaged": plan.averaged,
        # Only where it is not the one that was: fits of before go on.
        **({"loader": pool.loader} if pool.loader != "ultralytics" else {}),
    }  # fmt: skip


def _finished(
    plan: FitPlan, state: FitState, kept: ContentStore[FitState] | None, ctx: RunContext
) -> tuple[FitState, bool]:
    """The result of the fit, and whether an equal one of another run gave it."""
    # Kernels differ by device, and augmentation is drawn in the workers.
    asked = (state.key, plan.pool.device, plan.pool.workers, made_with())
    name = f"fit-{key_of('fit', *asked)}"
    if kept and (done := kept.get(name)):
        said = msg("This training was done before, by a run that began alike.")
        ctx.emit(MilestoneRecord(message=said))
        return done, True
    if plan.recipe.epochs:
        _train(plan, state)
    result = replace(
        state, finished=True, model=None, ema=None, optimizer=None, gains=None, extra=None
    )
    if kept:
        kept.keep(name, result)
    return result, False


def _check_terms(
    recipe: TrainingRecipe, l1_names: tuple[str, ...], terms: tuple[GradientTerm, ...]
) -> None:
    if recipe.l1_lambda and not l1_names:
        raise ConfigError(
            "The L1 term (l1_lambda) acts on the convolutions that opening C2f makes, and this "
            "model has none: set l1_lambda to 0."
        )
    if recipe.group_l2 and not terms:
        raise ConfigError(
            "Group sparsity (group_l2) needs the coupled channels that a pruning run finds: set "
            "group_l2 to 0 here, and use it in the pre-training of a pruning run."
        )
    if recipe.soft_mask and not terms:
        raise ConfigError(
            "Soft masks (soft_mask) need the coupled channels that a pruning run finds: set "
            "soft_mask to 0 here, and use it in the pre-training of a pruning run."
        )


def _tell_sparsity(
    recipe: TrainingRecipe, before: DetectionModel, state: FitState, ctx: RunContext
) -> None:
    if not recipe.epochs or not recipe.bn_l1:
        return
    after = _result(copy_model(before), state).model
    old, new = share_near_zero(before), share_near_zero(after)
    said = msg(
        "Sparse training: {new:.1%} of the batch-norm factors are now below 0.001, "
        "{old:.1%} were before.",
        new=new,
        old=old,
    )
    ctx.emit(MilestoneRecord(message=said))
    if new < old + _LITTLE:
        said = msg(
            "Sparse training brought next to no factor to zero: for more, train longer "
            "or raise bn_l1."
        )
        ctx.emit(MilestoneRecord(message=said, level="warning"))


def _train(plan: FitPlan, state: FitState) -> None:
    plan.workdir.mkdir(parents=True, exist_ok=True)
    pool = plan.pool
    logger.info("Training on %s in %s", pool.device, plan.dtype or torch.float32)
    with random_state_kept(), memory_errors_named(batch=pool.piece, imgsz=pool.imgsz):
        with threads_kept():
            trainer = Fit(plan, state)
        trainer.train()


def _reporter(
    ctx: RunContext, phase: Phase, iteration: int, epochs: int
) -> Callable[[EpochReport], None]:
    def report(epoch: EpochReport) -> None:
        if epoch.bad_batches:
            said = msg(
                "{bad_batches} batches of epoch {epoch} were left out: "
                "their gradients were not numbers.",
                bad_batches=epoch.bad_batches,
                epoch=epoch.epoch,
            )
            ctx.emit(MilestoneRecord(message=said, level="warning"))
        metrics = epoch.metrics
        ctx.emit(
            EpochRecord(
                iteration=iteration,
                phase=phase,
                epoch=epoch.epoch,
                epochs=epochs,
                losses=epoch.losses,
                map50=metrics.map50 if metrics else None,
                map50_95=metrics.map50_95 if metrics else None,
                lr=epoch.lr,
                seconds=epoch.seconds,
            )
        )

    return report


def _result(model: DetectionModel, state: FitState) -> FitResult:
    if state.best is not None:
        model.load_state_dict(state.best)
    metrics = Metrics.model_validate(state.metrics) if state.metrics else None
    return FitResult(
        model=normalise(model),
        epochs_done=state.epochs_done,
        seconds=state.seconds,
        metrics=metrics,
        averaged=state.ema_updates,
    )
