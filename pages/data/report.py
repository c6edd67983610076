"""What a dataset holds and what happened on its way in."""

from __future__ import annotations

import streamlit as st

from msip_core.data.dataset import Dataset
from msip_core.data.manifest import SPLITS, ImportReport, Problem
from msip_core.data.readiness import PARTS, is_few
from msip_core.data.writing import set_pixel_size
from msip_core.language import mark, t, tn, told
from msip_core.markdown import md
from pages.kit.guard import guarded
from pages.kit.lab import lab
from pages.kit.layout import Fact, careful, facts, reasons_table

_SPLIT_WORDS = {
    "train": mark("To learn from"),
    "val": mark("To check progress"),
    "test": mark("For the final test"),
}


def readiness(dataset: Dataset) -> bool:
    """The badge: ready to train on, or the one thing that is missing."""
    ready, missing = dataset.readiness()
    with st.container(horizontal=True, vertical_alignment="center"):
        concerns, unsure = dataset.concerns() if ready else (), dataset.document.doubts()
        if dataset.unlabelled:
            st.badge(t("New images"), icon=":material/fiber_new:", color="blue")
        elif ready and not concerns:
            note = bool(dataset.report.repaired)
            st.badge(
                t("Ready, with a note") if note else t("Ready"),
                icon=":material/check:",
                color="green",
            )
        elif ready:
            if unsure:
                st.badge(t("Look at these first"), icon=":material/search:", color="orange")
            else:
                st.badge(t("Ready"), icon=":material/play_arrow:", color="gray")
            if len(concerns) > len(unsure):
                st.badge(t("Too few to rely on"), icon=":material/warning:", color="orange")
        else:
            st.badge(t("Not ready"), icon=":material/error:", color="orange")
        if dataset.drawn:
            st.badge(t("Drawn by computer"), icon=":material/draw:", color="blue")
        st.caption(md(told(missing) if missing else _headline(dataset.report)), width="content")
    careful(concerns)
    return ready


def objects_by_part(dataset: Dataset) -> None:
    """Boxes of each class in each part; a number that is too small is marked."""
    objects = dataset.objects()
    if not objects:
        return

    def words(part: str, number: int) -> str:
        if not is_few(part, number):
            return f"{number:,}"
        return t("{n} (too few, at least {least})", n=number, least=PARTS[part])

    rows = [
        {t("Class"): name, **{t(_SPLIT_WORDS[part]): words(part, n[part]) for part in PARTS}}
        for name, n in objects.items()
    ]
    st.dataframe(rows, hide_index=True, alt=t("Boxes of each class in each part"))


def summary(dataset: Dataset) -> None:
    """Images, boxes, split, sizes and pixel size, each with its unit."""
    report = dataset.report
    splits = {name: len(dataset.split(name)) for name in SPLITS}
    facts(
        [
            Fact(t("Images"), f"{len(dataset.images):,}"),
            *(Fact(t("Boxes"), f"{count:,}", name) for name, count in report.boxes.items()),
            *(
                Fact(t(_SPLIT_WORDS[name]), f"{count:,}", name)
                for name, count in splits.items()
                if not dataset.unlabelled
            ),
        ]
    )
    lines: list[str] = []
    if report.width and report.height:
        lines.append(
            t(
                "Images are {width} × {height} px (median).",
                width=f"{report.width.median:.0f}",
                height=f"{report.height.median:.0f}",
            )
        )
    if report.box_size:
        lines.append(
            t(
                "Boxes are {low} to {high} px wide, median {median} px.",
                low=f"{report.box_size.low:.0f}",
                high=f"{report.box_size.high:.0f}",
                median=f"{report.box_size.median:.0f}",
            )
        )
    lines.append(_depth(dataset))
    if dataset.pixel_size_um:
        lines.append(t("One pixel is {size} µm.", size=f"{dataset.pixel_size_um:.4g}"))
    lines += [_sentence(told(line)) for line in (report.grouping, *report.notes) if line]
    st.caption(md(" ".join(line for line in lines if line)))


