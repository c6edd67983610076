"""From the rows of a count to what is said about a plate; tables, figures and report read this.

found = analyse(counting, baseline=other, sheet=sheet, asked=Asked(margin=0.05))
found.wells, found.conditions, found.comparisons, found.doses, found.agreement
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from msip_core.errors import InputError
from msip_core.messages import mark, msg
from msip_core.plates.agreement import (
    Bounds,
    Calibration,
    Equivalence,
    Limits,
    Pair,
    calibrate,
    concordance,
    equivalence,
    intraclass,
    limits_of,
)
from msip_core.plates.conditions import Comparison, Measure, compare
from msip_core.plates.design import (
    Condition,
    conditions_of,
    estimate,
    group_of,
    likely_control,
    unit_of_well,
)
from msip_core.plates.dose import DoseFit, fit, in_one_unit
from msip_core.plates.fractions import (
    SeenWell,
    Sizes,
    WellKey,
    fields_of,
    fraction_of,
    gather,
    per_field,
    sizes_of,
    well_of_image,
)
from msip_core.plates.nested import Estimate, rate, share
from msip_core.plates.rows import Counting, crypt_class
from msip_core.plates.sheet import Problem, Sample, SampleSheet, place_samples

MARGIN = 0.05  # of a share: five points
COUNT_MARGIN = 0.1  # of the baseline's mean count per field


@dataclass(frozen=True)
class Asked:
    """What a reader chooses.

    Attributes:
        crypts: the class whose share is taken; None: the class that is named for crypts.
        control: name of the condition that the others are compared with; None: the one that is
            named like a control.
        margin: largest difference of shares that is still "the same biology", above 0.
        count_margin: the same for objects per field, as a part of the baseline's mean.
        time: the time point; None: the last.
    """

    crypts: str | None = None
    control: str | None = None
    margin: float = MARGIN
    count_margin: float = COUNT_MARGIN
    time: str | None = None


@dataclass(frozen=True)
class WellResult:
    """One well: its counts, what it holds, shares and rates with intervals over its fields."""

    seen: SeenWell
    sample: Sample | None
    fraction: Estimate
    per_field: Estimate
    diameter: float | None


@dataclass(frozen=True)
class ConditionResult:
    """One condition: estimates over its wells, or its replicates."""

    condition: Condition
    fraction: Estimate
    per_field: Estimate
    diameter: Estimate


@dataclass(frozen=True)
class ModelAgreement:
    """Baseline (reference) against the model, well by well, for one measure."""

    measure: Measure
    limits: Limits | None
    equivalence: Equivalence | None
    concordance: Bounds | None
    intraclass: float | None
    left_out: int
    by_condition: tuple[tuple[str, Estimate, Estimate], ...] = ()


@dataclass(frozen=True)
class PlateAnalysis:
    """Everything that is said about a plate.

    Attributes:
        counting, baseline: at the time point that is looked at.
        crypts: the class whose share is taken; None where no class is one.
        whole: share and objects per field of all wells together.
        control: what the conditions are compared with.
        doses: of each measure, the fitted series.
        problems: of the sample sheet.
        times: all time points of the count; `time` is the one looked at.
    """

    counting: Counting
    baseline: Counting | None
    asked: Asked
    crypts: str | None
    time: str
    times: tuple[str, ...]
    wells: tuple[WellResult, ...]
    whole: tuple[Estimate, Estimate]
    sizes: Sizes
    conditions: tuple[ConditionResult, ...] = ()
    control: str | None = None
    comparisons: tuple[Comparison, ...] = ()
    doses: tuple[tuple[Measure, DoseFit], ...] = ()
    agreement: tuple[ModelAgreement, ...] = ()
    calibration: tuple[Calibration, ...] = ()
    problems: tuple[Problem, ...] = ()

    def held(self, well: WellResult) -> str:
        """The condition of a well, with its dose where it has several; "" where none is known."""
        keys = ((one.condition.name, other.key) for one in self.conditions
                for other in one.condition.wells)  # fmt: skip
        return next((name for name, key in keys if key == well.seen.key), "")

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What can be asked of this count."""
        return ("fraction", "count") if self.crypts is not None else ("count",)


