"""What a run measures of its model beyond what every run does. No torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from msip_core.messages import msg
from msip_core.recipes import Frozen
from msip_core.ways import LatencyFormat, LatencyPrecision, Way, refusal, wanted_way

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
        latency_runs: timed forwards; 0 leaves the time out.
        latency_device: on what: "cpu", or "auto", where the run runs.
        latency_format, latency_precision, latency_batch: by what, in which numbers, how many
            images at a time, as a run's goal has them; int8 is timed in ONNX Runtime on the
            processor alone.
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
    latency_device: Literal["cpu", "auto"] = "cpu"
    latency_format: LatencyFormat | Literal["auto"] = "onnx"
    latency_precision: LatencyPrecision = "fp32"
    latency_batch: int = Field(default=1, ge=1, le=1024)
    resamples: int = Field(default=1000, ge=100, le=100_000)
    datasets: tuple[str, ...] = ()
    noise: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    attention: int = Field(default=0, ge=0)
    shap: int = Field(default=0, ge=0)
    shap_features: int = Field(default=50, ge=4, le=1000)
    shap_samples: int = Field(default=2048, ge=16)

    @model_validator(mode="before")
    @classmethod
    def _format_of_the_device(cls, value: Any) -> Any:
        """Whoever names a device and no format means the usual one there."""
        if not isinstance(value, dict) or value.get("latency_device", "cpu") == "cpu":
            return value
        return {"latency_format": "auto", **value}

    @model_validator(mode="after")
    def _a_way_that_there_is(self) -> MeasureOptions:
        if why := refusal(self.latency_device, self.latency_format, self.latency_precision):
            raise ValueError(why)
        return self

    def latency_way(self, device: str) -> Way:
        """In which way the time is measured, if the run runs on `device`."""
        return wanted_way(
            self.latency_device,
            self.latency_format,
            self.latency_precision,
            self.latency_batch,
            device,
        )

    @model_validator(mode="after")
    def _enough_evaluations(self) -> MeasureOptions:
        # Two estimates of two evaluations a patch; SLIC may make a quarter more patches.
        if self.shap and self.shap_samples < 5 * self.shap_features:
            raise ValueError(
                msg(
                    "SHAP on {patches} patches needs at least {least} evaluations, not {samples}",
                    patches=self.shap_features,
                    least=5 * self.shap_features,
                    samples=self.shap_samples,
                )
            )
        return self
