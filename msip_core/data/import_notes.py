"""What an import remembers of each image, and what it says of more than one: a sentence each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from msip_core.data.labels_csv import NAMELESS
from msip_core.messages import msg

# So many boxes lie in this part of both sides by chance in one of a million data sets.
_ENOUGH_BOXES, _CORNER = 20, 0.7


@dataclass(slots=True)
class TakenImage:
    """One image that is in, before the split is known; what was counted in it is for the report.

    Attributes:
        dropped: boxes of classes that were dropped as asked.
        scored: boxes that carry a score.
        lost: labels that could not be read, or were left out for what they say.
        reach: how far its boxes go to the right and down, as shares of the image.
        plane: what was taken of several planes of its file.
        alike: another image that came in before, with the very same boxes.
        labelled: as of an ImageRecord.
    """

    id: str
    file: str
    source: str
    width: int
    height: int
    sha256: str
    label_sha256: str
    counts: dict[str, int]
    pixel_size_um: float | None
    depth: str = ""
    box_sizes: list[float] = field(default_factory=list)
    outlined: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    scored: int = 0
    lost: int = 0
    reach: tuple[float, float] = (0.0, 0.0)
    plane: str | None = None
    alike: str | None = None
    labelled: bool | None = None


def notes_of(
    taken: Sequence[TakenImage], classes: Sequence[str], *, sizes_said: bool
) -> Iterator[str]:
    """Everything that concerns more than one image.

    Args:
        classes: of the source, in order, after mapping.
        sizes_said: a person has said how large a pixel is, for all images.
    """
    boxes: Counter[str] = sum((Counter(image.counts) for image in taken), Counter())
    yield from _of_labels(taken)
    yield from _corner(taken, boxes.total())
    yield from _alike(taken)
    for what, n in Counter(image.plane for image in taken if image.plane).items():
        yield msg("Files with several planes: {n} ({what}).", n=n, what=what)
    if outlined := sum(image.outlined for image in taken):
        yield msg(
            "Outlines are known for {outlined} of {total} boxes.",
            outlined=outlined,
            total=boxes.total(),
        )
    yield from _odd_names(boxes)
    empty = [name for name in classes if not boxes[name]]
    if empty and boxes:
        yield msg("Classes without any box were left out: {empty}.", empty=", ".join(empty))
    if not sizes_said and len({image.pixel_size_um for image in taken}) > 1:
        yield msg(
            "The images state different pixel sizes, or only some do: sizes of the dataset "
            "are given in pixels unless you enter one."
        )


def _of_labels(taken: Sequence[TakenImage]) -> Iterator[str]:
    """Labels that are missing, were left out, or are no person's."""
    if number := sum(image.labelled is False for image in taken):
        yield msg(
            "Images without a label: {number}. They came in to be labelled, and nothing is learned "
            "from them before.",
            number=number,
        )
    dropped: Counter[str] = sum((image.dropped for image in taken), Counter())
    for name, n in dropped.items():
        yield msg("Boxes of class '{name}' dropped, as asked: {n}.", name=name, n=n)
    if emptied := sum(bool(image.dropped) and not image.counts for image in taken):
        yield msg(
            "Images whose boxes are all of dropped classes: {n}. They were kept "
            "as background, as asked: a model learns that nothing is there.",
            n=emptied,
        )
    if lost := [image for image in taken if image.lost]:
        yield msg(
            "Labels that were left out, in images that were kept: {total} in "
            "{n} images (the first is {first}). What they "
            "marked would be learned as background: mend them, or leave these images out.",
            total=sum(image.lost for image in lost),
            n=len(lost),
            first=lost[0].source,
        )
    if scored := sum(image.scored for image in taken):
        yield msg(
            "Boxes that carry a score: {n}. A model predicted them: check them "
            "before you train on them.",
            n=scored,
        )


def _corner(taken: Sequence[TakenImage], total: int) -> Iterator[str]:
    """Boxes of many images that all lie in one corner: percents, or pixels of a smaller picture."""
    right, down = (max((image.reach[axis] for image in taken), default=1.0) for axis in (0, 1))
    if total >= _ENOUGH_BOXES and max(right, down) <= _CORNER:
        yield msg(
            "All {n} boxes lie in the upper left of their images, within {right:.0%} of the width "
            "and {down:.0%} of the height: their labels may be percents, or for a smaller picture. "
            "Look at some images before you train.",
            n=total,
            right=right,
            down=down,
        )


def _alike(taken: Sequence[TakenImage]) -> Iterator[str]:
    """Labels that were copied for another picture, or for the next of a series."""
    if alike := [image for image in taken if image.alike]:
        yield msg(
            "Images whose boxes are exactly those of another image: {n} (the first is {first}, "
            "with those of {other}). Check that each label is of its own image.",
            n=len(alike),
            first=alike[0].source,
            other=alike[0].alike,
        )


def _odd_names(boxes: Counter[str]) -> Iterator[str]:
    """Classes that may be one, and boxes that name none."""
    alike: dict[str, list[str]] = {}
    for name in boxes:
        alike.setdefault("".join(c for c in name.casefold() if c.isalnum()), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            yield msg(
                "Classes whose names differ in capitals or signs only: {names}. They were taken as "
                "several: join them in the class map if they are one.",
                names=", ".join(names),
            )
    if len(boxes) > 1 and boxes[NAMELESS]:
        yield msg(
            "Boxes that name no class, beside others that do: {n}. They are of the class "
            "'{name}': give it a name in the class map, or drop it.",
            n=boxes[NAMELESS],
            name=NAMELESS,
        )
