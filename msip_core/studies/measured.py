"""What a run of a study has measured (measure.json), as far as tables read it."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from msip_core.events import Record
from msip_core.questions.looking import ScoresOfMap


class _Finite(Record, allow_inf_nan=False):
    """Numbers that are some."""


class _Accuracy(_Finite):
    map50: float
    map50_95: float


class _OfImages(_Accuracy):
    """`groups` came later than the rest."""

    images: int
    groups: int | None = None


class _Timed(_Finite):
    """Milliseconds, and the way that they were measured in."""

    median_ms: PositiveFloat
    rounds: tuple[PositiveFloat, ...] = ()
    device: str = "cpu"
    format: str = "onnx"
    precision: str = "fp32"
    batch: int = Field(default=1, ge=1)
    hardware: str = ""


class _LookedAt(Record):
    image: str
    model: ScoresOfMap


class _Attention(Record):
    images: tuple[_LookedAt, ...]
    groups: dict[str, str] = {}


class _Shap(_Finite):
    c_at_10: dict[str, float | None]
    evaluations: dict[str, int] = {}
    groups: dict[str, str] = {}


class Measurement(_Finite):
    """What one run measured on test images, and beside them."""

    macs: PositiveFloat
    params: float
    size_mb: float
    test: _OfImages
    coco: _Accuracy | None
    latency: dict[str, _Timed] | None = None
    datasets: dict[str, _OfImages] = {}
    noise: dict[str, _OfImages] = {}
    attention: _Attention | None = None
    shap: _Shap | None = None
