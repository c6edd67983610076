"""The report of a run: one HTML file with everything inside, for reading, printing and sending.

It is made from plain records and pictures, so it needs no torch and no server. What was not
measured is left out or said to be missing, never filled in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

import msip_core
from msip_core.config import PruneConfig
from msip_core.events import Cost, Metrics
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
from msip_core.views.evidence import (
    ExplainedObject,
    Explanation,
    Micrograph,
    fitted,
    notes,
    score_words,
)
from msip_core.views.glossary import GLOSSARY
from msip_core.views.story import RunStory
from msip_core.views.works import works_of
from msip_core.workspace import write_text

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


def write_report(
    story: RunStory,
    out: Path,
    *,
    compare: Mapping[str, Any] | None = None,
    micrographs: Sequence[Micrograph] = (),
    explained: Sequence[ExplainedObject] = (),
    classes: Sequence[str] = (),
    latency: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write the report as one self-contained HTML file.

    Args:
        story: the run, from `story.read_story`.
        compare: result of the compare job: latency, agreement, counts.
        micrographs: pictures to show, from `evidence.micrograph_of` for the images that
            `evidence.choose_images(compare)` names.
        explained: Grad-CAM and SHAP of chosen detections.
        classes: names by class index, for the count tables.
        latency: measured speed, where the comparison holds none.
    """
    content = render_report(
        story, compare=compare, micrographs=micrographs, explained=explained, classes=classes,
        latency=latency,
    )  # fmt: skip
    write_text(out, content)
    return out


