"""The methods paragraph of a run: what was done, with its numbers, and whom to cite.

Every number comes from the run's settings, records and provenance. What is not known is not said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msip_core
from msip_core.catalog import ALLOCATIONS, CRITERIA, GRANULARITIES, RECOVERIES
from msip_core.combinations import allocation_name
from msip_core.config import PruneConfig, TrainConfig, TrainingRecipe
from msip_core.events import FinalRecord, Metrics
from msip_core.views import wording
from msip_core.views.citations import Citation
from msip_core.views.story import RunStory
from msip_core.views.works import keys_of, works_of
from msip_core.ways import Way

_PACKAGES = {
    "python": "Python", "torch": "PyTorch", "ultralytics": "Ultralytics",
    "torch-pruning": "Torch-Pruning",
}  # fmt: skip


def methods_paragraphs(
    story: RunStory,
    *,
    explained: Collection[str] = (),
    latency: Sequence[Mapping[str, Any]] = (),
) -> list[tuple[str, str]]:
    """(heading, text) of each part; [n] points into `works_of(story.config, explained)`.

    Args:
        explained: of "gradcam" and "shap", those that were computed.
        latency: measured speed, as in a comparison's result.
    """
    works = works_of(story.config, explained)
    config = story.config
    parts = [("Images", _images(story)), ("Detector", _detector(story, works))]
    if isinstance(config, PruneConfig):
        parts.append(("Pruning", _pruning(story, config, works)))
        parts.append(("Fine-tuning", _tuning(config, works)))
    else:
        parts.append(("Training", _schedule("The detector was trained for", config.recipe, config)))
    parts += [
        ("Evaluation", _evaluation(story)),
        ("Explanation", _explanation(explained, works)),
        ("Speed", _speed(story, latency)),
        ("Software", _software(story)),
    ]
    return [(heading, text) for heading, text in parts if text]


def methods_text(
    story: RunStory,
    *,
    explained: Collection[str] = (),
    latency: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The paragraphs and the list of references as plain text."""
    parts = methods_paragraphs(story, explained=explained, latency=latency)
    works = works_of(story.config, explained)
    references = [f"[{number}] {work.plain()}" for number, work in enumerate(works, start=1)]
    body = "\n\n".join(f"{heading}. {text}" for heading, text in parts)
    return f"{body}\n\nReferences\n" + "\n".join(references) + "\n"


def _cite(works: Sequence[Citation], *keys: str) -> str:
    numbers = [str(n) for n, work in enumerate(works, start=1) if work.key in keys]
    return f" [{', '.join(numbers)}]" if numbers else ""


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _images(story: RunStory) -> str:
    data = story.dataset
    if not data.get("images"):
        return ""
    names = {"train": "training", "val": "validation", "test": "testing"}
    splits = [f"{n} for {names[name]}" for name, n in data.get("splits", {}).items() if n]
    boxes = [f"{n} {name}" for name, n in data.get("boxes", {}).items()]
    text = f"The dataset “{story.config.dataset}” holds {wording.plural(data['images'], 'image')}"
    text += f" ({_listed(splits)})" if splits else ""
    text += f" with {_listed(boxes)} boxes" if boxes else ""
    text += f"; one pixel is {data['pixel_size_um']:g} µm wide" if data.get("pixel_size_um") else ""
    if data.get("drawn"):
        text += ". The images were drawn by computer"
    return f"{text}."


def _detector(story: RunStory, works: Sequence[Citation]) -> str:
    architecture = str(story.source.get("architecture") or "YOLOv8").replace("yolo", "YOLO")
    cite = _cite(works, "yolov8_ultralytics")
    side = f"{story.config.imgsz} × {story.config.imgsz} px"
    if story.baseline is None:
        return f"A {architecture} detector{cite} was used on images of {side}."
    cost = story.baseline.cost
    return (
        f"The baseline was a {architecture} detector{cite} with {wording.params(cost.params)} "
        f"parameters and {wording.macs(cost.macs)} multiply-adds (MACs) per image of {side}."
    )


