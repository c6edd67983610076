"""Two models over all test images: agreement, the images that differ most, counts, CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import streamlit as st

from msip_core.boxes import PairKind
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.language import t, tn
from msip_core.markdown import md
from msip_core.questions.detecting import ComparedImage, Comparison
from msip_core.views import comparison, tables
from msip_core.views.evidence import fitted, micrograph_of
from msip_core.views.pictures import draw_pairs
from msip_core.views.wording import percent
from pages.kit.choose import choose_view, remember
from pages.kit.components.media import address, png
from pages.kit.components.thumbnails import Thumbnail, thumbnails
from pages.kit.detections import pixels_of, scale_of
from pages.kit.jobs import ask
from pages.kit.lab import dataset as open_again
from pages.kit.lab import lab
from pages.kit.layout import chart
from pages.kit.pair import ModelPair, compare_question, forget_object
from pages.kit.saving import save_button
from pages.kit.words import strong

_THUMB = 300  # pixels of a small picture's longer side
_MOST = 8  # small pictures


def all_images(pair: ModelPair, data: Dataset, record: ImageRecord) -> None:
    """Agreement and counts over the whole test part, with CSV per object, image and well."""
    images = data.split("test")
    question = compare_question(pair, data)
    result = ask(
        question,
        label=tn("Count on {n} test image", "Count on {n} test images", len(images)),
        place="compare",
        note=t("Both models on every image of the test part."),
    )
    if result is None:
        return
    st.markdown(md(_agreement_words(result.agreement)))
    chart(
        comparison.agreement_figure(comparison.agreement_info(result.agreement)),
        "agreement",
        t("Objects found by both models, with changed class, lost and new"),
    )
    key = lab().compute.key(question)
    _gallery(data, result, key, record)
    _tables(pair, data, result, key)


def _agreement_words(agreement: Mapping[PairKind, int]) -> str:
    counts = comparison.agreement_info(agreement)
    if not counts.of_baseline:
        return t(
            "The baseline found no object; the lighter model found {n}.", n=counts.counts["new"]
        )
    return t(
        "Of {total} objects that the baseline found, the lighter model finds {both} with the same "
        "class ({share}); {changed} changed class, {lost} lost, {new} new.",
        total=counts.of_baseline,
        both=counts.counts["both"],
        share=percent(counts.counts["both"] / counts.of_baseline),
        changed=counts.counts["class changed"],
        lost=counts.counts["lost"],
        new=counts.counts["new"],
    )


def _gallery(data: Dataset, result: Comparison, key: str, open_now: ImageRecord) -> None:
    """Where the models disagree most: a look at these says more than a mean."""
    found = comparison.most_different(result.images, _MOST)
    if not found:
        st.caption(t("Both models agree on every object of the test part."))
        return
    st.markdown(md(strong(t("Where the two models disagree most"))))
    items = {item.id: item for item in result.images}
    shown = []
    for place, item in enumerate(found):
        drawn = _thumb(data.name, data.content_hash, key, item.image, items[item.image])
        words = tn(
            "{different} of {n} object differs",
            "{different} of {n} objects differ",
            item.objects,
            different=item.different,
        )
        shown.append(
            Thumbnail(
                item.image,
                address(drawn, f"thumb:{place}"),
                item.image,
                words,
                t("{image}: {words}", image=item.image, words=words),
                item.image == open_now.id,
            )
        )
    thumbnails(shown, key="gallery", opened=_open)
    st.caption(t("Click a picture to open it above. Boxes from score 0.25 on."))


def _open(image: str) -> None:
    forget_object()
    remember("part", "test")
    remember("image", image)


@st.cache_data(max_entries=128, show_spinner=False)
def _thumb(name: str, content_hash: str, key: str, image: str, _item: ComparedImage) -> bytes:
    """Drawn once per dataset and answer."""
    data = open_again(name)
    pixels = pixels_of(data, data.image(image))
    small = fitted(micrograph_of(_item, pixels, data.classes), _THUMB)
    drawn = draw_pairs(
        small.pixels, small.baseline, small.pruned, small.pairs, data.classes,
        labels="none", min_side=_THUMB // 2,
    )  # fmt: skip
    return png(drawn)


def _tables(pair: ModelPair, data: Dataset, result: Comparison, key: str) -> None:
    """Per image, per well, per object: on the screen what the CSV files hold."""
    scale = scale_of(data, data.split("test"))
    views = {"image": t("Per image"), "well": t("Per well"), "object": t("Every object")}
    view = choose_view(views, "image", "compare", param="counts", label=t("Counts"))
    rows = _rows(key, view, result, data.classes, scale)
    st.dataframe(
        [row | ({"image": PurePath(row["image"]).name} if "image" in row else {}) for row in rows],
        hide_index=True,
        height=260,
        alt=t("Counts of both models"),
        column_config={column: _column(column) for column in tables.columns_of(rows)},
    )
    if scale.unit == "px":
        st.caption(
            t("Sizes are in pixels: no pixel size is known. It can be given on the Data page.")
        )
    files = {
        "image": (t("Counts per image (CSV)"), "counts-per-image"),
        "well": (t("Counts per well (CSV)"), "counts-per-well"),
        "object": (t("Every object (CSV)"), "every-object"),
    }
    with st.container(horizontal=True):
        for kind, (label, name) in files.items():
            text = _csv(key, kind, result, data.classes, scale)
            save_button(label, text, f"{pair.run.id}-{name}.csv", key=f"csv:{kind}")


@st.cache_data(max_entries=16, show_spinner=False)
def _rows(
    key: str, kind: str, _result: Comparison, _classes: Sequence[str], _scale: tables.Scale
) -> list[tables.Row]:
    """Made once per answer: a large test part has thousands of objects. `key` is made from the
    dataset too, so it stands for classes and pixel sizes."""
    if kind == "object":
        return tables.pair_rows(_result.images, _classes, scale=_scale)
    by_group = kind == "well"
    return tables.compare_count_rows(_result.images, _classes, by_group=by_group, scale=_scale)


@st.cache_data(max_entries=16, show_spinner=False)
def _csv(
    key: str, kind: str, _result: Comparison, _classes: Sequence[str], _scale: tables.Scale
) -> str:
    return tables.to_csv(_rows(key, kind, _result, _classes, _scale))


def _column(name: str) -> Any:
    """How a column of the CSV is read: sizes are no truer than a whole unit, shares than 1 %."""
    what = name.partition("_")[2]
    if what in {"median_size_um", "median_size_px", "size_um", "size_px"}:
        return st.column_config.NumberColumn(_heading(name), format="%.0f")
    if name == "iou" or what in {"crypt_fraction", "score"}:
        return st.column_config.NumberColumn(_heading(name), format="%.2f")
    return _heading(name)


def _heading(column: str) -> str:
    """The name of a CSV column in words; names of classes stay."""
    words = {
        "image": t("Image"),
        "group": t("Well"),
        "kind": t("Found"),
        "iou": t("Overlap (IoU)"),
        "both": t("found by both"),
        "class_changed": t("class changed"),
        "lost": t("lost"),
        "new": t("new"),
    }
    if column in words:
        return words[column]
    side, _, what = column.partition("_")
    quantities = {
        "total": t("total"),
        "crypt_fraction": t("crypt fraction"),
        "median_size_um": t("median size, µm"),
        "median_size_px": t("median size, px"),
        "size_um": t("size, µm"),
        "size_px": t("size, px"),
        "number": t("no."),
        "class": t("class"),
        "score": t("score"),
    }
    model = {"baseline": t("Baseline"), "pruned": t("Lighter model")}[side]
    return f"{model}: {quantities.get(what, what)}"