def render_report(
    story: RunStory,
    *,
    compare: Mapping[str, Any] | None = None,
    micrographs: Sequence[Micrograph] = (),
    explained: Sequence[ExplainedObject] = (),
    classes: Sequence[str] = (),
    latency: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The report's HTML; see `write_report`."""
    latency = list((compare or {}).get("latency") or latency)
    classes = classes or tuple(story.dataset.get("classes", ()))
    asked = _explainers(explained)
    return _template().render(
        story=story,
        version=msip_core.__version__,
        made=time.strftime("%Y-%m-%d %H:%M"),
        summary=_summary(story),
        remarks=_remarks(story, latency),
        tiles=_tiles(story, latency),
        figures=_figures(story),
        speed=_speed(latency),
        metrics=_metrics(story, latency),
        agreement=sentences.agreement_sentence(compare["agreement"]) if compare else "",
        counts=_counts(compare, classes),
        pairs=[_picture(item) for item in micrographs],
        kinds=[(k, style.PAIR_WORDS[k], style.PAIR_COLOURS[k]) for k in style.PAIR_KINDS],
        explained=[(item.title, [_panel(p) for p in item.panels]) for item in explained],
        honesty=style.HONESTY,
        layers=_layers(story),
        methods=methods.methods_paragraphs(story, explained=asked, latency=latency),
        references=[work.plain() for work in works_of(story.config, asked)],
        iterations=tables.iteration_rows(story.iterations, story.baseline),
        settings=protocol.protocol(story.config, story.multiple),
        facts=_facts(story),
        versions=_versions(story),
        command=protocol.command_line(story.config),
        repeat=protocol.repeat_command(story.config, story.id),
        config=json.dumps(story.config.model_dump(mode="json"), indent=2, ensure_ascii=False),
        glossary=list(GLOSSARY.values()),
    )


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("msip_core.views"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals["dashes"] = _css_dashes
    return environment.get_template("report.html.j2")


def _explainers(explained: Sequence[ExplainedObject]) -> set[str]:
    """Which kinds of explanation the report shows, as `works_of` names them."""
    words = {panel.method for item in explained for panel in item.panels}
    return {name for name, word in (("gradcam", "Grad-CAM"), ("shap", "SHAP")) if word in words}


def _summary(story: RunStory) -> str:
    if story.final is None or story.baseline is None:
        if story.final is not None:
            return f"Trained: mAP50 {wording.accuracy(story.final.metrics.map50)} on validation."
        return f"This run is {story.state}; it has no final model yet."
    return sentences.result_sentence(story.baseline, story.final)


def _remarks(story: RunStory, latency: Sequence[Mapping[str, Any]]) -> list[str]:
    remarks = [story.error] if story.error else []
    if story.baseline is not None and story.final is not None:
        before, _ = sentences.best_pair(story.baseline, story.final)
        remarks.append(sentences.unlearned_sentence(before) or "")
        remarks.append(sentences.latency_sentence(latency))
    if isinstance(story.config, PruneConfig) and story.final is not None:
        remarks.append(sentences.goal_sentence(story.config, story.final))
    if story.final is not None:
        shown = story.final.test or story.final.metrics
        remarks.append(sentences.sample_sentence(shown) or "")
    if story.dataset.get("drawn"):
        remarks.append("The images were drawn by computer: the numbers say nothing about tissue.")
    return [text for text in remarks if text]


def _tiles(story: RunStory, latency: Sequence[Mapping[str, Any]]) -> list[Tile]:
    if story.baseline is None or story.final is None:
        return []
    first, last = story.baseline.cost, story.final.cost
    before, after = sentences.best_pair(story.baseline, story.final)
    split = {"val": "validation", "test": "test", "train": "training"}[after.split]
    ratio = wording.percent(last.macs / first.macs, 1)
    tiles = [
        Tile("Work per image", wording.macs(first.macs), wording.macs(last.macs),
             f"MACs; {ratio} is left"),
        Tile("Accuracy", wording.accuracy(before.map50), wording.accuracy(after.map50),
             f"mAP50, {split}; {wording.signed(after.map50 - before.map50)}"),
        Tile("Size", wording.megabytes(first.size_mb), wording.megabytes(last.size_mb),
             f"{wording.params(first.params)} → {wording.params(last.params)} parameters"),
    ]  # fmt: skip
    speed = _speed_tile(latency)
    return [*tiles, speed] if speed else tiles


def _speed_tile(latency: Sequence[Mapping[str, Any]]) -> Tile | None:
    for way, pair in tables.latency_pairs(latency).items():
        if "baseline" in pair and "pruned" in pair:
            first, last = pair["baseline"], pair["pruned"]
            word = sentences.verdict(first, last)
            name = wording.way_name(way)
            before, after = (wording.milliseconds(m["median_ms"]) for m in (first, last))
            return Tile("Time per image, here", before, after, f"{name}; {word}")
    return None


def _figures(story: RunStory) -> list[Figure]:
    found: list[Figure] = []

    def add(title: str, figure: Any, caption: str) -> None:
        name = "".join(letter for letter in title.lower() if letter.isalpha())
        found.append(Figure(title, inline.svg(figure, name, caption), caption))

    if story.iterations:
        config = story.config
        drop = config.max_map50_drop if isinstance(config, PruneConfig) else None
        keep = config.macs_goal if isinstance(config, PruneConfig) else None
        maps = progress.map_info(story.baseline, story.iterations, drop)
        macs = progress.macs_info(story.baseline, story.iterations, keep)
        add(
            "Accuracy and work",
            paper_runs.iterations_figure(maps, macs),
            paper_runs.iterations_caption(maps, macs),
        )
        weights = progress.weights_info(story.iterations)
        if weights.iterations:
            add(
                "Weights of the four signals",
                paper_runs.weights_figure(weights, 178),
                paper_runs.weights_caption(weights),
            )
    if story.epochs:
        epochs = progress.epochs_info(story.epochs)
        add(
            "Training, epoch by epoch",
            paper_runs.epochs_figure(epochs, 178),
            paper_runs.epochs_caption(epochs),
        )
    return found


def _speed(latency: Sequence[Mapping[str, Any]]) -> Figure | None:
    info = comparison.latency_info(latency)
    if not info.bars:
        return None
    caption = paper_runs.latency_caption(info)
    drawn = inline.svg(paper_runs.latency_figure(info, 178), "latency", caption)
    return Figure("Speed on this computer", drawn, caption)


def _metrics(story: RunStory, latency: Sequence[Mapping[str, Any]]) -> list[tables.Row]:
    if story.baseline is None or story.final is None:
        return []
    before, after = sentences.best_pair(story.baseline, story.final)
    one: tuple[Metrics, Cost] = (before, story.baseline.cost)
    return tables.metrics_rows(one, (after, story.final.cost), latency)


def _counts(compare: Mapping[str, Any] | None, classes: Sequence[str]) -> list[tables.Row]:
    if not compare or not classes:
        return []
    return tables.compare_count_rows(compare, classes, by_group=True)


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


def _panel(panel: Explanation) -> dict[str, Any]:
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


def _layers(story: RunStory) -> list[dict[str, Any]]:
    if not story.iterations:
        return []
    index = story.final.iteration if story.final else story.iterations[-1].index
    record = next((r for r in story.iterations if r.index == index), story.iterations[-1])
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


def _facts(story: RunStory) -> list[tuple[str, str]]:
    dataset, provenance = story.dataset, story.provenance
    facts = [("Run", story.id), ("State", story.state)]
    if dataset.get("images"):
        splits = ", ".join(f"{count} {name}" for name, count in dataset["splits"].items())
        facts.append(("Images", f"{dataset['images']} ({splits})"))
    if dataset.get("boxes"):
        boxes = ", ".join(f"{count} {name}" for name, count in dataset["boxes"].items())
        facts.append(("Labelled objects", boxes))
    if dataset.get("pixel_size_um"):
        facts.append(("Pixel size", f"{dataset['pixel_size_um']:g} µm"))
    if dataset.get("content_hash"):
        facts.append(("Data, SHA-256", str(dataset["content_hash"])))
    source = provenance.get("model") or {}
    if source.get("sha256"):
        facts.append(("Start weights, SHA-256", str(source["sha256"])))
    if story.seconds is not None:
        facts.append(("Took", wording.duration(story.seconds)))
    return facts


def _versions(story: RunStory) -> list[tuple[str, str]]:
    hardware = story.provenance.get("hardware") or {}
    versions = story.provenance.get("versions") or {}
    rows = [(name, str(version)) for name, version in versions.items() if version]
    if "msip_lab" in story.provenance:
        rows.insert(0, ("MSIP Lab", str(story.provenance["msip_lab"])))
    machine = [hardware.get("processor"), *(hardware.get("gpus") or [])]
    if any(machine):
        rows.append(("computer", ", ".join(str(part) for part in machine if part)))
    if hardware.get("memory_gb"):
        rows.append(("memory", f"{hardware['memory_gb']:g} GB"))
    if hardware.get("system"):
        rows.append(("system", str(hardware["system"])))
    return rows
