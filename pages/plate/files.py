"""What is taken home of a plate: workbook, CSV, report, figures, labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO

import streamlit as st

from msip_core.data.export_formats import FORMATS
from msip_core.language import t
from msip_core.markdown import md
from msip_core.plates.analysis import PlateAnalysis
from msip_core.plates.figures import panels_of, plates_of
from msip_core.plates.methods import settings_of
from msip_core.plates.outcome import is_here
from msip_core.plates.statements import whole_sentence
from pages.kit.asking import show_command
from pages.kit.choose import choose
from pages.kit.lab import lab
from pages.kit.saving import save_button
from pages.kit.words import strong
from pages.plate.choosing import Count, quantity

_FORMATS = {"pdf": "PDF", "svg": "SVG", "png": "PNG", "tiff": "TIFF"}
_WIDTHS = {"178": "178 mm", "120": "120 mm", "85": "85 mm"}
_MANY = 100_000  # objects


def files(count: Count) -> None:
    """Each file is made when it is clicked."""
    name = count.run.id
    st.markdown(md(strong(t("Tables"), t("wells, conditions, agreement, images, objects"))))
    with st.container(horizontal=True):
        _button(t("Excel workbook"), lambda: _book(count), f"{name}.xlsx")
        _button(t("CSV files"), lambda: _csv(count, comma=False), f"{name}-csv.zip")
        _button(
            t("CSV with decimal commas"), lambda: _csv(count, comma=True), f"{name}-csv-comma.zip"
        )
    st.caption(
        t(
            "The workbook opens rightly in every language. Of the CSV files take those with "
            "decimal commas where your spreadsheet program writes 0,5 for a half."
        )
    )
    if len(count.analysis.counting.objects) > _MANY:
        st.caption(t("So many objects take a minute to be written."))
    st.markdown(md(strong(t("Report"), t("one HTML file with figures and methods"))))
    with st.container(horizontal=True):
        _button(t("Report of the plate"), lambda: _report(count), f"{name}.html")
    _figures(count)
    _labels(count)
    show_command(count.config, count.run.id)


def _labels(count: Count) -> None:
    """The objects as labels, with their scores, for another program."""
    st.markdown(md(strong(t("Labels"), t("each object with its score, for another program"))))
    dataset = count.config.dataset
    if dataset and not is_here(lab().workspace, dataset):
        st.caption(t("The dataset of these images was deleted since."))
        return
    left, right = st.columns([1, 2], vertical_alignment="bottom")
    with left:
        form = choose(
            t("Format of the labels"), list(FORMATS), "labels", words=lambda key: FORMATS[key].title
        )
    with right:
        name = f"{count.run.id}-labels-{form}.zip"
        _button(t("Download the labels"), lambda: labels_in(count, form), name)
    st.caption(t("Without the images; the command line writes them too: plate … --labels FORMAT."))


def labels_in(count: Count, form: str) -> BinaryIO:
    """A zip of them, on disk: a plate has a million objects."""
    from msip_core.plates.label_files import write_labels

    workspace = lab().workspace
    target = workspace.cache / "exports" / f"{count.run.id}-labels-{form}.zip"
    counting = count.analysis.counting
    write_labels(workspace, count.folder, counting, form, target, with_images=False)
    return target.open("rb")


def _button(label: str, make: Callable[[], bytes | BinaryIO], name: str) -> None:
    save_button(label, make, name, key=f"plate:file:{name}")


# The libraries of figures and workbooks take seconds: only where something is made.
def _book(count: Count) -> bytes:
    from msip_core.plates.book import book_bytes

    return book_bytes(count.analysis, settings_of(count.config))


def _csv(count: Count, *, comma: bool) -> bytes:
    from msip_core.plates.book import csv_zip

    return csv_zip(count.analysis, comma=comma)


def _report(count: Count) -> bytes:
    from msip_core.plates.report import render_report

    settings = settings_of(count.config)
    return render_report(count.analysis, settings, count.run.name).encode("utf-8")


def _names(found: PlateAnalysis, panels: Sequence[str]) -> dict[str, str]:
    """What each figure is called in the menu."""
    plates, doses = plates_of(found), found.doses
    words: dict[str, str] = {"labels": t("Counts against labels"), "sizes": t("Sizes")}
    for panel in panels:
        kind, _, which = panel.partition("-")
        if kind == "map":
            words[panel] = t("Map of {plate}", plate=plates[int(which) - 1] or t("the plate"))
        elif kind == "dose":
            measure, one = doses[int(which) - 1]
            words[panel] = f"{t('Dose and response')}: {one.name}, {quantity(found, measure)}"
        elif kind in ("conditions", "models"):
            title = t("Conditions") if kind == "conditions" else t("Both models")
            words[panel] = f"{title}: {quantity(found, which)}"
    return words


def _figures(count: Count) -> None:
    from msip_core.views.paper import to_bytes
    from msip_core.views.paper_page import alone, alone_caption

    panels = panels_of(count.analysis)
    st.markdown(md(strong(t("Figures"), t("for print, text stays text in PDF and SVG"))))
    if not panels:
        st.caption(t("There is nothing to draw yet."))
        return
    left, middle, right = st.columns(3)
    with left:
        names = _names(count.analysis, list(panels))
        chosen = choose(t("Figure"), list(panels), "figure", words=names.__getitem__)
    with middle:
        form = choose(t("File"), list(_FORMATS), "file", words=_FORMATS.__getitem__)
    with right:
        width = choose(t("Width"), list(_WIDTHS), "width", words=_WIDTHS.__getitem__)
    panel = panels[chosen]

    def draw() -> bytes:
        return to_bytes(alone(panel, float(width)), form)

    _button(t("Download the figure"), draw, f"{count.run.id}-{chosen}.{form}")
    with st.expander(t("Caption"), icon=":material/subject:"):
        st.code(
            f"{alone_caption(panel)} {whole_sentence(count.analysis)}",
            language=None,
            wrap_lines=True,
        )
