"""SHAP of one detection: what each patch of the micrograph adds to it.

SHAP values (Lundberg & Lee 2017, arXiv:1705.07874) of super-pixels, by permutations in pairs
(`msip_core.explain.permutations`); f = the D-RISE similarity of `targets.similarity`; absent =
blurred. The reference box is fixed, the same for every model.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from msip_core.boxes import Box
from msip_core.detector.frame import Frame
from msip_core.detector.library import DetectionModel
from msip_core.errors import ConfigError
from msip_core.explain.boundary import concentration
from msip_core.explain.permutations import Estimate, converge, kernel_shap
from msip_core.explain.superpixels import Patchwork, Segmentation
from msip_core.explain.targets import Candidates, check_reference, private_copy, similarity
from msip_core.messages import mark, msg
from msip_core.questions.looking import ShapTime

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
__all__ = ["ShapResult", "estimate_time", "explain_detection", "kernel_shap"]
NOTHING_SEEN = mark(
    "This model finds nothing like the chosen box, so there is nothing to share out."
)


@dataclass(frozen=True, slots=True)
class ShapResult:
    """What each patch adds to one detection.

    Attributes:
        values: float64 (M,), phi of each patch; they sum to score - base.
        segments: int32 (H, W) of the micrograph, patch of each pixel.
        base: f of the blurred micrograph.
        score: f of the micrograph as it is.
        heat: float32 (H, W), >= 0, sums to 1 (to 0 if no patch helps): positive phi spread
            evenly over its patch.
        c_at_10: share of all |phi| held by the top tenth of patches; None if all are zero, or
            not converged.
        converged: two independent estimates agree; what is given is the mean of both.
        correlation: of the two estimates of phi; None where it is undefined or there was one.
        evaluations: forward passes spent.
        seconds: time spent.
        layers, skipped: none; they are there so that every explainer reads alike.
        note: what a reader must know, or "".
    """

    values: NDArray[np.float64]
    segments: NDArray[np.int32]
    base: float
    score: float
    heat: NDArray[np.float32]
    c_at_10: float | None
    converged: bool
    correlation: float | None
    evaluations: int
    seconds: float
    layers: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


class PatchGame:
    """f over masks: how well the detector still finds the box when patches are blurred."""

    def __init__(self, model: DetectionModel, frame: Frame, patches: Patchwork, box: Box) -> None:
        # Both change f by rounding only; on CPU fusing saves up to a sixth of the time at 640 px,
        # channels-last another tenth.
        fused = private_copy(model).fuse(verbose=False)
        self.network = Candidates(fused).eval().to(memory_format=torch.channels_last)
        self.patches = patches
        self.reference = frame.box_in_input(box)
        self.cls = box.cls

    def forward(self, masks: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """f of masks (n, M) in one forward pass: (n,)."""
        with torch.inference_mode():
            found: Tensor = self.network(self.patches.masked(masks))
            return similarity(found, self.reference, self.cls).double().cpu().numpy()


def explain_detection(
    model: DetectionModel,
    image: NDArray[np.uint8],
    box: Box,
    *,
    imgsz: int,
    features: int = 100,
    samples: int = 2048,
    segments: Segmentation = "slic",
    seed: int = 0,
    progress: Progress | None = None,
) -> ShapResult:
    """What each patch of the micrograph adds to the detection `box`.

    Args:
        model: a YOLOv8 detector; left exactly as it is.
        image: uint8 (H, W, 3) RGB.
        box: reference box and class in pixels of `image`; the same for every model compared.
        features: patches wanted (M); the paper's protocol has 100.
        samples: forward passes at most: it ends as soon as two estimates agree.
        progress: told (share done, sentence) after each batch; may raise `Stopped` to cancel.

    Raises:
        ConfigError: class, patches or samples out of range.
        InputError: not an 8-bit colour picture.
    """
    started = time.monotonic()
    frame, game = _game(model, image, box, imgsz=imgsz, features=features, segments=segments)
    patches = game.patches
    check_samples(samples, patches.features)
    spent = _Spent(samples + 2, progress)

    def f(masks: NDArray[np.float64]) -> NDArray[np.float64]:
        return evaluate_batched(game.forward, masks, patches.present, spent.add)

    found = converge(f, patches.features, samples, seed)
    places = frame.labels_to_image(patches.labels)
    return ShapResult(
        values=found.values,
        segments=places,
        base=found.base,
        score=found.score,
        heat=patch_heat(found.values, places),
        c_at_10=concentration(found.values) if found.converged else None,
        converged=found.converged,
        correlation=found.correlation,
        evaluations=spent.done,
        seconds=time.monotonic() - started,
        note=_note(found, patches.features),
    )


def _note(found: Estimate, patches: int) -> str:
    """What a reader must know before reading the values."""
    if not np.abs(found.values).sum():
        return NOTHING_SEEN
    if found.converged:
        return ""
    if found.shares is None:
        return msg(
            "C@10 is not given: {evaluations} evaluations on {patches} patches make one "
            "estimate, and two must agree. Ask for {least} evaluations or more.",
            evaluations=found.evaluations,
            patches=patches,
            least=4 * patches,
        )
    one, other = found.shares
    correlation = 0.0 if found.correlation is None else found.correlation
    return msg(
        "C@10 is not given: after {evaluations} evaluations two independent estimates do "
        "not agree yet (correlation {correlation:.2f}, C@10 {one:.2f} and {other:.2f}). Ask for "
        "more evaluations or fewer patches.",
        evaluations=found.evaluations,
        correlation=correlation,
        one=one,
        other=other,
    )


def estimate_time(
    model: DetectionModel, image: NDArray[np.uint8], *, imgsz: int, samples: int = 2048
) -> ShapTime:
    """Time all of SHAP's evaluations from a few forward passes on this image and device."""
    height, width = image.shape[:2]
    whole = Box(cls=0, x1=0, y1=0, x2=width, y2=height)
    _, game = _game(model, image, whole, imgsz=imgsz, features=100, segments="grid")
    masks = np.random.default_rng(0).integers(0, 2, (2, game.patches.features)).astype(float)
    game.forward(masks[:1])  # the first pass allocates
    batch = batch_size(game.patches.present)
    rounds = []
    for _ in range(3):
        started = time.perf_counter()
        game.forward(np.repeat(masks[:1], batch, axis=0))
        rounds.append((time.perf_counter() - started) / batch)
    each = float(np.median(rounds))
    return ShapTime(seconds=each * (samples + 2), per_evaluation=each, batch=batch, samples=samples)


