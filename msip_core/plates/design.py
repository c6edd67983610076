"""Wells with what they hold: conditions, doses, replicates, and the units a statement rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from msip_core.plates.conditions import Group, Measure, Unit
from msip_core.plates.dose import in_one_unit
from msip_core.plates.fractions import SeenWell, WellKey, fields_of
from msip_core.plates.nested import Estimate, rate, share
from msip_core.plates.sheet import Sample, SampleSheet

_CONTROL = re.compile(
    r"(?:neg\w*[ _-]*)?(?:control|ctrl|ctl|vehicle|dmso|untreated|mock|nc)\b|对照|阴性|空白", re.I
)


@dataclass(frozen=True)
class Condition:
    """The wells of one condition at one dose.

    Attributes:
        name: the condition, with its dose where it has several.
        members: its wells, each with its row of the sheet.
        by_replicate: wells of one plate with the same replicate are one unit.
    """

    name: str
    condition: str
    dose: float | None
    unit: str
    members: tuple[tuple[SeenWell, Sample], ...]

    @property
    def wells(self) -> list[SeenWell]:
        return [well for well, _ in self.members]

    @property
    def by_replicate(self) -> bool:
        keys = [_replicate(well, sample) for well, sample in self.members]
        return all(key[1] for key in keys) and len(set(keys)) < len(keys)

    @property
    def unit_word(self) -> str:
        """What its units are."""
        return "replicate" if self.by_replicate else "well"

    @property
    def units(self) -> list[list[SeenWell]]:
        """The wells unit by unit: each on its own, or together where they are one replicate."""
        if not self.by_replicate:
            return [[well] for well in self.wells]
        found: dict[tuple[str, str], list[SeenWell]] = {}
        for well, sample in self.members:
            found.setdefault(_replicate(well, sample), []).append(well)
        return list(found.values())


def _replicate(well: SeenWell, sample: Sample) -> tuple[str, str]:
    return (well.key.plate, sample.replicate)


def conditions_of(wells: Sequence[SeenWell], sheet: SampleSheet) -> list[Condition]:
    """Conditions in the order of the sheet, their doses from low to high."""
    held = [
        (well, sample)
        for well in wells
        if (sample := sheet.of(well.key.plate, well.key.name)) is not None
    ]
    doses = _doses_of([sample for _, sample in held])
    members: dict[tuple[str, float | None, str], list[tuple[SeenWell, Sample]]] = {}
    for well, sample in held:
        key = (sample.condition, *doses[sample.condition, sample.dose, sample.unit])
        members.setdefault(key, []).append((well, sample))
    dosed = {condition for condition, dose, _ in members if dose}
    first = {sample.condition: n for n, sample in reversed(list(enumerate(sheet.samples)))}
    found = [
        Condition(
            _named(condition, dose, unit) if condition in dosed else condition,
            condition,
            dose,
            unit,
            tuple(group),
        )
        for (condition, dose, unit), group in members.items()
    ]
    return sorted(
        found, key=lambda one: (first[one.condition], -1 if one.dose is None else one.dose)
    )


def _named(condition: str, dose: float | None, unit: str) -> str:
    return condition if dose is None else f"{condition} {dose:g} {unit}".rstrip()


def unit_of_well(conditions: Sequence[Condition]) -> dict[WellKey, tuple[str, int]]:
    """Well -> the unit that it belongs to."""
    return {
        well.key: (one.name, number)
        for one in conditions
        for number, unit in enumerate(one.units)
        for well in unit
    }


Dosed = tuple[str, float | None, str]  # condition, dose, unit


def _doses_of(samples: Sequence[Sample]) -> dict[Dosed, tuple[float | None, str]]:
    """Dose and unit of each, in the unit that most of its condition have: 1000 nM is 1 µM. As
    they are written where units cannot be turned into each other."""
    found: dict[Dosed, tuple[float | None, str]] = {
        (one.condition, one.dose, one.unit): (one.dose, one.unit) for one in samples
    }
    for condition in dict.fromkeys(one.condition for one in samples):
        own = [(dose, unit) for name, dose, unit in found if name == condition and dose is not None]
        joined = in_one_unit(own)
        if joined is None:
            continue
        for (dose, unit), same in zip(own, joined[0]):
            found[condition, dose, unit] = (float(f"{same:.9g}"), joined[1])
    return found


def likely_control(conditions: Sequence[Condition]) -> str | None:
    """The group that is named like a control, else the only one of dose 0; None if neither is."""
    named = [one.name for one in conditions if _CONTROL.match(one.condition)]
    zero = [one.name for one in conditions if one.dose == 0]
    for names in (named, zero):
        if len(names) == 1:
            return names[0]
    return None


# --- estimates of a condition -------------------------------------------------


def estimate(condition: Condition, measure: Measure, name: str | None) -> Estimate:
    """The share of class `name`, or the objects per field, over the condition's units."""
    units = [fields_of(wells, measure, name) for wells in condition.units]
    return (share if measure == "fraction" else rate)(units, unit=condition.unit_word)


def group_of(condition: Condition, measure: Measure, name: str | None) -> Group:
    """The condition's units as the comparison takes them."""
    units = []
    for wells in condition.units:
        fields = fields_of(wells, measure, name)
        above, below = int(fields.above.sum()), int(fields.below.sum())
        units.append(Unit(wells[0].key.plate, above, below))
    return Group(condition.name, tuple(units))
