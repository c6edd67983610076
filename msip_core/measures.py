"""What a run measures of its model beyond what every run does. No torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from msip_core.recipes import Frozen

MEASURE_FOLDER = "measure"  # below the run's folder
MEASURE_FILE = "measure.json"
MATCHES_FILE = "matches.npz"
DRAWS_FILE = "draws.npz"


class MeasureOptions(Frozen):
    """Measurements that a study pairs between its models: on test images, with intervals.

    Attributes:
        beside: model of the workspace that is timed in turn with this one; None times it alone.
        beside_imgsz: image size at which that one is timed; None takes the run's own.
        int8: measure the model quantised to 8-bit integers (ONNX Runtime) in its own place.
        latency_runs: timed forwards in ONNX Runtime; 0 leaves the time out.
        resamples: of the bootstrap over images.
        datasets: others of the workspace, with the same classes, that it is tested on too.
        noise: strengths of Gaussian noise on pixels between 0 and 1; mAP50 at each.
        attention: so many test images whose objects are explained by Grad-CAM.
        shap: so many test images whose first object is explained by SHAP.
        shap_features: patches of each SHAP.
        shap_samples: evaluations of the model for each SHAP, at most: it ends when two
            estimates agree, and C@10 is left out where they do not.
    """

    beside: str | None = None
    beside_imgsz: int | None = None
    int8: bool = False
    latency_runs: int = Field(default=50, ge=0, le=10_000)
    resamples: int = Field(default=1000, ge=100, le=100_000)
    datasets: tuple[str, ...] = ()
    noise: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    attention: int = Field(default=0, ge=0)
    shap: int = Field(default=0, ge=0)
    shap_features: int = Field(default=50, ge=4, le=1000)
    shap_samples: int = Field(default=2048, ge=16)

    @model_validator(mode="after")
    def _enough_evaluations(self) -> MeasureOptions:
        # Two estimates of two evaluations a patch; SLIC may make a quarter more patches.
        if self.shap and self.shap_samples < 5 * self.shap_features:
            raise ValueError(
                f"SHAP on {self.shap_features} patches needs at least {5 * self.shap_features} "
                f"evaluations, not {self.shap_samples}"
            )
        return self
