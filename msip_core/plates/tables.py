"""The rows of a count as cells of tables: an object, an image, a well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msip_core.plates.rows import ImageRow, ObjectRow, WellRow

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
    return {
        "plate": row.plate, "well": row.well, "field": row.field, "time": row.time,
        "image": row.image, "object": row.object, "class": row.class_name, "score": row.score,
        "x1": row.x1, "y1": row.y1, "x2": row.x2, "y2": row.y2, "area_px": row.area_px,
        "diameter_px": row.diameter_px, "area_um2": row.area_um2, "diameter_um": row.diameter_um,
        "at_edge": "yes" if row.at_edge else "no", "outline": outline,
    }  # fmt: skip


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
