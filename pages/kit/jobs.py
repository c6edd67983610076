"""Interactive work on a page: start it, show how far it is, let it be cancelled, give the result.

The work runs in the compute process. Two kinds:

- A question (`ask`): the same question has the same key, so after a reload, in any tab, the
  page finds its running job or its finished answer again.
- A task (`start_task`, `task_panel`): something that changes the workspace, such as an import. It
  is done once per click; its key is kept in the address until its end was seen.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import streamlit as st

from msip_core.language import mark, t, tn, told
from msip_core.markdown import md
from msip_core.questions.base import Answer, Question
from pages.kit.guard import guarded, show_failure
from pages.kit.lab import lab
from pages.kit.words import time_left

BUSY = ("queued", "running")
# What a job does, in the words of who waits for it.
_DOING = {
    "Inspect": mark("looking into an upload"),
    "Import": mark("an import"),
    "Draw": mark("drawing examples"),
    "Predict": mark("a prediction"),
    "Compare": mark("a comparison of two models on many images"),
    "TimeModels": mark("a measurement of speed, which must be alone"),
    "Export": mark("an export"),
    "Upload": mark("a check of uploaded weights"),
    "Estimate": mark("a measurement of training steps"),
    "Preview": mark("a preview of a cut"),
    "GradCam": mark("a heat map"),
    "Shap": mark("SHAP contributions"),
    "TimeShap": mark("a measurement of how long SHAP takes"),
    "Boundary": mark("border scores"),
}
# Most answers that are asked for by looking at a page come within this time (seconds): waiting
# for it here saves a flash of a progress bar.
_PATIENCE = 0.6


def ask(
    question: Question[Answer],
    *,
    label: str,
    place: str,
    note: str = "",
    auto: bool = False,
    quiet: bool = False,
) -> Answer | None:
    """Draw the panel of a question; return its answer once it is there, else None.

    Args:
        label: text of the start button, and of the progress bar.
        place: tells panels of one page apart.
        note: what it costs, said beside the button ("about 3 min on this computer").
        auto: start without a click (cheap work that the page is about).
        quiet: the start button is not the main one of its page.
    """
    compute = lab().compute
    key = compute.key(question)
    if st.session_state.pop(f"job:{place}:asked", False):
        compute.submit(question)
    state = job_state(question)
    if state == "new" and auto:
        compute.submit(question)
        compute.wait(key, timeout=_PATIENCE)
        state = job_state(question)
    if state == "done":
        return compute.result(question)
    if state in BUSY:
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


def job_state(question: Question[Any]) -> str:
    """'new', or the state of its job."""
    return _state(lab().compute.key(question))


def finished(question: Question[Answer]) -> Answer | None:
    """The answer if this question was already answered; starts nothing, draws nothing."""
    return lab().compute.result(question) if job_state(question) == "done" else None


def job_folder(question: Question[Any]) -> Path:
    """Where the files of an answer lie."""
    compute = lab().compute
    return compute.folder(compute.key(question))


def start_task(question: Question[Any]) -> None:
    """Begin a task, put its key into the address, and draw the page anew.

    For the page's own run (`if st.button(...)`), never for `on_click`: the arguments of a
    callback are those of the last whole run of the page, and a person who types a name and
    clicks at once would get the old one.
    """
    # The ticket makes each click a task of its own: an import after a deletion is done again.
    st.query_params["task"] = lab().compute.submit(question, ticket=secrets.token_hex(4))
    st.rerun()


def task_begun() -> bool:
    """Whether the address carries a task whose end was not seen yet."""
    key = st.query_params.get("task")
    if key and _state(key) == "new":
        st.query_params.pop("task")
        key = None
    return key is not None


def task_panel(kind: type[Answer], label: str, place: str) -> Answer | None:
    """Draw the task of the address; return its result at its end, else None."""
    compute = lab().compute
    key = st.query_params["task"]
    state = _state(key)
    if state == "done":
        st.query_params.pop("task")
        return compute.result_of(key, kind)
    if state in BUSY:
        _progress(key, label, place)
        return None
    if state == "failed":
        show_failure(_reason(key))
    else:
        st.info(t("Cancelled: nothing half-made was left behind."), icon=":material/block:")
    st.button(
        t("Back"), key=f"task:{place}:back", icon=":material/arrow_back:", on_click=_forget_task
    )
    return None


def _forget_task() -> None:
    st.query_params.pop("task", None)


def _reason(key: str) -> str:
    error = lab().compute.status(key).error
    return told(error) if error else t("This work failed without a reason.")


def _state(key: str) -> str:
    compute = lab().compute
    return compute.status(key).state if compute.knows(key) else "new"


def waits_for(ahead: tuple[str, ...]) -> str:
    """What a job waits for that is not at work yet; `ahead` as `JobStatus` has it."""
    if not ahead:
        return t("begins in a moment")
    first = t(_DOING[ahead[0]]) if ahead[0] in _DOING else ahead[0]
    if len(ahead) == 1:
        return t("waits for {work}", work=first)
    return tn(
        "waits for {work} and {n} more", "waits for {work} and {n} more", len(ahead) - 1, work=first
    )


@st.fragment(run_every=1)
@guarded
def _progress(key: str, label: str, place: str) -> None:
    """The live part of both panels; ends itself with one rerun of the page."""
    compute = lab().compute
    status = compute.status(key)
    if status.state not in BUSY:
        st.rerun()
    if status.state == "queued":
        words = [label, waits_for(status.ahead)]
    else:
        words = [told(status.message) or label, f"{status.done:.0%}"]
        words.append(time_left(status.seconds_left))
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
