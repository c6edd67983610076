"""Rows for people and programs: counts, metrics, iterations, layers; as CSV, Markdown, LaTeX.

A table is a list of rows (dict: column -> value), all with the same columns in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median
from typing import Any, Literal

from msip_core.boxes import Box, Detection
from msip_core.events import BaselineRecord, Cost, IterationRecord, Metrics
from msip_core.messages import msg
from msip_core.questions.detecting import ComparedImage
from msip_core.questions.speed import SIDES
from msip_core.spreadsheet import write_rows
from msip_core.steps import SECONDS
from msip_core.views import wording
from msip_core.ways import Latency, Way

Row = dict[str, Any]
CRYPT = "crypt"  # the class whose share is counted


# --- counts -------------------------------------------------------------------


def per_class(detections: Sequence[Detection], classes: Sequence[str]) -> dict[str, int]:
    """Objects of each class, also those of which there is none."""
    return {name: sum(d.cls == i for d in detections) for i, name in enumerate(classes)}


def compare_count_rows(
    images: Sequence[ComparedImage],
    classes: Sequence[str],
    *,
    by_group: bool = False,
    scale: Scale | None = None,
) -> list[Row]:
    """Counts of both models side by side, per image or per well, with how they agree.

    Args:
        scale: with it, each model's crypt fraction and median size stand beside its counts.
    """
    keys = ["group"] if by_group else ["image", "group"]
    rows: dict[tuple[str, ...], Row] = {}
    members: dict[tuple[str, ...], list[ComparedImage]] = {}
    for item in images:
        image = (item.file or item.id, item.group)
        members.setdefault(image[1:] if by_group else image, []).append(item)
    for key, items in members.items():
        row = rows.setdefault(key, dict(zip(keys, key)))
        for side in SIDES:
            found = [box for item in items for box in item.found(side)]
            counts = per_class(found, classes)
            row |= {f"{side}_{name}": count for name, count in counts.items()}
            row[f"{side}_total"] = len(found)
            if scale is not None:
                sizes = [size for item in items for size in scale.sizes(item.id, item.found(side))]
                row |= _shape_columns(side, found, classes, sizes, scale.unit)
        for kind in ("both", "class changed", "lost", "new"):
            column = kind.replace(" ", "_")
            row[column] = sum(p.kind == kind for item in items for p in item.pairs)
    return list(rows.values())


def _shape_columns(
    side: str, found: Sequence[Detection], classes: Sequence[str], sizes: list[float], unit: str
) -> Row:
    columns: Row = {}
    if CRYPT in classes:
        columns[f"{side}_crypt_fraction"] = _rounded(crypt_fraction(found, classes), 4)
    columns[f"{side}_median_size_{unit}"] = _rounded(median(sizes) if sizes else None, 2)
    return columns


def crypt_fraction(found: Sequence[Detection], classes: Sequence[str]) -> float | None:
    """Share of the objects that are crypts; None without objects or without such a class."""
    if CRYPT not in classes or not found:
        return None
    return sum(d.cls == list(classes).index(CRYPT) for d in found) / len(found)


@dataclass(frozen=True)
class Scale:
    """Sizes of the images of one table: micrometres if every image has a pixel size.

    Attributes:
        pixel_um: micrometres per pixel by image id, None where it is not known.
    """

    pixel_um: Mapping[str, float | None]

    @property
    def unit(self) -> Literal["um", "px"]:
        known = self.pixel_um and all(value is not None for value in self.pixel_um.values())
        return "um" if known else "px"

    def size(self, image: str, box: Box) -> float:
        """Side of the square as large as the box, in `unit`."""
        pixels = sqrt(max(0.0, box.x2 - box.x1) * max(0.0, box.y2 - box.y1))
        return pixels * (self.pixel_um[image] or 1.0) if self.unit == "um" else pixels

    def sizes(self, image: str, found: Sequence[Box]) -> list[float]:
        """Of all boxes of one image."""
        return [self.size(image, box) for box in found]


def pair_rows(
    images: Sequence[ComparedImage], classes: Sequence[str], *, scale: Scale | None = None
) -> list[Row]:
    """One row per matched, lost or new object with the numbers drawn on both pictures.

    Args:
        scale: with it, the sizes of both boxes stand beside them.
    """
    rows: list[Row] = []
    for item in images:
        for pair in item.pairs:
            row: Row = {"image": item.file or item.id, "kind": pair.kind}
            for side, index in zip(SIDES, (pair.baseline, pair.pruned), strict=True):
                found = item.found(side)[index] if index is not None else None
                row[f"{side}_number"] = found.number if found else None
                row[f"{side}_class"] = classes[found.cls] if found else None
                row[f"{side}_score"] = round(found.score, 4) if found else None
                if scale is not None:
                    size = scale.size(item.id, found) if found else None
                    row[f"{side}_size_{scale.unit}"] = _rounded(size, 2)
            row["iou"] = round(pair.iou, 4)
            rows.append(row)
    return rows


# --- metrics ------------------------------------------------------------------

_SPLITS = {"train": msg("train"), "val": msg("val"), "test": msg("test")}


def metrics_rows(
    baseline: tuple[Metrics, Cost], pruned: tuple[Metrics, Cost], latency: Sequence[Latency] = ()
) -> list[Row]:
    """Quantity, baseline, pruned, change: accuracy, cost, and latency measured on this computer."""
    (metrics_a, cost_a), (metrics_b, cost_b) = baseline, pruned
    split = _SPLITS[metrics_a.split]
    rows = [
        _accuracy_row(msg("mAP50 ({split})", split=split), metrics_a.map50, metrics_b.map50),
        _accuracy_row(
            msg("mAP50-95 ({split})", split=split), metrics_a.map50_95, metrics_b.map50_95
        ),
        _accuracy_row(msg("precision"), metrics_a.precision, metrics_b.precision),
        _accuracy_row(msg("recall"), metrics_a.recall, metrics_b.recall),
    ]
    for name in metrics_a.per_class:
        if name in metrics_b.per_class:
            one, other = metrics_a.per_class[name], metrics_b.per_class[name]
            rows.append(_accuracy_row(f"AP50 {name}", one, other))
    rows += [
        _cost_row(msg("MACs at {px} px", px=cost_a.imgsz), cost_a.macs, cost_b.macs, wording.macs),
        _cost_row(msg("parameters"), cost_a.params, cost_b.params, wording.params),
        _cost_row(msg("size"), cost_a.size_mb, cost_b.size_mb, wording.megabytes),
    ]
    for way, pair in latency_pairs(latency).items():
        if "baseline" in pair and "pruned" in pair:
            times = (pair["baseline"].median_ms, pair["pruned"].median_ms)
            label = f"latency, {wording.way_name(way)}"
            rows.append(_cost_row(label, *times, wording.milliseconds))
    return rows


def latency_pairs(latency: Sequence[Latency]) -> dict[Way, dict[str, Latency]]:
    """Measured latencies by the way they were measured in, then by model name ("baseline",
    "pruned")."""
    pairs: dict[Way, dict[str, Latency]] = {}
    for item in latency:
        pairs.setdefault(item.way, {})[item.name] = item
    return pairs


def latency_rows(latency: Sequence[Latency], models: Mapping[str, str] | None = None) -> list[Row]:
    """Every measured latency: model, its way to run, milliseconds with their interval.

    Args:
        models: "baseline", "pruned" -> what stands for it in the table.
    """
    return [
        {
            "model": (models or {}).get(entry.name, entry.name),
            "device": wording.place_name(way),
            "format": wording.format_name(way.format),
            "precision": way.precision,
            "batch": way.batch,
            "ms per image": _digits(entry.median_ms),
            "95 % interval": f"{_digits(entry.low_ms)} to {_digits(entry.high_ms)}",
        }
        for entry in latency
        for way in (entry.way,)
    ]


def _digits(value: float) -> str:
    return wording.milliseconds(value).removesuffix(" ms")


def _accuracy_row(name: str, before: float, after: float) -> Row:
    return {
        "quantity": name,
        "baseline": wording.accuracy(before),
        "pruned": wording.accuracy(after),
        "change": wording.gap(before, after),
    }


def _cost_row(name: str, before: float, after: float, spell: Any) -> Row:
    change = f"{wording.signed((after / before - 1) * 100, 1)} %" if before else ""
    return {"quantity": name, "baseline": spell(before), "pruned": spell(after), "change": change}


# --- runs ---------------------------------------------------------------------


def iteration_rows(
    iterations: Sequence[IterationRecord], baseline: BaselineRecord | None = None
) -> list[Row]:
    """One row per iteration, numbers unrounded enough to plot; row 0 is the baseline."""
    rows: list[Row] = []
    if baseline is not None:
        metrics, cost = baseline.metrics, baseline.cost
        rows.append(
            {
                "iteration": 0, "macs": cost.macs, "macs_ratio": 1.0, "params": cost.params,
                "size_mb": round(cost.size_mb, 3), "map50_before": None,
                "map50_after": round(metrics.map50, 4), "map50_95_before": None,
                "map50_95_after": round(metrics.map50_95, 4),
                **{f"seconds_{column}": None for column in SECONDS}, "alpha": None,
                **{f"weight_{term}": None for term in _weights(iterations)},
            }
        )  # fmt: skip
    for record in iterations:
        weights = record.weights or {}
        rows.append(
            {
                "iteration": record.index,
                "macs": record.macs,
                "macs_ratio": round(record.macs_ratio, 4),
                "params": record.params,
                "size_mb": round(record.size_mb, 3),
                "map50_before": round(record.map50_before, 4),
                "map50_after": round(record.map50_after, 4),
                "map50_95_before": round(record.map50_95_before, 4),
                "map50_95_after": round(record.map50_95_after, 4),
                **{f"seconds_{s}": _rounded(record.seconds.get(s), 1) for s in SECONDS},
                "alpha": _rounded(record.alpha, 4),
                **{f"weight_{t}": _rounded(weights.get(t), 4) for t in _weights(iterations)},
            }
        )
    return rows


def _weights(iterations: Sequence[IterationRecord]) -> list[str]:
    return list(dict.fromkeys(term for record in iterations for term in record.weights or {}))


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


# --- spelling -----------------------------------------------------------------


def columns_of(rows: Sequence[Row]) -> list[str]:
    """All columns in the order of their first appearance."""
    return list(dict.fromkeys(column for row in rows for column in row))


def to_csv(rows: Sequence[Row]) -> str:
    """Comma-separated, one header line, empty cells for None; UTF-8 when written."""
    return write_rows(columns_of(rows), rows)


def to_markdown(rows: Sequence[Row]) -> str:
    """A GitHub table."""
    columns = columns_of(rows)
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    for row in rows:
        cells = [_cell(row.get(column)).replace("|", "\\|") for column in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
        "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "→": r"$\rightarrow$",
    }
)  # fmt: skip


def to_latex(rows: Sequence[Row]) -> str:
    """A booktabs tabular (needs `\\usepackage{booktabs}`)."""
    columns = columns_of(rows)
    numeric = {c for c in columns if all(isinstance(r.get(c), int | float | None) for r in rows)}
    spec = "".join("r" if column in numeric else "l" for column in columns)
    head = " & ".join(column.translate(_LATEX) for column in columns)
    lines = [f"\\begin{{tabular}}{{{spec}}}", "\\toprule", head + r" \\", "\\midrule"]
    for row in rows:
        lines.append(" & ".join(_cell(row.get(c)).translate(_LATEX) for c in columns) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
