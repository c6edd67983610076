"""The language of this tab: chosen in the sidebar, kept in a cookie and the address; at first the
browser's."""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from msip_core.language import ENGLISH, LANGUAGES, use
from pages.kit.components.tab import remembered_language, tell_language

_PARAM = "lang"
_KEY = "language"
_CHOSEN = "language:chosen"  # by the switch: kept for the next visit


def speak() -> None:
    """Let every text of this process ask its tab for the language. Called by app.py."""
    use(language)


def language() -> str:
    """One of `LANGUAGES`; English outside of a tab's own script (downloads, other threads)."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return ENGLISH
    asked = st.query_params.get(_PARAM)
    if asked in LANGUAGES:  # a link or a reload; page links carry none, the session does
        st.session_state[_KEY] = asked
    elif _KEY not in st.session_state:
        st.session_state[_KEY] = _at_first()
    return str(st.session_state[_KEY])


def language_switch() -> None:
    """The chooser at the foot of the sidebar of every page."""
    place = "language-switch"
    st.session_state[place] = now = language()
    _keep(now)

    def changed() -> None:
        st.session_state[_KEY] = st.session_state[place]
        st.session_state[_CHOSEN] = True
        _keep(st.session_state[place])

    st.selectbox(
        "Language · 语言",
        list(LANGUAGES),
        key=place,
        format_func=LANGUAGES.__getitem__,
        on_change=changed,
    )
    tell_language(now, chosen=st.session_state.get(_CHOSEN, False))


def _keep(chosen: str) -> None:
    """In the address, so that a reload keeps it even without cookies; what a new tab would take
    anyway needs no word there."""
    if chosen != _at_first():
        st.query_params[_PARAM] = chosen
    else:
        st.query_params.pop(_PARAM, None)


def _at_first() -> str:
    """What was chosen in this browser before, else what the browser asks for."""
    remembered = remembered_language()
    if remembered in LANGUAGES:
        return remembered
    locale = (st.context.locale or "").lower()
    return "zh_CN" if locale.startswith("zh") else ENGLISH
