"""Interactive work on a page: start it, show how far it is, let it be cancelled, give the result.

The work runs in the compute process. Two kinds:

- A question (`job_panel`): the same question has the same key, so after a reload, in any tab, the
  page finds its running job or its finished answer again.
- A deed (`start_task`, `task_panel`): something that changes the workspace, such as an import. It
  is done once per click; its key is kept in the address until its end was seen.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import streamlit as st

from msip_core.language import say, t
from msip_core.markdown import md
from pages.shared.guard import guarded, show_failure
from pages.shared.lab import lab
from pages.shared.words import time_left

_BUSY = ("queued", "running")
# Most answers that are asked for by looking at a page come within this time (seconds): waiting
# for it here saves a flash of a progress bar.
_PATIENCE = 0.6


def job_panel(
    job: str,
    params: dict[str, Any],
    *,
    label: str,
    place: str,
    note: str = "",
    auto: bool = False,
    quiet: bool = False,
) -> dict[str, Any] | None:
    """Draw the panel of a question; return the job's result once it is there, else None.

    Args:
        job, params: what `Compute.submit` takes.
        label: text of the start button, and of the progress bar.
        place: tells panels of one page apart.
        note: what it costs, said beside the button ("about 3 min on this computer").
        auto: start without a click (cheap work that the page is about).
        quiet: the start button is not the main one of its page.
    """
    compute = lab().compute
    key = compute.key(job, params)
    if st.session_state.pop(f"job:{place}:asked", False):
        compute.submit(job, params)
    state = job_state(job, params)
    if state == "new" and auto:
        compute.submit(job, params)
        compute.wait(key, timeout=_PATIENCE)
        state = job_state(job, params)
    if state == "done":
        return compute.result(key)
    if state in _BUSY:
        _progress(key, label, place)
        return None
    if state == "failed":
        show_failure(_reason(key))
    cancelled = t("{work} (was cancelled)", work=label)
    text = {"failed": t("Try again"), "cancelled": cancelled}.get(state, label)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            md(text),
            key=f"job:{place}:start",
            type="secondary" if quiet else "primary",
            icon=":material/play_arrow:",
            on_click=_ask,
            args=(place,),
        )
        if note:
            st.caption(md(note), width="content")
    return None


def _ask(place: str) -> None:
    """Remember the click; the panel's next run asks with what the page's fields hold then."""
    st.session_state[f"job:{place}:asked"] = True


def job_state(job: str, params: dict[str, Any]) -> str:
    """'new', or the state of that job."""
    return _state(lab().compute.key(job, params))


def finished(job: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """The answer if this question was already answered; starts nothing, draws nothing."""
    compute = lab().compute
    return compute.result(compute.key(job, params)) if job_state(job, params) == "done" else None


def job_folder(job: str, params: dict[str, Any]) -> Path:
    """Where the files of a finished job lie."""
    compute = lab().compute
    return compute.folder(compute.key(job, params))


def start_task(job: str, params: dict[str, Any]) -> None:
    """Begin a deed, put its key into the address, and draw the page anew.

    For the page's own run (`if st.button(...)`), never for `on_click`: the arguments of a
    callback are those of the last whole run of the page, and a person who types a name and
    clicks at once would get the old one.
    """
    # The ticket makes each click a deed of its own: an import after a deletion is done again.
    st.query_params["task"] = lab().compute.submit(job, {**params, "ticket": secrets.token_hex(4)})
    st.rerun()


def task_begun() -> bool:
    """Whether the address carries a deed whose end was not seen yet."""
    key = st.query_params.get("task")
    if key and _state(key) == "new":
        st.query_params.pop("task")
        key = None
    return key is not None


def task_panel(label: str, place: str) -> dict[str, Any] | None:
    """Draw the deed of the address; return its result at its end, else None."""
    compute = lab().compute
    key = st.query_params["task"]
    state = _state(key)
    if state == "done":
        st.query_params.pop("task")
        return compute.result(key)
    if state in _BUSY:
        _progress(key, label, place)
        return None
    if state == "failed":
        show_failure(_reason(key))
    else:
        st.info(t("Cancelled: nothing half-made was left behind."), icon=":material/block:")
    st.button(
        t("Back"),
        key=f"task:{place}:back",
        icon=":material/arrow_back:",
        on_click=_forget_task,
    )
    return None


def _forget_task() -> None:
    st.query_params.pop("task", None)


def _reason(key: str) -> str:
    error = lab().compute.status(key).error
    return say(error) if error else t("This work failed without a reason.")


def _state(key: str) -> str:
    compute = lab().compute
    return compute.status(key).state if compute.knows(key) else "new"


@st.fragment(run_every=1)
@guarded
def _progress(key: str, label: str, place: str) -> None:
    """The live part of both panels; ends itself with one rerun of the page."""
    compute = lab().compute
    status = compute.status(key)
    if status.state not in _BUSY:
        st.rerun()
    waiting = status.state == "queued"
    words = [say(status.message) or (t("Waiting for the device") if waiting else label)]
    words += [] if waiting else [f"{status.done:.0%}", time_left(status.seconds_left)]
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    left.progress(min(1.0, max(0.0, status.done)), text=md(" · ".join(words)))
    right.button(
        t("Cancel"),
        key=f"job:{place}:cancel",
        icon=":material/stop:",
        on_click=guarded(compute.cancel),
        args=(key,),
        width="stretch",
    )
