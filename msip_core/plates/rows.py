"""What a count is, row by row: objects, images and wells, as every table and figure reads them.

A model that counts writes two files of lines into its folder, `objects.jsonl` and `images.jsonl`;
the wells are sums of these. `folder.read` gives all of them. At the end they are cells of tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from dataclasses import field as setting
from typing import Any, Literal

State = Literal["counted", "empty", "failed"]
Role = Literal["model", "baseline"]
_Key = tuple[str, str, str, str]  # plate, well, series, time


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRow:
    """One object that was found.

    Attributes:
        plate, well: "" where names and metadata tell none.
        field: the field of view, which several planes of one share.
        image: name of the micrograph, as in its ImageRow.
        object: the number drawn on the picture, from 1 in every image, best score first.
        score: of the detector, in [0, 1].
        x1, y1, x2, y2: corners in pixels of the micrograph; x2, y2 exclusive.
        outline: its corner points in pixels, where one is known.
        area_um2, diameter_um: None where the size of a pixel is not known.
        area_px: pixels squared, of the outline, else of the ellipse inscribed in the box.
        diameter_px: of the disc of the same area as that ellipse, or that outline; pixels.
        at_edge: its box touches the border of the micrograph, so part of it may lie outside.
        time: the time point, where every n-th one was asked for; else "".
    """

    plate: str
    well: str
    field: str
    image: str
    object: int
    class_name: str
    score: float
    x1: float
    y1: float
    x2: float
    y2: float
    outline: tuple[tuple[float, float], ...] | None = None
    area_um2: float | None = None
    diameter_um: float | None = None
    area_px: float
    diameter_px: float
    at_edge: bool = False
    time: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """One micrograph: a field of view, in the plane that is counted.

    Attributes:
        state: "counted" (looked at, also where nothing was found), "empty" (blank: nothing could
            be seen on it) or "failed" (it could not be read: no number of its own).
        reason: why it failed or is empty, in words; "" for one that is counted.
        width, height: pixels; 0 where it failed.
        counts: class name -> objects, every class of the model; {} where it failed.
        blank: it is of one grey value, as a dark or a saturated picture is.
        chosen: which plane, channel and time point was taken, in words; "" where there is one.
        note: what must be known of the numbers, such as objects of another size than in training.
        tiles: how it was cut into tiles, and why; "" if it was shown whole.
        time: as of the objects.
        series: the folder, file or donor that an image without a well belongs to.
        digest: of its pixels: two pictures of the same have the same; "" where it failed.
    """

    plate: str
    well: str
    field: str
    image: str
    state: State
    reason: str = ""
    width: int = 0
    height: int = 0
    um_per_px: float | None = None
    counts: dict[str, int] = setting(default_factory=dict)
    blank: bool = False
    chosen: str = ""
    note: str = ""
    tiles: str = ""
    time: str = ""
    series: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WellRow:
    """One well of one plate, over its fields.

    Attributes:
        well: "" for fields whose names tell no well; `group` then tells one series from another.
        fields_counted: fields that were looked at, blank ones included.
        fields_failed: fields that could not be read; the counts are of the others alone.
        counts: class name -> objects.
        total: objects of all classes.
        crypt_fraction: share of the objects that are of the class with crypts; None without
            such a class, or without an object.
        fields_empty: of `fields_counted`, those that are blank.
        group: the plate and well in words, or the folder or series where names tell no well.
        time: as of the objects: every time point has a row of its own.
    """

    plate: str
    well: str
    fields_counted: int
    fields_failed: int
    counts: dict[str, int]
    total: int
    crypt_fraction: float | None = None
    fields_empty: int = 0
    group: str = ""
    time: str = ""


@dataclass(frozen=True)
class Counting:
    """Everything one model counted.

    Attributes:
        classes: names of the model's classes, in its order.
        um_per_px_known: every image that was read has a known pixel size.
        model: id of the model, or its file.
        name: what people call the model.
        source: what was counted.
        wells_taken: what was taken for wells, in one sentence.
        done: every image of the source is here (a count that runs has not got there).
        total: images of the source, also those that are not counted yet.
        role: "model" or "baseline" (the second model of the same count).
        sizes_known: the size of objects in the model's training is known.
    """

    objects: list[ObjectRow]
    images: list[ImageRow]
    classes: tuple[str, ...]
    um_per_px_known: bool
    model: str
    name: str = ""
    source: str = ""
    wells_taken: str = ""
    done: bool = True
    total: int = 0
    role: Role = "model"
    sizes_known: bool = True

    @property
    def wells(self) -> list[WellRow]:
        """One row a well per plate, in the order of the images."""
        return wells_of(self.images, self.classes)


def wells_of(images: Iterable[ImageRow], classes: Sequence[str]) -> list[WellRow]:
    """Sum the fields of every well; fields without a well are summed by their folder or series."""
    crypts = crypt_class(classes)
    return [_well(key, rows, classes, crypts) for key, rows in _by_well(images).items()]


def images_by_well(images: Iterable[ImageRow]) -> list[list[ImageRow]]:
    """The images of each well of each plate and time point, in the order of `wells_of`."""
    return list(_by_well(images).values())


def _by_well(images: Iterable[ImageRow]) -> dict[_Key, list[ImageRow]]:
    members: dict[_Key, list[ImageRow]] = {}
    for image in images:
        series = "" if image.well else image.series or image.image
        members.setdefault((image.plate, image.well, series, image.time), []).append(image)
    return members


def _well(key: _Key, rows: list[ImageRow], classes: Sequence[str], crypts: str | None) -> WellRow:
    plate, well, series, time = key
    counts = {name: sum(row.counts.get(name, 0) for row in rows) for name in classes}
    total = sum(counts.values())
    failed = sum(row.state == "failed" for row in rows)
    return WellRow(
        plate=plate,
        well=well,
        fields_counted=len(rows) - failed,
        fields_failed=failed,
        fields_empty=sum(row.state == "empty" for row in rows),
        counts=counts,
        total=total,
        crypt_fraction=counts[crypts] / total if crypts and total else None,
        group=" ".join(filter(None, (plate, well))) or series,
        time=time,
    )


def crypt_class(classes: Sequence[str]) -> str | None:
    """The class of objects with crypts: named so, or budding; None where none is (`no_crypt` and
    `without crypts` are classes of the others)."""
    for name in classes:
        words = name.lower().replace("-", " ").replace("_", " ").split()
        told = any(word.startswith(("crypt", "bud")) for word in words)
        if told and not {"no", "non", "not", "without", "un"} & set(words):
            return name
    return None


def ellipse(width: float, height: float) -> tuple[float, float]:
    """Area and diameter of the ellipse inscribed in a box: pi/4 · w · h, and sqrt(w · h), which is
    the diameter of the disc of that area; in the unit of the sides (and squared)."""
    return math.pi / 4 * width * height, math.sqrt(width * height)


Row = dict[str, Any]
OBJECT_COLUMNS = (
    "plate", "well", "field", "time", "image", "object", "class", "score", "x1", "y1", "x2", "y2",
    "area_px", "diameter_px", "area_um2", "diameter_um", "at_edge", "outline",
)  # fmt: skip


def image_columns(classes: Sequence[str]) -> list[str]:
    return [
        "plate", "well", "field", "time", "image", "state", "reason", *classes, "total", "width",
        "height", "um_per_px", "chosen", "note", "tiles",
    ]  # fmt: skip


def well_columns(classes: Sequence[str]) -> list[str]:
    return [
        "plate", "well", "group", "time", "fields", "fields_empty", "fields_failed", *classes,
        "total", "mean_per_field", "crypt_fraction",
    ]  # fmt: skip


def object_cells(row: ObjectRow) -> Row:
    outline = " ".join(f"{x:g},{y:g}" for x, y in row.outline or ())
    told = {"class": row.class_name, "at_edge": "yes" if row.at_edge else "no", "outline": outline}
    return {c: told[c] if c in told else getattr(row, c) for c in OBJECT_COLUMNS}


def image_cells(row: ImageRow) -> Row:
    """Of an image that could not be read counts are empty cells, not zeros."""
    failed = row.state == "failed"
    return {
        "plate": row.plate, "well": row.well, "field": row.field, "time": row.time,
        "image": row.image, "state": row.state, "reason": row.reason, **row.counts,
        "total": None if failed else sum(row.counts.values()), "width": row.width or None,
        "height": row.height or None, "um_per_px": row.um_per_px, "chosen": row.chosen,
        "note": row.note, "tiles": row.tiles,
    }  # fmt: skip


def well_cells(row: WellRow) -> Row:
    """Of a well without a field that could be read counts are empty cells, not zeros."""
    fields = row.fields_counted
    seen = fields - row.fields_empty  # a blank field shows neither objects nor their absence
    share = row.crypt_fraction
    return {
        "plate": row.plate, "well": row.well, "group": row.group, "time": row.time,
        "fields": fields, "fields_empty": row.fields_empty, "fields_failed": row.fields_failed,
        **(row.counts if fields else {}),
        "total": row.total if fields else None,
        "mean_per_field": round(row.total / seen, 3) if seen else None,
        "crypt_fraction": None if share is None else round(share, 4),
    }  # fmt: skip
