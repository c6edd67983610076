"""Any runs against each other: accuracy over the work that is left, in one chart and one table."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from msip_core.config import PruneConfig
from msip_core.errors import InputError
from msip_core.language import t
from msip_core.runs.store import RunRow
from msip_core.views.several_runs import LOOKS, lines_figure, lines_info, run_rows
from pages.kit.choose import not_in_this_lab
from pages.kit.lab import lab
from pages.kit.of_studies import runs_to_choose
from pages.kit.words import when
from pages.runs.history import PruneHistory, read_history
from pages.runs.live_chart import live_chart


def compare_runs(history: PruneHistory) -> None:
    """Choose runs beside the one that is shown; closed until somebody asks or a link does."""
    st.session_state.setdefault("compare-runs", "with" in st.query_params)
    part = st.expander(
        t("Compare with other runs"),
        key="compare-runs",
        on_change="rerun",
        icon=":material/stacked_line_chart:",
    )
    if not part.open:
        return
    with part:
        others = _choose(history.id)
        told = [_named(history), *(_named(read_history(row, row.config)) for row in others
                                if isinstance(row.config, PruneConfig))]  # fmt: skip
        lines = lines_info(told)
        live_chart(
            lambda: lines_figure(lines, revision=history.id),
            (lines, history.id),
            "several",
            t("Accuracy (mAP50) over the share of MACs kept, one line a run"),
        )
        st.dataframe(run_rows(told), hide_index=True, alt=t("Settings and results of these runs"))


def _named(history: PruneHistory) -> PruneHistory:
    return replace(history, name=f"{history.name} · {history.id[-4:]}")


def _choose(shown: str) -> list[RunRow]:
    """The other runs, by the parameter `with` of the address."""
    others = runs_to_choose(lambda row: row.id != shown, beside=shown)
    offered = {row.id: row for row in others}
    asked = [part for part in st.query_params.get("with", "").split(",") if part]
    for run_id in asked:
        if run_id not in offered and run_id != shown:
            offered[run_id] = _linked(run_id)
    st.session_state["compare:with"] = [i for i in asked if i in offered][: len(LOOKS) - 1]

    def changed() -> None:
        chosen = st.session_state["compare:with"]
        if chosen:
            st.query_params["with"] = ",".join(chosen)
        else:
            st.query_params.pop("with", None)

    chosen = st.multiselect(
        t("Runs to compare with"),
        list(offered),
        key="compare:with",
        format_func=lambda i: f"{offered[i].name} · {i[-4:]} · {when(offered[i].created)}",
        max_selections=len(LOOKS) - 1,
        on_change=changed,
        placeholder=t("Choose runs"),
        help=t("By name; the link in the address bar keeps the choice."),
    )
    return [offered[run_id] for run_id in chosen]


def _linked(run_id: str) -> RunRow:
    """A run that a link names.

    Raises:
        NotFoundError: it is not there; the address forgets it, so that the next look is free of it.
    """
    try:
        return lab().runs.get(run_id)
    except InputError:
        st.query_params.pop("with", None)
        raise not_in_this_lab(t("Run"), run_id) from None
