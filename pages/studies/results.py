"""What a study has found so far: table, sentences, charts, files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from msip_core.language import mark, t, tn, told
from msip_core.markdown import joined, md, rich
from msip_core.runs.state import RunState
from msip_core.studies.analysis import Analysed, analyse, analysis_rows
from msip_core.studies.engine import Standing
from msip_core.studies.outputs import all_numbers, markdown, printed_rows
from msip_core.studies.pareto import Axis, pareto_of
from msip_core.studies.plan import write_plan
from msip_core.studies.statistics import Interval
from msip_core.studies.table import Line, StudyTable, read_table
from msip_core.studies.verdicts import change_words, verdicts
from msip_core.views import tables, wording
from msip_core.views.pareto import pareto_figure
from pages.kit.choose import choose_view
from pages.kit.lab import lab
from pages.kit.layout import chart
from pages.kit.saving import save_button
from pages.kit.ways import way_words
from pages.kit.words import STATE_WORDS, known
from pages.studies.form import start_by_hand

_INTERVAL_PX = 165  # "+0.012 [−0.003, +0.027]"
_NAME_PX = 230  # beside it a telephone still shows the first numbers
# The table's own names of rows that are called by a whole phrase elsewhere.
_SHORT = {
    "more-epochs": mark("unpruned, more epochs"),
    "smaller-model": mark("next smaller model"),
    "smaller-image": mark("unpruned, smaller images"),
    "int8": mark("unpruned, int8"),
}
_AXES: dict[Axis, str] = {"macs": mark("Over work (MACs)"), "ms": mark("Over measured time")}


def study_results(study_id: str, now: Standing) -> None:
    """The table and everything that is made from it."""
    table = read_table(lab().workspace, study_id, now)
    st.subheader(t("Table"), anchor=False)
    _rows(_lines(table), pinned=t("Model"))
    measured = any(line.map50 for line in table.lines)
    if measured:
        _how(table)
    _said(table)
    if measured:
        _charts(table)
        _analysis(table)
    _files(study_id, table)


def _rows(rows: list[dict[str, Any]], *, pinned: str) -> None:
    """A table whose names stay in sight when it is moved sideways, on a narrow screen too."""
    names = {pinned: st.column_config.Column(width=_NAME_PX, pinned=True)}
    if rows and any(row.get(t("Change")) not in ("—", None) for row in rows):
        # Streamlit keeps the widths of the first words, the dashes of rows still to come.
        wide = st.column_config.Column(width=_INTERVAL_PX)
        names |= dict.fromkeys((t("Change"), t("Speed-up")), wide)
    st.dataframe(rows, hide_index=True, width="stretch", height="content", column_config=names)


def _how(table: StudyTable) -> None:
    text = t(
        "mAP50 on {n} test images with its 95 % interval (bootstrap over seeds, groups of "
        "images and images, paired between models). Better is said only with three seeds "
        "or more, and after Holm's correction over the rows. MACs are not speed; the "
        "speed-up is measured.",
        n=table.test_images or 0,
    )
    st.caption(md(text))
    if table.way is not None:
        st.caption(md(t("Time and speed-up: {way}.", way=way_words(table.way))))


def _lines(table: StudyTable) -> list[dict[str, object]]:
    rows = [_row(line) for line in table.lines]
    if any(line.differs for line in table.lines):
        for row, line in zip(rows, table.lines):
            row[t("Differs on purpose")] = told(line.differs)
    return rows


def _row(line: Line) -> dict[str, object]:
    value = line.map50
    return {
        t("Model"): _short(line.key, line.label),
        "mAP50 [95 %]": _missing(line.reason)
        if value is None
        else f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]",
        t("Change"): known(line.change, change_words),
        t("MACs kept"): known(line.macs_ratio, lambda share: wording.percent(share, 1)),
        t("Speed-up"): known(line.speedup, lambda ratio: _ratio(ratio, line.speedup_interval)),
        t("Time"): known(line.ms, wording.milliseconds),
        t("Repeats"): f"{line.seeds} / {line.asked}",
        t("Paper's mAP50"): known(line.published, lambda paper: f"{paper.map50:.2f}"),
        t("Parameters"): known(line.params, wording.params),
        t("Size"): known(line.size_mb, wording.megabytes),
    }


def _ratio(ratio: float, known: Interval | None) -> str:
    bounds = f" [{known.low:.2f}, {known.high:.2f}]" if known else ""
    return f"{ratio:.2f} ×{bounds}"


def _short(key: str, label: str) -> str:
    return t(_SHORT[key]) if key in _SHORT else told(label)


def _missing(reason: str) -> str:
    """The state in one word: why a row failed takes a sentence, which stands below the table."""
    state = reason.partition(":")[0]
    return t(STATE_WORDS[RunState(state)][0]) if state in set(RunState) else told(reason)


def _said(table: StudyTable) -> None:
    sentences = verdicts(table)
    if sentences:
        st.subheader(t("What it says"), anchor=False)
        st.markdown(md(joined("\n", (rich("- {text}", text=told(text)) for text in sentences))))


def _charts(table: StudyTable) -> None:
    st.subheader(t("Accuracy over cost"), anchor=False)
    words = {str(axis): text for axis, text in _AXES.items()}
    chosen = choose_view(words, "macs", "study", param="axis", label=mark("Cost"))
    axis: Axis = "ms" if chosen == "ms" else "macs"
    figure = pareto_figure(pareto_of(table, axis), revision=f"pareto-{axis}")
    chart(figure, f"pareto-{axis}", t("Each model's mAP50 with its interval over what it costs"))


def _analysis(table: StudyTable) -> None:
    """One question at a time: all in one table would be dozens of rows that do not compare."""
    found = analyse(lab().workspace, table)
    if not found:
        return
    st.subheader(t("Attention, noise, other images"), anchor=False)
    questions = list(dict.fromkeys(one.what for one in found))
    question = st.selectbox(t("Question"), questions, format_func=told, key="study:asked")
    about = [one for one in found if one.what == question]
    _rows([_answer(*pair) for pair in zip(about, analysis_rows(about))], pinned=t("Model"))
    out = max(one.left_out for one in about)
    if out:
        st.caption(
            md(tn("{n} image has no defined value.", "{n} images have no defined value.", out))
        )


def _answer(one: Analysed, printed: Mapping[str, object]) -> dict[str, object]:
    change = str(printed["vs baseline"]).replace("not clear", t("not clear"))
    return {
        t("Model"): _short(one.key, one.label),
        t("Value"): printed["value"],
        t("Change"): change,
    }


def _files(study_id: str, table: StudyTable) -> None:
    st.subheader(t("Take home"), anchor=False)
    st.caption(md(start_by_hand()))
    printed = printed_rows(table)
    files = {
        "table.csv": lambda: tables.to_csv(all_numbers(table)),
        "table.tex": lambda: tables.to_latex(printed),
        "table.md": lambda: markdown(table),
        "report.html": lambda: _report(study_id, table),
        "plan.yaml": lambda: write_plan(table.plan),
    }
    with st.container(horizontal=True):
        for name, make in files.items():
            save_button(name, make, f"{study_id}-{name}", key=f"study:{name}")


def _report(study_id: str, table: StudyTable) -> str:
    from msip_core.studies.report import render_report  # brings matplotlib: seconds

    return render_report(lab().workspace, study_id, table)
