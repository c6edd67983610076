"""Brightfield optics of drawn organoids: what light passes, and what the camera makes of it.

Every object is a transmission map T (1: all light passes); the picture is the illumination times
the product of all maps, blurred, with noise. Overlapping objects therefore darken each other as
they do under a microscope.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core.data.shapes import Points, Shape, fill

Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Look:
    """How one organoid passes light.

    Attributes:
        rim: darkness of the outer line of the wall.
        wall: thickness of the epithelium, as a share of the radius.
        tint: darkness of epithelium and lumen.
        core: darkness of the shed cells in the lumen (0: clear cyst).
        grain: contrast of the cell texture.
        halo: brightness of the glow outside the wall.
        blur: standard deviation of the defocus, in pixels.
    """

    rim: float
    wall: float
    tint: float
    core: float
    grain: float
    halo: float
    blur: float


def random_look(rng: np.random.Generator, dense: float, sharp: float) -> Look:
    """A look drawn at random.

    Args:
        dense: chance of a dark, cell-filled lumen instead of a clear one.
        sharp: smallest defocus in pixels.
    """
    filled = rng.random() < dense
    return Look(
        rim=float(rng.uniform(0.3, 0.55)),
        wall=float(rng.uniform(0.13, 0.24)),
        tint=float(rng.uniform(0.12, 0.26) if filled else rng.uniform(0.02, 0.12)),
        core=float(rng.uniform(0.62, 0.92) if filled else rng.choice([0.0, rng.uniform(0.1, 0.4)])),
        grain=float(rng.uniform(0.1, 0.22) if filled else rng.uniform(0.02, 0.08)),
        halo=float(rng.uniform(0.02, 0.09)),
        blur=sharp * float(rng.choice([1.0, 1.0, 1.3, 1.9])),
    )


class Texture:
    """Smooth noise of several grain sizes, made once an image and cut at random places."""

    def __init__(self, rng: np.random.Generator, side: int) -> None:
        self._rng = rng
        base = rng.standard_normal((side, side), dtype=np.float32)
        self._layers = {sigma: _unit(cv2.GaussianBlur(base, (0, 0), sigma)) for sigma in (0.8, 2.2)}
        small = rng.standard_normal((side // 4, side // 4), dtype=np.float32)
        coarse = cv2.GaussianBlur(small, (0, 0), 1.5)
        self._layers[6.0] = _unit(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC))

    def cut(self, sigma: float, shape: tuple[int, int]) -> Map:
        """A random piece with unit variance; `sigma` is one of 0.8, 2.2 and 6."""
        layer = self._layers[sigma]
        h, w = shape
        if h > layer.shape[0] or w > layer.shape[1]:
            return np.asarray(cv2.resize(layer, (w, h), interpolation=cv2.INTER_LINEAR))
        y = int(self._rng.integers(0, layer.shape[0] - h + 1))
        x = int(self._rng.integers(0, layer.shape[1] - w + 1))
        return layer[y : y + h, x : x + w]


def _unit(noise: Map) -> Map:
    return np.asarray((noise - noise.mean()) / (noise.std() + 1e-6), dtype=np.float32)


def depth_inside(mask: NDArray[np.uint8]) -> Map:
    """Signed distance to the edge in pixels, positive inside."""
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3)
    return np.asarray(inside - outside, dtype=np.float32)


def _bell(depth: Map, at: float, width: float) -> Map:
    return np.asarray(np.exp(-(((depth - at) / width) ** 2)), dtype=np.float32)


def _step(depth: Map, width: float) -> Map:
    return np.asarray(np.clip(depth / width, 0, 1), dtype=np.float32)


def organoid(shape: Shape, look: Look, texture: Texture, rng: np.random.Generator) -> Map:
    """Transmission of one organoid, on a square patch around its centre."""
    half = int(np.ceil(shape.reach + 3 * look.blur + 5))
    size = (2 * half + 1, 2 * half + 1)
    centre = np.array([half, half], dtype=np.float64)
    lobes = [fill(lobe, centre, size, 1.0) for lobe in (*shape.buds, shape.body)]
    depth = depth_inside(np.maximum.reduce(lobes))
    wall = max(1.6, look.wall * shape.radius)
    # Lumen of bud and body are one: their walls fade where they would cross inside.
    open_inside = 1 - 0.72 * _step(depth - 0.8 * wall, wall)
    light: Map = np.ones(size, np.float32)
    for mask in lobes:
        lobe = _lobe(depth_inside(mask), wall, look, texture, rng)
        light *= 1 - open_inside * (1 - lobe)
    light *= 1 - look.tint * _step(depth, wall)
    if look.core:
        light *= _core(depth, shape, look, texture, rng)
    grain = 0.6 * texture.cut(2.2, size) + 0.4 * texture.cut(0.8, size)
    light *= 1 - look.grain * grain * _step(depth, 2.0)
    # Light bent outwards at the edge: a glow around the organoid.
    light += look.halo * _bell(depth, -2.2, 1.8)
    light = np.clip(light, 0.05, 1.3)
    return np.asarray(cv2.GaussianBlur(light, (0, 0), look.blur), dtype=np.float32)


def _lobe(depth: Map, wall: float, look: Look, texture: Texture, rng: np.random.Generator) -> Map:
    """One closed wall: dark outer line, paler inner line where the epithelium ends."""
    line = max(0.8, 0.28 * wall)
    # The wall is not equally sharp and dark all around.
    uneven = 1 + 0.3 * np.clip(texture.cut(6.0, depth.shape), -2, 2)
    # An oblique beam makes one side darker.
    ys, xs = np.mgrid[-1 : 1 : depth.shape[0] * 1j, -1 : 1 : depth.shape[1] * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    beam = 1 + 0.25 * (xs * np.cos(angle) + ys * np.sin(angle)).astype(np.float32)
    light = 1 - look.rim * uneven * beam * _bell(depth, 0.35 * line, line)
    light -= 0.4 * look.rim * uneven * _bell(depth, wall, 1.2 * line)
    light += 0.35 * look.halo * _bell(depth, 2.6 * wall, 1.5 * wall)
    return np.asarray(np.clip(light, 0.1, 1.2), dtype=np.float32)


def _core(depth: Map, shape: Shape, look: Look, texture: Texture, rng: np.random.Generator) -> Map:
    """Shed cells in the lumen: a dark, ragged mass that stays inside the wall."""
    reach = max(3.0, float(rng.uniform(0.3, 0.7)) * shape.radius)
    ragged = depth + 0.12 * shape.radius * texture.cut(6.0, depth.shape)
    ragged = ragged + 0.05 * shape.radius * texture.cut(2.2, depth.shape)
    dark = np.clip((ragged - 0.2 * shape.radius) / reach, 0, 1)
    mottled = 1 - 0.18 * np.clip(texture.cut(2.2, depth.shape), -2, 2)
    return np.asarray(1 - look.core * np.sqrt(dark) * mottled * (dark > 0), dtype=np.float32)


def multiply_in(canvas: Map, patch: Map, centre: Points) -> None:
    """Lay a patch over the canvas around `centre` (x, y), cut at the border."""
    half = patch.shape[0] // 2
    x0, y0 = round(float(centre[0])) - half, round(float(centre[1])) - half
    top, left = max(0, y0), max(0, x0)
    bottom = min(canvas.shape[0], y0 + patch.shape[0])
    right = min(canvas.shape[1], x0 + patch.shape[1])
    if bottom > top and right > left:
        part = patch[top - y0 : bottom - y0, left - x0 : right - x0]
        canvas[top:bottom, left:right] *= part


def debris(rng: np.random.Generator, canvas: Map, count: int, size: float) -> None:
    """Single dead cells and clumps of them: small dark grains with a bright side."""
    h, w = canvas.shape
    for _ in range(count):
        x, y = rng.uniform(0, w), rng.uniform(0, h)
        clump = int(rng.choice([1, 1, 1, 3, 6]))
        half = int(np.ceil(size * (2.5 + clump**0.5))) + 2
        patch = np.ones((2 * half + 1, 2 * half + 1), np.float32)
        for _ in range(clump):
            px, py = half + rng.normal(0, 0.9 * size * (clump - 1) ** 0.5, 2)
            r = size * rng.uniform(0.35, 1.0)
            axes = (int(16 * r), int(16 * r * rng.uniform(0.6, 1)))
            place = (int(16 * px), int(16 * py))
            turn = float(rng.uniform(0, 180))
            cv2.ellipse(
                patch, place, axes, turn, 0, 360, float(rng.uniform(0.5, 0.85)), -1, shift=4
            )
        patch = cv2.GaussianBlur(patch, (0, 0), float(rng.choice([0.7, 0.9, 1.6])))
        multiply_in(canvas, patch, np.array([x, y]))


def bubble(rng: np.random.Generator, canvas: Map, radius: float, centre: Points) -> None:
    """An air bubble: broad black ring, brilliant middle. Nothing alive looks like it."""
    half = int(radius) + 6
    size = (2 * half + 1, 2 * half + 1)
    ys, xs = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    depth = radius - np.hypot(xs, ys)
    light = 1 - 0.85 * np.clip(depth / 1.5, 0, 1) * (1 - np.clip((depth - 0.3 * radius) / 3, 0, 1))
    light += 0.3 * np.clip((depth - 0.38 * radius) / 2, 0, 1) + 0.12 * _bell(depth, -2, 1.5)
    patch = cv2.GaussianBlur(light.astype(np.float32).reshape(size), (0, 0), 0.9)
    multiply_in(canvas, patch, centre)


@dataclass(frozen=True, slots=True)
class Scene:
    """How one well is lit and recorded."""

    level: float
    tilt: float
    angle: float
    vignette: float
    noise: float
    dome: bool

    @classmethod
    def random(cls, rng: np.random.Generator) -> Scene:
        """A bright field of a 10x plate scan, or a dim one of a well plate reader."""
        bright = rng.random() < 0.5
        return cls(
            level=float(rng.uniform(165, 205) if bright else rng.uniform(95, 150)),
            tilt=float(rng.uniform(0.02, 0.12) if bright else rng.uniform(0.05, 0.3)),
            angle=float(rng.uniform(0, 2 * np.pi)),
            vignette=float(rng.uniform(0.02, 0.15)),
            noise=float(rng.uniform(1.2, 3.2)),
            dome=bool(rng.random() < 0.25),
        )


def illumination(
    scene: Scene, shape: tuple[int, int], texture: Texture, rng: np.random.Generator
) -> Map:
    """Uneven light: a slope, a darker margin, faint clouds, sometimes the edge of the gel dome."""
    h, w = shape
    ys, xs = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    field = 1 + scene.tilt * (xs * np.cos(scene.angle) + ys * np.sin(scene.angle))
    field -= scene.vignette * (xs**2 + ys**2) / 2
    field += 0.008 * cv2.GaussianBlur(texture.cut(6.0, shape), (0, 0), 6)
    if scene.dome:
        # The rim of the gel: a bright arc, darker behind it.
        middle = np.array([np.cos(scene.angle), np.sin(scene.angle)]) * rng.uniform(1.6, 2.4)
        reach = np.hypot(*middle) + rng.uniform(0.55, 0.95)
        depth = ((reach - np.hypot(xs - middle[0], ys - middle[1])) * min(h, w) / 2).astype(
            np.float32
        )
        field *= 1 - 0.22 * _step(-depth, 0.12 * min(h, w))
        field += 0.16 * _bell(depth, 0, 1.6) - 0.06 * _bell(depth, 4, 2)
    return np.asarray(scene.level * field, dtype=np.float32)


def record(light: Map, scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """What the camera writes: shot noise that grows with the light, 8 bit."""
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    noise = 0.75 * noise + 0.6 * cv2.GaussianBlur(noise, (0, 0), 1.0) * 2
    sigma = scene.noise * np.sqrt(np.clip(light, 1, None) / 128)
    return np.clip(np.rint(light + noise * sigma), 0, 255).astype(np.uint8)
