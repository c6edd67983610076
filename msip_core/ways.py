"""In which way a network runs when its milliseconds are taken. No torch.

    way = device, format, precision, batch

A number of milliseconds means nothing without all four: the same two networks differ by a half in
one way and by nothing in another. Results from before ways were recorded are from the processor.

`detector.engines` has one class a format, which says whether it is there, runs a network or a
layer, and brings its clock. `detector.layer_times` tables single layers, `groups.latency` adds them
up (fixed + scale * sum), `pruning.latency_goal` measures whole networks and moves both numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

from msip_core.errors import ConfigError
from msip_core.messages import msg

LatencyFormat = Literal["pytorch", "cudagraph", "onnx", "openvino", "tensorrt"]
LatencyPrecision = Literal["fp32", "fp16"]
PROCESSOR_FORMATS: tuple[LatencyFormat, ...] = ("pytorch", "onnx", "openvino")
GPU_FORMATS: tuple[LatencyFormat, ...] = ("pytorch", "cudagraph", "onnx", "tensorrt")
PRECISIONS: tuple[LatencyPrecision, ...] = ("fp32", "fp16")
RUN_FILE = "latency.json"  # of a run: what the unpruned network took, and in which way
GPU_BATCHES = (1, 32)  # one image as it comes, and as many as fill a GPU
# What "auto" means: what is deployed on a processor; on a GPU, what torch is fastest in.
_USUAL: dict[bool, LatencyFormat] = {False: "onnx", True: "cudagraph"}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run a network.

    Attributes:
        device: "cpu", or a GPU as settings call it: "cuda:0".
        format: "pytorch" (layer by layer), "cudagraph" (PyTorch, recorded once and replayed whole),
            "onnx" (ONNX Runtime), "openvino", "tensorrt".
        precision: "int8" only of files that were quantised.
        batch: images at a time; milliseconds are told per image.
        hardware: name of the device, "" where it was not recorded; says nothing about what is
            asked, so two ways are equal without it.
    """

    device: str = "cpu"
    format: LatencyFormat = "onnx"
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    batch: int = 1
    hardware: str = field(default="", compare=False)

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def of_layers(self) -> Way:
        """In which single layers are timed for this way.

        ONNX Runtime has a start of its own for every call, which a network pays once and a layer
        each time, and TensorRT builds an engine for seconds: on a GPU layers are timed as CUDA
        graphs, in the same precision and batch, and what the format does otherwise is in the
        measurements of whole networks, which move the prediction.
        """
        if self.on_gpu and self.format in ("onnx", "tensorrt"):
            return replace(self, format="cudagraph")
        return self

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """Of a stored result; one without a device is from before there were others."""
        return cls(
            device=str(entry.get("device") or "cpu"),
            format=entry.get("format", "onnx"),
            precision=entry.get("precision") or "fp32",
            batch=int(entry.get("batch") or 1),
            hardware=str(entry.get("hardware") or ""),
        )

    def as_dict(self) -> dict[str, Any]:
        """What `of` reads."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds per image of one model in one way to run it.

    Attributes:
        median_ms, low_ms, high_ms: the median and the 95 % bootstrap interval of that median.
        runs: timed forwards of `batch` images each.
        threads: processor threads that each format was given.
        rounds: milliseconds per image of every timed round; round n of all models was under the
            same load.
        device, precision, hardware: of the way.
    """

    name: str
    format: str
    batch: int
    median_ms: float
    low_ms: float
    high_ms: float
    runs: int
    threads: int
    rounds: tuple[float, ...] = ()
    device: str = "cpu"
    precision: str = "fp32"
    hardware: str = ""

    @property
    def way(self) -> Way:
        return Way.of(asdict(self))


def wanted_way(
    wanted: str,
    format: LatencyFormat | Literal["auto"],
    precision: LatencyPrecision,
    batch: int,
    device: str,
) -> Way:
    """The way that settings mean for work that runs on `device` ("cpu", "cuda:0").

    Args:
        wanted: "cpu", "auto" (where the work runs), or a GPU: then the one of the work.
    """
    gpu = device.startswith("cuda") and wanted != "cpu"
    place = device if gpu else "cpu" if wanted in ("cpu", "auto") else wanted
    form = usual_format(place) if format == "auto" else format
    return Way(place, form, precision, batch)


def busy_way(device: str) -> Way:
    """How a GPU is used where many images wait: full, in half precision."""
    return Way(device, "cudagraph", "fp16", max(GPU_BATCHES))


def usual_format(device: str) -> LatencyFormat:
    """The format that "auto" means on a device."""
    return _USUAL[device.startswith("cuda")]


def refusal(device: str, format: str, precision: str) -> str | None:
    """Why nobody can run a network so, on whatever computer; None where some can.

    Args:
        device, format: also "auto", which refuses nothing: what it means is known later.
    """
    if device == "cpu" and precision == "fp16":
        return msg("half precision (fp16) is timed on GPUs: a processor only imitates it")
    if device == "cpu" and format in ("cudagraph", "tensorrt"):
        return msg("'{format}' runs on NVIDIA GPUs alone, not on the processor", format=format)
    if device not in ("cpu", "auto") and format == "openvino":
        return msg("OpenVINO runs on the processor here, not on a GPU")
    return None


def share_left(speed_up: float) -> float:
    """A speed-up as the share of the milliseconds that is left.

    Raises:
        ConfigError: it makes nothing faster.
    """
    if not speed_up > 1:
        raise ConfigError(
            "A speed-up is above 1 (2 is twice as fast), not {speed_up:g}.", speed_up=speed_up
        )
    return 1 / speed_up