def _game(
    model: DetectionModel,
    image: NDArray[np.uint8],
    box: Box,
    *,
    imgsz: int,
    features: int,
    segments: Segmentation,
) -> tuple[Frame, PatchGame]:
    frame = Frame.fit(image, imgsz)
    check_reference(box.xyxy, box.cls, classes=model.model[-1].nc)
    device = next(model.parameters()).device
    patches = Patchwork.cut(frame, image, features, segments, device)
    return frame, PatchGame(model, frame, patches, box)


def check_samples(samples: int, features: int) -> None:
    """Raise ConfigError unless there are enough evaluations to solve for every patch."""
    if samples < 2 * features:
        raise ConfigError(
            "SHAP on {features} patches needs at least {least} evaluations, got {samples}: "
            "ask for more evaluations or fewer patches.",
            features=features,
            least=2 * features,
            samples=samples,
        )


def patch_heat(values: NDArray[np.float64], segments: NDArray[np.int32]) -> NDArray[np.float32]:
    """Positive phi spread over its patch: float32 (H, W), >= 0, sums to 1 or 0."""
    area = np.bincount(segments.ravel(), minlength=len(values))
    positive = np.maximum(values, 0)
    # A patch smaller than one micrograph pixel can vanish when the input was enlarged.
    density = np.divide(positive, area, out=np.zeros_like(positive), where=area > 0)
    heat = density[segments]
    total = heat.sum()
    return (heat / total if total > 0 else heat).astype(np.float32)


class _Spent:
    """Counts evaluations and tells how long the rest will take."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.progress = total, progress
        self.done = 0
        self.busy = 0.0

    def add(self, evaluations: int, seconds: float) -> None:
        """Take note of one batch. Only time inside the network counts for the estimate."""
        self.done += evaluations
        self.busy += seconds
        if self.progress is None:
            return
        left = self.busy / self.done * max(0, self.total - self.done)
        self.progress(
            min(1.0, self.done / self.total),
            msg(
                "SHAP: {done} of {total} evaluations, about {left:.0f} s left",
                done=self.done,
                total=self.total,
                left=left,
            ),
        )


# --- how many images go through the network at once: as many as memory allows -----

# Measured growth of the resident set per image of a batch, 640 px, float32, no gradients: YOLOv8n
# 26 MB, s 48 MB, m 80 MB, that is 5, 10 and 16 times the input. Twice the largest for safety.
BYTES_PER_INPUT_BYTE = 33
SHARE_OF_FREE = 0.25
# On CPU a batch that outgrows the caches is slower (8 x 640 px a fifth slower than 4 x 640 px).
CPU_PIXELS = 1_700_000
LARGEST = 256


def batch_size(image: Tensor) -> int:
    """Images like this (3, H, W) per forward pass, from the free memory of its device."""
    device = image.device
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        largest = LARGEST
    else:
        free = psutil.virtual_memory().available
        largest = max(1, CPU_PIXELS // (image.shape[-1] * image.shape[-2]))
    need = image.numel() * image.element_size() * BYTES_PER_INPUT_BYTE
    return int(np.clip(free * SHARE_OF_FREE // need, 1, min(largest, LARGEST)))


def evaluate_batched(
    forward: Callable[[NDArray[Any]], NDArray[np.float64]],
    rows: NDArray[Any],
    image: Tensor,
    done: Callable[[int, float], None],
) -> NDArray[np.float64]:
    """forward(rows) in batches that fit; a batch that does not fit after all is halved.

    Args:
        rows: (n, ...), what `forward` takes.
        image: one input image, for its size and device.
        done: told rows and seconds after each batch; may raise to stop.
    """
    batch = batch_size(image)
    parts: list[NDArray[np.float64]] = []
    start = 0
    while start < len(rows):
        piece = rows[start : start + batch]
        began = time.perf_counter()
        try:
            parts.append(forward(piece))
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch = max(1, batch // 2)
            torch.cuda.empty_cache()
            log.warning("A batch did not fit into the device's memory: going on with %d.", batch)
            continue
        start += len(piece)
        done(len(piece), time.perf_counter() - began)
    return np.concatenate(parts)
