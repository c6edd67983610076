"""Counts of what a model found: per image, and per well of a plate, each field once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msip_core.boxes import Detection

Row = dict[str, Any]


class CountedImage(NamedTuple):
    """One micrograph and what a model found in it.

    Attributes:
        group: label of its well with the plate, or of its field where names show no well.
        plate, well: "" where names do not show them.
        plane: which plane of its field it is, such as "z 3"; "" if the name tells none.
        counted: whether this is the plane of its field that is counted.
        why: how that plane was chosen, or which one is counted instead.
        note: what must be known of the numbers: sizes, or a channel that nobody chose.
    """

    image: str
    group: str
    detections: Sequence[Detection]
    plate: str = ""
    well: str = ""
    plane: str = ""
    counted: bool = True
    why: str = ""
    note: str = ""


def per_class(detections: Sequence[Detection], classes: Sequence[str]) -> dict[str, int]:
    """Objects of each class, also those of which there is none."""
    return {name: sum(d.cls == i for d in detections) for i, name in enumerate(classes)}


def count_rows(images: Sequence[CountedImage], classes: Sequence[str]) -> list[Row]:
    """Objects per image, also for images in which nothing was found.

    `counted` says whether the image goes into its well's row: of a field's planes, one does.
    """
    return [
        {
            "image": item.image,
            "group": item.group,
            **per_class(item.detections, classes),
            "total": len(item.detections),
            "plane": item.plane,
            "counted": "yes" if item.counted else "no",
            "why": item.why,
            "note": item.note,
        }
        for item in images
    ]


def well_rows(images: Sequence[CountedImage], classes: Sequence[str]) -> list[Row]:
    """Objects per well and plate: sums over its fields, of each field the plane that is counted.

    Images whose names show no well have a row a field.
    """
    rows: list[Row] = []
    for group in dict.fromkeys(item.group for item in images):
        members = [item for item in images if item.group == group]
        fields = [item for item in members if item.counted]
        found = [detection for item in fields for detection in item.detections]
        rows.append(
            {
                "group": group,
                "plate": members[0].plate,
                "well": members[0].well,
                "images": len(fields),
                **per_class(found, classes),
                "total": len(found),
                "mean_per_image": round(len(found) / len(fields), 2) if fields else None,
                "planes": _listed([f"{item.image}: {item.why}" for item in fields if item.why]),
                "not_counted": len(members) - len(fields),
                "note": _listed([item.note for item in fields if item.note]),
            }
        )
    return rows


def _listed(texts: Sequence[str], most: int = 3) -> str:
    """The first of them, once each, in one cell."""
    different = list(dict.fromkeys(texts))
    more = len(different) - most
    return "; ".join([*different[:most], *([f"and {more} more"] if more > 0 else [])])
