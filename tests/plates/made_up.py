"""Plates with a known truth: rows as a count writes them, without a detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi

import numpy as np

from msip_core.plates.rows import Counting, ImageRow, ObjectRow, Role, State

CLASSES = ("crypt", "no_crypt")


def image(
    well: str, field: int, crypts: int, others: int, *, plate: str = "P1", state: State = "counted",
    time: str = "",
) -> ImageRow:  # fmt: skip
    """One field of a well."""
    name = f"{plate}/{well}_f{field}{time}.png"
    failed = state == "failed"
    return ImageRow(
        plate=plate, well=well, field=f"{plate}/{well}_f{field}", image=name, state=state,
        reason={"failed": "the file is cut off", "empty": "it is of one grey value"}.get(state, ""),
        width=0 if failed else 512, height=0 if failed else 512,
        um_per_px=None if failed else 2.0, blank=state == "empty", time=time,
        counts={} if failed else {"crypt": crypts, "no_crypt": others},
    )  # fmt: skip


def objects_of(row: ImageRow, diameter: float = 20.0, at_edge: int = 0) -> list[ObjectRow]:
    """The objects of a field: discs of one size; the first `at_edge` touch the border."""
    names = [name for name, count in row.counts.items() for _ in range(count)]
    return [
        ObjectRow(
            plate=row.plate, well=row.well, field=row.field, image=row.image, object=number + 1,
            class_name=name, score=round(0.95 - 0.01 * number, 4), x1=10.0, y1=10.0,
            x2=10 + diameter, y2=10 + diameter, area_px=pi / 4 * diameter**2, diameter_px=diameter,
            area_um2=pi * diameter**2, diameter_um=2 * diameter, at_edge=number < at_edge,
            time=row.time,
        )
        for number, name in enumerate(names)
    ]  # fmt: skip


def count(images: Sequence[ImageRow], *, role: Role = "model", name: str = "light") -> Counting:
    """A count of these images."""
    return Counting(
        objects=[item for row in images for item in objects_of(row)], images=list(images),
        classes=CLASSES, um_per_px_known=True, model=f"model-{name}", name=name,
        source="plate.zip", total=len(images), role=role,
    )  # fmt: skip


def wells_of_plate(rows: int, columns: int) -> list[str]:
    """ "A01", "A02", … of a plate."""
    letters = [chr(65 + n) if n < 26 else f"A{chr(39 + n)}" for n in range(rows)]
    return [f"{letter}{column:02d}" for letter in letters for column in range(1, columns + 1)]


def drawn_plate(
    rows: int, columns: int, fields: int, share: Callable[[str], float], *, seed: int = 0,
    spread: float = 0.3, per_field: float = 12.0,
) -> list[ImageRow]:  # fmt: skip
    """Fields in wells: wells vary around their share on the logit scale by `spread`."""
    rng = np.random.default_rng(seed)
    found = []
    for well in wells_of_plate(rows, columns):
        logit = np.log(share(well) / (1 - share(well))) + rng.normal() * spread
        for field in range(1, fields + 1):
            total = int(rng.poisson(per_field))
            crypts = int(rng.binomial(total, 1 / (1 + np.exp(-logit))))
            found.append(image(well, field, crypts, total - crypts))
    return found
