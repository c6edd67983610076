"""One micrograph, both models, boxes matched: slider or columns, filter, table, chosen object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from msip_core.boxes import Detection, Pair, match_detections
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.language import t, tn
from msip_core.views import style, tables
from msip_core.views.marks import (
    Mark,
    Side,
    labelled_marks,
    legend_of,
    pair_marks,
    read_mark_id,
)
from msip_core.views.pictures import draw_boxes, draw_pairs
from msip_core.views.wording import percent
from pages.shared.compare_numbers import compare_question
from pages.shared.components.compare_slider import Pane, compare_slider
from pages.shared.detections import (
    above,
    find,
    micrograph_url,
    nothing_found,
    pixels_of,
    scale_of,
)
from pages.shared.jobs import finished
from pages.shared.layout import Fact, facts, picture
from pages.shared.pair import OBJECTS_OF, ModelPair, chosen_object, forget_object, remember_object
from pages.shared.words import known, small

_SIDE = 560  # pixels: small enough that numbers can be read when two pictures share the page


@dataclass(frozen=True, slots=True)
class Matched:
    """One micrograph as two models saw it, boxes matched."""

    data: Dataset
    record: ImageRecord
    before: Sequence[Detection]
    after: Sequence[Detection]
    pairs: Sequence[Pair]

    def sides(self) -> tuple[tuple[Side, Sequence[Detection]], tuple[Side, Sequence[Detection]]]:
        return ("baseline", self.before), ("pruned", self.after)

    def only(self, kinds: Sequence[str]) -> list[Pair]:
        """Pairs of these kinds, in the order of the numbers on the pictures."""

        def place(pair: Pair) -> tuple[float, float]:
            before, after = pair.baseline, pair.pruned
            return (
                inf if before is None else self.before[before].number,
                inf if after is None else self.after[after].number,
            )

        return sorted((pair for pair in self.pairs if pair.kind in kinds), key=place)


def side_by_side(pair: ModelPair, data: Dataset, record: ImageRecord) -> None:
    """The pictures with the same numbers as the table beside them."""
    left, right = st.columns(2, vertical_alignment="bottom")
    confidence = left.slider(
        t("Show boxes from this score on {term}", term=small(t("confidence"))),
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
            _counts(matched)
            _chosen(pair, matched)
            _table(pair, matched, kinds)


def _counted(
    pair: ModelPair, data: Dataset, record: ImageRecord
) -> list[list[Detection] | None] | None:
    """What both models found when all test images were counted."""
    result = finished("compare", compare_question(pair, data))
    for item in result["images"] if result else ():
        if item["id"] == record.id:
            return [[Detection.model_validate(d) for d in item[s]] for s in ("baseline", "pruned")]
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
        format_func=lambda kind: t(style.PAIR_WORDS[kind]),
        selection_mode="multi",
        default=list(style.PAIR_KINDS),
        key="kinds",
    )


def _title(side: Side, count: int) -> str:
    if side == "baseline":
        return tn("Baseline: {n} organoid", "Baseline: {n} organoids", count)
    return tn("Lighter model: {n} organoid", "Lighter model: {n} organoids", count)


def _slider(matched: Matched, kinds: Sequence[str], truth: bool) -> None:
    record = matched.record
    url = micrograph_url(matched.data, record, "compare")
    labelled = labelled_marks(matched.data.boxes(record)) if truth else []
    chosen = chosen_object()

    def pane(side: Side, found: Sequence[Detection]) -> Pane:
        title = _title(side, len(found))
        marks: list[Mark] = pair_marks(
            matched.before, matched.after, matched.pairs, matched.data.classes,
            side=side, kinds=kinds, chosen=chosen or "",
        )  # fmt: skip
        return Pane(url, title, t("{title} on {image}", title=title, image=record.id),
                    [*labelled, *marks])  # fmt: skip

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
        words = _title(side, len(found))
        with column:
            alt = t("{title} on {image}", title=words, image=record.id)
            picture(drawn, caption=words, alt=alt)
    if truth:
        boxes = data.boxes(record)
        one, many = (
            (t("As drawn: {n} organoid"), t("As drawn: {n} organoids"))
            if data.drawn
            else (t("As labelled: {n} organoid"), t("As labelled: {n} organoids"))
        )
        words = (one if len(boxes) == 1 else many).format(n=len(boxes))
        with columns[2]:
            drawn = draw_boxes(pixels, boxes, data.classes, min_side=_SIDE)
            alt = t("{title} on {image}", title=words, image=record.id)
            picture(drawn, caption=words, alt=alt)


def _counts(matched: Matched) -> None:
    """Count, crypt fraction and size of this image, both models."""
    scale = scale_of(matched.data, [matched.record])
    unit = "µm" if scale.unit == "um" else "px"

    def size(found: Sequence[Detection]) -> str:
        sizes = [scale.size(matched.record.id, box) for box in found]
        return known(median(sizes) if sizes else None, lambda value: f"{value:.0f} {unit}")

    def crypts(found: Sequence[Detection]) -> str:
        return known(tables.crypt_fraction(found, matched.data.classes), percent)

    row = [(t("Organoids"), str(len(matched.before)), str(len(matched.after)))]
    if tables.CRYPT in matched.data.classes:
        row.append((t("Crypt fraction"), crypts(matched.before), crypts(matched.after)))
    row.append((t("Median size"), size(matched.before), size(matched.after)))
    facts(Fact(word, after, t("baseline {value}", value=before)) for word, before, after in row)
    note = t("Size: side of the square as large as the box.")
    if scale.unit == "px":
        note += " " + t(
            "In pixels, since no pixel size is known: it can be given on the Data page."
        )
    st.caption(t("Counts of the lighter model; all from the chosen score on.") + " " + note)


def _chosen(pair: ModelPair, matched: Matched) -> None:
    """The object that was clicked, in words, with the way to its explanation."""
    box = chosen_object()
    item = _pair_of(matched, box) if box else None
    if box is None or item is None:
        return
    side, number = read_mark_id(box)
    with st.container(border=True):
        st.markdown(f"**{t('Object {number}', number=_number_words(matched, item))}**")
        st.markdown(_pair_sentence(matched, item))
        st.page_link(
            "pages/look.py",
            label=t("See where both models look"),
            icon=":material/visibility:",
            query_params=_address(pair, matched, side, number),
        )


def _pair_of(matched: Matched, box: str) -> Pair | None:
    side, number = read_mark_id(box)
    for pair in matched.pairs:
        index = pair.baseline if side == "baseline" else pair.pruned
        found = matched.before if side == "baseline" else matched.after
        if index is not None and found[index].number == number:
            return pair
    return None


def _number_words(matched: Matched, pair: Pair) -> str:
    numbers = []
    if pair.baseline is not None:
        numbers.append(t("{n} (baseline)", n=matched.before[pair.baseline].number))
    if pair.pruned is not None:
        numbers.append(t("{n} (lighter model)", n=matched.after[pair.pruned].number))
    return " · ".join(numbers)


def _pair_sentence(matched: Matched, pair: Pair) -> str:
    words = [t(style.PAIR_WORDS[pair.kind]).capitalize()]
    for index, found in ((pair.baseline, matched.before), (pair.pruned, matched.after)):
        if index is not None:
            name = matched.data.classes[found[index].cls]
            words.append(f"{name} {found[index].score:.2f}")
    if pair.iou:
        words.append(f"{t('overlap')} {percent(pair.iou)} {small('IoU')}")
    return " · ".join(words)


def _address(pair: ModelPair, matched: Matched, side: Side, number: int) -> dict[str, str]:
    """Ids of the page that explains one object."""
    return {
        "run": pair.run.id,
        "step": str(pair.iteration),
        "image": matched.record.id,
        "objects": OBJECTS_OF[side],
        "object": str(number),
    }


def _table(pair: ModelPair, matched: Matched, kinds: Sequence[str]) -> None:
    record = matched.record
    item = {
        "id": record.id,
        "file": record.file,
        "group": record.group,
        "baseline": [found.model_dump() for found in matched.before],
        "pruned": [found.model_dump() for found in matched.after],
        "pairs": [one.model_dump() for one in matched.only(kinds)],
    }
    scale = scale_of(matched.data, [record])
    rows = tables.pair_rows({"images": [item]}, matched.data.classes, scale=scale)
    if not rows:
        return
    shown = [_screen_row(row, _link(pair, matched, row), scale.unit) for row in rows]
    link = list(shown[0])[-1]
    st.dataframe(
        shown,
        hide_index=True,
        height=min(36 * len(rows) + 40, 420),
        alt=t("Matched objects with number, class, score and size"),
        column_config={
            link: st.column_config.LinkColumn(display_text=t("Why?"), pinned=True, width="small")
        },
    )
    st.download_button(
        t("These objects as CSV"),
        tables.to_csv(rows),
        file_name=f"{record.id}-pairs.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def _screen_row(row: dict[str, Any], link: str, unit: str) -> dict[str, Any]:
    """A row of the CSV under headings for people; the numbers are those of the CSV."""
    size = "µm" if unit == "um" else "px"
    return {
        t("Baseline no."): row["baseline_number"],
        t("Lighter no."): row["pruned_number"],
        t("Found"): t(style.PAIR_WORDS[row["kind"]]),
        t("Baseline class"): row["baseline_class"],
        t("Lighter class"): row["pruned_class"],
        t("Baseline score"): row["baseline_score"],
        t("Lighter score"): row["pruned_score"],
        t("Baseline size, {unit}", unit=size): row[f"baseline_size_{unit}"],
        t("Lighter size, {unit}", unit=size): row[f"pruned_size_{unit}"],
        t("Overlap (IoU)"): row["iou"],
        t("Explanation"): link,
    }


def _link(pair: ModelPair, matched: Matched, row: dict[str, Any]) -> str:
    """Address of the explanation of one row; the language of this tab goes with it."""
    side: Side = "baseline" if row["baseline_number"] else "pruned"
    ids = _address(pair, matched, side, row[f"{side}_number"])
    if language := st.query_params.get("lang"):
        ids["lang"] = language
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"{'/' + base if base else ''}/look?{urlencode(ids)}"
