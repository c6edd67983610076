"""One micrograph, both models, boxes matched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from msip_core.boxes import Detection, Pair, match_detections
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.views import style, tables
from msip_core.views.pictures import Side, draw_boxes, draw_pairs
from msip_core.views.wording import plural
from pages.shared.detections import above, find, pixels_of
from pages.shared.layout import picture
from pages.shared.pair import ModelPair
from pages.shared.words import small

# Small enough that the numbers can be read when two pictures share the page.
_SIDE = 560


@dataclass(frozen=True, slots=True)
class Matched:
    """One micrograph as two models saw it, boxes matched."""

    data: Dataset
    record: ImageRecord
    before: Sequence[Detection]
    after: Sequence[Detection]
    pairs: Sequence[Pair]


def side_by_side(pair: ModelPair, data: Dataset, record: ImageRecord) -> None:
    """Two pictures with the same numbers as the table below them."""
    left, right = st.columns(2, vertical_alignment="bottom")
    confidence = left.slider(
        f"Show boxes from this score on {small('confidence')}",
        0.05,
        0.95,
        0.25,
        0.05,
        key="conf",
        bind="query-params",
    )
    truth = right.toggle("Show the labelled boxes too", key="truth", bind="query-params")
    found = [
        find(source, data, record, imgsz=pair.config.imgsz, place=f"find:{word}")
        for source, word in pair.sides()
    ]
    if found[0] is None or found[1] is None:
        return
    before, after = above(found[0], confidence), above(found[1], confidence)
    matched = Matched(data, record, before, after, match_detections(before, after))
    if not matched.pairs:
        _nothing([*found[0], *found[1]], confidence)
    _pictures(matched, truth)
    _table(matched)


def _nothing(everything: Sequence[Detection], confidence: float) -> None:
    """Why there is no box, and what the models came closest to."""
    best = max((found.score for found in everything), default=None)
    highest = f"The highest score is {best:.2f}: move the slider." if best else "None scores 0.05."
    st.info(f"No organoid above {confidence:.2f}. {highest}", icon=":material/search_off:")


def _pictures(matched: Matched, truth: bool) -> None:
    data, record = matched.data, matched.record
    pixels = pixels_of(data, record)
    columns = st.columns(3 if truth else 2)
    sides: tuple[tuple[Side, str, int], ...] = (
        ("baseline", "Baseline", len(matched.before)),
        ("pruned", "Lighter model", len(matched.after)),
    )
    for column, (side, word, count) in zip(columns, sides):
        drawn = draw_pairs(
            pixels,
            matched.before,
            matched.after,
            matched.pairs,
            data.classes,
            side=side,
            min_side=_SIDE,
        )
        with column:
            words = f"{word}: {plural(count, 'organoid')}"
            picture(drawn, caption=words, alt=f"{words} on {record.id}")
    if truth:
        boxes = data.boxes(record)
        origin = "As drawn" if data.drawn else "As labelled"
        words = f"{origin}: {plural(len(boxes), 'organoid')}"
        with columns[2]:
            drawn = draw_boxes(pixels, boxes, data.classes, min_side=_SIDE)
            picture(drawn, caption=words, alt=f"{words} on {record.id}")
    _legend(matched.pairs)


def _legend(pairs: Sequence[Pair]) -> None:
    """The four kinds with their counts; line style and colour as in the pictures."""
    looks = {"both": "solid", "class changed": "dash-dot", "lost": "dashed", "new": "dotted"}
    parts = []
    for kind in style.PAIR_KINDS:
        count = sum(pair.kind == kind for pair in pairs)
        mark = f'<span style="color:{style.PAIR_COLOURS[kind]}">■</span>'
        words = f"<b>{count}</b> {style.PAIR_WORDS[kind]} <small>({looks[kind]})</small>"
        parts.append(f'<span style="white-space:nowrap">{mark} {words}</span>')
    st.html(
        '<div style="display:flex;flex-wrap:wrap;gap:.2rem 1.4rem">' + "".join(parts) + "</div>"
    )


def _table(matched: Matched) -> None:
    record = matched.record
    item = {
        "id": record.id,
        "file": record.file,
        "group": record.group,
        "baseline": [found.model_dump() for found in matched.before],
        "pruned": [found.model_dump() for found in matched.after],
        "pairs": [pair.model_dump() for pair in matched.pairs],
    }
    rows = tables.pair_rows({"images": [item]}, matched.data.classes)
    if not rows:
        return
    with st.expander(f"Table of {plural(len(rows), 'object')}", icon=":material/table:"):
        st.dataframe(rows, hide_index=True, alt="Matched objects with class and score")
        st.download_button(
            "Download as CSV",
            tables.to_csv(rows),
            file_name=f"{record.id}-pairs.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
