"""Pictures for a report: micrographs with both models' boxes, and where the models look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.boxes import Detection, Pair
from msip_core.language import mark
from msip_core.questions.detecting import ComparedImage
from msip_core.questions.looking import BoundaryScores, HeatMap, ShapValues
from msip_core.views import wording
from msip_core.views.pictures import shrink

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
        result: the answer that it shows: scores, layers, whatever else was found out.
    """

    model: str
    method: str
    picture: Pixels | Path
    result: HeatMap | ShapValues


@dataclass(frozen=True)
class ExplainedObject:
    """One detection and the explanations of it, in reading order."""

    title: str
    panels: Sequence[Explanation]


def micrograph_of(item: ComparedImage, pixels: Pixels, classes: Sequence[str]) -> Micrograph:
    """One image of a comparison, with its pixels."""
    return Micrograph(item.file or item.id, pixels, item.baseline, item.pruned, item.pairs, classes)


def fitted(item: Micrograph, longest: int = 1400) -> Micrograph:
    """The micrograph shrunk, boxes and all, so that its longer side is at most `longest`."""
    scale = longest / max(item.pixels.shape[:2])
    if scale >= 1:
        return item
    return replace(
        item,
        pixels=shrink(item.pixels, longest),
        baseline=[box.scaled(scale) for box in item.baseline],
        pruned=[box.scaled(scale) for box in item.pruned],
    )


def choose_images(images: Sequence[ComparedImage], limit: int = 3) -> list[ComparedImage]:
    """Images worth showing: one where the models differ most, then those with most objects.

    Which images were chosen, and that they were chosen so, is said in the report.
    """

    def differing(item: ComparedImage) -> int:
        return sum(pair.kind != "both" for pair in item.pairs)

    if not images:
        return []
    first = max(images, key=differing)
    others = sorted(
        (item for item in images if item is not first),
        key=lambda item: len(item.pairs),
        reverse=True,
    )
    return [first, *others][:limit]


_SCORES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "ber": (mark("heat on the border"), wording.percent),
    "crypt_ber": (mark("heat on the crypt borders"), wording.percent),
    "enrichment": (mark("enrichment of the border"), lambda v: f"{v:.2f} ×"),
    "energy_in_box": (mark("heat inside the box"), wording.percent),
    "hit": (mark("hottest point on the object"), lambda v: mark("yes") if v else mark("no")),
    "c_at_10": (mark("carried by the strongest tenth"), wording.percent),
}


def score_words(result: HeatMap | ShapValues) -> list[tuple[str, str]]:
    """Scores of a Grad-CAM or SHAP map in words; what has no value is left out."""
    values: dict[str, float | bool | None] = {
        **result.scores.model_dump(),
        "crypt_ber": result.crypt_scores.ber if result.crypt_scores else None,
        "c_at_10": result.c_at_10 if isinstance(result, ShapValues) else None,
    }
    return [
        (word, spell(values[key]))
        for key, (word, spell) in _SCORES.items()
        if values[key] is not None
    ]


# Times the heat of an even map on the border. Bands of a few pixels vary by tens of percent with
# the place of one patch of the coarsest layer, so less than half as much again is no finding.
ENRICHED = 1.5


def is_hardly_on_border(scores: BoundaryScores) -> bool:
    """Whether a map lies on the border hardly more than an even one would."""
    return scores.enrichment is not None and scores.enrichment < ENRICHED


def border_sentence(scores: BoundaryScores) -> str | None:
    """The warning where a map lies on the border hardly more than an even one would."""
    if not is_hardly_on_border(scores):
        return None
    return (
        f"The map has {scores.enrichment:.2f} times the heat of an even map on the border, "
        f"below {ENRICHED:.1f}: it does not show that the model looks at the border."
    )


def notes(result: HeatMap | ShapValues) -> list[str]:
    """What a reader must know about one explanation: layers, which border, its sanity check."""
    found: list[str] = []
    verdict = ""
    if isinstance(result, HeatMap):
        if result.layers:
            text = f"Layers {', '.join(result.layers)}"
            if result.skipped:
                text += f"; {wording.plural(len(result.skipped), 'layer')} skipped"
            found.append(text + ".")
        verdict = result.randomised.verdict if result.randomised else ""
    is_drawn = result.scores.contour == "mask"
    edge = "drawn outline" if is_drawn else "edge of the box, no outline is known"
    found.append(f"Border: {edge}.")
    about = border_sentence(result.scores)
    return [*found, *(text for text in (verdict, about, result.note) if text)]
