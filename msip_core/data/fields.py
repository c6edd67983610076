"""Fields of view and their planes: z planes, time points and channels of one field are one image.

What lies in one field is counted once, in one plane. Which one: the channel in transmitted light
(or as asked), the first time point, the sharpest z plane (or as asked).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core.data.names import ImageName
from msip_core.data.tiff_channels import is_transmitted
from msip_core.errors import ConfigError

_ASKED = re.compile(r"(?:(z|t)[-_]?)?(\d{1,6})", re.I)


@dataclass(frozen=True, slots=True)
class PlaneWish:
    """Which plane a person wants counted, numbers as in file names; None leaves it to us."""

    z: int | None = None
    time: int | None = None


@dataclass(frozen=True, slots=True)
class FieldPlane:
    """One image among those of its field.

    Attributes:
        field: number of the field, from 0 in the order of appearance.
        counted: whether this is the plane that is counted.
        why: how the field's plane was chosen, or which one is counted instead; "" if it is alone.
    """

    field: int
    counted: bool
    why: str


def parse_plane(words: str | None) -> PlaneWish:
    """`3` or `z3` is the third z plane, `t2` the second time point, `z3,t2` both.

    Raises:
        ConfigError: anything else.
    """
    found: dict[str, int] = {}
    for word in re.split(r"[,; ]+", (words or "").strip()):
        if not word or word.lower() == "sharpest":
            continue
        match = _ASKED.fullmatch(word)
        key = "time" if match and (match.group(1) or "z").lower() == "t" else "z"
        if match is None or key in found:
            raise ConfigError(
                f"'{words}' names no plane: write its number, such as 3 or z3, t2 for a time "
                "point, z3,t2 for both."
            )
        found[key] = int(match.group(2))
    return PlaneWish(**found)


def sharpness(pixels: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of the grey image (Pech-Pacheco et al. 2000): high where sharp.

    Args:
        pixels: (height, width, 3) RGB.
    """
    return float(cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def choose_planes(
    sources: Sequence[str],
    names: Sequence[ImageName],
    sharp: Sequence[float],
    wish: PlaneWish,
    channel: str | None,
) -> list[FieldPlane]:
    """Which image of every field is counted.

    Args:
        sources: paths, as `names` were read from.
        sharp: `sharpness` of each.
        channel: number or name that a person asked for.

    Raises:
        ConfigError: no image at all is of the plane or channel that was asked for.
    """
    chosen: list[FieldPlane | None] = [None] * len(names)
    missing: list[str] = []
    for number, members in enumerate(_fields(sources, names)):
        best, how = _best([(i, names[i], sharp[i]) for i in members], wish, channel)
        if best is None:
            missing.append(how)
            for i in members:
                chosen[i] = FieldPlane(number, False, f"not counted: its field has no {how}")
            continue
        for i in members:
            why = f"not counted: {names[best].plane or 'another file'} of this field is"
            why = how if i == best else why
            chosen[i] = FieldPlane(number, i == best, why if len(members) > 1 else "")
    if missing and len(missing) == len(set(_fields_of(chosen))):
        raise ConfigError(f"No image is of {missing[0]}: look at the file names for what there is.")
    return [plane for plane in chosen if plane is not None]


def _fields_of(planes: Sequence[FieldPlane | None]) -> list[int]:
    return [plane.field for plane in planes if plane is not None]


def _fields(sources: Sequence[str], names: Sequence[ImageName]) -> list[list[int]]:
    """Indices of the images of each field. Two files of the same plane in two folders are two
    fields, whatever the folders are called."""
    groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        groups[name.well or "", name.plate or "", name.field].append(i)
    fields: list[list[int]] = []
    for members in groups.values():
        planes = {(names[i].z, names[i].time, names[i].channel) for i in members}
        if len(planes) == len(members):
            fields.append(members)
            continue
        by_folder: defaultdict[PurePosixPath, list[int]] = defaultdict(list)
        for i in members:
            by_folder[PurePosixPath(sources[i]).parent].append(i)
        fields += by_folder.values()
    return sorted(fields)


def _best(
    members: list[tuple[int, ImageName, float]], wish: PlaneWish, channel: str | None
) -> tuple[int | None, str]:
    """The image that counts and how it was chosen; None and what is missing."""
    how: list[str] = []
    channels = sorted({name.channel or "" for _, name, _ in members}, key=_numeric)
    if len(channels) > 1 or (channel and channels != [""]):
        wanted, word = _channel(channels, channel)
        if wanted is None:
            return None, f"channel {channel}"
        members = [m for m in members if (m[1].channel or "") == wanted]
        how.append(f"channel {wanted or 'without a name'}{word}")
    times = sorted({name.time or "" for _, name, _ in members}, key=_numeric)
    if wish.time is not None and times != [""]:
        members = [m for m in members if m[1].time == str(wish.time)]
        if not members:
            return None, f"time point {wish.time}"
        how.append(f"time {wish.time}, as asked")
    elif len(times) > 1:
        members = [m for m in members if (m[1].time or "") == times[0]]
        how.append(f"time {times[0]}, the first of {len(times)}")
    levels = {name.z for _, name, _ in members}
    if wish.z is not None and levels != {None}:
        members = [m for m in members if m[1].z == str(wish.z)]
        if not members:
            return None, f"z plane {wish.z}"
        how.append(f"z {wish.z}, as asked")
    elif len(levels) > 1:
        best = max(members, key=lambda m: m[2])
        how.append(f"z {best[1].z}, the sharpest of {len(levels)}")
    best = max(members, key=lambda m: m[2])
    return best[0], "counted: " + (", ".join(how) or "the sharper of several files of this field")


def _channel(channels: list[str], wanted: str | None) -> tuple[str | None, str]:
    """The channel that was asked for, else the one in transmitted light, else the first."""
    if wanted:
        word = wanted.strip().lower()
        same = [c for c in channels if c.lower() == word.lstrip("0") or c.lower() == word]
        parts = same or [c for c in channels if word in c.lower() and not c.isdecimal()]
        return (parts[0], ", as asked") if parts else (None, "")
    light = [c for c in channels if is_transmitted(c)]
    return (light[0], ", for its name") if light else (channels[0], ", the first")


def _numeric(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (10**9, text)
