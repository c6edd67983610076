"""Outlines of drawn organoids: round ones, and ones with crypt buds. Pixels, centre at (0, 0)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """One organoid.

    Attributes:
        body: outline (n, 2) of the central cyst.
        buds: outline of each crypt; empty for an organoid without crypts.
        radius: mean radius of the body.
        reach: largest distance of any point from the centre.
    """

    body: Points
    buds: tuple[Points, ...]
    radius: float
    reach: float

    @classmethod
    def of(cls, body: Points, buds: tuple[Points, ...], radius: float) -> Shape:
        reach = max(float(np.hypot(*lobe.T).max()) for lobe in (body, *buds))
        return cls(body, buds, radius, reach)


def round_outline(rng: np.random.Generator, radius: float, unrest: float = 0.05) -> Points:
    """r(t) = R (1 + sum_k a_k cos(k t + p_k)), k = 2..6, with a_k ~ N(0, unrest / (k - 1))."""
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    r = np.ones_like(angles)
    for k in range(2, 7):
        r += rng.normal(0, unrest / (k - 1)) * np.cos(k * angles + rng.uniform(0, 2 * np.pi))
    r = radius * np.clip(r, 0.6, 1.5)
    return np.stack([r * np.cos(angles), r * np.sin(angles)], axis=1)


def smooth_organoid(rng: np.random.Generator, radius: float) -> Shape:
    """An organoid without crypts: a sphere, seldom an egg."""
    body = round_outline(rng, radius, float(rng.choice([0.02, 0.04, 0.07])))
    if rng.random() < 0.3:
        body = body @ _stretch(rng, float(rng.uniform(1.1, 1.35)))
    return Shape.of(body, (), radius)


def budding_organoid(rng: np.random.Generator, radius: float, body_share: float = 0.66) -> Shape:
    """An organoid with 2 to 7 crypts around a smaller body; `radius` is that of the whole."""
    core = radius * body_share * float(rng.uniform(0.9, 1.1))
    body = round_outline(rng, core, 0.08)
    count = int(rng.choice([2, 3, 4, 5, 6, 7], p=[0.14, 0.24, 0.24, 0.2, 0.11, 0.07]))
    turn = rng.uniform(0, 2 * np.pi)
    angles = turn + (np.arange(count) + rng.uniform(-0.3, 0.3, count)) * 2 * np.pi / count
    buds = tuple(_bud(rng, core, radius, float(angle)) for angle in angles)
    return Shape.of(body, buds, core)


def _bud(rng: np.random.Generator, core: float, radius: float, angle: float) -> Points:
    """One crypt: a bulb on a neck that begins inside the body and bends a little."""
    width = core * float(rng.uniform(0.32, 0.58))
    length = max(width * 1.1, (radius - 0.5 * core) * float(rng.uniform(0.7, 1.3)))
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    along = np.cos(t) * length / 2
    # Wider towards the tip: the bulb; narrower at the neck.
    across = np.sin(t) * width * (1 + 0.22 * np.cos(t)) * (1 + rng.normal(0, 0.04) * np.cos(3 * t))
    bend = float(rng.normal(0, 0.25))
    across = across + bend * along**2 / max(length, 1e-6)
    direction = angle + float(rng.normal(0, 0.25))
    start = 0.5 * core * np.array([np.cos(angle), np.sin(angle)])
    ahead = np.array([np.cos(direction), np.sin(direction)])
    side = np.array([-ahead[1], ahead[0]])
    points: Points = start + (along + length / 2)[:, None] * ahead + across[:, None] * side
    return points


def _stretch(rng: np.random.Generator, factor: float) -> NDArray[np.float64]:
    """Stretch along a random axis, keeping the area."""
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = np.diag([factor**0.5, factor**-0.5])
    return np.asarray(turn.T @ scale @ turn, dtype=np.float64)


def fill(lobe: Points, centre: Points, shape: tuple[int, int], scale: float) -> NDArray[np.uint8]:
    """Rasterise one outline (1 inside) with its origin at `centre`, `scale` pixels a unit."""
    mask = np.zeros(shape, np.uint8)
    points = np.rint((lobe * scale + centre) * 16).astype(np.int32)
    cv2.fillPoly(mask, [points], 1, shift=4)
    return mask
