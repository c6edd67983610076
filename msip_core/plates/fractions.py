"""What a well shows: share with crypts, objects per field, sizes; with intervals.

    gather(counting)                        the fields of each well that could be looked at
    fraction_of(well, "crypt")              the share of one class, over the fields of one well
    per_field(well)                         objects of a field
    sizes_of(counting)                      diameters of whole objects, well by well

Fields that failed or are blank show nothing, neither objects nor their absence: they are counted in
the tables and left out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple

import numpy as np

from msip_core.intervals import LEAST_UNITS, middle, stretch
from msip_core.messages import msg
from msip_core.plates.conditions import Measure
from msip_core.plates.nested import DRAWS, Estimate, Fields, rate, share, too_few
from msip_core.plates.rows import Counting, ImageRow, WellRow, images_by_well, wells_of


class WellKey(NamedTuple):
    """Which well; `group` tells series apart where names show no well, `time` its time points."""

    plate: str
    well: str
    group: str = ""
    time: str = ""

    @property
    def name(self) -> str:
        """By which a sample sheet calls it: the well, else the series."""
        return self.well or self.group


@dataclass(frozen=True)
class SeenWell:
    """One well, with those of its fields that could be looked at.

    Attributes:
        row: its counts over all fields.
    """

    key: WellKey
    row: WellRow
    fields: tuple[ImageRow, ...]

    def objects(self, name: str | None = None) -> int:
        """Objects of one class, or of all."""
        return sum(_count(field, name) for field in self.fields)


def key_of(row: WellRow) -> WellKey:
    """The well of a row."""
    return WellKey(row.plate, row.well, row.group, row.time)


def gather(counting: Counting) -> list[SeenWell]:
    """Every well of a count, in the order of its rows."""
    return [
        SeenWell(key_of(row), row, tuple(image for image in images if image.state == "counted"))
        for images in images_by_well(counting.images)
        for row in wells_of(images, counting.classes)
    ]


def fields_of(wells: Sequence[SeenWell], measure: Measure, name: str | None) -> Fields:
    """Numerators and denominators of all fields of these wells: objects of class `name` and all of
    them, or objects and fields."""
    fields = [field for well in wells for field in well.fields]
    totals = [_count(field) for field in fields]
    if measure == "count":
        return Fields.of(totals, [1] * len(fields))
    return Fields.of([_count(field, name or "") for field in fields], totals)


def fraction_of(well: SeenWell, name: str) -> Estimate:
    """Share of the objects of one well that are of class `name`, with its fields as units."""
    return share([fields_of([well], "fraction", name)], one_well=True)


def per_field(well: SeenWell) -> Estimate:
    """Objects per field of one well."""
    return rate([fields_of([well], "count", None)], one_well=True)


def _count(image: ImageRow, name: str | None = None) -> int:
    return image.counts.get(name, 0) if name is not None else sum(image.counts.values())


def well_of_image(counting: Counting) -> dict[str, WellKey]:
    """Image -> its well."""
    return {
        image.image: key
        for images in images_by_well(counting.images)
        for key in [key_of(wells_of(images, counting.classes)[0])]  # once, of thousands too
        for image in images
    }


# --- sizes --------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """Diameters of the objects of each well.

    Attributes:
        unit: micrometres where every image has a pixel size, else pixels.
        of: well -> diameters; objects that touch the border of an image are left out.
        cut: how many those are.
    """

    unit: Literal["µm", "px"]
    of: dict[WellKey, list[float]]
    cut: int

    def all(self, wells: Sequence[WellKey]) -> list[float]:
        """Of these wells together."""
        return [size for key in wells for size in self.of.get(key, ())]

    def median(self, units: Sequence[Sequence[WellKey]], unit: str = "well") -> Estimate:
        """Median of the units' medians, the units drawn with replacement.

        Args:
            units: the wells of each: one, or those of one replicate.
            unit: what they are.
        """
        own = [self.all(wells) for wells in units]
        middles = [median(sizes) for sizes in own if sizes]
        if not middles:
            return Estimate(None, reason=msg("There is no whole object."))
        value = median(middles)
        if len(middles) < LEAST_UNITS:
            few = too_few(len(middles), unit)
            return Estimate(value, units=len(middles), unit=unit, reason=few)
        rng = np.random.default_rng(0)
        logs = np.log(middles)
        drawn = np.median(logs[rng.integers(0, logs.size, (DRAWS, logs.size))], axis=1)
        centre = np.log(value)
        moved = np.exp(centre + (drawn - centre) * stretch(rng, logs.size, DRAWS))
        low, high = middle(moved) or (None, None)
        return Estimate(value, low, high, units=len(middles), unit=unit)


def sizes_of(counting: Counting) -> Sizes:
    """Diameters of the objects that lie wholly inside their image."""
    in_um = counting.um_per_px_known and bool(counting.objects)
    wells = well_of_image(counting)
    found: dict[WellKey, list[float]] = {}
    cut = 0
    for item in counting.objects:
        if item.at_edge:
            cut += 1
            continue
        size = item.diameter_um if in_um else item.diameter_px
        if size is not None and size > 0 and item.image in wells:
            found.setdefault(wells[item.image], []).append(size)
    return Sizes("µm" if in_um else "px", found, cut)
