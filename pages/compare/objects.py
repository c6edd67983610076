"""The objects of one micrograph beside its pictures: counts, the chosen one, the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from urllib.parse import urlencode

import streamlit as st

from msip_core.boxes import Detection, Pair
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.language import t
from msip_core.markdown import joined, md, rich
from msip_core.questions.detecting import ComparedImage
from msip_core.views import style, tables
from msip_core.views.marks import Side, read_mark_id
from msip_core.views.tables import Row
from msip_core.views.wording import percent
from pages.kit.classes import are_organoids
from pages.kit.detections import scale_of
from pages.kit.layout import Fact, facts
from pages.kit.pair import OBJECTS_OF, ModelPair, chosen_object
from pages.kit.saving import save_button
from pages.kit.words import known, small, strong


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


def counts(matched: Matched) -> None:
    """Count, crypt fraction and size of this image, both models."""
    scale = scale_of(matched.data, [matched.record])
    unit = "µm" if scale.unit == "um" else "px"

    def size(found: Sequence[Detection]) -> str:
        sizes = [scale.size(matched.record.id, box) for box in found]
        return known(median(sizes) if sizes else None, lambda value: f"{value:.0f} {unit}")

    def crypts(found: Sequence[Detection]) -> str:
        return known(tables.crypt_fraction(found, matched.data.classes), percent)

    word = t("Organoids") if are_organoids(matched.data.classes) else t("Objects")
    row = [(word, str(len(matched.before)), str(len(matched.after)))]
    if tables.CRYPT in matched.data.classes:
        row.append((t("Crypt fraction"), crypts(matched.before), crypts(matched.after)))
    row.append((t("Median size"), size(matched.before), size(matched.after)))
    facts(Fact(word, after, t("baseline {value}", value=before)) for word, before, after in row)
    note = t("Size: side of the square as large as the box.")
    if scale.unit == "px":
        note += " " + t(
            "In pixels, since no pixel size is known: it can be given on the Data page."
        )
    st.caption(md(t("Counts of the lighter model; all from the chosen score on.") + " " + note))


def chosen_card(pair: ModelPair, matched: Matched) -> None:
    """The object that was clicked, in words, with the way to its explanation."""
    box = chosen_object()
    item = _pair_of(matched, box) if box else None
    if box is None or item is None:
        return
    side, number = read_mark_id(box)
    with st.container(border=True):
        st.markdown(md(strong(t("Object {number}", number=_number_words(matched, item)))))
        st.markdown(md(_pair_sentence(matched, item)))
        st.page_link(
            "pages/look/page.py",
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
        words.append(
            rich(
                "{word} {share} {term}",
                word=t("overlap"),
                share=percent(pair.iou),
                term=small("IoU"),
            )
        )
    return joined(" · ", words)


def _address(pair: ModelPair, matched: Matched, side: Side, number: int) -> dict[str, str]:
    """Ids of the page that explains one object."""
    return {
        "run": pair.run.id,
        "step": str(pair.iteration),
        "image": matched.record.id,
        "objects": OBJECTS_OF[side],
        "object": str(number),
    }


def objects_table(pair: ModelPair, matched: Matched, kinds: Sequence[str]) -> None:
    record = matched.record
    item = ComparedImage(
        id=record.id,
        file=record.file,
        group=record.group,
        baseline=tuple(matched.before),
        pruned=tuple(matched.after),
        pairs=tuple(matched.only(kinds)),
    )
    scale = scale_of(matched.data, [record])
    rows = tables.pair_rows([item], matched.data.classes, scale=scale)
    if not rows:
        return
    shown = [_screen_row(row, _link(pair, matched, row), scale.unit) for row in rows]
    found, *drawn, before, after, overlap, link = shown[0]
    number = st.column_config.NumberColumn
    st.dataframe(
        shown,
        hide_index=True,
        height=min(36 * len(rows) + 40, 420),
        alt=t("Matched objects with number, class, score and size"),
        column_config={
            # Pixels: on a screen of 1400 these four are seen whole beside the pictures.
            link: st.column_config.LinkColumn(display_text=t("Why?"), pinned=True, width=54),
            found: st.column_config.Column(width=96),
            **{name: st.column_config.Column(width=108) for name in drawn},
            before: number(format="%.0f"),
            after: number(format="%.0f"),
            overlap: number(format="%.2f"),
        },
    )
    save_button(t("These objects as CSV"), tables.to_csv(rows), f"{record.id}-pairs.csv")


def _screen_row(row: Row, link: str, unit: str) -> Row:
    """A row of the CSV as it is read beside the pictures: each box named as it is drawn there."""
    size = "µm" if unit == "um" else "px"
    return {
        t("Found"): t(style.PAIR_WORDS[row["kind"]]),
        t("Baseline"): _drawn(row, "baseline"),
        t("Lighter model"): _drawn(row, "pruned"),
        t("Baseline size, {unit}", unit=size): row[f"baseline_size_{unit}"],
        t("Lighter size, {unit}", unit=size): row[f"pruned_size_{unit}"],
        t("Overlap (IoU)"): row["iou"],
        t("Why?"): link,
    }


def _drawn(row: Row, side: Side) -> str:
    """'3 crypt 0.82', as on the picture; empty where this model found nothing."""
    if not row[f"{side}_number"]:
        return ""
    return f"{row[f'{side}_number']} {row[f'{side}_class']} {row[f'{side}_score']:.2f}"


def _link(pair: ModelPair, matched: Matched, row: Row) -> str:
    """Address of the explanation of one row; the language of this tab goes with it."""
    side: Side = "baseline" if row["baseline_number"] else "pruned"
    ids = _address(pair, matched, side, row[f"{side}_number"])
    if language := st.query_params.get("lang"):
        ids["lang"] = language
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"{'/' + base if base else ''}/look?{urlencode(ids)}"
