"""Errors as people see them: one sentence and one next action, never a traceback.

Known errors (`MsipError`) carry their own sentence. Anything else is a bug: it gets a short code,
the traceback goes to the server's log under that code, and the person can save a report.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import streamlit as st

from msip_core import __version__
from msip_core.errors import (
    CheckpointError,
    DatasetError,
    DiskFullError,
    IllegalTransitionError,
    MsipError,
    NotFoundError,
    OutOfMemoryError,
)
from msip_core.language import mark, t, told
from msip_core.markdown import md
from pages.kit.saving import save_button

log = logging.getLogger("msip_lab.pages")

P = ParamSpec("P")
R = TypeVar("R")

# error -> what to do next, and where (folder and title of a page); the sentence itself comes with
# the error
_NEXT: tuple[tuple[type[MsipError], str, str, str], ...] = (
    (OutOfMemoryError, mark("Choose a smaller batch or image size."), "new_run", "New run"),
    (DiskFullError, mark("Free some room on the disk, then try again."), "", ""),
    (DatasetError, mark("Look at what the data check says."), "data", "Data"),
    (CheckpointError, mark("Choose another weights file."), "models", "Models"),
    (IllegalTransitionError, mark("The run moved on meanwhile: look again."), "runs", "Runs"),
    (NotFoundError, mark("It may have been renamed or removed."), "start", "Start"),
)


def show_error(error: MsipError) -> None:
    """Draw one known error: its sentence, then the next action."""
    show_failure(error.message)
    for kind, advice, page, label in _NEXT:
        if isinstance(error, kind):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.caption(md(t(advice)), width="content")
                if page:
                    way = f"pages/{page}/page.py"
                    st.page_link(way, label=md(t("Go to {page}", page=t(label))))
            return


def show_failure(sentence: str) -> None:
    """Draw a sentence about something that failed (from an error or from a job or run)."""
    st.error(md(told(sentence)), icon=":material/error:")


@contextmanager
def guard() -> Iterator[None]:
    """Show whatever goes wrong inside as words. For whole pages and for fragments."""
    try:
        yield
    except MsipError as error:
        show_error(error)
    except Exception as error:
        code = error_code(error)
        log.exception("Unexpected error %s", code)
        _show_unexpected(code, error)


def guarded(function: Callable[P, R]) -> Callable[P, R | None]:
    """Decorator form of `guard`, for fragments and callbacks, which run on their own."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R | None:
        with guard():
            return function(*args, **kwargs)
        return None

    return run


def error_code(error: BaseException) -> str:
    """Six signs that stay the same for the same fault at the same place, e.g. 'E-3F9A21'."""
    frames = traceback.extract_tb(error.__traceback__)
    place = "|".join(f"{frame.filename}:{frame.lineno}" for frame in frames)
    return "E-" + hashlib.sha256(f"{type(error).__name__}|{place}".encode()).hexdigest()[:6].upper()


def _show_unexpected(code: str, error: Exception) -> None:
    text = t(
        "Something went wrong here (code **{code}**). Your data are safe: nothing in the "
        "workspace was changed. Reload the page; if it comes again, send the report.",
        code=code,
    )
    st.error(md(text), icon=":material/bug_report:")
    report = "".join(
        [
            f"MSIP Lab {__version__}, Python {platform.python_version()}, {platform.platform()}\n",
            f"code {code}\n\n",
            *traceback.format_exception(error),
        ]
    )
    label = t("Save the report (text, no images)")
    save_button(label, report, f"msip-lab-{code}.txt", key=f"report-{code}")
