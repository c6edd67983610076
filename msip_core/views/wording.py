"""Numbers as people read them: one spelling for screen, paper, tables and report."""

from __future__ import annotations

from msip_core.config import PruneConfig
from msip_core.language import mark
from msip_core.measures import MeasureOptions
from msip_core.recipes import TrainingRecipe
from msip_core.ways import Way

FORMATS = {
    "pytorch": "PyTorch",
    "cudagraph": "PyTorch CUDA graph",
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO",
    "torchscript": "TorchScript",
    "tensorrt": "TensorRT",
}


# In plain words.
SPLITS = {"val": "validation", "test": "test", "train": "training"}
# What a run's goal counts.
GOALS = {"macs": mark("MACs"), "params": mark("parameters"), "latency": mark("milliseconds")}


def added(recipe: TrainingRecipe) -> str:
    """What a schedule does beside descending the loss, "; ..." for each; "" where nothing."""
    falls = " that falls to a tenth" if recipe.bn_l1_decay else ""
    where = "" if recipe.bn_l1_shortcuts else " outside bottlenecks with a shortcut"
    ratio, share = " : ".join(f"{x:g}" for x in recipe.loss_ratio or ()), percent(recipe.soft_mask)
    said = {
        "loss_ratio": f"BCE and IoU loss weighed {ratio} by what they contribute at first",
        "l1_lambda": f"an L1 term of {recipe.l1_lambda:g} on what opening C2f made",
        "bn_l1": f"an L1 term of {recipe.bn_l1:g}{falls} on batch-norm factors{where}",
        "group_l2": f"coupled channels shrunk by {recipe.group_l2:g}, the weakest 16 times as much",
        "soft_mask": f"the weakest {share} of coupled channels silenced anew at each epoch",
        "layerdrop": f"shortcut bottlenecks left out with probability {recipe.layerdrop:g}",
    }
    return "".join(f"; {text}" for name, text in said.items() if getattr(recipe, name))


def macs(value: float) -> str:
    """Multiply-adds: '14.27 G', '412 M'."""
    if abs(value) >= 1e9:
        return f"{value / 1e9:.2f} G"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.0f} M"
    return f"{value:.0f}"


def params(value: float) -> str:
    """Weights of a model: '11.14 M', '450 k'."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.2f} M"
    if abs(value) >= 1e3:
        return f"{value / 1e3:.0f} k"
    return f"{value:.0f}"


def accuracy(value: float) -> str:
    """mAP with three digits: '0.884'."""
    return f"{value:.3f}"


def signed(value: float, digits: int = 3) -> str:
    """A change with its sign, a true minus, and no '-0.000'."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return f"±{text}"
    return ("+" if value > 0 else "−") + text


def gap(before: float, after: float, digits: int = 3) -> str:
    """The change beside two numbers of so many digits: of what is read there, so that all agree."""
    return signed(round(after, digits) - round(before, digits), digits)


def change(before: float, after: float) -> str:
    """'0.889 → 0.871 (−0.018)'."""
    return f"{accuracy(before)} → {accuracy(after)} ({gap(before, after)})"


def percent(share: float, digits: int = 0) -> str:
    """A share in [0, 1] as '33.5 %'."""
    return f"{share * 100:.{digits}f} %"


def megabytes(value: float) -> str:
    return f"{value:.1f} MB"


def milliseconds(value: float) -> str:
    """A latency with three significant digits: '0.213 ms', '7.52 ms', '23.1 ms', '412 ms'."""
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} ms"


def duration(seconds: float | None) -> str:
    """'8 s', '2 min 5 s', '1 h 20 min'; 'unknown' for None."""
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if seconds >= 9.5 or seconds == whole else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def plural(count: int, one: str) -> str:
    """'1 image', '3 images'."""
    return f"{count:,} {one if count == 1 else one + 's'}"


def format_name(form: str) -> str:
    """'onnx' -> 'ONNX Runtime'; a format without a better name keeps its own."""
    return FORMATS.get(form, form)


def place_name(way: Way) -> str:
    """'processor', 'GPU NVIDIA H200'; a GPU without a recorded name by its number."""
    return f"GPU {way.hardware or way.device}" if way.on_gpu else "processor"


def way_name(way: Way) -> str:
    """In which way milliseconds were taken: 'ONNX Runtime, processor, fp32, batch 1'."""
    parts = (format_name(way.format), place_name(way), way.precision, f"batch {way.batch}")
    return ", ".join(parts)


def goal_way(config: PruneConfig | MeasureOptions, measured: Way | None = None) -> str:
    """In which way the milliseconds of a run's goal, or of a study, are measured.

    Args:
        measured: the way that the run has recorded; before it runs, "auto" stands for a device.
    """
    if measured is not None:
        return way_name(measured)
    if config.latency_device == "cpu":
        return way_name(config.latency_way("cpu"))
    form = "" if config.latency_format == "auto" else f"{format_name(config.latency_format)}, "
    place = "where the run runs" if config.latency_device == "auto" else config.latency_device
    return f"{form}{place}, {config.latency_precision}, batch {config.latency_batch}"
