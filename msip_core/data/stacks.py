"""One picture of a stack of planes: the sharpest, a projection, or the plane that is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np

from msip_core.config import STACK_WAYS
from msip_core.data.enhance import Raw
from msip_core.errors import ConfigError, DatasetError
from msip_core.messages import msg

_GREY = np.array([0.299, 0.587, 0.114], np.float32)


class Reduced(NamedTuple):
    """What a stack became. `at` counts from 0 among the planes; None for a projection."""

    pixels: Raw
    at: int | None


def parse_stack(words: str | None) -> str:
    """`sharpest` (also for nothing), `middle`, `max`, `min`, or the number of a plane from 1.

    Raises:
        ConfigError: anything else.
    """
    word = (words or "sharpest").strip().lower().removeprefix("z")
    word = {"maximum": "max", "minimum": "min"}.get(word, word)
    number = word.isdecimal() and len(word) < 6
    if not number and word not in STACK_WAYS:
        raise ConfigError(
            "'{words}' is no way to take one plane of a stack: choose {ways} or "
            "the number of a plane.",
            words=words,
            ways=", ".join(STACK_WAYS),
        )
    return str(int(word)) if number else word


def focus(pixels: Raw) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000) of a plane of any depth; comparable
    within one stack only."""
    grey = np.nan_to_num(pixels.astype(np.float32))
    if grey.ndim == 3:
        grey = grey @ _GREY
    return float(cv2.Laplacian(np.ascontiguousarray(grey), cv2.CV_32F).var(dtype=np.float64))


def reduce(planes: Iterable[Raw], way: str) -> Reduced:
    """The sharpest of the planes, or their brightest or darkest values; holds two planes at most.

    Raises:
        DatasetError: no plane, or planes of different sizes.
    """
    best: Reduced | None = None
    score = -1.0
    for number, pixels in enumerate(planes):
        if best is not None and pixels.shape != best.pixels.shape:
            raise DatasetError("has planes of different sizes: put them into folders of their own")
        if way in ("max", "min"):
            join = np.maximum if way == "max" else np.minimum
            best = Reduced(pixels if best is None else join(best.pixels, pixels), None)
            continue
        sharp = focus(pixels)
        if sharp > score:
            best, score = Reduced(pixels, number), sharp
    if best is None:
        raise DatasetError("has no plane that can be read")
    return best


def choose_level(way: str, levels: list[str]) -> int | None:
    """The plane that is known without reading any; None where pixels decide.

    Args:
        levels: what each plane is called, in order: numbers as in names, or from 1.

    Raises:
        DatasetError: there is no plane of that number.
    """
    if len(levels) == 1:
        return 0
    if way == "middle":
        return len(levels) // 2
    if not way.isdecimal():
        return None
    if way not in levels:
        raise DatasetError(
            "has no z plane {way} (there are {first} to {last})",
            way=way,
            first=levels[0],
            last=levels[-1],
        )
    return levels.index(way)


def told(way: str, at: int | None, levels: list[str]) -> str:
    """What was taken, for the report; "" where there was no choice."""
    count = len(levels)
    if count == 1:
        return ""
    if at is None:
        return msg(
            "{which} of {count} z planes",
            which=msg("maximum") if way == "max" else msg("minimum"),
            count=count,
        )
    how = {
        "sharpest": msg("the sharpest of {count}", count=count),
        "middle": msg("the middle of {count}", count=count),
    }
    return msg(
        "z plane {level}, {how}",
        level=levels[at],
        how=how.get(way) or msg("as asked, of {count}", count=count),
    )
