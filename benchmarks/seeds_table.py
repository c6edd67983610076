"""The table of rows that were repeated with several seeds: means, paired differences, verdicts."""

from __future__ import annotations

import argparse
import math
import os
import platform
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from msip_core.studies.statistics import LEAST_SEEDS, Interval, holm
from msip_core.workspace import write_json, write_text

HONESTY = (
    "The intervals are over seeds of pruning and fine-tuning only, from one baseline, one dataset "
    "and one split: they say nothing about other baselines, other images or other data."
)
Result = Mapping[str, Any]
# Split -> its two keys in a result.
KEYS = {"val": ("val_map50", "val_map50_95"), "test": ("map50", "map50_95")}
METRICS = ("mAP50", "mAP50-95")


def student(differences: Sequence[float]) -> Interval:
    """Mean of paired differences and Student's 95 % interval over the seeds.

    Two-sided p; without a p, and without bounds, where there is one seed.
    """
    from scipy import stats

    count, middle = len(differences), mean(differences)
    if count < 2:
        return Interval(middle, math.nan, math.nan, seeds=count)
    error = stdev(differences) / math.sqrt(count)
    half = float(stats.t.ppf(0.975, count - 1)) * error
    t = abs(middle) / error if error else math.inf if middle else 0.0
    p = 2 * float(stats.t.sf(t, count - 1))
    return Interval(middle, middle - half, middle + half, p=p, seeds=count)


def compare(
    results: Sequence[Result], rows: Sequence[str], to: str, key: str
) -> dict[str, Interval]:
    """Row -> its difference to the row `to`, paired by seed, corrected over the rows (Holm)."""
    by_row = {row: {one["seed"]: one[key] for one in results if one["row"] == row} for row in rows}
    reference = by_row.get(to, {})
    found: dict[str, Interval] = {}
    for row, values in by_row.items():
        both = sorted(set(values) & set(reference))
        if row != to and both:
            found[row] = student([values[seed] - reference[seed] for seed in both])
    # Too few seeds get no verdict, so they take no part in the correction either.
    judged = [row for row, one in found.items() if one.is_known]
    for row, one in zip(judged, holm([found[row] for row in judged]), strict=True):
        assert one is not None
        found[row] = one
    return found


def verdict(one: Interval) -> str:
    """In words; below three seeds none."""
    if not one.is_known:
        return f"no verdict below {LEAST_SEEDS} seeds"
    if not one.is_clear:
        return "not clear"
    return "clearly higher" if one.value > 0 else "clearly lower"


def write_tables(
    results: Sequence[Result],
    options: argparse.Namespace,
    *,
    reference: str,
    split: str,
    words: Mapping[str, str],
    seconds: float,
) -> None:
    """table.md and seeds.json beside each other, or table-against-REFERENCE-on-SPLIT.md alone.

    Args:
        reference: the row that the others are compared with.
        split: whose accuracies are compared; those on test images stand beside them.
        words: row -> what it is, where its name does not say it.
    """
    against = {
        name: compare(results, options.rows, reference, key)
        for name, key in zip(METRICS, KEYS[split], strict=True)
    }
    shown = [split, *(["test"] if split != "test" else [])]
    heads = ["row", "seeds", "MACs ratio"]
    heads += [f"{where} {name} (mean ± sd)" for where in shown for name in METRICS]
    for name in METRICS:
        heads += [f"{split} {name} minus `{reference}` [95 %]", "p (Holm)", "verdict"]
    heads += ["val mAP50 before tuning, by iteration", "s"]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for row in options.rows:
        mine = [one for one in results if one["row"] == row]
        if mine:
            compared = [against[name].get(row) for name in METRICS]
            lines.append(_line(_cells(_named(row, words), mine, shown, compared)))
    facts = machine(options) | {"seconds_of_this_call": round(seconds)}
    differences = {
        name: {row: _plain(one) for row, one in found.items()} for name, found in against.items()
    }
    asked = bool(options.against or options.judged_on)
    file = f"table-against-{reference}-on-{split}.md" if asked else "table.md"
    if not asked:
        write_json(
            options.out / "seeds.json",
            {"honesty": HONESTY, "facts": facts, "results": list(results), "reference": reference,
             "compared_on": split, "minus_reference": differences},
        )  # fmt: skip
    text = "\n".join(lines)
    about = ", ".join(f"{key} {value}" for key, value in facts.items())
    write_text(
        options.out / file,
        f"# {options.model} on {options.data}: several seeds\n\n{HONESTY}\n\n{text}\n\n"
        f"Paired by seed; Student's t over seeds; Holm's correction over the rows. {about}.\n",
    )
    print(text)


def _plain(one: Interval) -> dict[str, Any]:
    """JSON knows no nan."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in one.as_dict().items()
    }


def _named(row: str, words: Mapping[str, str]) -> str:
    return f"`{row}`" + (f": {words[row]}" if row in words else "")


def _cells(
    name: str, mine: Sequence[Result], shown: Sequence[str], compared: Sequence[Interval | None]
) -> list[str]:
    cells = [name, str(len(mine)), f"{mean(one['macs_ratio'] for one in mine):.3f}"]
    cells += [_spread([one[key] for one in mine]) for where in shown for key in KEYS[where]]
    for one in compared:
        cells += ["", "", ""] if one is None else difference(one)
    steps = zip(*(one["val_map50_before_tuning"] for one in mine), strict=False)
    cells.append(" ".join(f"{mean(step):.3f}" for step in steps))
    return [*cells, f"{mean(one['seconds'] for one in mine):.0f}"]


def difference(one: Interval) -> list[str]:
    """Three cells: the difference with its interval, p after Holm's correction, the verdict."""
    bounds = f" [{one.low:+.3f}, {one.high:+.3f}]" if one.seeds != 1 else ""
    adjusted = "" if one.adjusted is None else f"{one.adjusted:.3f}"
    return [f"{one.value:+.3f}{bounds}", adjusted, verdict(one)]


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """What it ran on, and how."""
    from importlib.metadata import version

    from msip_core.detector.devices import describe_device

    return {
        "device": describe_device(options.device).name,
        "cores": os.cpu_count(),
        "jobs": options.jobs,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "ultralytics", "torch-pruning")},
        "imgsz": options.imgsz,
        "iterations": options.iterations,
        "epochs": options.epochs,
        "keep_macs": options.keep,
    }