def pixel_size(dataset: Dataset) -> None:
    """A field for what the files did not say, or said wrongly."""
    known = dataset.pixel_size_um
    correcting = t("Correct the pixel size")
    with (
        st.expander(md(correcting), icon=":material/straighten:")
        if known
        else st.container(border=True)
    ):
        if not known:
            st.markdown(
                t("Sizes will be in pixels. Enter micrometres per pixel to have them in µm.")
            )
        field, button = st.columns([3, 1], vertical_alignment="bottom")
        key = f"pixel-size:{dataset.name}"
        field.number_input(
            t("Micrometres per pixel"), min_value=0.0, value=known or 0.0, format="%.4f", key=key
        )
        button.button(
            t("Store"),
            icon=":material/save:",
            on_click=_store,
            args=(dataset.name, key),
            key=f"{key}:store",
            width="stretch",
        )


@guarded
def _store(name: str, key: str) -> None:
    set_pixel_size(lab().workspace, name, st.session_state[key])


def _headline(report: ImportReport) -> str:
    """Images and boxes in, things left out and mended."""
    boxes = ", ".join(f"{n} {name}" for name, n in report.boxes.items()) or t("no boxes")
    parts = [
        t(
            "{kept} of {found} images taken in ({boxes})",
            kept=report.kept,
            found=report.found,
            boxes=boxes,
        )
    ]
    if report.skipped:
        parts.append(tn("{n} left out", "{n} left out", len(report.skipped)))
    if report.repaired:
        parts.append(tn("{n} mended", "{n} mended", len(report.repaired)))
    return "; ".join(parts) + "."


def _depth(dataset: Dataset) -> str:
    """What became of images deeper than a screen can show."""
    deep = {int(bits): n for bits, n in dataset.report.depths.items() if int(bits) > 8}
    if not deep:
        return ""
    recipe = dataset.recipe
    text = tn(
        "{n} image was {bits} bit deep and was scaled to 8 bit",
        "{n} images were {bits} bit deep and were scaled to 8 bit",
        sum(deep.values()),
        bits=", ".join(map(str, sorted(deep))),
    )
    if recipe.low_value is None or recipe.high_value is None:
        return text + " " + t(
            "(percentiles {low} and {high} of each image).",
            low=f"{recipe.low_percentile:g}", high=f"{recipe.high_percentile:g}",
        )  # fmt: skip
    return text + " " + t(
        "(grey values {low} to {high}, the same for all).",
        low=f"{recipe.low_value:g}", high=f"{recipe.high_value:g}",
    )  # fmt: skip


def class_map(dataset: Dataset) -> None:
    """How classes were renamed, merged or dropped on the way in."""
    changed = {old: new for old, new in dataset.report.class_map.items() if old != new}
    if changed:
        words = [f"{old} → {new or t('left out')}" for old, new in changed.items()]
        st.caption(md(t("Classes on the way in: {changes}.", changes=", ".join(words))))


def report(dataset: Dataset) -> None:
    """Every file that was left out or mended, by name and with the reason."""
    _chosen(dataset.report.chosen)
    skipped, repaired = dataset.report.skipped, dataset.report.repaired
    if not skipped and not repaired:
        st.caption(t("Nothing was left out and nothing had to be mended."))
        return
    parts = []
    if skipped:
        parts.append(tn("{n} file left out", "{n} files left out", len(skipped)))
    if repaired:
        parts.append(tn("{n} file mended", "{n} files mended", len(repaired)))
    title = ", ".join(parts)
    with st.expander(md(title), icon=":material/rule:", expanded=bool(skipped)):
        reasons_table(
            [*_rows(skipped, t("left out")), *_rows(repaired, t("mended"))],
            alt=t("Files that were left out or mended, with the reason"),
        )


def _chosen(rows: tuple[Problem, ...]) -> None:
    """What was taken of files with several planes, channels or scenes."""
    if not rows:
        return
    title = tn(
        "{n} image was chosen from several planes",
        "{n} images were chosen from several planes",
        len(rows),
    )
    with st.expander(md(title), icon=":material/layers:"):
        reasons_table(
            [{t("Image"): row.file, t("What was taken"): told(row.what)} for row in rows],
            alt=t("Images from several planes and what was taken"),
        )


def _rows(problems: tuple[Problem, ...], what: str) -> list[dict[str, str]]:
    return [
        {t("File"): item.file, t("What became of it"): what, t("Why"): told(item.what)}
        for item in problems
    ]


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "。")) else text + "."
