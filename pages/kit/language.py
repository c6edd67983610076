"""The language of this tab: chosen in the sidebar, kept in a cookie and the address; at first the
browser's.

The browser is told of it by a script: Streamlit's page says `lang="en"` for ever, so that a screen
reader would read Chinese with an English voice; and a server cannot set a cookie for a page that is
already open.
"""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from msip_core.language import ENGLISH, LANGUAGES, use

_PARAM = "lang"
_KEY = "language"
_CHOSEN = "language:chosen"  # by the switch: kept for the next visit
_COOKIE = "msip_language"
_YEAR = 365 * 24 * 3600


def tell_language(language: str, *, chosen: bool) -> None:
    """Say in which language the page is; keep it for the next visit if a person chose it.

    A script in the page and not a component, which the browser loads and imports at leisure: on a
    busy computer the language had not come after three minutes.

    Args:
        language: one of `LANGUAGES`, and so safe inside a script.
    """
    said = [f'document.documentElement.lang = "{language.replace("_", "-")}";']
    if chosen:
        kept = f"{_COOKIE}={language}; path=/; max-age={_YEAR}; samesite=lax"
        said.append(f'document.cookie = "{kept}";')
    st.html(f"<script>{' '.join(said)}</script>", unsafe_allow_javascript=True)


def remembered_language() -> str:
    """What was chosen in this browser, "" where nothing was. As it was when the tab was opened."""
    return str(st.context.cookies.get(_COOKIE, ""))


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
