"""From what a model found on one picture to its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msip_core.boxes import Detection
from msip_core.messages import joined, msg
from msip_core.plates.pictures import Read
from msip_core.plates.plan import Item
from msip_core.plates.rows import ImageRow, ObjectRow, ellipse

# A picture whose grey values lie this close together (of 255) shows nothing: a well that is dark,
# saturated, or was never in the light. Brightfield without an organoid has ten times as much.
BLANK_SPREAD = 3
MOST_FOUND = 300  # objects that the detector gives for one picture


class Found(NamedTuple):
    """What one model found on one picture.

    Attributes:
        boxes: best score first.
        tiles: how the picture was cut, "" if it was not.
        warning: what speaks against the boxes, such as objects of another size.
        same: an image of the count that shows the same, pixel by pixel.
    """

    boxes: Sequence[Detection]
    um_per_px: float | None
    classes: Sequence[str]
    tiles: str = ""
    warning: str = ""
    same: str = ""


def failed_row(item: Item, problem: str) -> ImageRow:
    """A picture that could not be read: it has a reason, and no counts."""
    return ImageRow(
        plate=item.plate, well=item.well, field=item.field, image=item.name, state="failed",
        reason=problem, time=item.time, series=item.series,
    )  # fmt: skip


def image_row(item: Item, read: Read, found: Found) -> ImageRow:
    """A picture that was looked at."""
    blank = read.spread <= BLANK_SPREAD
    empty = blank and not found.boxes
    reason = (
        msg("blank: its grey values lie within {spread} of 255", spread=read.spread)
        if empty
        else ""
    )
    full = "" if found.tiles or len(found.boxes) < MOST_FOUND else _FULL
    doubt = msg("This file {doubt}.", doubt=read.doubt) if read.doubt else ""
    twice = msg(
        "Shows the same picture as {file}, so its objects are counted twice: take one of the files "
        "away.",
        file=found.same,
    )
    notes = (twice if found.same and not blank else "", found.warning, doubt, full)
    return ImageRow(
        plate=item.plate, well=item.well, field=item.field, image=item.name,
        state="empty" if empty else "counted", reason=reason,
        width=read.width, height=read.height, um_per_px=found.um_per_px,
        counts={name: sum(b.cls == n for b in found.boxes) for n, name in enumerate(found.classes)},
        blank=blank, chosen=joined("; ", filter(None, (read.chosen, item.note))),
        note=joined(" ", filter(None, notes)), tiles=found.tiles, time=item.time,
        series=item.series, digest=read.digest,
    )  # fmt: skip


_FULL = msg(
    "The detector stops at {most} objects a picture and found as many here: count it in tiles.",
    most=MOST_FOUND,
)


def object_rows(item: Item, read: Read, found: Found) -> list[ObjectRow]:
    """The objects of a picture, numbered from 1 by their score."""
    return [
        _object_row(item, read, found, number, box) for number, box in enumerate(found.boxes, 1)
    ]


def _object_row(item: Item, read: Read, found: Found, number: int, box: Detection) -> ObjectRow:
    size = found.um_per_px
    area, diameter = ellipse(box.x2 - box.x1, box.y2 - box.y1)
    return ObjectRow(
        plate=item.plate, well=item.well, field=item.field, image=item.name, object=number,
        class_name=found.classes[box.cls], score=round(box.score, 4),
        x1=round(box.x1, 2), y1=round(box.y1, 2), x2=round(box.x2, 2), y2=round(box.y2, 2),
        area_px=round(area, 2), diameter_px=round(diameter, 3),
        area_um2=None if size is None else round(area * size**2, 3),
        diameter_um=None if size is None else round(diameter * size, 3),
        at_edge=box.x1 < 1 or box.y1 < 1 or box.x2 > read.width - 1 or box.y2 > read.height - 1,
        time=item.time,
    )  # fmt: skip
