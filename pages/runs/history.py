"""One pruning run as the page shows it: what it measured, and which step is looked at."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import streamlit as st

from msip_core.config import PruneConfig
from msip_core.events import BaselineRecord, FinalRecord, IterationRecord
from msip_core.language import t
from msip_core.markdown import md
from msip_core.runs.events_log import EventLog
from msip_core.runs.store import RunRow
from msip_core.views.history import RunHistory, settled
from msip_core.views.wording import percent
from pages.kit.choose import remember
from pages.kit.lab import lab

PruneHistory = RunHistory[PruneConfig]


def read_history(run: RunRow, config: PruneConfig) -> PruneHistory:
    """All that the run has measured until now; read again only after its history went on."""
    path = EventLog(lab().runs.run_dir(run.id)).path
    # A run folder that was emptied from outside has no diary any more: the page says so little.
    state = path.stat() if path.is_file() else None
    size, changed = (state.st_size, state.st_mtime_ns) if state else (0, 0)
    measured = _measured(str(path), run.id, size, changed)
    return RunHistory(run.id, run.name, run.state, config, **measured._asdict())


class _Measured(NamedTuple):
    baseline: BaselineRecord | None
    iterations: tuple[IterationRecord, ...]
    final: FinalRecord | None


@lru_cache(maxsize=64)
def _measured(path: str, run_id: str, size: int, changed: int) -> _Measured:
    # Path, size and time of change are not used here: they make a history that went on a new entry.
    runs = lab().runs
    final = runs.final(run_id)
    return _Measured(runs.baseline(run_id), settled(runs.iterations(run_id), final), final)


def chosen_step(history: PruneHistory) -> int:
    """The step of the address; without one the page follows the newest."""
    wanted = st.query_params.get("step")
    if wanted is None:
        return history.default
    if wanted.isdecimal() and int(wanted) in history.steps:
        return int(wanted)
    st.query_params.pop("step")
    text = t(
        "Step {step} of this link is not there (yet): the page follows the newest.", step=wanted
    )
    st.info(md(text), icon=":material/info:")
    return history.default


def pick_step(history: PruneHistory, step: int) -> None:
    """Show this step everywhere; the default step is followed, not pinned."""
    if step == history.default:
        remember("step", None)
    elif step in history.steps:
        remember("step", str(step))


def step_words(history: PruneHistory, step: int) -> str:
    """'Step 3 of 5: 60.1 % of the MACs'. The same for ever: the browser knows the chosen option
    by its words, and a step that was the newest once must not be renamed."""
    record = history.at(step)
    if record is None:
        return t("Baseline: not pruned")
    return t(
        "Step {n} of {total}: {kept} of the MACs",
        n=step,
        total=history.config.iterations,
        kept=percent(record.macs_ratio, 1),
    )


def stepper(history: PruneHistory, step: int) -> None:
    """The step by keyboard: one back, a list, one on. Everything below follows it."""
    steps = history.steps
    place = steps.index(step) if step in steps else -1
    st.session_state["step:list"] = step if steps else None
    offered: list[int | None] = [*steps]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="stepper"):
        _arrow(history, steps[place - 1] if place > 0 else None, "back")
        st.selectbox(
            t("Step shown"),
            offered or [None],
            key="step:list",
            format_func=lambda n: t("none yet") if n is None else step_words(history, n),
            on_change=_listed,
            args=(history,),
            disabled=not steps,
            width=340,
            help=t("Or click a point of a curve. Numbers, network and pictures follow."),
        )
        _arrow(history, steps[place + 1] if 0 <= place < len(steps) - 1 else None, "on")
        st.button(
            t("Back to the result") if history.final else t("Follow the newest"),
            key="step:newest",
            icon=":material/last_page:",
            type="tertiary",
            disabled="step" not in st.query_params,
            on_click=pick_step,
            args=(history, history.default),
        )


def _listed(history: PruneHistory) -> None:
    chosen = st.session_state["step:list"]
    if chosen in history.steps:  # else the words of another language, after a switch
        pick_step(history, chosen)


def _arrow(history: PruneHistory, target: int | None, way: str) -> None:
    back = way == "back"
    st.button(
        t("Earlier") if back else t("Later"),
        key=f"step:{way}",
        icon=":material/chevron_left:" if back else ":material/chevron_right:",
        disabled=target is None,
        on_click=pick_step,
        args=(history, target),
    )
