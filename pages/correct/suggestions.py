"""What models find on the images of a dataset: suggestions, and what is worth a look first.

Asked once for all images of a part. The answer is kept by the images and not by their labels, so
that a correction, which makes a new version of the dataset, does not ask again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from msip_core.boxes import Detection
from msip_core.cache import ContentStore, is_kept, key_of
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.errors import WorkError
from msip_core.language import t, tn
from msip_core.markdown import md
from msip_core.models import ModelCard, list_models
from msip_core.questions.base import form_of
from msip_core.questions.contents import state
from msip_core.questions.detecting import Predict, Predictions
from msip_core.questions.sources import DatasetImage, SavedModel
from pages.kit.choose import asked, choose
from pages.kit.jobs import ask, job_state
from pages.kit.lab import lab
from pages.kit.of_studies import models_switch, models_to_choose

FLOOR = 0.05  # the lowest score that is asked for
NOBODY = "none"
_AT_ONCE = 40  # images that are looked at without being asked for


@dataclass(frozen=True, slots=True)
class Found:
    """What one model finds.

    Attributes:
        boxes: image id -> detections from FLOOR on, in classes of the dataset.
        unknown: names of classes that the dataset does not have; their boxes are left out.
    """

    boxes: Mapping[str, Sequence[Detection]]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Advisers:
    """The model whose boxes are suggested, one to compare it with, and the score from which a box
    is one; None for no model."""

    first: ModelCard | None = None
    second: ModelCard | None = None
    threshold: float = 0.25

    @property
    def both(self) -> tuple[ModelCard | None, ModelCard | None]:
        return self.first, self.second


def choose_advisers(data: Dataset) -> Advisers:
    """Which models are asked."""
    cards = list_models(lab().workspace)
    offered = models_to_choose(cards, asked=asked("by"))
    if not offered:
        st.caption(t("There is no model yet that could suggest boxes: images come in their order."))
        return Advisers()
    names = {NOBODY: t("no model"), **{i: card.name for i, card in offered.items()}}
    own = [i for i, card in offered.items() if card.dataset == data.name]
    unpruned = [i for i in own if offered[i].kind != "pruned"]
    left, middle, right = st.columns(3, vertical_alignment="bottom")
    with left:
        usual = next(iter((*unpruned, *own)), NOBODY)
        first = choose(
            t("Suggestions by"),
            list(names),
            "by",
            words=names.__getitem__,
            default=usual,
            what=t("Model"),
        )
    if first == NOBODY:
        return Advisers()
    pruned = [i for i in own if offered[i].kind == "pruned" and i != first]
    with middle:
        second = choose(
            t("Compared with"),
            list(names),
            "with",
            words=names.__getitem__,
            default=next(iter(pruned), NOBODY),
            what=t("Model"),
            help=t("Where two models disagree, one of them is wrong: these images come first."),
        )
    threshold = right.slider(
        t("Suggest boxes from this score on"),
        0.05,
        0.95,
        0.25,
        0.05,
        key="suggest",
        bind="query-params",
    )
    models_switch(cards, "correct")
    return Advisers(
        offered[first], offered.get(second) if second != first else None, float(threshold)
    )


def suggested(
    data: Dataset,
    records: Sequence[ImageRecord],
    card: ModelCard,
    *,
    classes: Sequence[str],
    place: str,
) -> Found | None:
    """What a model finds on these images; None while nobody has asked or it still works."""
    key, cache = _key(records, card), lab().workspace.cache
    if not is_kept(cache, key):
        answer = _ask(_question(data, records, card), place, card)
        if answer is None:
            return None
        ContentStore(cache, form_of(Predictions)).keep(key, answer)
    return _read(str(cache), key, tuple(classes))


@st.cache_resource(max_entries=8, show_spinner=False)
def _read(cache: str, key: str, classes: tuple[str, ...]) -> Found:
    """Read once: a part of a large dataset has thousands of boxes."""
    answer = ContentStore(Path(cache), form_of(Predictions)).get(key)
    if answer is None:  # damaged, and cleared away by that
        raise WorkError("What the model had found cannot be read any more: reload the page.")
    return _in_classes(answer, classes)


def is_waited_for(data: Dataset, records: Sequence[ImageRecord], card: ModelCard) -> bool:
    """Whether a model is looking at images that it looks at without being asked: what comes first
    is known in a moment."""
    question = _question(data, records, card)
    return len(records) <= _AT_ONCE and job_state(question) in ("queued", "running")


def _question(data: Dataset, records: Sequence[ImageRecord], card: ModelCard) -> Predict:
    images = tuple(DatasetImage(dataset=data.name, image=record.id) for record in records)
    return Predict(model=SavedModel(model=card.id), images=images, conf=FLOOR)


def _ask(question: Predict, place: str, card: ModelCard) -> Predictions | None:
    count = len(question.images)
    label = tn(
        "Let {model} look at {n} image", "Let {model} look at {n} images", count, model=card.name
    )
    return ask(
        question,
        label=label,
        place=place,
        note=t("Images that need a look come first then, with boxes that the model suggests."),
        auto=count <= _AT_ONCE,
        quiet=True,
    )


def _key(records: Sequence[ImageRecord], card: ModelCard) -> str:
    """The same for the same model file and images, whatever their labels."""
    files = SavedModel(model=card.id).files(lab().workspace)
    states = [state(path, lab().workspace) for path in files]
    return key_of("suggestions", card.id, states, FLOOR, [[r.id, r.sha256] for r in records])


def _in_classes(answer: Predictions, classes: Sequence[str]) -> Found:
    """Detections whose class is one of the dataset's, numbered as there."""
    names = answer.classes
    number = {n: classes.index(name) for n, name in enumerate(names) if name in classes}
    boxes, unknown = {}, set()
    for image in answer.images:
        unknown |= {names[d.cls] for d in image.detections if d.cls not in number}
        boxes[image.id] = [
            found.model_copy(update={"cls": number[found.cls]})
            for found in image.detections
            if found.cls in number
        ]
    return Found(boxes, tuple(sorted(unknown)))


def tell_unknown(found: Found, card: ModelCard) -> None:
    """Boxes of a model that cannot be suggested, by class."""
    if found.unknown:
        text = t(
            "{model} also finds {classes}, which are no classes of this dataset: these "
            "boxes are not suggested.",
            model=card.name,
            classes=", ".join(found.unknown),
        )
        st.caption(md(text))
