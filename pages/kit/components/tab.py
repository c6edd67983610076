"""What the browser is told of a tab: the language of its text, and which one was chosen for good.

Streamlit's page says `lang="en"` for ever, so that a screen reader would read Chinese with an
English voice; and a server cannot set a cookie for a page that is already open.
"""

from __future__ import annotations

import streamlit as st

COOKIE = "msip_language"
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
        kept = f"{COOKIE}={language}; path=/; max-age={_YEAR}; samesite=lax"
        said.append(f'document.cookie = "{kept}";')
    st.html(f"<script>{' '.join(said)}</script>", unsafe_allow_javascript=True)


def remembered_language() -> str:
    """What was chosen in this browser, "" where nothing was. As it was when the tab was opened."""
    return str(st.context.cookies.get(COOKIE, ""))
