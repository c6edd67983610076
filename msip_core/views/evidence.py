"""Pictures for a report: micrographs with both models' boxes, and where the models look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core.boxes import Detection, Pair
from msip_core.language import mark
from msip_core.views import wording

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Micrograph:
    """One micrograph with what both models found on it."""

    title: str
    pixels: Pixels
    baseline: Sequence[Detection]
    pruned: Sequence[Detection]
    pairs: Sequence[Pair]
    classes: Sequence[str]


@dataclass(frozen=True)
class Explanation:
    """One picture of where a model looks.

    Attributes:
        model: "Baseline", "Pruned", "Iteration 3": panels of one detection share a row.
        method: "Grad-CAM", "SHAP".
        picture: the overlay, as pixels or as the PNG file that the job wrote.
        result: the job's result: scores, layers, whatever else it found out.
    """

    model: str
    method: str
    picture: Pixels | Path
    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExplainedObject:
    """One detection and the explanations of it, in reading order."""

    title: str
    panels: Sequence[Explanation]


def micrograph_of(item: Mapping[str, Any], pixels: Pixels, classes: Sequence[str]) -> Micrograph:
    """One image of a comparison result, with its pixels."""
    return Micrograph(
        title=str(item.get("file") or item["id"]),
        pixels=pixels,
        baseline=[Detection.model_validate(value) for value in item["baseline"]],
        pruned=[Detection.model_validate(value) for value in item["pruned"]],
        pairs=[Pair.model_validate(value) for value in item["pairs"]],
        classes=classes,
    )


def fitted(item: Micrograph, longest: int = 1400) -> Micrograph:
    """The micrograph shrunk, boxes and all, so that its longer side is at most `longest`."""
    height, width = item.pixels.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return item
    size = (round(width * scale), round(height * scale))
    pixels = cv2.resize(item.pixels, size, interpolation=cv2.INTER_AREA)

    def smaller(found: Sequence[Detection]) -> list[Detection]:
        corners = ("x1", "y1", "x2", "y2")
        return [
            box.model_copy(update={key: getattr(box, key) * scale for key in corners})
            for box in found
        ]

    return replace(
        item,
        pixels=np.asarray(pixels, dtype=np.uint8),
        baseline=smaller(item.baseline),
        pruned=smaller(item.pruned),
    )


def choose_images(compare: Mapping[str, Any], limit: int = 3) -> list[Mapping[str, Any]]:
    """Images worth showing: one where the models differ most, then those with most objects.

    Which images were chosen, and that they were chosen so, is said in the report.
    """

    def differing(item: Mapping[str, Any]) -> int:
        return sum(pair["kind"] != "both" for pair in item["pairs"])

    items = list(compare["images"])
    if not items:
        return []
    first = max(items, key=differing)
    others = sorted(
        (item for item in items if item is not first),
        key=lambda item: len(item["pairs"]), reverse=True,
    )  # fmt: skip
    return [first, *others][:limit]


_SCORES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "ber": (mark("heat on the border"), wording.percent),
    "crypt_ber": (mark("heat on the crypt borders"), wording.percent),
    "enrichment": (mark("enrichment of the border"), lambda v: f"{v:.2f} ×"),
    "energy_in_box": (mark("heat inside the box"), wording.percent),
    "hit": (mark("hottest point on the object"), lambda v: mark("yes") if v else mark("no")),
    "c_at_10": (mark("carried by the strongest tenth"), wording.percent),
}


def score_words(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Scores of a Grad-CAM or SHAP result in words; what has no value is left out."""
    crypts = {f"crypt_{key}": v for key, v in (result.get("crypt_scores") or {}).items()}
    values = {**result, **(result.get("scores") or {}), **crypts}
    return [
        (word, spell(values[key]))
        for key, (word, spell) in _SCORES.items()
        if values.get(key) is not None
    ]


# Times the heat of an even map on the border. Bands of a few pixels vary by tens of percent with
# the place of one patch of the coarsest layer, so less than half as much again is no finding.
ENRICHED = 1.5


def is_hardly_on_border(scores: Mapping[str, Any]) -> bool:
    """Whether a map lies on the border hardly more than an even one would."""
    enrichment = scores.get("enrichment")
    return enrichment is not None and float(enrichment) < ENRICHED


def border_sentence(scores: Mapping[str, Any]) -> str | None:
    """The warning where a map lies on the border hardly more than an even one would."""
    if not is_hardly_on_border(scores):
        return None
    return (
        f"The map has {scores['enrichment']:.2f} times the heat of an even map on the border, "
        f"below {ENRICHED:.1f}: it does not show that the model looks at the border."
    )


def notes(result: Mapping[str, Any]) -> list[str]:
    """What a reader must know about one explanation: layers, which border, its sanity check."""
    found: list[str] = []
    if result.get("layers"):
        text = f"Layers {', '.join(str(layer) for layer in result['layers'])}"
        if result.get("skipped"):
            text += f"; {wording.plural(len(result['skipped']), 'layer')} skipped"
        found.append(text + ".")
    contour = (result.get("scores") or {}).get("contour")
    if contour:
        edge = "drawn outline" if contour == "mask" else "edge of the box, no outline is known"
        found.append(f"Border: {edge}.")
    verdict = (result.get("randomised") or {}).get("verdict")
    about = border_sentence(result.get("scores") or {})
    return [*found, *(text for text in (verdict, about, result.get("note")) if text)]
