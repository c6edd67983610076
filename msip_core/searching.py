"""How allocations that search for their ratios do it, as settings: frozen, checked, no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from msip_core.messages import msg
from msip_core.recipes import Frozen

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
