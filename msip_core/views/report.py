"""The report of a run: one HTML file with everything inside, for reading, printing and sending.

It is made from plain records and pictures, so it needs no torch and no server. What was not
measured is left out or said to be missing, never filled in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msip_core
from msip_core.catalog import PLAIN_EXPLAINERS
from msip_core.config import PruneConfig
from msip_core.events import Cost, Metrics
from msip_core.options import command_line, repeat_command
from msip_core.questions.detecting import Comparison
from msip_core.views import (
    channels,
    comparison,
    inline,
    methods,
    paper_runs,
    pictures,
    progress,
    protocol,
    sentences,
    style,
    tables,
    wording,
)
from msip_core.views.citations import references_of
from msip_core.views.evidence import (
    ExplainedObject,
    Explanation,
    Micrograph,
    fitted,
    notes,
    score_words,
)
from msip_core.views.glossary import GLOSSARY
from msip_core.views.history import RunHistory
from msip_core.views.paper_page import Panel, alone, alone_caption
from msip_core.ways import Latency

_SIDE = 512  # two pictures stand side by side: larger ones would only shrink their letters


class Figure(NamedTuple):
    """One drawn figure: inline SVG, heading, caption."""

    title: str
    svg: str
    caption: str


class Tile(NamedTuple):
    """One number at the top of the report."""

    what: str
    before: str
    after: str
    note: str


def render_report(
    history: RunHistory,
    *,
    compare: Comparison | None = None,
    micrographs: Sequence[Micrograph] = (),
    explained: Sequence[ExplainedObject] = (),
    classes: Sequence[str] = (),
    latency: Sequence[Latency] = (),
) -> str:
    """The report as one self-contained HTML text.

    Args:
        compare: answer to `Compare`: latency, agreement, counts.
        micrographs: pictures of the images that `evidence.choose_images` names.
        explained: Grad-CAM and SHAP of chosen detections.
        classes: names by class index, for the count tables.
        latency: measured speed, where the comparison holds none.
    """
    compared, timed = (compare.images, compare.latency) if compare else ((), ())
    latency = timed or latency
    classes = classes or tuple(history.dataset.get("classes", ()))
    asked = _explainers(explained)
    return inline.template("report.html.j2").render(
        dashes=_css_dashes,
        history=history,
        version=msip_core.__version__,
        made=time.strftime("%Y-%m-%d %H:%M"),
        summary=_summary(history),
        remarks=_remarks(history, latency),
        tiles=_tiles(history, latency),
        figures=_figures(history),
        speed=_speed(latency),
        metrics=_metrics(history, latency),
        agreement=sentences.agreement_sentence(compare.agreement) if compare else "",
        counts=tables.compare_count_rows(compared, classes, by_group=True) if classes else [],
        pairs=[_picture(item) for item in micrographs],
        kinds=[(k, style.PAIR_WORDS[k], style.PAIR_COLOURS[k]) for k in style.PAIR_KINDS],
        explained=[(item.title, [_panel(p) for p in item.panels]) for item in explained],
        honesty=style.HONESTY,
        layers=_layers(history),
        methods=methods.methods_paragraphs(history, explained=asked, latency=latency),
        references=[work.plain() for work in references_of(history.config, asked)],
        iterations=tables.iteration_rows(history.iterations, history.baseline),
        settings=protocol.protocol(history.config, history.multiple),
        facts=_facts(history),
        versions=_versions(history),
        command=command_line(history.config),
        repeat=repeat_command(history.config, history.id),
        config=json.dumps(history.config.model_dump(mode="json"), indent=2, ensure_ascii=False),
        glossary=list(GLOSSARY.values()),
    )


def _explainers(explained: Sequence[ExplainedObject]) -> set[str]:
    """Which kinds of explanation the report shows, as the catalog names them."""
    words = {panel.method for item in explained for panel in item.panels}
    return {name for name, entry in PLAIN_EXPLAINERS.items() if entry.label in words}


def _summary(history: RunHistory) -> str:
    if history.final is None or history.baseline is None:
        if history.final is not None:
            return f"Trained: mAP50 {wording.accuracy(history.final.metrics.map50)} on validation."
        return f"This run is {history.state}; it has no final model yet."
    return sentences.result_sentence(history.baseline, history.final)


def _remarks(history: RunHistory, latency: Sequence[Latency]) -> list[str]:
    remarks = [history.error] if history.error else []
    if history.baseline is not None and history.final is not None:
        before, _ = sentences.best_pair(history.baseline, history.final)
        remarks.append(sentences.unlearned_sentence(before) or "")
        remarks.append(sentences.latency_sentence(latency))
    if isinstance(history.config, PruneConfig) and history.final is not None:
        remarks.append(sentences.goal_sentence(history.config, history.final))
    if history.final is not None:
        shown = history.final.test or history.final.metrics
        remarks.append(sentences.sample_sentence(shown) or "")
    if history.dataset.get("drawn"):
        remarks.append("The images were drawn by computer: the numbers say nothing about tissue.")
    return [text for text in remarks if text]


def _tiles(history: RunHistory, latency: Sequence[Latency]) -> list[Tile]:
    if history.baseline is None or history.final is None:
        return []
    first, last = history.baseline.cost, history.final.cost
    before, after = sentences.best_pair(history.baseline, history.final)
    split = wording.SPLITS[after.split]
    ratio = wording.percent(last.macs / first.macs, 1)
    tiles = [
        Tile("Work per image", wording.macs(first.macs), wording.macs(last.macs),
             f"MACs; {ratio} is left"),
        Tile("Accuracy", wording.accuracy(before.map50), wording.accuracy(after.map50),
             f"mAP50, {split}; {wording.gap(before.map50, after.map50)}"),
        Tile("Size", wording.megabytes(first.size_mb), wording.megabytes(last.size_mb),
             f"{wording.params(first.params)} → {wording.params(last.params)} parameters"),
    ]  # fmt: skip
    speed = _speed_tile(latency)
    return [*tiles, speed] if speed else tiles


def _speed_tile(latency: Sequence[Latency]) -> Tile | None:
    for way, pair in tables.latency_pairs(latency).items():
        if "baseline" in pair and "pruned" in pair:
            first, last = pair["baseline"], pair["pruned"]
            word = sentences.verdict(first, last)
            name = wording.way_name(way)
            before, after = (wording.milliseconds(m.median_ms) for m in (first, last))
            return Tile("Time per image, here", before, after, f"{name}; {word}")
    return None


def _figures(history: RunHistory) -> list[Figure]:
    found: list[Figure] = []

    def add(title: str, panel: Panel) -> None:
        name = "".join(letter for letter in title.lower() if letter.isalpha())
        found.append(figure_of(panel, name, title))

    if history.iterations:
        config = history.config
        drop = config.max_map50_drop if isinstance(config, PruneConfig) else None
        keep = config.macs_goal if isinstance(config, PruneConfig) else None
        maps = progress.map_info(history.baseline, history.iterations, drop)
        macs = progress.macs_info(history.baseline, history.iterations, keep)
        add("Accuracy and work", paper_runs.iterations_panel(maps, macs))
        weights = progress.weights_info(history.iterations)
        if weights.iterations:
            add("Weights of the four signals", paper_runs.weights_panel(weights))
    if history.epochs:
        panel = paper_runs.epochs_panel(progress.epochs_info(history.epochs))
        add("Training, epoch by epoch", panel)
    return found


def figure_of(panel: Panel, name: str, title: str = "") -> Figure:
    """A panel as it stands in a report; `name` as `inline.svg` has it."""
    caption = alone_caption(panel)
    drawn = inline.svg(alone(panel, 178.0), name, caption)
    return Figure(title or panel.title, drawn, caption)


def _speed(latency: Sequence[Latency]) -> Figure | None:
    info = comparison.latency_info(latency)
    if not info.bars:
        return None
    return figure_of(paper_runs.latency_panel(info), "latency")


def _metrics(history: RunHistory, latency: Sequence[Latency]) -> list[tables.Row]:
    if history.baseline is None or history.final is None:
        return []
    before, after = sentences.best_pair(history.baseline, history.final)
    one: tuple[Metrics, Cost] = (before, history.baseline.cost)
    return tables.metrics_rows(one, (after, history.final.cost), latency)


def _picture(item: Micrograph) -> dict[str, str]:
    item = fitted(item)
    drawn = {
        side: inline.png(
            pictures.draw_pairs(
                item.pixels,
                item.baseline,
                item.pruned,
                item.pairs,
                item.classes,
                side=side,
                min_side=_SIDE,
            )
        )
        for side in ("baseline", "pruned")
    }
    counts = {k: sum(pair.kind == k for pair in item.pairs) for k in style.PAIR_KINDS}
    words = ", ".join(f"{n} {style.PAIR_WORDS[k]}" for k, n in counts.items() if n)
    return {**drawn, "title": item.title, "words": words or "no object found by either model"}


def _panel(panel: Explanation) -> dict[str, object]:
    picture = panel.picture
    source = (
        inline.png_bytes(picture.read_bytes()) if isinstance(picture, Path) else inline.png(picture)
    )
    return {
        "title": f"{panel.model} · {panel.method}",
        "source": source,
        "scores": score_words(panel.result),
        "notes": notes(panel.result),
    }


def _layers(history: RunHistory) -> list[dict[str, object]]:
    if not history.iterations:
        return []
    index = history.final.iteration if history.final else history.iterations[-1].index
    record = next((r for r in history.iterations if r.index == index), history.iterations[-1])
    info = channels.channels_info(record.layers)
    widest = max((bar.original for bar in info.bars), default=1)
    return [
        {
            "title": channels.part_label(info, part),
            "bars": [
                {
                    "bar": bar,
                    "outline": round(100 * bar.original / widest, 2),
                    "fill": round(100 * bar.after / bar.original, 2) if bar.original else 0,
                    "removed": wording.percent(bar.removed),
                }
                for bar in info.bars
                if bar.part == part
            ],
        }
        for part in info.totals
    ]


def _css_dashes(kind: str, scale: float) -> str:
    return " ".join(f"{part * scale:g}" for part in style.PAIR_DASHES[kind]) or "none"


def _facts(history: RunHistory) -> list[tuple[str, str]]:
    dataset, provenance = history.dataset, history.provenance
    facts = [("Run", history.id), ("State", history.state)]
    if dataset.get("images"):
        splits = ", ".join(f"{count} {name}" for name, count in dataset.get("splits", {}).items())
        facts.append(("Images", f"{dataset['images']} ({splits})"))
    if dataset.get("boxes"):
        boxes = ", ".join(f"{count} {name}" for name, count in dataset["boxes"].items())
        facts.append(("Labelled objects", boxes))
    if dataset.get("pixel_size_um"):
        facts.append(("Pixel size", f"{dataset['pixel_size_um']:g} µm"))
    if dataset.get("labels_version", 1) > 1:
        facts.append(("Labels", f"version {dataset['labels_version']}, corrected since the import"))
    if dataset.get("content_hash"):
        facts.append(("Data, SHA-256", str(dataset["content_hash"])))
    source = provenance.get("model") or {}
    if source.get("sha256"):
        facts.append(("Start weights, SHA-256", str(source["sha256"])))
    if history.seconds is not None:
        facts.append(("Took", wording.duration(history.seconds)))
    return facts


def _versions(history: RunHistory) -> list[tuple[str, str]]:
    hardware = history.provenance.get("hardware") or {}
    versions = history.provenance.get("versions") or {}
    rows = [(name, str(version)) for name, version in versions.items() if version]
    if "msip_lab" in history.provenance:
        rows.insert(0, ("MSIP Lab", str(history.provenance["msip_lab"])))
    machine = [hardware.get("processor"), *(hardware.get("gpus") or [])]
    if any(machine):
        rows.append(("computer", ", ".join(str(part) for part in machine if part)))
    if hardware.get("memory_gb"):
        rows.append(("memory", f"{hardware['memory_gb']:g} GB"))
    if hardware.get("system"):
        rows.append(("system", str(hardware["system"])))
    return rows
