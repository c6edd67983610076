"""Fields of view and their planes: z planes, time points and channels of one are one image."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from msip_core.data.image_name import ImageName
from msip_core.data.plane_marks import EARLIER
from msip_core.data.tiff_channels import is_transmitted
from msip_core.messages import msg

_EARLIER = re.compile(rf"{EARLIER}(?![^\W_])", re.I)
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]+)?")


def fields_of(sources: Sequence[str], names: Sequence[ImageName]) -> list[list[int]]:
    """Indices of the images of each field. Two files of the same plane in two folders are two
    fields, whatever the folders are called."""
    groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        groups[name.well or "", name.plate or "", name.field, name.version].append(i)
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


def choose_field_channel(channels: list[str], wanted: str | None) -> tuple[str | None, str]:
    """The channel that was asked for, else the one in transmitted light, else the first."""
    if wanted:
        word = wanted.strip().lower()
        same = [c for c in channels if c.lower() == word.lstrip("0") or c.lower() == word]
        parts = same or [c for c in channels if word in c.lower() and not c.isdecimal()]
        return (parts[0], msg(", as asked")) if parts else (None, "")
    light = [c for c in channels if is_transmitted(c)]
    return (light[0], msg(", for its name")) if light else (channels[0], msg(", the first"))


def numeric(text: str) -> tuple[float, str]:
    """Key by which numbers in names, heights below 0 too, sort as numbers, before words; a time
    before a treatment is before all others."""
    if _EARLIER.match(text):
        return (-math.inf, text)
    return (float(text), "") if _NUMBER.fullmatch(text) else (math.inf, text)