def analyse(
    counting: Counting,
    *,
    baseline: Counting | None = None,
    sheet: SampleSheet | None = None,
    truth: Mapping[str, Mapping[str, int]] | None = None,
    asked: Asked | None = None,
) -> PlateAnalysis:
    """Everything that can be said.

    Args:
        baseline: the count of the same images by the model that is taken for the reference.
        truth: image -> class -> objects that people labelled.

    Raises:
        InputError: a class, a control, a time point or a margin is not there or cannot be.
    """
    asked = asked or Asked()
    crypts = _crypts(counting, asked)
    times = tuple(sorted({image.time for image in counting.images}, key=_in_time))
    time = _time(times, asked)
    counting, baseline = _at(counting, time), _at(baseline, time) if baseline else None
    seen, sizes = gather(counting), sizes_of(counting)
    keys = [(well.key.plate, well.key.name) for well in seen]
    placed = place_samples(sheet, keys) if sheet is not None else None
    found = PlateAnalysis(
        counting=counting, baseline=baseline, asked=asked, crypts=crypts, time=time, times=times,
        wells=tuple(_well(well, placed, crypts, sizes) for well in seen),
        whole=(
            share([fields_of([well], "fraction", crypts) for well in seen])
            if crypts else Estimate(None, reason=NO_CLASS),
            rate([fields_of([well], "count", None) for well in seen]),
        ),
        sizes=sizes,
        agreement=tuple(_agreement(seen, baseline, crypts, asked, placed)) if baseline else (),
        calibration=_calibration(counting, truth),
        problems=placed.problems if placed else (),
    )  # fmt: skip
    return _with_conditions(found, seen, placed) if placed else found


NO_CLASS = mark("No class of this model is named for crypts or buds: choose the class to take.")


def _crypts(counting: Counting, asked: Asked) -> str | None:
    if asked.crypts is not None and asked.crypts not in counting.classes:
        names = ", ".join(counting.classes)
        raise InputError(
            "The model has no class '{crypts}': choose one of {names}.",
            crypts=asked.crypts,
            names=names,
        )
    if not asked.margin > 0 or not asked.count_margin > 0:
        raise InputError("The margin of 'the same' must be above 0: 0.05 is five points.")
    return asked.crypts or crypt_class(counting.classes)


def _time(times: Sequence[str], asked: Asked) -> str:
    if asked.time is not None and asked.time not in times:
        raise InputError(
            "There is no time point '{time}': choose one of {times}.",
            time=asked.time,
            times=", ".join(times),
        )
    return asked.time if asked.time is not None else (times[-1] if times else "")


def _in_time(time: str) -> tuple[float, str]:
    digits = "".join(letter for letter in time if letter.isdecimal())
    return (float(digits) if digits else -1.0, time)


def _at(counting: Counting, time: str) -> Counting:
    return replace(
        counting,
        images=[image for image in counting.images if image.time == time],
        objects=[item for item in counting.objects if item.time == time],
    )


def _well(
    well: SeenWell, sheet: SampleSheet | None, crypts: str | None, sizes: Sizes
) -> WellResult:
    own = sizes.of.get(well.key)
    return WellResult(
        well,
        sheet.of(well.key.plate, well.key.name) if sheet else None,
        fraction_of(well, crypts) if crypts else Estimate(None, reason=NO_CLASS),
        per_field(well),
        median(own) if own else None,
    )


# --- conditions and doses -----------------------------------------------------


def _with_conditions(
    found: PlateAnalysis, seen: Sequence[SeenWell], sheet: SampleSheet
) -> PlateAnalysis:
    conditions = conditions_of(seen, sheet)
    names = [one.name for one in conditions]
    control = found.asked.control
    if control is not None and control not in names:
        raise InputError(
            "The sample sheet has no condition '{control}': choose one of {names}.",
            control=control,
            names=", ".join(names),
        )
    control = control or likely_control(conditions)
    results = tuple(
        ConditionResult(
            one,
            estimate(one, "fraction", found.crypts)
            if found.crypts
            else Estimate(None, reason=NO_CLASS),
            estimate(one, "count", None),
            found.sizes.median([[well.key for well in unit] for unit in one.units], one.unit_word),
        )
        for one in conditions
    )
    comparisons = [
        comparison
        for measure in found.measures
        if control is not None and len(conditions) > 1
        for comparison in compare(
            [group_of(one, measure, found.crypts) for one in conditions], control, measure
        )
    ]
    doses = [
        (measure, series)
        for measure in found.measures
        for series in _series(conditions, control, measure, found.crypts)
    ]
    return replace(
        found,
        conditions=results,
        control=control,
        comparisons=tuple(comparisons),
        doses=tuple(doses),
    )


