"""Boxes as the browser draws them over a micrograph: number, words, colour, line style.

The numbers are `Detection.number`, those of the tables and CSV files. Lines look as in the drawn
pictures (`pictures.draw_pairs`), which serve as the plain form of the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from msip_core.boxes import Box, Detection, Pair
from msip_core.language import mark, t
from msip_core.messages import msg
from msip_core.views import style

Side = Literal["baseline", "pruned"]

_PREFIX: dict[Side, str] = {"baseline": "b", "pruned": "p"}
_INK, _PAPER, _LABELLED = "#0C1212", "#FFFFFF", "#FFFFFF"
_LABELLED_DASH = (3, 3)
LINE_WORDS = {
    "both": mark("solid line"),
    "class changed": mark("dash-dotted line"),
    "lost": mark("dashed line"),
    "new": mark("dotted line"),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """One box over a micrograph.

    Attributes:
        id: "b3" is number 3 of the baseline, "p3" of the pruned model; "" cannot be chosen.
        pair: the same for the two boxes of one object.
        number, text: written beside the box.
        label: read aloud.
        chosen: drawn bold.
    """

    id: str
    pair: str
    number: str
    text: str
    label: str
    x1: float
    y1: float
    x2: float
    y2: float
    colour: str
    dash: tuple[int, ...] = ()
    chosen: bool = False

    def as_data(self) -> dict[str, object]:
        """As the component takes it, with an ink that can be read on the colour."""
        return {**asdict(self), "ink": readable_ink(self.colour)}


def readable_ink(colour: str) -> str:
    """Black or white, whichever can be read on a plate of that colour."""
    return _INK if style.luminance(colour) > 0.18 else _PAPER


@dataclass(frozen=True, slots=True)
class Legend:
    """One kind of box and how many there are."""

    text: str
    colour: str
    dash: tuple[int, ...]

    def as_data(self) -> dict[str, object]:
        return asdict(self)


def mark_id(side: Side, number: int) -> str:
    """'b3': number 3 of the baseline."""
    return f"{_PREFIX[side]}{number}"


def read_mark_id(value: str) -> tuple[Side, int]:
    """The other way round.

    Raises:
        ValueError: it is no such id.
    """
    for side, prefix in _PREFIX.items():
        if value.startswith(prefix) and value[1:].isdigit():
            return side, int(value[1:])
    raise ValueError(msg("'{value}' is not the id of a box.", value=value))


def pair_marks(
    baseline: Sequence[Detection],
    pruned: Sequence[Detection],
    pairs: Sequence[Pair],
    classes: Sequence[str],
    *,
    side: Side,
    kinds: Sequence[str] = style.PAIR_KINDS,
    chosen: str = "",
) -> list[Mark]:
    """What one model found, each box in the look of its kind of pair, in order of numbers.

    Args:
        kinds: the kinds of pairs that are shown.
        chosen: id of a box; its whole pair is drawn bold.
    """
    found: list[tuple[int, Mark]] = []
    for place, pair in enumerate(pairs):
        index = pair.baseline if side == "baseline" else pair.pruned
        if index is None or pair.kind not in kinds:
            continue
        box = (baseline if side == "baseline" else pruned)[index]
        made = _detection_mark(box, classes, side, style.PAIR_COLOURS[pair.kind])
        drawn = replace(
            made,
            pair=f"pair{place}",
            label=f"{made.label}, {t(style.PAIR_WORDS[pair.kind])}",
            dash=style.PAIR_DASHES[pair.kind],
            chosen=chosen in _ids(pair, baseline, pruned),
        )
        found.append((box.number, drawn))
    return [item for _, item in sorted(found, key=lambda pair: pair[0])]


def _ids(pair: Pair, baseline: Sequence[Detection], pruned: Sequence[Detection]) -> set[str]:
    ids = set()
    if pair.baseline is not None:
        ids.add(mark_id("baseline", baseline[pair.baseline].number))
    if pair.pruned is not None:
        ids.add(mark_id("pruned", pruned[pair.pruned].number))
    return ids


def detection_marks(
    boxes: Sequence[Detection], classes: Sequence[str], *, chosen: int | None = None
) -> list[Mark]:
    """Objects to choose from, coloured by class; `chosen` is a number."""
    return [
        replace(
            _detection_mark(box, classes, "baseline", style.class_colour(box.cls)),
            chosen=box.number == chosen,
        )
        for box in boxes
    ]


def labelled_marks(boxes: Sequence[Box]) -> list[Mark]:
    """What a person labelled, as thin white lines that cannot be chosen."""
    return [
        Mark("", "", "", "", "", *box.xyxy, colour=_LABELLED, dash=_LABELLED_DASH) for box in boxes
    ]


def legend_of(pairs: Sequence[Pair], labelled: int | None = None) -> list[Legend]:
    """The four kinds with their counts; the labelled boxes too where they are shown."""
    items = [
        Legend(
            t(
                "{n} {kind} ({line})",
                n=sum(pair.kind == kind for pair in pairs),
                kind=t(style.PAIR_WORDS[kind]),
                line=t(LINE_WORDS[kind]),
            ),
            style.PAIR_COLOURS[kind],
            style.PAIR_DASHES[kind],
        )
        for kind in style.PAIR_KINDS
    ]
    if labelled is not None:
        items.append(Legend(t("{n} labelled", n=labelled), _LABELLED, _LABELLED_DASH))
    return items


def _detection_mark(box: Detection, classes: Sequence[str], side: Side, colour: str) -> Mark:
    name = classes[box.cls] if 0 <= box.cls < len(classes) else str(box.cls)
    # A labelled object has no score of a model: it is given as 1.
    scored = box.score < 1
    return Mark(
        id=mark_id(side, box.number),
        pair=mark_id(side, box.number),
        number=str(box.number),
        text=f"{name} {box.score:.2f}" if scored else name,
        label=t("Object {n}: {name}, score {score:.2f}", n=box.number, name=name, score=box.score)
        if scored
        else t("Object {n}: {name}", n=box.number, name=name),
        x1=box.x1,
        y1=box.y1,
        x2=box.x2,
        y2=box.y2,
        colour=colour,
    )
