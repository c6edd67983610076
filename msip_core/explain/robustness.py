"""Two questions to every explanation and model: does the map depend on what was learned, and
does the score hold when pixels get noisy?"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from scipy.stats import t as student
from torch import Tensor, nn
from ultralytics.nn.modules.block import DFL

from msip_core.detector.frame import Frame
from msip_core.detector.library import DetectionModel
from msip_core.errors import ConfigError, InputError
from msip_core.explain.cam import CamResult, Method, explain_target
from msip_core.explain.targets import private_copy
from msip_core.groups.layout import YOLOV8, layout_of
from msip_core.messages import mark, msg
from msip_core.questions.looking import RandomisedCheck

ALIKE = 0.5  # rank correlation from which two maps are called alike
EVERYTHING = mark("all weights")
_LEAST_DRAWS = 3
_COMPARED_SIDE = 64  # px: finer than any map's own resolution is only interpolation


def randomised_check(
    model: DetectionModel,
    image: NDArray[np.uint8],
    learned: CamResult,
    *,
    imgsz: int,
    method: Method = "gradcam",
    layers: Sequence[str | int] | None = None,
    draws: int = 5,
    seed: int = 0,
) -> RandomisedCheck:
    """Compare a map with those of the same network, its weights shuffled from the output down.

    The anchors explained stay those of the trained network, so that both answer the same
    question. A map that looks alike with random weights shows edges or the place of the box, not
    what was learned. Judged by what is left when all weights are shuffled.

    Args:
        learned: the map of `model` for this image, method and layers.
        draws: networks that are shuffled, each with numbers of its own.
    """
    frame = Frame.fit(image, imgsz)
    images = frame.tensor(image)[None].to(next(model.parameters()).device)
    found: dict[str, list[float]] = {name: [] for name, _ in _depths(model)}
    twin = private_copy(model)
    learned_weights = [parameter.clone() for parameter in twin.parameters()]
    for draw in range(draws):
        _put_back(twin, learned_weights)
        generator = torch.Generator(device=images.device).manual_seed(seed + draw)
        end = len(twin.model)
        for name, start in _depths(model):
            shuffle(twin.model[start:end], generator)
            end = start
            other = explain_target(
                twin, frame, images, learned.target, method=method, layers=layers
            )
            correlation = map_correlation(learned.heat, other.heat)
            if correlation is not None:
                found[name].append(correlation)
    cascade = {name: float(np.mean(all_)) if all_ else None for name, all_ in found.items()}
    return _judge(found[EVERYTHING], cascade)


@torch.no_grad()
def _put_back(model: DetectionModel, weights: Sequence[Tensor]) -> None:
    """Unshuffle: as it was learned. Copying a network takes longer than looking at it."""
    for parameter, value in zip(model.parameters(), weights, strict=True):
        parameter.copy_(value)


def _depths(model: DetectionModel) -> list[tuple[str, int]]:
    """How far down, and the first layer that is shuffled then."""
    layout = layout_of(model) or YOLOV8
    return [
        ("head", layout.head),
        (msg("head and neck"), layout.neck),
        (msg("head, neck and deep backbone"), layout.neck // 2),
        (EVERYTHING, 0),
    ]


def _judge(found: Sequence[float], cascade: dict[str, float | None]) -> RandomisedCheck:
    if len(found) < _LEAST_DRAWS:
        words = msg("No check with random weights was possible: one of the maps is empty.")
        return RandomisedCheck(
            correlation=None, low=None, high=None, draws=len(found), passed=None, cascade=cascade,
            verdict=words,
        )  # fmt: skip
    mean = float(np.mean(found))
    spread = float(np.std(found, ddof=1)) / math.sqrt(len(found))
    reach = float(student.ppf(0.975, len(found) - 1)) * spread
    low, high = max(-1.0, mean - reach), min(1.0, mean + reach)
    passed = True if high < ALIKE else False if low >= ALIKE else None
    words = {
        True: msg("The map changes when the weights are shuffled: it depends on what was learned."),
        False: (
            msg(
                "The map looks much the same with shuffled weights: "
                "do not read it as what the model has learned."
            )
        ),
        None: (
            msg(
                "Whether the map changes when the weights are shuffled is not clear: read it "
                "with care."
            )
        ),
    }[passed]
    text = msg(
        "{words} (correlation {mean:.2f}, {low:.2f} to {high:.2f})",
        words=words,
        mean=mean,
        low=low,
        high=high,
    )
    return RandomisedCheck(
        correlation=mean, low=low, high=high, draws=len(found), passed=passed, cascade=cascade,
        verdict=text,
    )  # fmt: skip


@torch.no_grad()
def shuffle(part: nn.Module, generator: torch.Generator) -> None:
    """Permute the entries of every weight and BN parameter in place.

    Each tensor keeps its values, so activations stay in range; only their order, that is what
    was learned, is lost. DFL's fixed ramp and BN's running statistics stay.
    """
    fixed = {id(p) for m in part.modules() if isinstance(m, DFL) for p in m.parameters()}
    for module in part.modules():
        if not isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            continue
        for parameter in module.parameters(recurse=False):
            if id(parameter) in fixed:
                continue
            order = torch.randperm(parameter.numel(), generator=generator, device=parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))


def map_correlation(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float | None:
    """Spearman correlation of two maps of one image, in [-1, 1]; None if one is constant.

    Only places where at least one map has energy count: the emptiness that two maps of one small
    object share would make any two look alike.
    """
    if a.shape != b.shape:
        raise InputError(
            "Maps of {shape} and {b_shape} pixels cannot be compared.",
            shape=a.shape,
            b_shape=b.shape,
        )
    side = (min(_COMPARED_SIDE, a.shape[1]), min(_COMPARED_SIDE, a.shape[0]))
    first, second = (
        cv2.resize(m.astype(np.float64), side, interpolation=cv2.INTER_AREA) for m in (a, b)
    )
    if any(np.ptp(m) <= 1e-12 * np.abs(m).max() for m in (first, second)):
        return None
    somewhere = (first > 1e-6 * first.max()) | (second > 1e-6 * second.max())
    if any(np.ptp(m[somewhere]) == 0 for m in (first, second)):
        return None
    return float(spearmanr(first[somewhere], second[somewhere]).statistic)


# --- noise --------------------------------------------------------------------


def add_noise(
    pixels: NDArray[np.floating[Any]], sigma: float, image_key: str
) -> NDArray[np.float32]:
    """Gaussian noise on pixels in [0, 1], after letterbox, clipped to [0, 1].

    The random numbers depend on (image, sigma) alone: every model and every run sees the same.

    Args:
        pixels: any shape, in [0, 1].
        sigma: standard deviation on that scale; METHODS takes 0, .01, .02, .05, .1, .2.
        image_key: id or hash of the image.

    Raises:
        ConfigError: sigma < 0.
        InputError: pixels outside [0, 1], for example 0-255.
    """
    if sigma < 0:
        raise ConfigError("Noise cannot have a negative strength, got {sigma}.", sigma=sigma)
    if pixels.size and (pixels.min() < 0 or pixels.max() > 1):
        raise InputError("Noise is added to pixels between 0 and 1; divide 8-bit pixels by 255.")
    if sigma == 0:
        return pixels.astype(np.float32)
    digest = hashlib.sha256(f"{image_key}|{sigma:.6g}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(sigma)
    return np.clip(pixels.astype(np.float32) + noise, 0, 1)
