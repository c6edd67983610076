"""Conditions beside a control, with wells as the units: estimate, interval, Holm's correction.

A share (objects with crypts) is compared by a quasi-binomial model with a logit link, counts by a
quasi-Poisson model with a log link and the fields of a well as offset (McCullagh & Nelder 1989).
Wells of one condition scatter more than their objects alone would, by a factor that Pearson's
statistic over its degrees of freedom estimates, never taken below one; intervals and p use
Student's t with those degrees of freedom. Where several plates hold the same conditions, plates are
blocks of the model. Where the sheet gives several wells of a condition the same replicate, their
sum is the unit: wells of one replicate are no independent repeats. On made-up plates without an
effect (3 to 6 wells a condition) p fell below 0.05 in 1 to 7 of 100 comparisons.

Where a condition has none at all (or nothing else), the link has no number for it: then Welch's
interval of the units' own values stands instead, and says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, Literal

import numpy as np

from msip_core.intervals import ALPHA, LEAST_UNITS, Floats, holm_adjusted
from msip_core.messages import msg

Measure = Literal["fraction", "count"]
Bounds = tuple[float, float, float]  # value, low, high
QUASI, WELCH = "quasi-likelihood", "Welch"


@dataclass(frozen=True, slots=True)
class Unit:
    """A well, or the wells of one replicate together.

    Attributes:
        above, below: crypts and objects, or objects and fields.
    """

    plate: str
    above: int
    below: int

    @property
    def value(self) -> float:
        return self.above / self.below


@dataclass(frozen=True)
class Group:
    """The units of one condition (and dose)."""

    name: str
    units: tuple[Unit, ...]

    @property
    def known(self) -> tuple[Unit, ...]:
        """Those that have a value."""
        return tuple(unit for unit in self.units if unit.below)


@dataclass(frozen=True)
class Comparison:
    """One condition against the control.

    Attributes:
        difference: condition minus control: of shares (0.05 is five points), of objects per field.
        ratio: odds ratio of shares, ratio of objects per field; None by Welch's interval.
        p: two-sided; `adjusted` after Holm's correction over the conditions of this measure.
        method: QUASI or WELCH; "" where nothing was compared, for the `reason`.
        reason: also what a reader of a comparison must know.
        dispersion: by how much units scatter more than their objects alone would.
        blocks: plates were blocks of the model.
    """

    group: str
    control: str
    measure: Measure
    units: int
    control_units: int
    difference: Bounds | None = None
    ratio: Bounds | None = None
    p: float | None = None
    adjusted: float | None = None
    method: str = ""
    dispersion: float | None = None
    blocks: bool = False
    reason: str = ""

    @property
    def is_clear(self) -> bool:
        """The condition differs, also after the correction."""
        return self.adjusted is not None and self.adjusted <= ALPHA


def compare(groups: Sequence[Group], control: str, measure: Measure) -> list[Comparison]:
    """Every other group beside the control, in the order given."""
    base = next(group for group in groups if group.name == control)
    others = [group for group in groups if group.name != control]
    enough = [group for group in others if len(group.known) >= LEAST_UNITS]
    found: dict[str, Comparison] = {}
    if len(base.known) >= LEAST_UNITS:
        inside = [group for group in enough if not _at_end(group, measure)]
        if inside and not _at_end(base, measure):
            found |= _modelled([base, *inside], measure)
        for group in enough:
            if group.name not in found:
                found[group.name] = _welch(group, base, measure)
    rows = [
        _unconfounded(found[group.name], group, base)
        if group.name in found
        else _refused(group, base, measure)
        for group in others
    ]
    adjusted = holm_adjusted([row.p for row in rows])
    return [replace(row, adjusted=p) for row, p in zip(rows, adjusted)]


def _blank(group: Group, base: Group, measure: Measure) -> Comparison:
    return Comparison(group.name, base.name, measure, len(group.known), len(base.known))


def _refused(group: Group, base: Group, measure: Measure) -> Comparison:
    few = base if len(base.known) < LEAST_UNITS else group
    reason = msg(
        "A verdict needs at least {least} wells or replicates of each condition: '{name}' has {n}.",
        least=LEAST_UNITS,
        name=few.name,
        n=len(few.known),
    )
    return replace(_blank(group, base, measure), reason=reason)


def _unconfounded(row: Comparison, group: Group, base: Group) -> Comparison:
    """The comparison, with a word where each of the two has plates of its own."""
    plates, others = ({unit.plate for unit in one.known} for one in (group, base))
    if row.blocks or plates & others or row.reason:
        return row
    reason = msg(
        "'{name}' and '{control}' share no plate: a difference between plates would look the same.",
        name=group.name,
        control=base.name,
    )
    return replace(row, reason=reason)


def _at_end(group: Group, measure: Measure) -> bool:
    """No object at all is counted above, or every one: the link is infinite there."""
    above = sum(unit.above for unit in group.known)
    below = sum(unit.below for unit in group.known)
    return above == 0 or (measure == "fraction" and above == below)


# --- the model ----------------------------------------------------------------


def _modelled(groups: Sequence[Group], measure: Measure) -> dict[str, Comparison]:
    """All groups in one model; the first is the control."""
    from scipy.stats import t
    from statsmodels.genmod.families import Binomial, Poisson
    from statsmodels.genmod.generalized_linear_model import GLM
    from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

    units = [unit for group in groups for unit in group.known]
    of = np.repeat(np.arange(len(groups)), [len(group.known) for group in groups])
    design, blocks = _design(of, len(groups), [unit.plate for unit in units])
    above = np.array([unit.above for unit in units], float)
    below = np.array([unit.below for unit in units], float)
    if measure == "fraction":
        model = GLM(np.column_stack((above, below - above)), design, family=Binomial())
    else:
        model = GLM(above, design, family=Poisson(), offset=np.log(below))
    with warnings.catch_warnings():
        # Wells that agree to the object look to it like classes told apart.
        warnings.simplefilter("ignore", PerfectSeparationWarning)
        fitted = model.fit(tol=1e-12)
    degrees = len(units) - design.shape[1]
    dispersion = max(1.0, float(fitted.pearson_chi2) / degrees)
    covariance = np.asarray(fitted.normalized_cov_params) * dispersion
    beta = np.asarray(fitted.params)
    reach = float(t.ppf(1 - ALPHA / 2, degrees))
    levels = [
        _level(design, of_group, len(groups), beta, measure) for of_group in range(len(groups))
    ]
    found = {}
    for place, group in enumerate(groups[1:], start=1):
        error = sqrt(covariance[place, place])
        slope = levels[place][1] - levels[0][1]
        gap, spread = levels[place][0] - levels[0][0], sqrt(float(slope @ covariance @ slope))
        found[group.name] = replace(
            _blank(group, groups[0], measure),
            difference=(gap, gap - reach * spread, gap + reach * spread),
            ratio=_exp(beta[place], beta[place] - reach * error, beta[place] + reach * error),
            p=float(2 * t.sf(abs(beta[place]) / error, degrees)),
            method=QUASI,
            dispersion=dispersion,
            blocks=blocks,
        )
    return found


def _design(of: Any, groups: int, plates: Sequence[str]) -> tuple[Floats, bool]:
    """Intercept, a column for each further group, and one for each further plate where groups and
    plates can be told apart and units are left to tell how they scatter."""
    columns = [np.ones(len(of)), *(of == group for group in range(1, groups))]
    plain: Floats = np.column_stack(columns).astype(float)
    names = sorted(set(plates))
    if len(names) < 2:
        return plain, False
    told = np.array(plates)
    with_plates = np.column_stack([plain, *(told == name for name in names[1:])]).astype(float)
    whole = np.linalg.matrix_rank(with_plates) == with_plates.shape[1]
    if whole and len(of) - with_plates.shape[1] >= LEAST_UNITS:
        return with_plates, True
    return plain, False


def _level(
    design: Floats, group: int, groups: int, beta: Floats, measure: Measure
) -> tuple[float, Floats]:
    """The share or rate of a group over the plates as they are, and its gradient (delta method)."""
    as_group = design.copy()
    as_group[:, 1:groups] = 0
    if group:
        as_group[:, group] = 1
    linear = as_group @ beta
    if measure == "fraction":
        value = 1 / (1 + np.exp(-linear))
        slope = value * (1 - value)
    else:
        value = slope = np.exp(linear)
    return float(value.mean()), (slope[:, None] * as_group).mean(axis=0)


def _exp(*values: float) -> Bounds:
    value, low, high = (float(np.exp(one)) for one in values)
    return value, low, high


# --- at the ends of the scale -------------------------------------------------


def _welch(group: Group, base: Group, measure: Measure) -> Comparison:
    """Difference of the means of the units' own values, variances apart (Welch 1947)."""
    from scipy.stats import t

    here, there = ([unit.value for unit in one.known] for one in (group, base))
    blank = _blank(group, base, measure)
    parts = [float(np.var(one, ddof=1)) / len(one) for one in (here, there)]
    gap, error = float(np.mean(here) - np.mean(there)), sqrt(sum(parts))
    if error == 0:
        reason = msg(
            "All wells of both conditions have the same value, so nothing tells how they scatter."
        )
        return replace(blank, reason=reason)
    shares = [part**2 / (len(one) - 1) for part, one in zip(parts, (here, there))]
    degrees = sum(parts) ** 2 / sum(shares)
    reach = float(t.ppf(1 - ALPHA / 2, degrees)) * error
    return replace(
        blank,
        difference=(gap, gap - reach, gap + reach),
        p=float(2 * t.sf(abs(gap) / error, degrees)),
        method=WELCH,
    )
