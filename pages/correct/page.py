"""Correct boxes: image by image, those worth a look first; each save is a version of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from msip_core.data.dataset import Dataset
from msip_core.language import t
from msip_core.models import ModelCard
from pages.correct import history
from pages.correct.editor import Shown, box_editor
from pages.correct.queue import choose_order, choose_part, reasons, settled_queue, sort_again
from pages.correct.saving import ACK, Desk, take_in, tell_saved, who_field
from pages.correct.suggestions import Found, choose_advisers, is_waited_for, suggested, tell_unknown
from pages.correct.training import train_again
from pages.kit.choose import choose_dataset
from pages.kit.detections import above, micrograph_url
from pages.kit.guard import guard
from pages.kit.lab import dataset, datasets
from pages.kit.layout import empty, header


def _classes(data: Dataset, cards: tuple[ModelCard | None, ...]) -> tuple[str, ...]:
    """The dataset's; of one without labels the model's, or those that a person types."""
    if data.classes:
        return data.classes
    for card in cards:
        if card is not None:
            return card.classes
    typed = st.text_input(
        t("Classes of objects, separated by commas"),
        key=f"classes:{data.name}",
        placeholder="crypt, no_crypt",
        max_chars=500,
    )
    return tuple(dict.fromkeys(name.strip() for name in typed.split(",") if name.strip()))


def _desk(data: Dataset, places: Sequence[DeltaGenerator]) -> None:
    """Everything about one dataset; `places` hold the fields beside its name."""
    with places[0]:
        records = choose_part(data)
    with places[1]:
        order = choose_order()
    with places[2]:
        who = who_field()
    advisers = choose_advisers(data)
    classes = _classes(data, advisers.both)
    found = [
        suggested(data, records, card, classes=classes, place=f"suggest:{n}") if card else None
        for n, card in enumerate(advisers.both)
    ]
    for some, card in zip(found, advisers.both):
        if some is not None and card is not None:
            tell_unknown(some, card)
    if any(card and is_waited_for(data, records, card) for card in advisers.both):
        st.caption(t("The images come in their order as soon as the models have looked at them."))
        return
    queue = settled_queue(data, records, order, (found[0], found[1]), advisers.threshold)
    _editor(Desk(data, classes, queue), who, found[0], advisers.threshold)
    with guard():  # a damaged version takes only the history away
        history.drafts(data, who)
        history.versions(data, who)
    train_again(data, advisers.first)


def _editor(desk: Desk, who: str, found: Found | None, threshold: float) -> None:
    data, queue = desk.data, desk.queue
    record = data.image(queue.image)
    above_it, again = st.columns([5, 1], vertical_alignment="center")
    with above_it:
        reasons(queue)
    again.button(
        t("Sort again"),
        icon=":material/sort:",
        on_click=sort_again,
        width="stretch",
        help=t("By the labels of now: the order stays as it is while you work."),
    )
    if not desk.classes:
        st.info(t("Name the classes first: every box is of one."), icon=":material/label:")
    if not who:
        st.warning(t("Say who you are before you save: the history tells it to the others."))
    suggestions = above(found.boxes.get(record.id, ()), threshold) if found else []
    box_editor(
        Shown(
            place=f"{data.name}:{data.created}",
            image=record.id,
            url=micrograph_url(data, record, "correct"),
            size=(record.width, record.height),
            classes=desk.classes,
            boxes=data.boxes(record),
            suggestions=suggestions,
            base=record.labels_version,
            seen=data.labels_version,
            where=t(
                "{n} of {total}: {image}", n=queue.at + 1, total=len(queue.order), image=record.id
            ),
            has_previous=queue.at > 0,
            has_next=queue.at + 1 < len(queue.order),
            ack=st.session_state.get(ACK, ""),
        ),
        key="box-editor",
        done=partial(take_in, desk, who),
    )
    tell_saved(data)


header(
    t("Correct boxes"),
    t(
        "Move, draw, delete and rename boxes image by image, those worth a look first. Each save "
        "is a version of the labels: nothing is lost, and every version can be brought back."
    ),
)
sets = {item.name: item for item in datasets() if item.images}
if not sets:
    empty(t("No images yet."), ("pages/data/page.py", t("Bring in images")))
else:
    first, *others = st.columns([3, 2, 3, 2])
    with first:
        name = choose_dataset(sets)
    _desk(dataset(name), others)
