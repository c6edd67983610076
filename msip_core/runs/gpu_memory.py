"""How much memory of a GPU a run will take: estimated from its settings, or as measured before.

The estimate, in GB (1e9 bytes), for a batch of `b` images of `s` px and a network of `p`
parameters:

    1.0                          CUDA itself, kernels and their workspaces
    + 5 · 4 · p                  weights, gradients, momentum, average, one spare, in float32
    + 1.5 · a · b · (s / 640)²   what the backward pass keeps, and its peak over that
    + 3 · s² · n, at most 4      the `n` images of the dataset as bytes
    + a · b · (s / 640)²         only with a teacher: its maps, and the parts that compare

`a` is what one image of 640 px leaves in the network of that size (_ACTIVATIONS, counted over the
outputs of all its layers in float32); a network that was pruned leaves as much less as the square
root of its parameters says. In bfloat16 it is less: the estimate errs upwards, and only until the
first run of its kind has ended (`remember`). Then what that one took counts, and a tenth more.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from msip_core import catalog
from msip_core.config import AnyRun, CountConfig, PruneConfig, TrainConfig
from msip_core.documents import read_as
from msip_core.errors import MsipError
from msip_core.models import open_card
from msip_core.workspace import Workspace, write_json

CUDA_GB = 1.0
_COPIES, _BACKWARD = 5, 1.5
_MOST_IMAGES_GB = 4.0
_PROGRAM_GB = 1.5  # Python, torch and what they load
_SPARE = 1.1  # of what was measured: kernels are chosen by what is free
# Parameters (millions) of YOLOv8 n, s, m, l, x, and GB that one image of 640 px leaves in it.
_ACTIVATIONS = {
    "n": (3.0, 0.18),
    "s": (11.1, 0.45),
    "m": (25.9, 0.99),
    "l": (43.6, 1.81),
    "x": (68.2, 2.63),
}
_MILLION = 1e6


def needed_gb(config: AnyRun, workspace: Workspace, parts: int = 1) -> float:
    """Memory of a GPU that a run will take, in GB; `parts` as it runs, where not as it was set."""
    parts = max(parts, config.parts)
    measured = _measured(config, workspace, parts)
    return estimated_gb(config, workspace, parts) if measured is None else measured * _SPARE


def estimated_gb(config: AnyRun, workspace: Workspace, parts: int) -> float:
    """The formula above; of a count, which keeps no maps, the weights and one pass forward."""
    architecture, millions = _network(config, workspace)
    area = ((config.imgsz or 640) / 640) ** 2
    maps = _activations(architecture, millions) * math.ceil(config.batch / parts) * area
    if isinstance(config, CountConfig):
        models = 1 if config.baseline is None else 2
        return CUDA_GB + models * (2 * 4 * millions * _MILLION / 1e9 + maps)
    teaches = (
        isinstance(config, PruneConfig) and catalog.find("recovery", config.recovery).needs_teacher
    )
    return (
        CUDA_GB
        + _COPIES * 4 * millions * _MILLION / 1e9
        + (_BACKWARD + teaches) * maps
        + _images_gb(config, workspace)
    )


def host_gb(config: AnyRun, workspace: Workspace, *, on_gpu: bool) -> float:
    """Memory of the computer that a run will take, in GB: libraries, images, and without a GPU all
    that would lie there."""
    if not on_gpu:
        return _PROGRAM_GB + estimated_gb(config, workspace, config.parts) - CUDA_GB
    if isinstance(config, CountConfig):  # images pass by, none is kept
        return _PROGRAM_GB + CUDA_GB
    return _PROGRAM_GB + CUDA_GB + _images_gb(config, workspace)


def remember(config: AnyRun, workspace: Workspace, parts: int, peak_gb: float) -> None:
    """Keep what a finished run of this kind took, the most of all that were there."""
    before = _measured(config, workspace, parts)
    if before is None or peak_gb > before:
        write_json(_file(config, workspace, parts), {"peak_gb": round(peak_gb, 3)})


def _measured(config: AnyRun, workspace: Workspace, parts: int) -> float | None:
    """None where none has ended yet, or the file was damaged: the formula will do."""
    return (read_as(_file(config, workspace, parts), dict[str, float]) or {}).get("peak_gb")


def _file(config: AnyRun, workspace: Workspace, parts: int) -> Path:
    digest = hashlib.sha256(json.dumps(_kind(config, parts)).encode()).hexdigest()
    return workspace.cache / f"gpu-memory-{digest[:40]}" / "peak.json"


def _kind(config: AnyRun, parts: int) -> list[Any]:
    """What the memory of a run hangs on."""
    shared = [config.kind, config.dataset, config.imgsz, config.batch, parts, config.precision]
    if isinstance(config, TrainConfig):
        return [*shared, config.weights]
    if isinstance(config, CountConfig):
        return [*shared, config.model, config.baseline]
    return [
        *shared, config.model, config.method, config.recovery, config.allocation,
        config.granularity, config.calibration.micro_batch, config.repair,
    ]  # fmt: skip


def _network(config: AnyRun, workspace: Workspace) -> tuple[str, float]:
    """Letter of the architecture ("" if unknown) and parameters in millions of what a run starts
    from."""
    source = config.weights if isinstance(config, TrainConfig) else config.model
    letter = source.removeprefix("yolov8")[:1] if source.startswith("yolov8") else ""
    if source.endswith((".yaml", ".yml")):
        return letter, _ACTIVATIONS.get(letter, _ACTIVATIONS["s"])[0]
    if source.endswith(".pt"):
        path = Path(source)
        # Most are kept in half precision; of others this is twice as much as they have.
        return "", max(0.1, path.stat().st_size / 2 / _MILLION) if path.is_file() else 11.1
    try:
        card = open_card(workspace, source)
    except (MsipError, OSError):
        return "", _ACTIVATIONS["s"][0]  # it was removed: its run says so when it starts
    return card.architecture.removeprefix("yolov8")[:1], card.cost.params / _MILLION


def _activations(letter: str, millions: float) -> float:
    """GB that one image of 640 px leaves in a network."""
    if letter not in _ACTIVATIONS:
        letter = min(_ACTIVATIONS, key=lambda one: abs(math.log(_ACTIVATIONS[one][0] / millions)))
    whole, kept = _ACTIVATIONS[letter]
    return kept * math.sqrt(millions / whole)


def _images_gb(config: AnyRun, workspace: Workspace) -> float:
    folder = workspace.dataset_dir(config.dataset) / "images" if config.dataset else None
    count = sum(1 for _ in folder.iterdir()) if folder and folder.is_dir() else 0
    return min(3e-9 * config.imgsz**2 * count, _MOST_IMAGES_GB)
