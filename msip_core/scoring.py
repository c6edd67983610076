"""What a run asks of its scores: MSIP's weights and switches, which images are looked at, and the
limits that every allocation keeps. No torch."""

from __future__ import annotations

from typing import Literal

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
