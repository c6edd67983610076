"""Pictures of a heat map or SHAP values over the micrograph: uint8 RGB arrays and PNG files.

Colour maps that colour-blind people and grey printers can read: viridis for heat, blue to
orange for signed values. The box is drawn solid, the border band as a thin pair of lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core.boxes import Box
from msip_core.errors import WorkError
from msip_core.explain.boundary import Contour, band_width, boundary_band
from msip_core.workspace import atomic_path

Pixels = NDArray[np.uint8]
SMALLEST_SIDE = 480  # px: a small micrograph is enlarged so that lines stay thin
_BLUE, _WHITE, _ORANGE = (33, 102, 172), (247, 247, 247), (179, 88, 6)
_COLOURS = {"viridis": cv2.COLORMAP_VIRIDIS, "cividis": cv2.COLORMAP_CIVIDIS}


def heat_overlay(
    image: Pixels,
    heat: NDArray[np.floating[Any]],
    box: Box,
    outline: Box | Contour | Sequence[Contour] | None = None,
    *,
    colours: Literal["viridis", "cividis"] = "viridis",
) -> Pixels:
    """A heat map over its micrograph; the hotter, the less of the micrograph shows through.

    Args:
        image: uint8 (H, W, 3) RGB.
        heat: (H, W), >= 0; drawn relative to its 99.8 % quantile, a lone pixel does not blind.
        outline: contour whose band was scored; None draws the band of the box edge.
    """
    top = float(np.quantile(heat, 0.998)) or float(heat.max())
    level = np.clip(heat / top, 0, 1) if top > 0 else np.zeros_like(heat)
    shades = cv2.applyColorMap((level * 255).astype(np.uint8), _COLOURS[colours])
    coloured = cv2.cvtColor(shades, cv2.COLOR_BGR2RGB)
    return _finish(_blend(image, coloured, 0.15 + 0.6 * level), box, outline)


def shap_overlay(
    image: Pixels,
    values: NDArray[np.float64],
    segments: NDArray[np.int32],
    box: Box,
    outline: Box | Contour | Sequence[Contour] | None = None,
) -> Pixels:
    """SHAP values over their patches: orange patches add to the detection, blue ones take away."""
    top = float(np.abs(values).max(initial=0))
    level = (values / top if top > 0 else values)[segments]
    strong = np.abs(level)[..., None]
    colour = np.where(level[..., None] > 0, _ORANGE, _BLUE)
    coloured = (strong * colour + (1 - strong) * np.array(_WHITE)).astype(np.uint8)
    return _finish(_blend(image, coloured, 0.1 + 0.65 * strong[..., 0]), box, outline)


def save_png(path: Path, pixels: Pixels) -> None:
    """Write an RGB array as PNG; the file is never half there."""
    with atomic_path(path) as temporary:
        if not cv2.imwrite(str(temporary), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)):
            raise WorkError(f"The picture {path} could not be written: check the disk.")


def enlargement(shape: tuple[int, ...]) -> int:
    """Whole factor by which an overlay is larger than its micrograph."""
    return max(1, -(-SMALLEST_SIDE // min(shape[:2])))


def _blend(image: Pixels, colours: Pixels, weight: NDArray[np.floating[Any]]) -> Pixels:
    # Grey below the colours: hue then means heat alone.
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    mixed = grey * (1 - weight[..., None]) + colours * weight[..., None]
    return np.clip(mixed, 0, 255).astype(np.uint8)


def _finish(picture: Pixels, box: Box, outline: Box | Contour | Sequence[Contour] | None) -> Pixels:
    """Enlarge, then draw the band and the box, so that their lines are one width."""
    factor = enlargement(picture.shape)
    height, width = picture.shape[:2]
    large = cv2.resize(picture, (width * factor, height * factor), interpolation=cv2.INTER_NEAREST)
    band = boundary_band((height, width), box if outline is None else outline, band_width(box))
    mask = cv2.resize(
        band.astype(np.uint8), (width * factor, height * factor), interpolation=cv2.INTER_NEAREST
    )
    edges, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(large, edges, -1, (255, 255, 255), 1)
    x1, y1, x2, y2 = (round(v * factor) for v in box.xyxy)
    for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 2)):
        cv2.rectangle(large, (x1, y1), (x2 - 1, y2 - 1), colour, thickness)
    return large
