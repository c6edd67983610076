"""What a study has found so far: table, sentences, charts, files."""

from __future__ import annotations

from typing import Any

import streamlit as st

from msip_core.language import mark, say, t
from msip_core.studies.analysis import analyse, analysis_rows
from msip_core.studies.engine import Standing
from msip_core.studies.outputs import all_numbers, markdown, printed_rows
from msip_core.studies.pareto import Axis, pareto_of
from msip_core.studies.table import Line, StudyTable, read_table
from msip_core.studies.verdicts import change_words, verdicts
from msip_core.views import tables, wording
from msip_core.views.pareto import pareto_figure
from pages.shared.choose import choose_view
from pages.shared.guard import escape
from pages.shared.lab import lab
from pages.shared.layout import chart
from pages.shared.words import known

_AXES: dict[Axis, str] = {"macs": mark("Over work (MACs)"), "ms": mark("Over measured time")}


def study_results(study_id: str, now: Standing) -> None:
    """The table and everything that is made from it."""
    table = read_table(lab().workspace, study_id, now)
    st.subheader(t("Table"), anchor=False)
    rows = [_row(line) for line in table.lines]
    wide = {t("Model"): st.column_config.Column(width="large", pinned=True)}
    st.dataframe(rows, hide_index=True, width="stretch", height="content", column_config=wide)
    st.caption(
        t(
            "mAP50 on {n} test images with its 95 % interval (bootstrap over images, paired "
            "between models). MACs are not speed; the speed-up is measured.",
            n=table.test_images or 0,
        )
    )
    measured = any(line.map50 for line in table.lines)
    if measured:
        _said(table)
        _charts(table)
        _analysis(table)
    _files(study_id, table)


def _row(line: Line) -> dict[str, Any]:
    name = f"{say(line.label)} ({say(line.differs)})" if line.differs else say(line.label)
    value = line.map50
    reason = say(line.reason) if value is None else ""
    return {
        t("Model"): name,
        "mAP50 [95 %]": reason
        if value is None
        else f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]",
        t("Change"): known(line.change, change_words),
        t("MACs kept"): known(line.macs_ratio, lambda share: wording.percent(share, 1)),
        t("Parameters"): known(line.params, wording.params),
        t("Size"): known(line.size_mb, wording.megabytes),
        t("Time"): known(line.ms, wording.milliseconds),
        t("Speed-up"): known(line.speedup, lambda ratio: f"{ratio:.2f} ×"),
        t("Paper's mAP50"): known(line.published, lambda paper: f"{paper.map50:.2f}"),
        t("Repeats"): f"{line.seeds} / {line.asked}",
    }


def _said(table: StudyTable) -> None:
    st.subheader(t("What it says"), anchor=False)
    st.markdown("\n".join(f"- {escape(say(text))}" for text in verdicts(table)))


def _charts(table: StudyTable) -> None:
    st.subheader(t("Accuracy over cost"), anchor=False)
    words = {str(axis): text for axis, text in _AXES.items()}
    chosen = choose_view(words, "macs", "study", param="axis", label=mark("Cost"))
    axis: Axis = "ms" if chosen == "ms" else "macs"
    figure = pareto_figure(pareto_of(table, axis), revision=f"pareto-{axis}")
    chart(figure, f"pareto-{axis}", t("Each model's mAP50 with its interval over what it costs"))


def _analysis(table: StudyTable) -> None:
    rows = analysis_rows(analyse(lab().workspace, table))
    if rows:
        st.subheader(t("Attention, noise, other images"), anchor=False)
        st.dataframe(rows, hide_index=True, width="stretch")


def _files(study_id: str, table: StudyTable) -> None:
    st.subheader(t("Take home"), anchor=False)
    printed = printed_rows(table)
    files = {
        "table.csv": ("text/csv", lambda: tables.to_csv(all_numbers(table))),
        "table.tex": ("application/x-tex", lambda: tables.to_latex(printed)),
        "table.md": ("text/markdown", lambda: markdown(table)),
        "report.html": ("text/html", lambda: _report(study_id, table)),
    }
    with st.container(horizontal=True):
        for name, (mime, make) in files.items():
            st.download_button(
                name, make, file_name=f"{study_id}-{name}", mime=mime, key=f"study:{name}",
                on_click="ignore", icon=":material/download:",
            )  # fmt: skip


def _report(study_id: str, table: StudyTable) -> str:
    from msip_core.studies.report import render_report  # brings matplotlib: seconds

    return render_report(lab().workspace, study_id, table)
