"""Ultralytics' detection trainer with our own epochs.

From Ultralytics: augmentation, loss, parameter groups, learning-rate schedule, warm-up, gradient
clipping, averaged weights, mosaic that closes for the last epochs. Ours, and why:

- the model is the module we hand in; Ultralytics would rebuild it from its yaml at full width
- every epoch starts from its own seed and ends with a whole optimizer step, so that a fit that was
  killed and resumed ends with the same weights as an unbroken one
- a stop is possible between any two batches
- no files but state.pt, no progress bars, no second evaluation of the best weights at the end
- a batch whose gradient is not finite is left out and counted, instead of poisoning the weights
- on a GPU nothing is read before an epoch is over (msip_core.detector.steps, quiet_loss)
- terms that make weights sparse are added to the clipped gradient (msip_core.detector.sparsity)
- a second loss may come along with trainable parts of its own, such as adapters to a teacher
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from ultralytics.models.yolo.detect import DetectionTrainer

from msip_core.config import TrainingRecipe
from msip_core.detector.batch import Batch, with_count
from msip_core.detector.devices import as_float32, computing_in
from msip_core.detector.extras import ExtraLoss, GradientTerm
from msip_core.detector.fit_state import FitState, copied, seed_everything, seed_from, write_state
from msip_core.detector.layerdrop import layers_dropped
from msip_core.detector.library import DetectionModel
from msip_core.detector.loss_ratio import BATCHES, Gains, solve_gains
from msip_core.detector.pool import DataPool, TrainLoader
from msip_core.detector.quiet_loss import QuietLoss
from msip_core.detector.sparsity import terms_of
from msip_core.detector.steps import CLIP, MaskedSteps, Steps, WatchedSteps
from msip_core.errors import WorkError
from msip_core.events import Metrics
from msip_core.messages import msg

_WARMUP_BIAS_LR = 0.1
_MIN_STEPS = 8  # optimizer steps of an epoch, where it has as many batches
_BAD_SHARE = 0.1  # of an epoch's batches may have gradients that are not finite
# What a recipe asks of us, not of Ultralytics.
_OURS = {
    "l1_lambda", "bn_l1", "bn_l1_decay", "bn_l1_shortcuts", "group_l2", "layerdrop", "soft_mask",
    "loss_ratio",
}  # fmt: skip


@dataclass(frozen=True)
class EpochReport:
    """What one epoch was like; `metrics` is None where it was not validated."""

    epoch: int  # from 1
    losses: dict[str, float]
    metrics: Metrics | None
    lr: float
    seconds: float
    bad_batches: int


@dataclass(frozen=True)
class FitPlan:
    """All that a fit is told.

    Attributes:
        l1_names: the convolution blocks that get the L1 term.
        extra: a second loss.
        terms: of the gradient, beside those that the recipe alone decides.
        dtype: that convolutions multiply in; None is float32.
        weighed: told the gains that were measured.
        averaged: steps that the running average counts as done before the first: its decay grows
            with them.
        masked: losses and gradients stay on the device until an epoch is over (detector.steps);
            None does so on an NVIDIA GPU.
    """

    model: DetectionModel
    pool: DataPool
    recipe: TrainingRecipe
    workdir: Path
    seed: int
    phase: str
    iteration: int
    validate_every: int
    l1_names: tuple[str, ...]
    before_batch: Callable[[], None]
    after_epoch: Callable[[EpochReport], None]
    extra: ExtraLoss | None = None
    terms: tuple[GradientTerm, ...] = ()
    dtype: torch.dtype | None = None
    weighed: Callable[[Gains], None] = lambda _: None
    averaged: int = 0
    masked: bool | None = None


# Not called "...Trainer": by that part of the name Ultralytics attaches its cloud callbacks.
class Fit(DetectionTrainer):
    """One fit of one module; `state.best` and `state.metrics` are the result."""

    def __init__(self, plan: FitPlan, state: FitState) -> None:
        self.plan, self.state = plan, state
        self.epoch = 0
        self._parts = plan.pool.parts  # of a batch; loaded and worked through one by one
        self._accumulate = 1  # whole batches per step that warm-up ramps up to
        self._terms = [*terms_of(plan.recipe, plan.l1_names), *plan.terms]
        super().__init__(overrides=_settings(plan))
        self.wdir.rmdir()  # Ultralytics' own folder and settings file: all goes to state.pt
        (plan.workdir / "args.yaml").unlink()
        self.model = self.get_model()
        self.parameters_wanted = sum(p.numel() for p in plan.model.parameters())

    # --- what Ultralytics asks for ---

    def get_dataset(self) -> dict[str, object]:
        """Names only: images come from the pool."""
        names = dict(enumerate(self.plan.pool.dataset.classes))
        return {"train": "train", "val": "val", "nc": len(names), "names": names, "channels": 3}

    def get_model(
        self, cfg: object = None, weights: object = None, verbose: bool = False
    ) -> DetectionModel:
        """The module itself, never one rebuilt from a yaml."""
        return self.plan.model

    def get_dataloader(
        self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> Any:
        if mode == "train":
            return self.plan.pool.train_loader(self.args)
        return self.plan.pool.evaluator("val").batches

    def build_optimizer(self, model: nn.Module, **settings: Any) -> torch.optim.Optimizer:  # type: ignore[override]
        """Ultralytics' groups, and the parts of the extra loss as weights of their own."""
        optimizer: torch.optim.Optimizer = super().build_optimizer(model, **settings)
        if self.plan.extra is not None:
            parts = self.plan.extra.parts.to(self.device)
            like = next(g for g in optimizer.param_groups if g.get("param_group") == "weight")
            optimizer.add_param_group({**like, "params": list(parts.parameters())})
        return optimizer

    def get_validator(self) -> Any:
        """Asked for its column names only: the pool's evaluator validates."""
        return SimpleNamespace(metrics=SimpleNamespace(keys=[]))

    def resume_training(self, ckpt: object) -> None:
        """Continue from the state that was read from disk, if one was."""
        state = self.state
        if state.model is None or state.ema is None or state.optimizer is None:
            self.ema.updates = self.plan.averaged
            return
        self.model.load_state_dict(state.model)
        self.ema.ema.load_state_dict(state.ema)
        self.ema.updates = state.ema_updates
        self.optimizer.load_state_dict(state.optimizer)
        if self.plan.extra is not None and state.extra is not None:
            self.plan.extra.parts.load_state_dict(state.extra)
        self.start_epoch = state.epochs_done

    # --- the loop ---

    def _do_train(self) -> None:
        self._setup_train()
        found = sum(p.numel() for p in self.model.parameters())
        if found != self.parameters_wanted:
            raise WorkError(
                "Training would change the model from {before} to {after} "
                "parameters: the pruned shape was lost. Please report this.",
                before=self.parameters_wanted,
                after=found,
            )
        for term in self._terms:
            term.bind(self.model)
        self._steps = self._way_to_step()
        if self._masked:
            self.model.criterion = QuietLoss(self.model)
        self._weigh_losses()
        extra = self.plan.extra
        if extra is not None and not self.start_epoch:
            extra.begin(self.model)
        # Only now: the averaged copy, made in the setup, must not be seen or left out.
        watched = extra.watching(self.model) if extra is not None else nullcontext()
        with watched, layers_dropped(self.model, self.plan.recipe.layerdrop):
            for epoch in range(self.start_epoch, self.epochs):
                self._one_epoch(epoch)

    def _weigh_losses(self) -> None:
        """Gains from what the parts of the loss are to contribute; measured once in a fit."""
        plan, state = self.plan, self.state
        if plan.recipe.loss_ratio is None:
            return
        if state.gains is None:
            seed = seed_from(plan.seed, plan.phase, plan.iteration, msg("loss ratio"))
            seed_everything(seed)
            self.train_loader.generator.manual_seed(seed)
            self.train_loader.reset()
            batches = map(self.preprocess_batch, islice(self.train_loader, BATCHES * self._parts))
            gains = solve_gains(
                self.model, batches, plan.recipe, lambda batch: as_float32(self.model(batch["img"]))
            )
            plan.weighed(gains)
            state.gains = (gains.box, gains.cls, gains.dfl)
        self.args.box, self.args.cls, self.args.dfl = state.gains

    def _one_epoch(self, epoch: int) -> None:
        started = time.perf_counter()
        self.epoch = epoch
        loader = self._begin(epoch)
        losses, bad = self._batches(loader, epoch)
        metrics = self._validate(epoch)
        seconds = time.perf_counter() - started
        self._keep(epoch, metrics, seconds)
        report = EpochReport(epoch + 1, losses, metrics, self._weight_lr(), seconds, bad)
        self.plan.after_epoch(report)
        write_state(self.plan.workdir / "state.pt", self.state)

    def _begin(self, epoch: int) -> TrainLoader:
        """Seed, set the learning rate, close mosaic for the last epochs, restart the loader."""
        plan, loader = self.plan, self.train_loader
        seed = seed_from(plan.seed, plan.phase, plan.iteration, epoch)
        seed_everything(seed)
        loader.generator.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "scheduler before optimizer": Ultralytics' order
            self.scheduler.step()
        self._model_train()
        if self.args.close_mosaic and epoch >= self.epochs - self.args.close_mosaic:
            self._close_dataloader_mosaic()
        loader.reset()
        self.optimizer.zero_grad()
        return loader

    def _batches(self, loader: TrainLoader, epoch: int) -> tuple[dict[str, float], int]:
        """Train on every batch once; mean loss items and the number of unusable batches."""
        steps, n = self._steps, len(loader)
        steps.begin(n)
        whole = self._whole_batches()
        warmup = self._get_warmup_iterations(whole)
        for index, batch in enumerate(loader):
            self.plan.before_batch()
            self._warm_up(index // self._parts + whole * epoch, warmup, epoch)
            loss, items = self._forward(batch)
            steps.take(loss, items)
            if steps.waiting >= self.accumulate or (steps.waiting and index == n - 1):
                steps.step(self.epoch / self.epochs)
        sums, bad = steps.finish()
        self._refuse_divergence(bad, n, epoch)
        good = max(1, n - bad)
        return {k.removesuffix("_loss"): v / good for k, v in sums.items()}, bad

    def _forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if self._masked:
            batch = with_count(batch)
        batch, extra = self.preprocess_batch(batch), self.plan.extra
        with computing_in(self.plan.dtype, self.device.type):
            found = self.model(batch["img"])
            value = None if extra is None else extra(batch["img"])
        losses, items = self.model.loss(batch, as_float32(found))
        loss = losses.sum()
        if extra is not None and value is not None:
            loss = loss + value * len(batch["img"])  # Ultralytics' losses are sums over images
            items = {**items, extra.name: value.detach()}
        return loss, items

    def _warm_up(self, step: int, steps: int, epoch: int) -> None:
        """Ultralytics' warm-up: rates from 0 (biases from .1), momentum from .8, batches from 1."""
        if not steps or step > steps:
            return
        batches = max(1, round(float(np.interp(step, [0, steps], [1, self._accumulate]))))
        self.accumulate = batches * self._parts
        for group in self.optimizer.param_groups:
            start = _WARMUP_BIAS_LR if group.get("param_group") == "bias" else 0.0
            end = group["initial_lr"] * self.lf(epoch)
            group["lr"] = float(np.interp(step, [0, steps], [start, end]))
            momentum = [self.args.warmup_momentum, self.args.momentum]
            group["momentum"] = float(np.interp(step, [0, steps], momentum))

    def _trained(self) -> list[nn.Parameter]:
        extra = self.plan.extra
        return [*self.model.parameters(), *(extra.parts.parameters() if extra else ())]

    @property
    def _masked(self) -> bool:
        wanted = self.plan.masked
        return self.device.type == "cuda" if wanted is None else wanted

    def _way_to_step(self) -> Steps:
        if self._masked:
            return MaskedSteps(self.model, self._trained(), self.optimizer, self.ema, self._terms)
        return WatchedSteps(lambda _: self._step())

    def _step(self) -> bool:
        """One optimizer step; False if the gradient was not finite and nothing was changed."""
        norm = nn.utils.clip_grad_norm_(self._trained(), max_norm=CLIP)
        usable = bool(torch.isfinite(norm))
        if usable:
            # After clipping: else the loss's gradient would decide how strong the terms are.
            for term in self._terms:
                term.add(self.epoch / self.epochs)
            self.optimizer.step()
        self.optimizer.zero_grad()
        if usable:
            self.ema.update(self.model)
        return usable

    def _refuse_divergence(self, bad: int, batches: int, epoch: int) -> None:
        if bad > _BAD_SHARE * batches:
            raise WorkError(
                "Training fell apart in epoch {epoch}: the loss of {bad} of {batches} batches "
                "is not a number. Use a smaller learning rate than {lr0:g}.",
                epoch=epoch + 1,
                bad=bad,
                batches=batches,
                lr0=self.args.lr0,
            )

    def _validate(self, epoch: int) -> Metrics | None:
        every = self.plan.validate_every
        if not every or (epoch + 1) % every:
            return None
        return self.plan.pool.evaluator("val")(self.ema.ema)

    def _keep(self, epoch: int, metrics: Metrics | None, seconds: float) -> None:
        """Bring `state` up to date, with the best averaged weights so far.

        Best: highest mAP50 of the averaged weights, then highest mAP50-95, then the earliest; the
        last weights where not every epoch is validated, and of sparse training, whose earlier
        epochs are more accurate just because they are less sparse.
        """
        state = self.state
        average = copied(self.ema.ema.state_dict())
        last = self.plan.validate_every != 1 or self.plan.recipe.is_sparse
        if last or _is_better(metrics, state.metrics):
            state.best = average
            state.metrics = metrics.model_dump(mode="json") if metrics else None
        state.model, state.ema = copied(self.model.state_dict()), average
        state.ema_updates = self.ema.updates
        state.optimizer = self.optimizer.state_dict()
        if self.plan.extra is not None:
            state.extra = copied(self.plan.extra.parts.state_dict())
        state.epochs_done = epoch + 1
        state.seconds += seconds

    def _whole_batches(self) -> int:
        """Batches of an epoch, whatever parts they are loaded in."""
        return -(-len(self.train_loader) // self._parts)

    def _weight_lr(self) -> float:
        groups = self.optimizer.param_groups
        return float(next(g["lr"] for g in groups if g.get("param_group") == "weight"))

    def _build_train_pipeline(self) -> None:
        """Ultralytics gathers 64 images for one optimizer step. With few images that would be one
        step an epoch, so fewer are gathered until an epoch has _MIN_STEPS (if it has as many
        batches); weight decay follows by Ultralytics' own rule."""
        super()._build_train_pipeline()
        most = max(1, self._whole_batches() // _MIN_STEPS)
        batch = self.plan.pool.batch
        self._accumulate = min(max(1, round(self.args.nbs / batch)), most)
        self.accumulate = self._accumulate * self._parts
        decay = self.args.weight_decay * batch * self._accumulate / self.args.nbs
        for group in self.optimizer.param_groups:
            if group.get("param_group") == "weight":
                group["weight_decay"] = decay


def _is_better(new: Metrics | None, old: Mapping[str, Any] | None) -> bool:
    if new is None or old is None:
        return old is None
    return (new.map50, new.map50_95) > (old["map50"], old["map50_95"])


def _settings(plan: FitPlan) -> dict[str, object]:
    """Ultralytics' settings of this fit.

    optimizer: "auto" would ignore lr0 and momentum. amp: its check downloads a model, and it knows
    no bfloat16 on a CPU; ours is msip_core.detector.devices.
    """
    pool = plan.pool
    on_cuda = pool.device.startswith("cuda")
    return {
        "task": "detect",
        "mode": "train",
        "model": "yolov8n.yaml",  # asked for, never built: see get_model
        "data": pool.dataset.name,
        "save_dir": str(plan.workdir),
        "imgsz": pool.imgsz,
        "batch": pool.piece,
        "device": pool.device,
        "workers": pool.workers,
        "seed": plan.seed,
        "deterministic": on_cuda,  # the CPU's kernels are
        "optimizer": "SGD",
        "amp": False,
        "plots": False,
        "save": False,
        "val": False,
        "verbose": False,
        "cache": False,
        "pretrained": False,
        **plan.recipe.model_dump(exclude=_OURS),
    }
