"""One micrograph, both models, boxes matched: slider or columns, filtered, from a score on."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from msip_core.boxes import Detection, match_detections
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.language import t, tn
from msip_core.markdown import md
from msip_core.views import style
from msip_core.views.marks import Mark, Side, labelled_marks, legend_of, pair_marks
from msip_core.views.pictures import draw_boxes, draw_pairs
from pages.compare.objects import Matched, chosen_card, counts, objects_table
from pages.kit.classes import are_organoids
from pages.kit.components.compare_slider import Pane, compare_slider
from pages.kit.detections import (
    above,
    find,
    micrograph_url,
    nothing_found,
    pixels_of,
    size_warnings,
)
from pages.kit.jobs import finished
from pages.kit.layout import picture
from pages.kit.pair import (
    ModelPair,
    chosen_object,
    compare_question,
    forget_object,
    remember_object,
)
from pages.kit.words import labelled

_SIDE = 560  # pixels: small enough that numbers can be read when two pictures share the page


def side_by_side(pair: ModelPair, data: Dataset, record: ImageRecord) -> None:
    """The pictures with the same numbers as the table beside them."""
    left, right = st.columns(2, vertical_alignment="bottom")
    confidence = left.slider(
        md(labelled(t("Show boxes from this score on"), t("confidence"))),
        0.05,
        0.95,
        0.25,
        0.05,
        key="conf",
        bind="query-params",
    )
    with right.container(horizontal=True):
        truth = st.toggle(t("Labelled boxes too"), key="truth", bind="query-params")
        plain = st.toggle(t("Plain pictures, to save"), key="plain", bind="query-params")
    found = [
        find(source, data, record, imgsz=pair.config.imgsz, place=f"find:{side}")
        for side, source in (("baseline", pair.baseline), ("pruned", pair.pruned))
    ]
    if found[0] is None or found[1] is None:
        # Counted already, though only from a higher score on: better than an empty page.
        counted = _counted(pair, data, record)
        if counted is None:
            _waiting(data, record)
            return
        found = counted
    sources = (pair.baseline, pair.pruned)
    size_warnings(sources, data, record, imgsz=pair.config.imgsz)
    first, second = (side or [] for side in found)
    before, after = above(first, confidence), above(second, confidence)
    matched = Matched(data, record, before, after, match_detections(before, after))
    if not matched.pairs:
        nothing_found([*first, *second], confidence)
    kinds = _kinds()
    with st.container(key="beside"):
        pictures, numbers = st.columns([3, 2], gap="medium")
        with pictures:
            if plain:
                _plain_pictures(matched, truth)
            else:
                _slider(matched, kinds, truth)
        with numbers:
            counts(matched)
            chosen_card(pair, matched)
            objects_table(pair, matched, kinds)


def _counted(
    pair: ModelPair, data: Dataset, record: ImageRecord
) -> list[list[Detection] | None] | None:
    """What both models found when all test images were counted."""
    result = finished(compare_question(pair, data))
    for item in result.images if result else ():
        if item.id == record.id:
            return [list(item.baseline), list(item.pruned)]
    return None


def _waiting(data: Dataset, record: ImageRecord) -> None:
    """The micrograph as it is, while the models are asked."""
    alt = t("Micrograph {image}", image=record.id)
    compare_slider(
        Pane(micrograph_url(data, record, "waiting"), record.id, alt, []),
        None,
        size=(record.width, record.height),
        image=record.id,
        key="compare-waiting",
        picked=_toggle,
    )


def _kinds() -> list[str]:
    return st.pills(
        t("Show"),
        list(style.PAIR_KINDS),
        format_func=lambda kind: md(t(style.PAIR_WORDS[kind])),
        selection_mode="multi",
        default=list(style.PAIR_KINDS),
        key="kinds",
    )


def _title(side: Side, count: int, classes: Sequence[str]) -> str:
    organoids = are_organoids(classes)
    if side == "baseline" and organoids:
        return tn("Baseline: {n} organoid", "Baseline: {n} organoids", count)
    if side == "baseline":
        return tn("Baseline: {n} object", "Baseline: {n} objects", count)
    if organoids:
        return tn("Lighter model: {n} organoid", "Lighter model: {n} organoids", count)
    return tn("Lighter model: {n} object", "Lighter model: {n} objects", count)


def _truth_title(data: Dataset, count: int) -> str:
    if data.drawn:  # organoids, always
        one, many = t("As drawn: {n} organoid"), t("As drawn: {n} organoids")
    elif are_organoids(data.classes):
        one, many = t("As labelled: {n} organoid"), t("As labelled: {n} organoids")
    else:
        one, many = t("As labelled: {n} object"), t("As labelled: {n} objects")
    return (one if count == 1 else many).format(n=count)


def _slider(matched: Matched, kinds: Sequence[str], truth: bool) -> None:
    record = matched.record
    url = micrograph_url(matched.data, record, "compare")
    labelled = labelled_marks(matched.data.boxes(record)) if truth else []
    chosen = chosen_object()

    def pane(side: Side, found: Sequence[Detection]) -> Pane:
        title = _title(side, len(found), matched.data.classes)
        marks: list[Mark] = pair_marks(
            matched.before, matched.after, matched.pairs, matched.data.classes,
            side=side, kinds=kinds, chosen=chosen or "",
        )  # fmt: skip
        return Pane(
            url, title, t("{title} on {image}", title=title, image=record.id), [*labelled, *marks]
        )

    left, right = (pane(side, found) for side, found in matched.sides())
    compare_slider(
        left,
        right,
        size=(record.width, record.height),
        image=record.id,
        key="compare-slider",
        picked=_toggle,
        legend=legend_of(matched.pairs, len(labelled) if truth else None),
    )


def _toggle(box: str) -> None:
    """A second click on the chosen box lets it go."""
    if chosen_object() == box:
        forget_object()
    else:
        remember_object(box)


def _plain_pictures(matched: Matched, truth: bool) -> None:
    """The same as pictures without script: they can be saved, and open where the slider cannot."""
    data, record = matched.data, matched.record
    pixels = pixels_of(data, record)
    columns = st.columns(3 if truth else 2)
    for column, (side, found) in zip(columns, matched.sides()):
        drawn = draw_pairs(
            pixels, matched.before, matched.after, matched.pairs, data.classes,
            side=side, min_side=_SIDE,
        )  # fmt: skip
        words = _title(side, len(found), data.classes)
        with column:
            alt = t("{title} on {image}", title=words, image=record.id)
            picture(drawn, caption=words, alt=alt)
    if truth:
        boxes = data.boxes(record)
        words = _truth_title(data, len(boxes))
        with columns[2]:
            drawn = draw_boxes(pixels, boxes, data.classes, min_side=_SIDE)
            alt = t("{title} on {image}", title=words, image=record.id)
            picture(drawn, caption=words, alt=alt)
