"""The table of runs, one page at a time from the index, and which run is looked at."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from msip_core.errors import InputError
from msip_core.language import mark, t
from msip_core.markdown import md
from msip_core.runs.state import ALIVE, RunState
from msip_core.runs.store import RunRow
from msip_core.views.wording import accuracy, duration, percent
from pages.kit.choose import choose_view, not_in_this_lab, remember
from pages.kit.guard import guarded
from pages.kit.lab import lab
from pages.kit.of_studies import runs_switch, studies_shown
from pages.kit.words import STATE_WORDS, known, stage_words, when

_PER_PAGE = 10
_STATE_PX, _DOING_PX = 130, 190  # "Interrupted", "evaluation before fine-tuning"
# The head of the run that is looked at follows faster; a table drawn anew costs more.
_EVERY_SECONDS = 5
_FILTERS: dict[str, tuple[str, tuple[RunState, ...] | None]] = {
    "all": (mark("All"), None),
    "active": (mark("Running and waiting"), ALIVE),
    "held": (mark("Paused and interrupted"), (RunState.PAUSED, RunState.INTERRUPTED)),
    "done": (mark("Done"), (RunState.COMPLETED,)),
    "ended": (mark("Failed and cancelled"), (RunState.FAILED, RunState.CANCELLED)),
}
# What belongs to one run only: a link to another run must not carry it along.
_OF_ONE_RUN = ("step", "image", "object", "with")


def run_table() -> None:
    """Filter, page and table; the table follows the queue by itself while something moves."""
    runs = lab().runs
    left, middle, right = st.columns([6, 2, 1], vertical_alignment="bottom")
    with left:
        words = {name: t(word) for name, (word, _) in _FILTERS.items()}
        chosen = choose_view(words, "all", "runs", param="show", label=t("Which runs"))
    with middle:
        queue = t("Those that run or wait now are always under “Running and waiting”.")
        runs_switch("runs", help=queue)
    states, of_studies = _FILTERS[chosen][1], _which(chosen)
    pages = max(1, -(-runs.count(states, of_studies=of_studies) // _PER_PAGE))
    page = 1
    if pages > 1:
        page = right.number_input(
            md(t("Page of {n}", n=pages)),
            min_value=1,
            max_value=pages,
            key="page",
            bind="query-params",
        )
    moving = runs.count(ALIVE) > 0
    st.fragment(_table, run_every=_EVERY_SECONDS if moving else None)(states, of_studies, page)


def _which(chosen: str) -> bool | None:
    """The queue is always shown whole; elsewhere runs of studies are left out until asked for."""
    own = lab().runs.count(of_studies=False) > 0
    return None if chosen == "active" or studies_shown(own) else False


@guarded
def _table(states: tuple[RunState, ...] | None, of_studies: bool | None, page: int) -> None:
    rows = lab().runs.list(
        limit=_PER_PAGE, offset=(page - 1) * _PER_PAGE, states=states, of_studies=of_studies
    )
    if not rows:
        st.caption(t("No run of this kind."))
        return
    ids = [row.id for row in rows]

    def picked() -> None:
        marked = st.session_state["runs:table"].selection.rows
        if marked and ids[marked[0]] != st.query_params.get("run"):
            for param in _OF_ONE_RUN:
                st.query_params.pop(param, None)
            remember("run", ids[marked[0]])
            st.session_state["runs:picked"] = True

    cells = _cells(rows)
    st.dataframe(
        cells,
        hide_index=True,
        # Where nothing runs, nobody is doing anything and no time is left.
        column_order=[name for name in cells[0] if any(cell[name] != "" for cell in cells)],
        key="runs:table",
        on_select=picked,
        selection_mode="single-row",
        column_config={
            # What changes while one looks: Streamlit keeps the widths of the first words.
            t("State"): st.column_config.Column(width=_STATE_PX),
            t("Doing"): st.column_config.Column(width=_DOING_PX),
            t("Done"): st.column_config.ProgressColumn(
                t("Done"), min_value=0, max_value=1, format="percent"
            ),
        },
        alt=t("Runs of this page with state, progress and result"),
    )
    if st.session_state.pop("runs:picked", False):
        st.rerun()  # the rest of the page shows another run now


def _cells(rows: Sequence[RunRow]) -> list[dict[str, object]]:
    return [
        {
            t("Run"): row.name,
            t("Kind"): _kind(row.kind),
            t("State"): _state(row),
            t("Doing"): stage_words(row.stage) if row.state.has_worker else "",
            t("Done"): int(100 * row.done) / 100,  # "0.88%" is a precision that nobody has
            t("Time left"): duration(row.seconds_left)
            if row.state.has_worker and row.seconds_left is not None
            else "",
            "mAP50 val": known(row.map50, accuracy),
            t("MACs kept"): known(row.macs_ratio, lambda share: percent(share, 1)),
            t("Started"): when(row.started or row.created),
            t("Device"): row.slot or row.device,
        }
        for row in rows
    ]


def _kind(kind: str) -> str:
    return {"prune": t("Make lighter"), "count": t("Count")}.get(kind, t("Train"))


def _state(row: RunRow) -> str:
    word = t(STATE_WORDS[row.state][0])
    if not row.queue_position:
        return word
    return t("{state}, place {n}", state=word, n=row.queue_position)


def pick_run(wanted: str | None) -> str:
    """The run of the address, else the one that runs, else the newest that is of no study.

    Raises:
        NotFoundError: the address names a run that is not there.
    """
    runs = lab().runs
    if wanted:
        try:
            runs.run_dir(wanted)
        except InputError:  # not there, or no id at all
            remember("run", None)
            raise not_in_this_lab(t("Run"), wanted) from None
        remember("run", wanted)
        return wanted
    newest = (
        runs.list(limit=1, states=ALIVE)
        or runs.list(limit=1, of_studies=False)
        or runs.list(limit=1)
    )
    remember("run", newest[0].id)
    return newest[0].id