def _series(
    conditions: Sequence[Condition], control: str | None, measure: Measure, crypts: str | None
) -> list[DoseFit]:
    """A curve over units for each condition with doses; the control's units have none of it."""
    found = []
    for name in dict.fromkeys(one.condition for one in conditions if one.dose):
        own = [one for one in conditions if one.condition == name and one.dose is not None]
        free = [
            one for one in conditions if one.name == control and one not in own and not one.dose
        ]
        points = [
            (one.dose if one in own and one.dose else 0.0, one.unit, value)
            for one in [*free, *own]
            for wells in one.units
            if (value := _value(wells, measure, crypts)) is not None
        ]
        joined = in_one_unit([(dose, unit) for dose, unit, _ in points])
        if joined is None:
            units = ", ".join(sorted({one.unit or msg("no unit") for one in own}))
            reason = msg(
                "The doses are in units that cannot be joined ({units}): use one.", units=units
            )
            found.append(fit(name, [], [], refuse=reason))
        else:
            word = "replicate" if any(one.by_replicate for one in own) else "well"
            values = [value for *_, value in points]
            found.append(fit(name, joined[0], values, joined[1], of=word))
    return found


def _value(wells: Sequence[SeenWell], measure: Measure, crypts: str | None) -> float | None:
    fields = fields_of(wells, measure, crypts)
    below = int(fields.below.sum())
    return int(fields.above.sum()) / below if below else None


# --- how sure -----------------------------------------------------------------


def _agreement(
    seen: Sequence[SeenWell],
    baseline: Counting,
    crypts: str | None,
    asked: Asked,
    sheet: SampleSheet | None,
) -> list[ModelAgreement]:
    if crypts is not None and crypts not in baseline.classes:
        crypts = None
    theirs = {well.key: well for well in gather(baseline)}
    both = [(theirs[well.key], well) for well in seen if well.key in theirs]
    unit = unit_of_well(conditions_of(seen, sheet)) if sheet else {}
    measures: tuple[Measure, ...] = ("fraction", "count") if crypts else ("count",)
    found = []
    for measure in measures:
        pairs = [
            Pair(_word(ours.key), reference, other, unit.get(ours.key))
            for their, ours in both
            if (reference := _value([their], measure, crypts)) is not None
            and (other := _value([ours], measure, crypts)) is not None
        ]
        limits = limits_of(pairs)
        margin = asked.margin
        if measure == "count":
            mean = sum(pair.reference for pair in pairs) / len(pairs) if pairs else 0.0
            margin = asked.count_margin * mean
        found.append(
            ModelAgreement(
                measure,
                limits,
                equivalence(limits, margin) if limits and margin > 0 else None,
                concordance(pairs),
                intraclass(pairs),
                len(seen) - len(pairs),
                _by_condition(both, measure, crypts, sheet),
            )
        )
    return found


def _by_condition(
    both: Sequence[tuple[SeenWell, SeenWell]],
    measure: Measure,
    crypts: str | None,
    sheet: SampleSheet | None,
) -> tuple[tuple[str, Estimate, Estimate], ...]:
    """Each condition by the baseline and by the model; all wells together without a sheet."""
    if sheet is None:
        return ()
    sides = [conditions_of([pair[side] for pair in both], sheet) for side in (0, 1)]
    return tuple(
        (one.name, estimate(one, measure, crypts), estimate(other, measure, crypts))
        for one, other in zip(*sides)
    )


def _word(key: WellKey) -> str:
    return " ".join(filter(None, (key.plate, key.well))) or key.group


def _calibration(
    counting: Counting, truth: Mapping[str, Mapping[str, int]] | None
) -> tuple[Calibration, ...]:
    if not truth:
        return ()
    counted = {image.image: image.counts for image in counting.images if image.state == "counted"}
    wells = {name: key for name, key in well_of_image(counting).items() if key.well}
    return tuple(calibrate(truth, counted, counting.classes, wells))
