"""Training, as settings: schedules, and a teacher beside them. Frozen, checked, no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from msip_core.messages import msg


class Frozen(BaseModel):
    """Base of every config: unknown keys are refused, nothing changes after checking.

    Numbers are finite: nothing that is set here means anything as NaN or infinity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Share = Annotated[float, Field(gt=0, le=1)]


class TrainingRecipe(Frozen):
    """One training schedule; names and meanings are Ultralytics'.

    Defaults are the paper's fine-tuning recipe (METHODS section 6): SGD, lr 1e-3 to 1e-5 by
    cosine, momentum .9, weight decay 5e-4, rotation 15 degrees, scale .8-1.2, mixup .2, no
    warm-up (its bias learning rate of .1 would destroy a trained model).

    `box`, `cls` and `dfl` are gains; with `loss_ratio` they only set the size of the whole loss,
    and what BCE and IoU loss contribute is measured at the start (msip_core.detector.loss_ratio).

    Ours, all off by default: what makes a network sparse before it is cut (`l1_lambda`, `bn_l1`,
    `group_l2`, `soft_mask`) and `layerdrop`, which prepares it for losing whole blocks.
    """

    epochs: int = Field(default=30, ge=0, le=10_000)
    lr0: float = Field(default=1e-3, gt=0)
    lrf: float = Field(default=0.01, gt=0, le=1)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    cos_lr: bool = True
    warmup_epochs: float = Field(default=0.0, ge=0)
    degrees: float = Field(default=15.0, ge=0, le=180)
    scale: float = Field(default=0.2, ge=0, lt=1)
    mixup: float = Field(default=0.2, ge=0, le=1)
    mosaic: float = Field(default=1.0, ge=0, le=1)
    close_mosaic: int = Field(default=10, ge=0, description="last epochs without mosaic")
    nbs: int = Field(default=64, ge=1, description="images per optimizer step")
    fliplr: float = Field(default=0.5, ge=0, le=1)
    flipud: float = Field(default=0.0, ge=0, le=1)
    box: float = Field(default=7.5, gt=0)
    cls: float = Field(default=0.5, gt=0)
    dfl: float = Field(default=1.5, ge=0)
    loss_ratio: tuple[Share, Share] | None = Field(
        default=None,
        description="BCE : IoU loss at the start, as they contribute; the gains follow from it",
    )
    l1_lambda: float = Field(
        default=0.0, ge=0, description="L1 subgradient on the convs that C2f->C2f_v2 made"
    )
    bn_l1: float = Field(
        default=0.0, ge=0, le=1, description="L1 subgradient on every batch-norm factor"
    )
    bn_l1_decay: bool = Field(default=False, description="bn_l1 falls to a tenth over the epochs")
    bn_l1_shortcuts: bool = Field(
        default=True, description="bn_l1 also inside bottlenecks with a shortcut"
    )
    group_l2: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="shrinks coupled channels, the weakest 16 times as much; pruning runs only",
    )
    soft_mask: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of each group's channels, the weakest by BN × weight, that is silenced "
        "at the start of every epoch and may come back; pruning runs only",
    )
    layerdrop: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="probability that training leaves a shortcut bottleneck out; 0.2 is usual",
    )

    @property
    def is_sparse(self) -> bool:
        """Whether factors or whole channels are pushed to zero."""
        return self.bn_l1 > 0 or self.group_l2 > 0 or self.soft_mask > 0


class DistillOptions(Frozen):
    """How the unpruned network teaches the pruned one; only recoveries with a teacher read it.

    Attributes:
        weight: of the distillation loss beside the detection loss, for each layer.
        temperature: of the softmax over positions (recovery "cwd"), or over the bins of a box side
            ("prediction", "crosskd").
        layers: of the YOLOv8 graph whose maps are compared ("cwd", "feature"); 15, 18 and 21 feed
            the head.
    """

    weight: float = Field(default=1.0, gt=0, le=1000)
    temperature: float = Field(default=1.0, gt=0, le=100)
    layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(15, 18, 21), min_length=1)

    @model_validator(mode="after")
    def _each_layer_once(self) -> DistillOptions:
        if len(set(self.layers)) < len(self.layers):
            raise ValueError(msg("every layer can be compared only once"))
        return self


