"""Choosers whose choice lives in the address: a link or a reload shows the same thing.

The address wins; without one the last choice of this session is taken, so that walking from page
to page stays on the same run. An id in the address that does not exist is said, not replaced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import streamlit as st

from msip_core.data.dataset import DatasetSummary
from msip_core.errors import NotFoundError
from msip_core.language import mark, t, tn
from msip_core.markdown import md

View = TypeVar("View", bound=str)


def asked(param: str) -> str | None:
    """The id that the address asks for, else the last one chosen in this session."""
    return st.query_params.get(param) or st.session_state.get(f"last:{param}")


def remember(param: str, value: str | None) -> None:
    """Put an id into the address and into the session."""
    if value is None:
        st.query_params.pop(param, None)
        st.session_state.pop(f"last:{param}", None)
        return
    if st.query_params.get(param) != value:
        st.query_params[param] = value
    st.session_state[f"last:{param}"] = value


def not_in_this_lab(what: str, name: str) -> NotFoundError:
    """The answer to a link whose id is not there."""
    return NotFoundError(
        "The {what} '{name}' of this link is not in this lab.", what=what.lower(), name=name
    )


def choose(
    label: str,
    options: Sequence[str],
    param: str,
    *,
    words: Callable[[str], str] = str,
    default: str | None = None,
    help: str | None = None,
    place: str = "",
    what: str | None = None,
) -> str:
    """A select box bound to `param` of the address.

    Args:
        options: the ids that exist, at least one.
        default: taken when neither the address nor the session names one of them.
        place: tells two choosers of the same param on one page apart.
        what: is chosen, where the label is no noun ("Counted by").

    Raises:
        NotFoundError: the address names an id that is not there.
    """
    wanted = st.query_params.get(param)
    if wanted is not None and wanted not in options:
        st.query_params.pop(param)
        raise not_in_this_lab(what or label, wanted)
    wanted = wanted or st.session_state.get(f"last:{param}")
    if wanted is None or wanted not in options:
        wanted = default if default is not None and default in options else options[0]
    key = f"choose:{place}:{param}"
    st.session_state[key] = wanted

    def changed() -> None:
        remember(param, st.session_state[key])

    shown = distinct(options, words)
    st.selectbox(
        md(label), options, key=key, format_func=shown.__getitem__, on_change=changed, help=md(help)
    )
    remember(param, wanted)
    return wanted


def distinct(options: Sequence[str], words: Callable[[str], str]) -> dict[str, str]:
    """Id -> words, with the id behind words that several share: a browser knows options by them."""
    said = {option: words(option) for option in options}
    often = Counter(said.values())
    return {
        option: text if often[text] == 1 else f"{text} · {option}" for option, text in said.items()
    }


def choose_dataset(sets: Mapping[str, DatasetSummary]) -> str:
    """One of these, by its title and how many images it has."""

    def words(name: str) -> str:
        one = sets[name]
        return tn("{name} ({n} image)", "{name} ({n} images)", one.images, name=one.words)

    return choose(t("Dataset"), list(sets), "dataset", words=words)


def choose_view(
    views: Mapping[View, str],
    default: View,
    place: str,
    *,
    param: str = "view",
    label: str = mark("Part of the page"),
    show_label: bool = False,
) -> View:
    """A row of buttons (id -> words, in English) bound to `param` of the address.

    Not Streamlit's own binding: that writes the words into the address, so that a link breaks
    when a word is improved.
    """
    wanted = st.query_params.get(param)
    key = f"view:{place}:{param}"
    st.session_state[key] = wanted if wanted in views else default

    def changed() -> None:
        st.query_params[param] = st.session_state[key]

    st.segmented_control(
        md(t(label)),
        list(views),
        key=key,
        format_func=lambda view: md(t(views[view])),
        label_visibility="visible" if show_label else "collapsed",
        on_change=changed,
        required=True,
        wrap=True,
    )
    chosen: View = st.session_state[key]
    return chosen
