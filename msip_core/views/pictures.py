"""Micrographs with something drawn on them: uint8 RGB (height, width, 3) in and out.

Small images are enlarged by a whole factor first, so that lines and numbers are sharp and a pixel
of the micrograph stays a square of the picture. The input array is never changed. Numbers drawn
are `Detection.number`, the same as in the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from msip_core.borders import SUBPIXEL, Border, band_width, boundary_band, drawn_points, lines_of
from msip_core.boxes import Box, Detection, Pair
from msip_core.errors import WorkError
from msip_core.messages import msg
from msip_core.views import style
from msip_core.workspace import atomic_path

Pixels = NDArray[np.uint8]
Labels = Literal["auto", "none"]
Side = Literal["baseline", "pruned", "together"]
Rect = tuple[float, float, float, float]

_CROWDED = 12  # above this many boxes only numbers are written
_RIM = (12, 18, 18)
_EAST_ASIAN = 0x2E80  # first code point of the CJK blocks
_MARK = {"both": "", "class changed": "≠", "lost": "lost", "new": "new"}


def enlargement(pixels: Pixels, min_side: int = 768) -> int:
    """Whole factor that brings the longer side to at least `min_side`; 1 for large images."""
    return max(1, ceil(min_side / max(pixels.shape[:2])))


def enlarge(pixels: Pixels, factor: int) -> Pixels:
    """The picture `factor` times as large; factor 1 gives a copy."""
    if factor == 1:
        return pixels.copy()
    size = (pixels.shape[1] * factor, pixels.shape[0] * factor)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def draw_boxes(
    pixels: Pixels,
    boxes: Sequence[Box],
    classes: Sequence[str],
    *,
    labels: Labels = "auto",
    min_side: int = 768,
    dashed: bool = False,
) -> Pixels:
    """Draw labelled or detected objects, each with number, class and score as far as it has them.

    Args:
        pixels: the micrograph.
        boxes: in pixels of `pixels`.
        classes: names by class index.
        labels: "auto" writes numbers only when more than 12 boxes are drawn.
        min_side: the picture's longer side is at least this.
        dashed: tell classes apart by their line too, for pictures without names.
    """
    canvas = _Canvas(pixels, min_side)
    brief = len(boxes) > _CROWDED
    for box in boxes:
        dash = style.class_dash(box.cls) if dashed else ()
        canvas.rectangle(box, style.class_colour(box.cls), dash)
    for box in boxes:
        if labels != "none":
            canvas.tag(box, _text(box, classes, brief), style.class_colour(box.cls))
    return canvas.pixels()


def draw_pairs(
    pixels: Pixels,
    baseline: Sequence[Detection],
    pruned: Sequence[Detection],
    pairs: Sequence[Pair],
    classes: Sequence[str],
    *,
    side: Side = "together",
    labels: Labels = "auto",
    min_side: int = 768,
) -> Pixels:
    """Draw how two models' detections match; each kind of pair has its colour and line style.

    Args:
        side: "baseline" draws what the baseline found (both, class changed, lost), "pruned" what
            the pruned model found (both, class changed, new), "together" every pair once.
    """
    canvas = _Canvas(pixels, min_side)
    brief = len(pairs) > _CROWDED
    every = ((_shown_box(pair, baseline, pruned, side), pair) for pair in pairs)
    shown = [(box, pair) for box, pair in every if box is not None]
    for box, pair in shown:
        canvas.rectangle(box, style.PAIR_COLOURS[pair.kind], style.PAIR_DASHES[pair.kind])
    for box, pair in shown:
        if labels != "none":
            # "Together" mixes two numberings: a b marks the baseline's, as the table's column does.
            number = f"b{box.number}" if side == "together" and pair.kind == "lost" else box.number
            text = f"{number} {_MARK[pair.kind]}"
            if not brief:
                text = f"{number} {_pair_words(pair, box, baseline, pruned, classes)}"
            canvas.tag(box, text.strip(), style.PAIR_COLOURS[pair.kind])
    return canvas.pixels()


def overlay_heat(
    pixels: Pixels,
    heat: NDArray[np.floating],
    *,
    opacity: float = 0.75,
    peak: float | None = None,
    min_side: int = 768,
) -> Pixels:
    """Lay a heat map over the micrograph; where there is no heat the micrograph stays as it is.

    Args:
        heat: (height, width) like `pixels`, >= 0 (negative values count as 0).
        peak: heat that gets the brightest colour; give two pictures the same one to compare them.
            None takes the map's own maximum.
    """
    _check_shape(heat, pixels)
    positive = np.clip(np.asarray(heat, dtype=np.float64), 0, None)
    top = float(positive.max()) if peak is None else peak
    share = np.clip(positive / top, 0, 1) if top > 0 else np.zeros_like(positive)
    picture = enlarge(pixels, enlargement(pixels, min_side))
    share = cv2.resize(share, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    colours = heat_palette()[np.rint(np.clip(share, 0, 1) * 255).astype(np.intp)]
    return _blend(picture, colours, opacity * share)


def overlay_signed(
    pixels: Pixels,
    values: NDArray[np.floating],
    *,
    opacity: float = 0.8,
    peak: float | None = None,
    min_side: int = 768,
) -> Pixels:
    """Lay a map of contributions over the micrograph: orange adds to the score, blue takes away.

    Args:
        values: (height, width) like `pixels`; `values[segments]` for SHAP on super-pixels.
        peak: absolute value of the strongest colour; None takes the map's own.
    """
    _check_shape(values, pixels)
    signed = np.asarray(values, dtype=np.float64)
    top = float(np.abs(signed).max()) if peak is None else peak
    share = np.clip(signed / top, -1, 1) if top > 0 else np.zeros_like(signed)
    picture = enlarge(pixels, enlargement(pixels, min_side))
    # Nearest: a super-pixel has one value, and its edge is an edge.
    share = cv2.resize(share, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    ends = np.array([style.rgb(style.TAKES), style.rgb(style.ADDS)], dtype=np.float64)
    return _blend(picture, ends[(share > 0).astype(np.intp)], opacity * np.abs(share))


def heat_over(pixels: Pixels, heat: NDArray[np.floating], border: Border, box: Box) -> Pixels:
    """A heat map over its micrograph with the object's border: the picture of pages and reports.

    Args:
        border: the object's outline in pixels of the micrograph; its box where none is known.
    """
    return draw_border(overlay_heat(pixels, heat), border, box, enlargement(pixels))


def shap_over(
    pixels: Pixels, contributions: NDArray[np.floating], border: Border, box: Box
) -> Pixels:
    """The same for the contribution of the patch that each pixel lies in."""
    return draw_border(overlay_signed(pixels, contributions), border, box, enlargement(pixels))


def draw_border(picture: Pixels, border: Border, box: Box, factor: int) -> Pixels:
    """The border as a line and the edges of its band as thin broken lines, over any picture.

    The band is the one that is scored. Nothing in it is coloured: it can still be compared.

    Args:
        picture: enlarged by `factor`.
        border, box: the object's, in pixels of the micrograph.
    """
    picture = picture.copy()
    band = boundary_band(picture.shape[:2], border, band_width(box), factor).astype(np.uint8)
    edges, _ = cv2.findContours(band, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    stroke = max(1, round(max(picture.shape[:2]) / 500))
    dash = 6 * stroke
    for edge in edges:
        for start in range(0, len(edge), 2 * dash):
            piece = [edge[start : start + dash]]
            # A dark rim: white alone would vanish in the bright middle of a map.
            for colour, thickness in ((_RIM, stroke + 2), ((255, 255, 255), stroke)):
                cv2.polylines(picture, piece, False, colour, thickness, cv2.LINE_AA)
    draw_lines(picture, border, factor, stroke + 1)
    return picture


def draw_lines(picture: Pixels, border: Border, factor: float, thickness: int) -> None:
    """The border as a white line with a dark rim, drawn into a picture enlarged by `factor`."""
    points = [drawn_points(line, factor).reshape(-1, 1, 2) for line in lines_of(border)[0]]
    for colour, width in ((_RIM, thickness + 2), ((255, 255, 255), thickness)):
        cv2.polylines(picture, points, True, colour, width, cv2.LINE_AA, shift=SUBPIXEL)


def shrink(pixels: Pixels, longest: int) -> Pixels:
    """The picture with its longer side at most `longest` pixels."""
    height, width = pixels.shape[:2]
    share = longest / max(height, width)
    if share >= 1:
        return pixels
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def save_png(path: Path, pixels: Pixels) -> None:
    """Write an RGB array as PNG; the file is never half there."""
    with atomic_path(path) as temporary:
        if not cv2.imwrite(str(temporary), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)):
            raise WorkError("The picture {path} could not be written: check the disk.", path=path)


def _check_shape(values: NDArray[np.floating], pixels: Pixels) -> None:
    if values.shape != pixels.shape[:2]:
        raise ValueError(
            msg(
                "the map must be {shape} like the image, got {values_shape}",
                shape=pixels.shape[:2],
                values_shape=values.shape,
            )
        )


def _blend(picture: Pixels, colours: NDArray[np.float64], alpha: NDArray[np.float64]) -> Pixels:
    share = np.clip(alpha, 0, 1)[..., None]
    return np.asarray(np.rint(picture * (1 - share) + colours * share), dtype=np.uint8)


@lru_cache(maxsize=1)
def heat_palette() -> NDArray[np.float64]:
    """The 256 colours of heat maps, (256, 3) in [0, 255]."""
    from matplotlib import colormaps  # here: pages without a heat map do not pay for it

    return np.asarray(colormaps[style.HEAT_MAP](np.arange(256))[:, :3] * 255, dtype=np.float64)


@lru_cache(maxsize=8)
def _font(size: int, east_asian: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_font_file(east_asian), size)


@lru_cache(maxsize=2)
def _font_file(east_asian: bool) -> str:
    from matplotlib import font_manager, get_data_path  # only pictures with text pay for it

    if east_asian:
        files = {font.name: font.fname for font in font_manager.fontManager.ttflist}
        for name in style.EAST_ASIAN_FONTS:
            if name in files:
                return str(files[name])
    # DejaVu comes with matplotlib, so letters look alike on every computer.
    return f"{get_data_path()}/fonts/ttf/DejaVuSans-Bold.ttf"


def class_name(classes: Sequence[str], index: int) -> str:
    """Also of a class that a model has beyond those of the dataset."""
    return classes[index] if 0 <= index < len(classes) else f"class {index}"


def _text(box: Box, classes: Sequence[str], brief: bool) -> str:
    number = str(box.number) if isinstance(box, Detection) and box.number else ""
    if brief:
        return number
    score = f"{box.score:.2f}" if isinstance(box, Detection) else ""
    return " ".join(part for part in (number, class_name(classes, box.cls), score) if part)


def _shown_box(
    pair: Pair, baseline: Sequence[Detection], pruned: Sequence[Detection], side: Side
) -> Detection | None:
    first = baseline[pair.baseline] if pair.baseline is not None else None
    second = pruned[pair.pruned] if pair.pruned is not None else None
    if side == "baseline":
        return first
    return second if side == "pruned" else second or first


def _pair_words(
    pair: Pair,
    box: Detection,
    baseline: Sequence[Detection],
    pruned: Sequence[Detection],
    classes: Sequence[str],
) -> str:
    if pair.kind == "class changed" and pair.baseline is not None and pair.pruned is not None:
        was, now = baseline[pair.baseline], pruned[pair.pruned]
        return f"{class_name(classes, was.cls)} → {class_name(classes, now.cls)}"
    return f"{_MARK[pair.kind]} {class_name(classes, box.cls)} {box.score:.2f}".strip()


class _Canvas:
    """One enlarged picture to draw on; boxes are given in pixels of the micrograph."""

    def __init__(self, pixels: Pixels, min_side: int) -> None:
        self.factor = enlargement(pixels, min_side)
        self.image = Image.fromarray(enlarge(pixels, self.factor))
        self.draw = ImageDraw.Draw(self.image)
        longer = max(self.image.size)
        self.stroke = max(2, round(longer / 280))
        self.text_size = max(12, round(longer / 50))
        self.taken: list[Rect] = []

    def pixels(self) -> Pixels:
        return np.asarray(self.image, dtype=np.uint8).copy()

    def _corners(self, box: Box) -> Rect:
        width, height = self.image.size
        x1, y1, x2, y2 = (value * self.factor for value in box.xyxy)
        x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
        return (x1, y1, min(max(x2, x1 + 1), width - 1), min(max(y2, y1 + 1), height - 1))

    def rectangle(self, box: Box, colour: str, dashes: tuple[int, ...]) -> None:
        """A box edge with a dark rim, so that it shows on bright and on dark ground."""
        x1, y1, x2, y2 = self._corners(box)
        edges = [(x1, y1, x2, y1), (x2, y1, x2, y2), (x2, y2, x1, y2), (x1, y2, x1, y1)]
        pieces = [piece for edge in edges for piece in _dashed(edge, dashes, self.stroke)]
        for extra, ink in ((2, _RIM), (0, style.rgb(colour))):
            grow = self.stroke / 2 + extra / 2
            for ax, ay, bx, by in pieces:
                low, high = (min(ax, bx), min(ay, by)), (max(ax, bx), max(ay, by))
                self.draw.rectangle(
                    (low[0] - grow, low[1] - grow, high[0] + grow - 1, high[1] + grow - 1), fill=ink
                )

    def tag(self, box: Box, text: str, colour: str) -> None:
        """Write `text` on a plate beside the box, where no other plate lies yet."""
        if not text:
            return
        font = _font(self.text_size, any(ord(letter) >= _EAST_ASIAN for letter in text))
        left, top, right, bottom = self.draw.textbbox((0, 0), text, font=font)
        pad = self.stroke + 1
        size = (right - left + 2 * pad, bottom - top + 2 * pad)
        x, y = self._place(self._corners(box), size)
        plate = (x, y, x + size[0], y + size[1])
        self.taken.append(plate)
        ground = style.rgb(colour)
        ink = _RIM if style.luminance(colour) > 0.18 else (255, 255, 255)
        self.draw.rectangle(plate, fill=ground, outline=_RIM)
        self.draw.text((x + pad - left, y + pad - top), text, font=font, fill=ink)

    def _place(self, corners: Rect, size: tuple[float, float]) -> tuple[float, float]:
        x1, y1, x2, y2 = corners
        width, height = self.image.size
        places = [
            (x1, y1 - size[1]), (x1, y2), (x2 - size[0], y1 - size[1]), (x2 - size[0], y2),
            (x1, y1), (x2, y1), (x1 - size[0], y1),
        ]  # fmt: skip
        inside = [
            (min(max(x, 0), max(0, width - size[0] - 1)), min(max(y, 0), height - size[1] - 1))
            for x, y in places
        ]
        for x, y in inside:
            if not any(_overlap((x, y, x + size[0], y + size[1]), other) for other in self.taken):
                return x, y
        return inside[0]


def _overlap(one: Rect, other: Rect) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _dashed(edge: Rect, dashes: tuple[int, ...], stroke: int) -> list[Rect]:
    """Cut one edge into its dashes; `dashes` alternates on and off in units of the stroke."""
    if not dashes:
        return [edge]
    x1, y1, x2, y2 = edge
    length = abs(x2 - x1) + abs(y2 - y1)  # edges are horizontal or vertical
    pieces: list[Rect] = []
    position, turn = 0.0, 0
    while position < length:
        end = min(length, position + dashes[turn % len(dashes)] * stroke * 1.5)
        if turn % 2 == 0:
            a, b = position / length, end / length
            pieces.append(
                (x1 + (x2 - x1) * a, y1 + (y2 - y1) * a, x1 + (x2 - x1) * b, y1 + (y2 - y1) * b)
            )
        position, turn = end, turn + 1
    return pieces