RECIPES: dict[str, TrainingRecipe] = {
    # Baselines.
    "paper-baseline": TrainingRecipe(
        epochs=100, lr0=0.01, momentum=0.937, cos_lr=False, warmup_epochs=3.0, degrees=0.0,
        scale=0.5, mixup=0.0,
    ),
    "quick-baseline": TrainingRecipe(
        epochs=12, lr0=0.01, momentum=0.937, warmup_epochs=1.0, degrees=0.0, scale=0.3, mixup=0.0,
        flipud=0.5, close_mosaic=3,
    ),
    # C2f_v2 pre-training: BCE : IoU = .7 : .3 in what they contribute, measured at the start. The
    # gains are where that lies for an untrained and for a trained network (.67 and .75), with the
    # sum of 8 that Ultralytics' own have.
    "paper-pretrain": TrainingRecipe(
        epochs=50, lr0=0.01, box=5.7, cls=1.15, dfl=1.15, loss_ratio=(0.7, 0.3), l1_lambda=1e-4,
        mixup=0.0,
    ),
    # The same with .7 : .3 read as the gains themselves: BCE is then .96 of the two.
    "paper-pretrain-gains": TrainingRecipe(
        epochs=50, lr0=0.01, box=2.4, cls=5.6, dfl=0.48, l1_lambda=1e-4, mixup=0.0
    ),
    # Before pruning by batch-norm factors (Network Slimming): METHODS section 2. Over all steps
    # the term moves a factor by at most lambda * sum of lr / (1 - momentum): with this schedule
    # 2.8 * lambda * steps an epoch. The published 1e-4 suits a hundred thousand images (.5); with a
    # thousand it would move nothing (.004), so lambda is 1e-2 here (.45).
    "sparse-pretrain": TrainingRecipe(
        epochs=50, lr0=0.01, momentum=0.937, cos_lr=False, mixup=0.0, bn_l1=1e-2, bn_l1_decay=True
    ),
    # Before pruning by group norm (DepGraph): coupled channels shrink together, the weakest most.
    "depgraph-pretrain": TrainingRecipe(
        epochs=50, lr0=0.01, momentum=0.937, cos_lr=False, mixup=0.0, group_l2=5e-4
    ),
    # Before pruning by BN x weight (Pruned-YOLO): a sparsity term that decays, and soft masks.
    "pruned-yolo-pretrain": TrainingRecipe(
        epochs=50, lr0=0.01, momentum=0.937, cos_lr=False, mixup=0.0, bn_l1=1e-2,
        bn_l1_decay=True, soft_mask=0.3,
    ),
    # Before whole bottlenecks are taken out (LayerDrop): METHODS section 5.
    "layerdrop-pretrain": TrainingRecipe(
        epochs=50, lr0=0.01, momentum=0.937, cos_lr=False, mixup=0.0, layerdrop=0.2
    ),
    # Fine-tuning after each pruning iteration.
    "paper-finetune": TrainingRecipe(epochs=30),
    # Without the paper's rotation: the box around a turned box is looser than the one around the
    # turned object, and fine-tuning learns that (mAP50-95 .63, else .90: benchmarks/finetuning.py).
    # One cosine after the last cut, with weights refitted between cuts: higher mAP50-95 than equal
    # epochs after each cut in three of three seeds (benchmarks/results/recovery).
    "standard-finetune": TrainingRecipe(epochs=80, degrees=0.0),
    "quick-finetune": TrainingRecipe(epochs=2, lr0=5e-3, degrees=0.0, mixup=0.0, close_mosaic=1),
}  # fmt: skip
