"""The methods paragraph of a run: what was done, with its numbers, and whom to cite.

Every number comes from the run's settings, records and provenance. What is not known is not said.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msip_core
from msip_core.catalog import ALLOCATIONS, CRITERIA, EXPLAINERS, GRANULARITIES, RECOVERIES
from msip_core.combinations import allocation_name, takes_channels
from msip_core.config import TERMS, PruneConfig, TrainConfig, TrainingRecipe
from msip_core.events import FinalRecord, Metrics
from msip_core.views import wording
from msip_core.views.citations import COUPLING, DETECTOR, Citation, keys_of, references_of
from msip_core.views.history import RunHistory
from msip_core.ways import Latency, Way

_PACKAGES = {
    "python": "Python",
    "torch": "PyTorch",
    "ultralytics": "Ultralytics",
    "torch-pruning": "Torch-Pruning",
}


def methods_paragraphs(
    history: RunHistory, *, explained: Collection[str] = (), latency: Sequence[Latency] = ()
) -> list[tuple[str, str]]:
    """(heading, text) of each part; [n] points into `references_of(history.config, explained)`.

    Args:
        explained: of the explainers of the catalog, those that were computed.
        latency: measured speed, as in a comparison's result.
    """
    references = references_of(history.config, explained)
    config = history.config
    parts = [("Images", _images(history)), ("Detector", _detector(history, references))]
    if isinstance(config, PruneConfig):
        parts.append(("Pruning", _pruning(history, config, references)))
        parts.append(("Fine-tuning", _tuning(config, references)))
    else:
        parts.append(("Training", _training(config)))
    parts += [
        ("Evaluation", _evaluation(history)),
        ("Explanation", _explanation(explained, references)),
        ("Speed", _speed(history, latency)),
        ("Software", _software(history)),
    ]
    return [(heading, text) for heading, text in parts if text]


def methods_text(
    history: RunHistory, *, explained: Collection[str] = (), latency: Sequence[Latency] = ()
) -> str:
    """The paragraphs and the list of references as plain text."""
    parts = methods_paragraphs(history, explained=explained, latency=latency)
    cited = references_of(history.config, explained)
    references = [f"[{number}] {work.plain()}" for number, work in enumerate(cited, start=1)]
    body = "\n\n".join(f"{heading}. {text}" for heading, text in parts)
    return f"{body}\n\nReferences\n" + "\n".join(references) + "\n"


def _cite(references: Sequence[Citation], *keys: str) -> str:
    numbers = [str(n) for n, work in enumerate(references, start=1) if work.key in keys]
    return f" [{', '.join(numbers)}]" if numbers else ""


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _images(history: RunHistory) -> str:
    data = history.dataset
    if not data.get("images"):
        return ""
    names = {"train": "training", "val": "validation", "test": "testing"}
    splits = [f"{n} for {names[name]}" for name, n in data.get("splits", {}).items() if n]
    boxes = [f"{n} {name}" for name, n in data.get("boxes", {}).items()]
    text = f"The dataset “{history.config.dataset}” holds {wording.plural(data['images'], 'image')}"
    text += f" ({_listed(splits)})" if splits else ""
    text += f" with {_listed(boxes)} boxes" if boxes else ""
    text += f"; one pixel is {data['pixel_size_um']:g} µm wide" if data.get("pixel_size_um") else ""
    if data.get("drawn"):
        text += ". The images were drawn by computer"
    cut = next((note for note, _ in history.notes if " images are cut into " in note), None)
    return f"{text}." + (f" {cut}" if cut else "")


def _detector(history: RunHistory, references: Sequence[Citation]) -> str:
    architecture = str(history.source.get("architecture") or "YOLOv8").replace("yolo", "YOLO")
    cite = _cite(references, DETECTOR)
    side = f"{history.config.imgsz} × {history.config.imgsz} px"
    if history.baseline is None:
        return f"A {architecture} detector{cite} was used on images of {side}."
    cost = history.baseline.cost
    return (
        f"The baseline was a {architecture} detector{cite} with {wording.params(cost.params)} "
        f"parameters and {wording.macs(cost.macs)} multiply-adds (MACs) per image of {side}."
    )


def _pruning(history: RunHistory, config: PruneConfig, references: Sequence[Citation]) -> str:
    method = CRITERIA.get(config.method)
    allocation = allocation_name(config) if method else config.allocation or ""
    spread = ALLOCATIONS[allocation].description if allocation in ALLOCATIONS else allocation
    behind = keys_of(config)
    cite = _cite(references, *behind["method"])
    channels = [
        "Channels that depend on each other were found by Torch-Pruning's dependency graph"
        f"{_cite(references, COUPLING)} and removed together.",
        f"Their importance was scored by {method.label if method else config.method}{cite}"
        f"{method.variant if method else ''}{_weights(config)}.",
        _choice("Allocation over the layers", spread, _cite(references, *behind["allocation"])),
    ]
    limits = f"; {_limits(config, history.multiple)}" if takes_channels(config) else ""
    sentences = [
        *(channels if takes_channels(config) else ()),
        _granularity(config, references),
        "Weights and batch-norm factors that were copied into the opened C2f blocks were "
        f"soft-thresholded by {config.prox:g}."
        if config.prox
        else "",
        _calibration(config) if method and method.needs_data and takes_channels(config) else "",
        f"The goal was to keep {_goal(config, history.final)} in "
        f"{wording.plural(config.iterations, 'iteration')}{limits}.",
        _repair(history, config),
        _guard(config),
        _reached(history),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _goal(config: PruneConfig, final: FinalRecord | None) -> str:
    kind, keep = config.goal
    measured = ""
    if kind == "latency":
        way = final.latency_way if final else None
        measured = f" (measured with {wording.goal_way(config, way)})"
    return f"{wording.percent(keep, 1)} of the {wording.GOALS[kind]}{measured}"


def _granularity(config: PruneConfig, references: Sequence[Citation]) -> str:
    entry = GRANULARITIES.get(config.granularity)
    if entry is None or entry.usual:
        return ""
    cite = _cite(references, *keys_of(config)["granularity"])
    text = _choice(f"What was taken out (granularity “{entry.label}”)", entry.description, cite)
    by_rule = (entry.name, config.layerdrop_rule) == ("layerdrop", "every-other")
    if "blocks" not in entry.takes or by_rule:
        return text
    return f"{text} Blocks were ranked by {_BLOCK_SCORES[config.block_score]}."


_BLOCK_SCORES = {
    "map50": "the mAP50 that validation loses without each",
    "gamma": "the mean absolute factor of the last batch norm of each",
    "cosine": "how far each turns its input (one minus the cosine)",
}


def _choice(what: str, sentence: str, cite: str) -> str:
    return f"{what}{cite}: {sentence[:1].lower()}{sentence[1:]}" if sentence else ""


def _weights(config: PruneConfig) -> str:
    entry = CRITERIA.get(config.method)
    if entry is None or not entry.has_term_weights:
        return ""
    values = " / ".join(f"{value:g}" for value in config.msip.weights.as_tuple())
    follow = "which stayed fixed"
    if config.msip.dynamic_weights and config.iterations > 1:
        some = "" if entry.adapted == TERMS else f" (that of {_listed(entry.adapted)} alone)"
        follow = f"which validation accuracy then adjusted{some}"
    return f" with the weights {values} for gradient, geometry, sparsity and information, {follow}"


def _calibration(config: PruneConfig) -> str:
    images = config.calibration.batches * config.calibration.batch
    return f"Scores came from a fixed list of up to {images} training images."


_REPAIR = {
    "none": "After each cut the network was taken as it was.",
    "recalibrate": (
        "After each cut the batch-norm statistics were measured anew on the images for scoring."
    ),
    "absorb": (
        "After each cut the constants that removed channels give at rest, act(beta), were absorbed "
        "into the means of the batch norms behind the layers that read them."
    ),
    "refit": (
        "After each cut the weights of every convolution were refitted by ridge regression on the "
        "images for scoring, so that it gave what it gave before the cut; validation chose the "
        "ridge."
    ),
    "auto": (
        "After each cut the network was taken as it was, with batch-norm statistics measured anew, "
        "with the constants act(beta) of removed channels absorbed into the layers that read them, "
        "or with the weights of every convolution refitted by ridge regression to what it gave "
        "before the cut, whichever had the highest mAP50 on validation."
    ),
}
_AUTO_WITHOUT_ABSORPTION = (
    "After each cut the network was taken as it was, with batch-norm statistics measured anew, "
    "or with the weights of every convolution refitted by ridge regression to what it gave "
    "before the cut, whichever had the highest mAP50 on validation."
)


def _repair(history: RunHistory, config: PruneConfig) -> str:
    """In words; runs from before there was a refit chose among the first two alone, those from
    before there was absorption among three."""
    tried = {name for record in history.iterations for name in record.repair_map50 or {}}
    if config.repair == "auto" and not any(name.startswith("refitted") for name in tried):
        return (
            "After each cut the batch-norm statistics were measured anew on the images for "
            "scoring where that raised mAP50 on validation."
            if history.iterations
            else ""
        )
    if config.repair == "auto" and "betas absorbed" not in tried:
        return _AUTO_WITHOUT_ABSORPTION
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


def _reached(history: RunHistory) -> str:
    if history.final is None or history.baseline is None:
        return ""
    ratio = history.final.cost.macs / history.baseline.cost.macs
    steps = wording.plural(len(history.iterations), "iteration")
    return (
        f"After {steps}, {wording.percent(ratio, 1)} of the MACs were left "
        f"({wording.macs(history.final.cost.macs)}, {wording.params(history.final.cost.params)} "
        f"parameters)."
    )


def _tuning(config: PruneConfig, references: Sequence[Citation]) -> str:
    when = "each" if config.finetune_after == "every-cut" else "the last"
    text = (
        _schedule(f"After {when} cut the model was trained on for", config.finetune, config)
        if config.finetune.epochs
        else "No training followed a cut."
    )
    if config.average == "carry":
        text += " The running average of the weights counted the steps of all iterations."
    recovery = RECOVERIES.get(config.recovery)
    if recovery is not None and not recovery.usual:
        cite = _cite(references, *keys_of(config)["recovery"])
        text += " " + _choice(f"Recovery by {recovery.label}", recovery.description, cite)
    if config.preparation is None:
        return text
    first = _schedule("Before the first cut it was trained for", config.preparation, config)
    return f"{first} {text}"


def _training(config: TrainConfig) -> str:
    text = _schedule("The detector was trained for", config.recipe, config)
    if config.pretrain is None:
        return text
    return f"{_schedule('At first it was trained for', config.pretrain, config)} {text}"


def _schedule(begin: str, recipe: TrainingRecipe, config: TrainConfig | PruneConfig) -> str:
    decay = "a cosine" if recipe.cos_lr else "a line"
    return (
        f"{begin} {wording.plural(recipe.epochs, 'epoch')} by stochastic gradient descent: "
        f"learning rate {recipe.lr0:g} falling to {recipe.lr0 * recipe.lrf:g} along {decay}, "
        f"momentum {recipe.momentum:g}, weight decay {recipe.weight_decay:g}, "
        f"batches of {config.batch} images, seed {config.seed}{wording.added(recipe)}."
    )


def _evaluation(history: RunHistory) -> str:
    shown: list[tuple[str, Metrics]] = []
    if history.final is not None:
        shown.append(("validation", history.final.metrics))
        if history.final.test is not None:
            shown.append(("test", history.final.test))
    counted = [f"{wording.plural(m.images, name + ' image')}" for name, m in shown if m.images]
    where = f" It was measured on {_listed(counted)}." if counted else ""
    text = (
        "Accuracy is mAP50, the average precision at an overlap (IoU) of at least 0.5, averaged "
        f"over the classes, and mAP50-95, its mean over overlaps from 0.5 to 0.95.{where}"
    )
    if len(shown) > 1:
        text += " Decisions during the run used the validation images only."
    return text


def _explanation(explained: Collection[str], references: Sequence[Citation]) -> str:
    sentences = []
    if "gradcam" in explained:
        sentences.append(
            "Heat maps of single detections were computed with Grad-CAM"
            f"{_cite(references, *EXPLAINERS['gradcam'].cites)} "
            "for the class score before the sigmoid, "
            "averaged over the predictions that overlap the detection (IoU ≥ 0.5) and over the "
            "inputs of the detection head (P3, P4, P5) that gave a gradient; the same object was "
            "asked of both models. The border energy ratio (BER) is the share of the heat within "
            "a band of a tenth of the object's size (at least 2 px) along its outline."
        )
    if "shap" in explained:
        sentences.append(
            "Contributions of image patches are SHAP values"
            f"{_cite(references, *EXPLAINERS['shap'].cites)}, "
            "estimated by antithetic permutations: "
            "superpixels are present or replaced by the blurred image, and the value is the best "
            "product of overlap and class score near the detection. C@10 is the share of the "
            "absolute contributions in the strongest tenth of the patches; it is given where two "
            "independent estimates agree (correlation of the contributions at least 0.9, C@10 "
            "within 0.03), and is the value of their mean."
        )
    return " ".join(sentences)


def _speed(history: RunHistory, latency: Sequence[Latency]) -> str:
    if not latency:
        return ""
    groups: dict[str, list[Way]] = {}
    for entry in latency:
        groups.setdefault(wording.place_name(entry.way), []).append(entry.way)
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


def _software(history: RunHistory) -> str:
    versions = history.provenance.get("versions") or {}
    named = []
    for package, word in _PACKAGES.items():
        used = package != "torch-pruning" or isinstance(history.config, PruneConfig)
        if used and versions.get(package):
            named.append(f"{word} {versions[package]}")
    ours = f"MSIP Lab {history.provenance.get('msip_lab') or msip_core.__version__}"
    hardware = history.provenance.get("hardware") or {}
    parts = [hardware.get("processor"), *(hardware.get("gpus") or [])]
    computer = _listed([str(part) for part in parts if part])
    text = f"The work was done with {_listed([ours, *named])}"
    return text + (f" on a computer with {computer}." if computer else ".")
