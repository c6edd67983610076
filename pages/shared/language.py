"""The language of this tab: chosen in the sidebar, kept in the address, at first the browser's."""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from msip_core.language import ENGLISH, LANGUAGES, use

_PARAM = "lang"
_KEY = "language"


def speak() -> None:
    """Let every text of this process ask its tab for the language. Called by app.py."""
    use(language)


def language() -> str:
    """One of `LANGUAGES`; English outside of a tab's own script (downloads, other threads)."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return ENGLISH
    asked = st.query_params.get(_PARAM)
    if asked in LANGUAGES:  # the address wins, as for every choice
        st.session_state[_KEY] = asked
    return str(st.session_state.setdefault(_KEY, _of_the_browser()))


def language_switch() -> None:
    """The chooser at the foot of the sidebar of every page."""
    now = language()
    if now != _of_the_browser():
        st.query_params[_PARAM] = now  # so that a reload keeps it
    else:
        st.query_params.pop(_PARAM, None)
    place = "language-switch"
    st.session_state[place] = now

    def changed() -> None:
        st.session_state[_KEY] = st.query_params[_PARAM] = st.session_state[place]

    st.selectbox(
        "Language · 语言", list(LANGUAGES), key=place, format_func=LANGUAGES.__getitem__,
        on_change=changed,
    )  # fmt: skip


def _of_the_browser() -> str:
    locale = (st.context.locale or "").lower()
    return "zh_CN" if locale.startswith("zh") else ENGLISH