def _pruning(story: RunStory, config: PruneConfig, works: Sequence[Citation]) -> str:
    method = CRITERIA.get(config.method)
    allocation = allocation_name(config) if method else config.allocation or ""
    spread = ALLOCATIONS[allocation].description if allocation in ALLOCATIONS else allocation
    behind = keys_of(config)
    cite = _cite(works, *behind["method"])
    sentences = [
        "Channels that depend on each other were found by Torch-Pruning's dependency graph"
        f"{_cite(works, 'fang2023depgraph')} and removed together.",
        f"Their importance was scored by {method.label if method else config.method}{cite}"
        f"{_variant(config)}{_weights(config)}.",
        _choice("Allocation over the layers", spread, _cite(works, *behind["allocation"])),
        _granularity(config, works),
        _calibration(config) if method and method.needs_data else "",
        f"The goal was to keep {_goal(config, story.final)} in "
        f"{wording.plural(config.iterations, 'iteration')}; {_limits(config, story.multiple)}.",
        _repair(story, config),
        _guard(config),
        _reached(story),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _goal(config: PruneConfig, final: FinalRecord | None) -> str:
    kind, keep = config.goal
    measured = ""
    if kind == "latency":
        way = final.latency_way if final else None
        measured = f" (measured with {wording.goal_way(config, way)})"
    return f"{wording.percent(keep, 1)} of the {wording.GOALS[kind]}{measured}"


_SHARED = ("fang2023depgraph", "selvaraju2017gradcam", "lundberg2017shap")


def _variant(config: PruneConfig) -> str:
    """What a scheme of ours does differently from the paper it cites."""
    if config.method == "msip":
        return (
            ", in a variant that compares the scores of all layers, per multiply-add, and measures "
            "geometry, sparsity and information on the responses that reach the next layers,"
        )
    if config.method == "msip-literal":
        return ", with the paper's weighted sum over our reading of its terms,"
    return ""


def _granularity(config: PruneConfig, works: Sequence[Citation]) -> str:
    entry = GRANULARITIES.get(config.granularity)
    if config.granularity == "channels" or entry is None:
        return ""
    cite = _cite(works, *keys_of(config)["granularity"])
    return _choice(f"What was taken out (granularity “{entry.label}”)", entry.description, cite)


def _choice(what: str, sentence: str, cite: str) -> str:
    return f"{what}{cite}: {_lower(sentence)}" if sentence else ""


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _weights(config: PruneConfig) -> str:
    entry = CRITERIA.get(config.method)
    if entry is None or not entry.adapted:
        return ""
    values = " / ".join(f"{value:g}" for value in config.msip.weights.as_tuple())
    follow = (
        "which validation accuracy then adjusted"
        if config.msip.dynamic_weights
        else "which stayed fixed"
    )
    return f" with the weights {values} for gradient, geometry, sparsity and information, {follow}"


def _calibration(config: PruneConfig) -> str:
    images = config.calibration.batches * config.calibration.batch
    return f"Scores came from a fixed list of up to {images} training images."


_REPAIR = {
    "none": "After each cut the network was taken as it was.",
    "recalibrate": (
        "After each cut the batch-norm statistics were measured anew on the images for scoring."
    ),
    "refit": (
        "After each cut the weights of every convolution were refitted by ridge regression on the "
        "images for scoring, so that it gave what it gave before the cut; validation chose the "
        "ridge."
    ),
    "auto": (
        "After each cut the network was taken as it was, with batch-norm statistics measured anew, "
        "or with the weights of every convolution refitted by ridge regression to what it gave "
        "before the cut, whichever had the highest mAP50 on validation."
    ),
}


def _repair(story: RunStory, config: PruneConfig) -> str:
    """In words; runs from before there was a refit chose among the first two alone."""
    records = [record for record in story.iterations if record.repair_map50]
    if config.repair == "auto" and not any(
        name.startswith("refitted") for record in records for name in record.repair_map50 or {}
    ):
        return (
            "After each cut the batch-norm statistics were measured anew on the images for "
            "scoring where that raised mAP50 on validation."
            if story.iterations
            else ""
        )
    return _REPAIR[config.repair]


def _limits(config: PruneConfig, multiple: int | None) -> str:
    limits, multiple = config.limits, multiple or config.limits.multiple
    widths = (
        f"the widths left are multiples of {multiple}"
        if multiple > 1
        else "the widths left are free"
    )
    return (
        f"one iteration took at most {wording.percent(limits.max_removed_per_iteration)} of a "
        f"layer, at least {wording.percent(limits.min_kept)} of each layer stayed, and {widths}"
    )


def _guard(config: PruneConfig) -> str:
    if config.max_map50_drop is None:
        return ""
    return (
        f"Pruning was to stop if mAP50 on validation fell more than {config.max_map50_drop:g} "
        "below the baseline."
    )


def _reached(story: RunStory) -> str:
    if story.final is None or story.baseline is None:
        return ""
    ratio = story.final.cost.macs / story.baseline.cost.macs
    steps = wording.plural(len(story.iterations), "iteration")
    return (
        f"After {steps}, {wording.percent(ratio, 1)} of the MACs were left "
        f"({wording.macs(story.final.cost.macs)}, {wording.params(story.final.cost.params)} "
        f"parameters)."
    )


def _tuning(config: PruneConfig, works: Sequence[Citation]) -> str:
    when = "each" if config.finetune_after == "every-cut" else "the last"
    text = _schedule(f"After {when} cut the model was trained on for", config.finetune, config)
    if config.average == "carry":
        text += " The running average of the weights counted the steps of all iterations."
    recovery = RECOVERIES.get(config.recovery)
    if config.recovery != "finetune" and recovery is not None:
        cite = _cite(works, *keys_of(config)["recovery"])
        text += " " + _choice(f"Recovery by {recovery.label}", recovery.description, cite)
    if config.pretrain is None:
        return text
    first = _schedule("Before the first cut it was trained for", config.pretrain, config)
    return f"{first} {text}"


def _schedule(begin: str, recipe: TrainingRecipe, config: TrainConfig | PruneConfig) -> str:
    decay = "a cosine" if recipe.cos_lr else "a line"
    return (
        f"{begin} {wording.plural(recipe.epochs, 'epoch')} by stochastic gradient descent: "
        f"learning rate {recipe.lr0:g} falling to {recipe.lr0 * recipe.lrf:g} along {decay}, "
        f"momentum {recipe.momentum:g}, weight decay {recipe.weight_decay:g}, "
        f"batches of {config.batch} images, seed {config.seed}."
    )


def _evaluation(story: RunStory) -> str:
    shown: list[tuple[str, Metrics]] = []
    if story.final is not None:
        shown.append(("validation", story.final.metrics))
        if story.final.test is not None:
            shown.append(("test", story.final.test))
    counted = [f"{wording.plural(m.images, name + ' image')}" for name, m in shown if m.images]
    where = f" It was measured on {_listed(counted)}." if counted else ""
    text = (
        "Accuracy is mAP50, the average precision at an overlap (IoU) of at least 0.5, averaged "
        f"over the classes, and mAP50-95, its mean over overlaps from 0.5 to 0.95.{where}"
    )
    if len(shown) > 1:
        text += " Decisions during the run used the validation images only."
    return text


def _explanation(explained: Collection[str], works: Sequence[Citation]) -> str:
    sentences = []
    if "gradcam" in explained:
        sentences.append(
            f"Heat maps of single detections were computed with Grad-CAM"
            f"{_cite(works, 'selvaraju2017gradcam')} for the class score before the sigmoid, "
            "averaged over the predictions that overlap the detection (IoU ≥ 0.5) and over the "
            "inputs of the detection head (P3, P4, P5) that gave a gradient; the same object was "
            "asked of both models. The border energy ratio (BER) is the share of the heat within "
            "a band of a tenth of the object's size (at least 2 px) along its outline."
        )
    if "shap" in explained:
        sentences.append(
            f"Contributions of image patches are SHAP values"
            f"{_cite(works, 'lundberg2017shap')}, estimated by antithetic permutations: "
            "superpixels are present or replaced by the blurred image, and the value is the best "
            "product of overlap and class score near the detection. C@10 is the share of the "
            "absolute contributions in the strongest tenth of the patches; it is given where two "
            "independent estimates agree (correlation of the contributions at least 0.9, C@10 "
            "within 0.03), and is the value of their mean."
        )
    return " ".join(sentences)


def _speed(story: RunStory, latency: Sequence[Mapping[str, Any]]) -> str:
    if not latency:
        return ""
    groups: dict[str, list[Way]] = {}
    for entry in latency:
        way = Way.of(entry)
        groups.setdefault(wording.place_name(way), []).append(way)
    measured = "; ".join(f"on the {place} {_ways(ways)}" for place, ways in groups.items())
    return (
        f"Latency was measured {measured}; runs of both models took turns; reported are medians "
        "with their 95 % intervals."
    )


def _ways(ways: Sequence[Way]) -> str:
    forms = _listed(list(dict.fromkeys(wording.format_name(way.format) for way in ways)))
    numbers = _listed(list(dict.fromkeys(way.precision for way in ways)))
    sizes = _listed([str(batch) for batch in sorted({way.batch for way in ways})])
    return f"with {forms} in {numbers} at batch size {sizes}"


def _software(story: RunStory) -> str:
    versions = story.provenance.get("versions") or {}
    named = []
    for package, word in _PACKAGES.items():
        used = package != "torch-pruning" or isinstance(story.config, PruneConfig)
        if used and versions.get(package):
            named.append(f"{word} {versions[package]}")
    ours = f"MSIP Lab {story.provenance.get('msip_lab') or msip_core.__version__}"
    hardware = story.provenance.get("hardware") or {}
    parts = [hardware.get("processor"), *(hardware.get("gpus") or [])]
    computer = _listed([str(part) for part in parts if part])
    text = f"The work was done with {_listed([ours, *named])}"
    return text + (f" on a computer with {computer}." if computer else ".")
