"""Whether a dataset can be trained on, and whether it can teach: one place for every screen.

Not ready means that training would fail or has nothing to learn from; it is refused. A dataset
that is ready may still be too small or too uneven to teach: that is said wherever it is shown,
with the numbers, and refused nowhere, since a first look with few images is a fair wish.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from msip_core.messages import Message, mark, msg

# Part -> fewest objects of a class that it needs.
PARTS: dict[str, int] = {
    # Fine-tuned detectors of organoids begin to find a class from about a hundred drawn boxes;
    # below, they remember the images.
    "train": 100,
    # With 10 objects one that is lost moves recall by .1, three times what the guard rail allows.
    "val": 10,
    # A share of .9 measured on 25 objects has a 95 % interval of ±.12 (Wald); on fewer, methods
    # that differ cannot be told apart.
    "test": 25,
}
RARE = 20  # times: a class that is rarer beside another hardly moves the loss of the whole

PART_WORDS: Mapping[str, str] = {"train": mark("train"), "val": mark("val"), "test": mark("test")}

Counts = Mapping[str, Mapping[str, int]]


class Counted(Protocol):
    """What of an image counts here: objects by class, and the part that it lies in."""

    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def split(self) -> str | None: ...


class Readiness(NamedTuple):
    """Whether a dataset can be trained on, or the one thing that is missing."""

    ready: bool
    missing: str | None


def readiness_of(
    images: Sequence[Counted], classes: Sequence[str], *, unlabelled: bool = False
) -> Readiness:
    """Name the first thing that training would miss, in the order a person would mend it.

    Args:
        unlabelled: no label came with the images: nothing is missing for counting them.
    """
    missing = _missing(images, classes, unlabelled)
    return Readiness(missing is None, missing)


def _missing(images: Sequence[Counted], classes: Sequence[str], unlabelled: bool) -> str | None:
    if unlabelled:
        return msg(
            "These are new images without labels: count them with a model. To train on them, "
            "label them first."
        )
    if not images:
        return msg("There are no images: import a folder or zip with micrographs.")
    if not classes:
        return msg("No image has a box: import the label files together with the images.")
    for split, purpose in (("train", msg("to learn from")), ("val", msg("to check progress on"))):
        if not any(image.counts for image in images if image.split == split):
            return msg(
                "No labelled image in the {split} part, so there is nothing {purpose}: "
                "import more images, or choose another split.",
                split=PART_WORDS[split],
                purpose=purpose,
            )
    learned = {name for image in images if image.split == "train" for name in image.counts}
    if unlearned := [name for name in classes if name not in learned]:
        return msg(
            "No box of class '{name}' in the train part: add images of it, choose another "
            "split seed, or map the class to another one.",
            name=unlearned[0],
        )
    return None


def objects_of(images: Sequence[Counted], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Class -> part -> labelled objects."""
    counts = {name: dict.fromkeys(PARTS, 0) for name in classes}
    for image in images:
        for name, number in image.counts.items():
            if name in counts and image.split in PARTS:
                counts[name][image.split] += number
    return counts


def is_few(part: str, number: int) -> bool:
    """Whether so many objects of a class are too few in that part."""
    return number < PARTS[part]


def concerns_of(objects: Counts) -> tuple[str, ...]:
    """What is too few or too rare to be learned or judged: a sentence each, the worst first."""
    totals = {name: sum(parts.values()) for name, parts in objects.items()}
    found = []
    if totals and (most := max(totals, key=lambda name: totals[name])):
        found = [
            msg(
                "For every box of class '{name}' there are {totals} of class "
                "'{most}': the rare class will hardly be learned, and a mean accuracy hides it.",
                name=name,
                totals=round(totals[most] / number),
                most=most,
            )
            for name, number in totals.items()
            if 0 < number * RARE < totals[most]
        ]
    for part, least in PARTS.items():
        few = [f"{n[part]} {name}" for name, n in objects.items() if n[part] < least]
        if few:
            found.append(Message(_TOO_FEW[part], {"which": ", ".join(few), "least": least}))
    return tuple(found)


_TOO_FEW = {
    "train": mark(
        "Too few boxes to learn from: {which} (at least {least} of each class). The network "
        "would remember these images instead: label more."
    ),
    "val": mark(
        "Too few boxes to check progress on: {which} (at least {least} of each class). Each "
        "one moves the accuracy more than the guard rail allows."
    ),
    "test": mark(
        "Too few boxes for the final test: {which} (at least {least} of each class). Chance "
        "differences will be larger than those between models."
    ),
}
