"""The card of a model as a Markdown file: what it finds, what it was made from, what it can do.

It travels with the model file, so that whoever opens it later knows what to expect of it. Only
what is known is said; what is not known is said to be unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msip_core.config import ImageRecipe
from msip_core.events import Metrics
from msip_core.label_versions import report_at, summary_at, version_of_content
from msip_core.markdown import Text, code, md, plain, rich
from msip_core.models import ModelCard, open_card
from msip_core.views import sentences, wording
from msip_core.views.tables import latency_pairs
from msip_core.ways import Latency
from msip_core.workspace import Workspace

_SPLITS = {"train": "training", "val": "validation", "test": "testing"}
_EXAMPLE = """```python
from ultralytics import YOLO

model = YOLO("{file}")
results = model.predict("image.png", imgsz={imgsz}, conf=0.25)
```"""

_FURTHER = (
    "\n\nTo train it further, use MSIP Lab, which keeps its widths: `python -m msip_core train "
    "--weights {file} --data NAME`. Not `model.train(...)` or `yolo train` of stock Ultralytics: "
    "that rebuilds the full network from the description of the architecture, and what was pruned "
    "grows back without a word."
)


@dataclass(frozen=True)
class CardFacts:
    """A model and what is known around it.

    Attributes:
        dataset: the content of the dataset's summary.json; empty where it is gone.
        report: what the import said about the images: depths, box sizes.
        baseline: card of the model that this one was pruned from.
    """

    card: ModelCard
    dataset: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    baseline: ModelCard | None = None


def read_card_facts(workspace: Workspace, model_id: str) -> CardFacts:
    """Gather a model's card and, where its dataset is still here unchanged, the data behind it.

    Raises:
        NotFoundError: there is no such model.
    """
    card = open_card(workspace, model_id)
    baseline = None
    if card.baseline_id and (workspace.model_dir(card.baseline_id) / "model.json").is_file():
        baseline = open_card(workspace, card.baseline_id)
    if card.dataset is None:
        return CardFacts(card, baseline=baseline)
    folder = workspace.dataset_dir(card.dataset)
    if not (folder / "summary.json").is_file() or not (folder / "dataset.json").is_file():
        return CardFacts(card, baseline=baseline)
    version, summary = None, summary_at(folder, None)
    if card.dataset_hash and summary.get("content_hash") != card.dataset_hash:
        version = version_of_content(folder, card.dataset_hash)
        if version is None:
            return CardFacts(card, baseline=baseline)  # other data under the same name by now
        summary = summary_at(folder, version)
    return CardFacts(card, summary, report_at(folder, version), baseline)


def card_text(facts: CardFacts, *, file: str = "model.pt", latency: Sequence[Latency] = ()) -> Text:
    """The Markdown.

    Args:
        file: name of the model file that it lies beside.
        latency: measured speed, as in a comparison's result ("baseline", "pruned").
    """
    card = facts.card
    parts = [
        f"# {plain(card.name)}",
        _summary(facts),
        *(f"> **Careful.** {text}" for text in warnings(facts)),
        "## What it finds\n\n" + "\n".join(f"- {plain(name)}" for name in card.classes),
        "## Made from\n\n" + _rows(_data(facts)),
        "## Accuracy\n\n" + _accuracy(card),
        "## Cost\n\n" + _rows(_cost(facts, latency)),
        "## How to load it\n\n" + _loading(card, file),
        "## Limits\n\n" + "\n".join(f"- {text}" for text in _limits(facts)),
        "## Licence\n\nAGPL-3.0, as Ultralytics YOLOv8, which it was trained with.",
        "## Where it came from\n\n" + _rows(_origin(card)),
    ]
    text = "\n\n".join(parts) + "\n"
    return Text(text, text)


def below_headings(card: Text) -> Text:
    """The card to stand below the headings of a page."""
    text = card.markdown.replace("\n## ", "\n#### ")
    return Text(text, re.sub(r"^# ", "### ", text))


def warnings(facts: CardFacts) -> list[str]:
    """What must be known before its numbers are believed."""
    found = []
    shown = facts.card.test or facts.card.val
    if shown is None:
        found.append("Its accuracy was not measured here.")
    else:
        found.append(sentences.sample_sentence(shown) or "")
    if shown is not None and not sentences.has_learned(shown):
        found.append(
            f"It has not learned its task: its mAP50 is {shown.map50:.3f}, below "
            f"{sentences.LEARNED:.2f}. Most of what it marks is wrong or missed."
        )
    if facts.dataset.get("drawn"):
        found.append("The images were drawn by computer: the numbers say nothing about tissue.")
    return [text for text in found if text]


def _summary(facts: CardFacts) -> str:
    card = facts.card
    kind = {
        "baseline": f"A {_network(card)} detector",
        "pruned": f"A {_network(card)} detector made lighter by pruning",
        "uploaded": f"A {_network(card)} detector that was uploaded as a file",
    }[card.kind]
    left = ""
    if card.macs_ratio is not None:
        left = f"; {wording.percent(card.macs_ratio, 1)} of the baseline's work per image is left"
    return plain(f"{kind}, for images of {card.imgsz} × {card.imgsz} px{left}. {card.note}".strip())


def _network(card: ModelCard) -> str:
    return card.architecture.replace("yolov8", "YOLOv8")


def _rows(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(
        ["| | |", "| --- | --- |", *(f"| {what} | {md(value)} |" for what, value in rows)]
    )


def _data(facts: CardFacts) -> list[tuple[str, str]]:
    card, data, report = facts.card, facts.dataset, facts.report
    unknown = "not known"
    if not data:
        return [("Dataset", card.dataset or unknown), ("Images", unknown), ("Modality", unknown)]
    size = data.get("pixel_size_um")
    splits = ", ".join(
        f"{n} for {_SPLITS[name]}" for name, n in data.get("splits", {}).items() if n
    )
    depths = ", ".join(
        f"{depth} bit ({wording.plural(n, 'image')})"
        for depth, n in (report.get("depths") or {}).items()
    )
    return [
        ("Dataset", str(data["name"])),
        ("Images", f"{data.get('images', unknown)} ({splits})"),
        ("Labelled objects", ", ".join(f"{n} {name}" for name, n in data.get("boxes", {}).items())),
        ("Modality", "drawn by computer" if data.get("drawn") else unknown),
        ("Pixel size", f"{size:g} µm" if size else unknown),
        ("Bit depth of the originals", depths or unknown),
        ("Size of the boxes", _box_sizes(report.get("box_size"), size) or unknown),
        (
            "Data and split",
            rich("SHA-256 {hash} …", hash=code(str(data.get("content_hash") or unknown)[:16])),
        ),
    ]


def _box_sizes(spread: Mapping[str, float] | None, pixel_size: float | None) -> str:
    if not spread:
        return ""
    low, middle, high = (spread[key] for key in ("low", "median", "high"))
    text = f"{low:.0f} to {high:.0f} px, median {middle:.0f} px"
    if pixel_size:
        text += (
            f" ({low * pixel_size:.0f} to {high * pixel_size:.0f} µm, "
            f"median {middle * pixel_size:.0f} µm)"
        )
    return f"{text}; square root of the box area"


def _accuracy(card: ModelCard) -> str:
    measured = [metrics for metrics in (card.test, card.val) if metrics is not None]
    if not measured:
        return "Not measured."
    head = "| images | mAP50 | mAP50-95 | precision | recall | AP50 of each class |"
    rows = [head, "| --- | --- | --- | --- | --- | --- |", *(_measured(m) for m in measured)]
    return "\n".join(rows)


def _measured(metrics: Metrics) -> str:
    each = (
        ", ".join(f"{plain(n)} {wording.accuracy(v)}" for n, v in metrics.per_class.items()) or "-"
    )
    name = wording.SPLITS[metrics.split]
    where = f"{metrics.images} {name}" if metrics.images else name
    values = (metrics.map50, metrics.map50_95, metrics.precision, metrics.recall)
    return f"| {where} | {' | '.join(wording.accuracy(v) for v in values)} | {each} |"


def _cost(facts: CardFacts, latency: Sequence[Latency]) -> list[tuple[str, str]]:
    card = facts.card
    work = f"{wording.macs(card.cost.macs)} MACs at {card.cost.imgsz} px"
    if facts.baseline is not None:
        work += f" (baseline {wording.macs(facts.baseline.cost.macs)})"
    rows = [
        ("Work per image", work),
        ("Parameters", wording.params(card.cost.params)),
        ("File", wording.megabytes(card.cost.size_mb)),
    ]
    side = "pruned" if card.kind == "pruned" else "baseline"
    for way, pair in latency_pairs(latency).items():
        if side in pair:
            entry = pair[side]
            low, high = (wording.milliseconds(ms) for ms in (entry.low_ms, entry.high_ms))
            name = f"Time per image, {wording.way_name(way)}"
            text = f"{wording.milliseconds(entry.median_ms)} (95 % interval {low} to {high})"
            rows.append((name, text))
    if len(rows) == 3:
        rows.append(("Time per image", "not measured; MACs are not speed"))
    return rows


def _loading(card: ModelCard, file: str) -> str:
    text = "It opens in stock Ultralytics (`pip install ultralytics`), without MSIP Lab:\n\n"
    text += _EXAMPLE.format(file=file, imgsz=card.imgsz)
    return text + (_FURTHER.format(file=file) if card.is_narrow else "") + _scaling(card.recipe)


def _scaling(recipe: ImageRecipe | None) -> str:
    if recipe is None:
        return ""
    if recipe.scope == "dataset" and recipe.low_value is not None:
        levels = f"the grey values {recipe.low_value:g} and {recipe.high_value:g} become 0 and 255"
    else:
        levels = (
            f"the percentiles {recipe.low_percentile:g} and {recipe.high_percentile:g} of an "
            "image's grey values become 0 and 255"
        )
    which = "All images" if recipe.normalise else "Images deeper than 8 bit"
    clahe = "; then local contrast is equalised (CLAHE)" if recipe.clahe else ""
    return f"\n\n{which} must be scaled before: {levels}{clahe}. MSIP Lab does this by itself."


def _limits(facts: CardFacts) -> list[str]:
    limits = [
        "It finds the classes above only, on images like those it was made from: other "
        "magnification, other contrast or other tissue must be tested first.",
        "Objects much smaller or larger than the boxes above may be missed.",
        "It was not made for diagnosis.",
    ]
    if facts.card.kind == "pruned":
        limits.append(
            "Fewer MACs do not always mean more speed: measure on the computer that will run it."
        )
    return limits


def _origin(card: ModelCard) -> list[tuple[str, str]]:
    words = {
        "baseline": "Pruned from", "run_id": "Run", "iteration": "Iteration", "method": "Method",
        "weights": "Began from",
        "source": "File", "sha256": "SHA-256", "command": "Command",
    }  # fmt: skip
    rows = [("Model", code(card.id)), ("Made", card.created)]
    if card.baseline_id:
        rows.append(("Pruned from", code(card.baseline_id)))
        del words["baseline"]  # the same model, by the name that its run was given
    rows += [(words[key], code(value)) for key, value in card.origin.items() if key in words]
    return rows
