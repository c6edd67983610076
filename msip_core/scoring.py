"""What a run asks of its scores: MSIP's weights and switches, which images are looked at, the
limits that every allocation keeps, and how those that search do it. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from msip_core.messages import msg
from msip_core.recipes import Frozen

TERMS = ("gradient", "geometry", "sparsity", "information")


class MsipWeights(Frozen):
    """Weights of the four MSIP terms; they sum to 1."""

    gradient: float = Field(default=0.4, ge=0, le=1)
    geometry: float = Field(default=0.3, ge=0, le=1)
    sparsity: float = Field(default=0.2, ge=0, le=1)
    information: float = Field(default=0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _sum_to_one(self) -> MsipWeights:
        total = sum(self.as_tuple())
        if abs(total - 1) > 1e-6:
            raise ValueError(
                msg("the four MSIP weights must sum to 1, they sum to {total:.4g}", total=total)
            )
        return self

    def as_tuple(self) -> tuple[float, float, float, float]:
        return (self.gradient, self.geometry, self.sparsity, self.information)


WEIGHT_PRESETS: dict[str, MsipWeights] = {
    "paper": MsipWeights(),
    "equal": MsipWeights(gradient=0.25, geometry=0.25, sparsity=0.25, information=0.25),
    "gradient-heavy": MsipWeights(gradient=0.6, geometry=0.2, sparsity=0.1, information=0.1),
    "gradient-only": MsipWeights(gradient=1, geometry=0, sparsity=0, information=0),
    "geometry-only": MsipWeights(gradient=0, geometry=1, sparsity=0, information=0),
    "sparsity-only": MsipWeights(gradient=0, geometry=0, sparsity=1, information=0),
    "information-only": MsipWeights(gradient=0, geometry=0, sparsity=0, information=1),
}


class MsipOptions(Frozen):
    """Switches of MSIP (METHODS section 3); ignored by other criteria.

    Attributes:
        weights: start weights of the four terms.
        dynamic_weights: let the weights follow validation feedback.
        fusion: of `msip` alone: "product" (shares of the variance of the log score) or "rank".
        gradient: "taylor" (w*g)^2, or "grad2" (g)^2.
        geometry: distances to the layer's other channels: between "response"s, or between filters
            ("distance"); or "lp", the norm of the filter. Of `msip` alone: "obs", what the
            channel costs after the channels that stay have made up for it (importance/obs.py).
        sparsity: "activation", or "weight".
        information: "label" (mutual information with the class at each cell), or "loss".
        reach: geometry, sparsity and information count as what arrives at the layers that read
            the channel.

    What is None is as the scheme has it (importance/msip.py); `msip-published` has no switches.
    """

    weights: MsipWeights = MsipWeights()
    dynamic_weights: bool = True
    fusion: Literal["product", "rank"] = "product"
    gradient: Literal["taylor", "grad2"] | None = None
    geometry: Literal["response", "distance", "lp", "obs"] | None = None
    sparsity: Literal["activation", "weight"] | None = None
    reach: bool | None = None
    information: Literal["label", "loss"] = "label"


class CalibrationConfig(Frozen):
    """The fixed list of training images that every data-driven criterion sees.

    `micro_batch` only bounds memory: gradients of a batch are summed over micro-batches.
    """

    batches: int = Field(default=8, ge=1)
    batch: int = Field(default=16, ge=1)
    micro_batch: int = Field(default=4, ge=1)


GoalKind = Literal["macs", "params", "latency"]


class AllocationOptions(Frozen):
    """Limits that every allocation keeps.

    Attributes:
        round_to: kept channels per coupled group are multiples of this. "auto" is 8, unless the
            goal is milliseconds: then a run measures which of 8 and 16, on a GPU also 32 and 64,
            is fastest there (pruning.multiples).
        max_removed_per_iteration: largest share of a group's channels one iteration takes.
        min_kept: smallest share of a group's original channels that is left at the end.
        cost: what a channel is weighed against (kappa): "macs", "params", or "latency", the
            milliseconds that a step of eight channels frees where the run measures them.
    """

    round_to: Literal["auto", 1, 4, 8, 16, 32, 64] = "auto"
    max_removed_per_iteration: float = Field(default=0.35, gt=0, lt=1)
    min_kept: float = Field(default=0.1, gt=0, le=1)
    cost: GoalKind = "macs"

    @property
    def multiple(self) -> int:
        """What counts: `round_to`, or 8 while nothing was measured."""
        return 8 if self.round_to == "auto" else self.round_to


Ratio = Annotated[float, Field(ge=0, le=0.8)]
Bounds = tuple[Ratio, Ratio]


class SearchOptions(Frozen):
    """How allocations that search for their ratios do it (METHODS section 4); others ignore it.

    A trial is one network with some ratios: cut on paper, batch norm recalibrated, not tuned, and
    measured on validation.

    Attributes:
        images: validation images that a trial is measured on.
        recalibration: calibration images whose statistics each trial's batch norms take.
        grid: `sensitivity` removes these shares of each group.
        trials: `search` tries so many sets of ratios.
        space: `search` looks for one ratio a stage (3), or one a module (22 in YOLOv8).
        stage_bounds: `search` looks for the ratios of backbone, neck and head between these, and
            nowhere else; needs the space "stages". None leaves them free.
        sampler: `search` proposes ratios by a tree-structured Parzen estimator, or breeds them.
        finalists: `search` tunes so many of its best trials shortly and keeps the best of them.
        episodes, random_episodes: `amc` walks over the network so often, first by lot.
        reward: `amc` learns mAP50 within the goal, or accuracy and multiply-adds in one number.
        candidates: `netadapt` tries so many groups at each step; 0 tries all.
        first_step, step_decay: `netadapt` frees this share of the MACs in its first step, and in
            each step this factor of the step before.
        accept: `netadapt` takes the least loss per MAC freed (as published code does), or the
            highest accuracy (as the paper says).
        short_steps, short_lr: gradient steps of a short tuning, and their learning rate.
    """

    images: int = Field(default=200, ge=1, le=200)
    recalibration: int = Field(default=32, ge=1)
    grid: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), min_length=1
    )
    trials: int = Field(default=60, ge=1, le=10_000)
    space: Literal["stages", "modules"] = "stages"
    stage_bounds: tuple[Bounds, Bounds, Bounds] | None = None
    sampler: Literal["tpe", "evolution"] = "tpe"
    finalists: int = Field(default=3, ge=0, le=20)
    episodes: int = Field(default=300, ge=1, le=10_000)
    random_episodes: int = Field(default=100, ge=1)
    reward: Literal["within-goal", "with-cost"] = "within-goal"
    candidates: int = Field(default=8, ge=0)
    first_step: float = Field(default=0.025, gt=0, lt=1)
    step_decay: float = Field(default=0.96, gt=0, le=1)
    accept: Literal["loss-per-saving", "accuracy"] = "loss-per-saving"
    short_steps: int = Field(default=10, ge=0, le=10_000)
    short_lr: float = Field(default=1e-3, gt=0)

    @model_validator(mode="after")
    def _bounds_are_of_stages(self) -> SearchOptions:
        if self.stage_bounds is None:
            return self
        if self.space != "stages":
            raise ValueError(
                msg("stage_bounds are those of backbone, neck and head: search in stages")
            )
        if any(low >= high for low, high in self.stage_bounds):
            raise ValueError(msg("each of the stage_bounds is a lower and a higher ratio"))
        return self

    @model_validator(mode="after")
    def _some_episodes_are_learned(self) -> SearchOptions:
        if self.random_episodes >= self.episodes:
            raise ValueError(
                msg(
                    "AMC draws its first {random} episodes by lot, so of {episodes} none "
                    "would be learned: ask for more episodes, or fewer random ones",
                    random=self.random_episodes,
                    episodes=self.episodes,
                )
            )
        return self
