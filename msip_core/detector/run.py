"""The life of a baseline run: build or load, adapt the classes, train, evaluate, keep the model.

<run>/fit/<phase>/state.pt     what a resumed run goes on from; deleted when the run is done
models/<id>/                   the result
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from msip_core.config import TrainConfig, TrainingRecipe
from msip_core.data.cut import CutDataset, open_for_run
from msip_core.data.dataset import Dataset, ensure_ready
from msip_core.detector.build import adapt_classes, build_model, register_model
from msip_core.detector.c2f import to_c2f_v2, to_stock
from msip_core.detector.checkpoints import architecture_of, load_model, round_to_half
from msip_core.detector.cost import count_cost
from msip_core.detector.devices import resolve_device
from msip_core.detector.library import DetectionModel
from msip_core.detector.pool import DataPool
from msip_core.detector.training import Phase, fit
from msip_core.documents import read_object
from msip_core.events import (
    EpochRecord,
    FinalRecord,
    MilestoneRecord,
    Payload,
    ProgressRecord,
    RunContext,
    Stage,
    StageRecord,
)
from msip_core.messages import mark, msg
from msip_core.models import weights_path
from msip_core.questions.contents import sha256_of
from msip_core.workspace import Workspace, new_id, write_json

_PHASES = {"train": mark("Train"), "pretrain": mark("Pretrain")}


def run(config: TrainConfig, ctx: RunContext) -> None:
    """Do the run, or go on with it where it stopped.

    Raises:
        Stopped: a person asked for it.
        MsipError: the run failed; the message says what to do.
    """
    dataset = ensure_ready(open_for_run(ctx.workspace, config))
    if isinstance(dataset, CutDataset):
        ctx.emit(MilestoneRecord(message=dataset.words))
    pool = DataPool(
        dataset,
        imgsz=config.imgsz,
        batch=config.batch,
        device=resolve_device(config.device),
        workers=config.workers,
        loader=config.loader,
        parts=config.parts,
        tick=ctx.check_stop,
    )
    work = _Work(config, pool, _WithProgress(ctx, config))
    model = _start_model(config, dataset, ctx)
    architecture = architecture_of(model)
    if config.pretrain is not None:
        model = _pretrain(model, config.pretrain, work)
    ctx.emit(StageRecord(stage=Stage.TRAINING))
    model = _fit(model, config.recipe, "train", work)
    # What is measured is what is shipped: see round_to_half.
    _finish(round_to_half(model), architecture, work)
    pool.close()
    shutil.rmtree(ctx.run_dir / "fit", ignore_errors=True)


@dataclass(frozen=True)
class _Work:
    config: TrainConfig
    pool: DataPool
    ctx: RunContext


class _WithProgress:
    """A run's context that also says, after every epoch, how far the run is."""

    def __init__(self, ctx: RunContext, config: TrainConfig) -> None:
        self.run_id, self.run_dir, self.workspace = ctx.run_id, ctx.run_dir, ctx.workspace
        self.check_stop = ctx.check_stop
        self._ctx = ctx
        self._before = config.pretrain.epochs if config.pretrain else 0
        self._epochs = self._before + config.recipe.epochs

    def emit(self, record: Payload) -> None:
        self._ctx.emit(record)
        if isinstance(record, EpochRecord):
            done = record.epoch + (self._before if record.phase == "train" else 0)
            self._ctx.emit(
                ProgressRecord(
                    done=done / self._epochs,
                    seconds_left=record.seconds * (self._epochs - done),
                    message=msg("epoch {done} of {epochs}", done=done, epochs=self._epochs),
                )
            )


def start_weights(weights: str, workspace: Workspace) -> Path | None:
    """The file that a config's `weights` mean: a path, or a model of the workspace; None for a
    yaml name (from scratch)."""
    if weights.endswith((".yaml", ".yml")):
        return None
    return Path(weights) if weights.endswith(".pt") else weights_path(workspace, weights)


def _start_model(config: TrainConfig, dataset: Dataset, ctx: RunContext) -> DetectionModel:
    path = start_weights(config.weights, ctx.workspace)
    if path is None:
        ctx.emit(MilestoneRecord(message=msg("{weights} from scratch.", weights=config.weights)))
        return build_model(config.weights, dataset.classes, config.seed)
    adapted = adapt_classes(load_model(path), dataset.classes, config.seed)
    ctx.emit(MilestoneRecord(message=msg("{file}: {note}", file=path.name, note=adapted.note)))
    return adapted.model


def _pretrain(model: DetectionModel, recipe: TrainingRecipe, work: _Work) -> DetectionModel:
    """The paper's schedule before the main one; its L1 term needs C2f opened meanwhile."""
    work.ctx.emit(StageRecord(stage=Stage.PRETRAINING))
    if not recipe.l1_lambda:
        return _fit(model, recipe, "pretrain", work)
    closed = to_stock(_fit(to_c2f_v2(model), recipe, "pretrain", work))
    for parameter in closed.parameters():
        parameter.requires_grad_(True)
    return closed


def _fit(
    model: DetectionModel, recipe: TrainingRecipe, phase: Phase, work: _Work
) -> DetectionModel:
    result = fit(
        model,
        recipe,
        pool=work.pool,
        workdir=work.ctx.run_dir / "fit" / phase,
        seed=work.config.seed,
        phase=phase,
        iteration=0,
        ctx=work.ctx,
        precision=work.config.precision,
    )
    if result.metrics is not None:
        said = msg(
            "{phase}: {epochs} epochs, best validation mAP50 {best:.3f}.",
            phase=_PHASES[phase],
            epochs=result.epochs_done,
            best=result.metrics.map50,
        )
        work.ctx.emit(MilestoneRecord(message=said))
    return result.model


def _finish(model: DetectionModel, architecture: str, work: _Work) -> None:
    """Evaluate on validation and test, register the model, write the final record."""
    config, pool, ctx = work.config, work.pool, work.ctx
    dataset = pool.dataset
    ctx.emit(StageRecord(stage=Stage.TESTING))
    val = pool.evaluator("val")(model)
    test = pool.evaluator("test")(model) if dataset.split("test") else None
    cost = count_cost(model, config.imgsz)
    ctx.emit(StageRecord(stage=Stage.SAVING))
    card = register_model(
        ctx.workspace,
        model,
        name=config.name or f"{architecture} on {dataset.name}",
        kind="baseline",
        imgsz=config.imgsz,
        model_id=_model_id(ctx.run_dir),
        architecture=architecture,
        dataset=dataset,
        val=val,
        test=test,
        origin=_origin(config, ctx),
    )
    ctx.emit(
        FinalRecord(
            iteration=0,
            metrics=val,
            test=test,
            cost=cost,
            macs_ratio=1.0,
            model_id=card.id,
            artifacts={
                "model": f"models/{card.id}/model.pt",
                "card": f"models/{card.id}/model.json",
            },
        )
    )


def _model_id(run_dir: Path) -> str:
    """The id of this run's model, chosen once: a run that is resumed here registers it again."""
    path = run_dir / "model.json"
    if not path.is_file():
        write_json(path, {"model_id": new_id("model")})
    return str(read_object(path)["model_id"])


def _origin(config: TrainConfig, ctx: RunContext) -> dict[str, str]:
    path = start_weights(config.weights, ctx.workspace)
    origin = {"run_id": ctx.run_id, "weights": config.weights}
    return origin if path is None else {**origin, "sha256": sha256_of(path)}
