"""What the browser is told of a tab: the language of its text, and which one was chosen for good.

Streamlit's page says `lang="en"` for ever, so that a screen reader would read Chinese with an
English voice; and a server cannot set a cookie for a page that is already open.
"""

from __future__ import annotations

import streamlit as st

COOKIE = "msip_language"

_JS = """
export default function({ data }) {
  document.documentElement.lang = data.lang;
  if (data.chosen) {
    const year = 365 * 24 * 3600;
    document.cookie = `${data.cookie}=${data.chosen}; path=/; max-age=${year}; samesite=lax`;
  }
}
"""
_mount = st.components.v2.component("msip_tab", js=_JS, isolate_styles=False)


def tell_language(language: str, *, chosen: bool) -> None:
    """Say in which language the page is; keep it for the next visit if a person chose it."""
    kept = language if chosen else ""
    data = {"lang": language.replace("_", "-"), "chosen": kept, "cookie": COOKIE}
    _mount(key="tab", data=data, height=0)


def remembered_language() -> str:
    """What was chosen in this browser, "" where nothing was. As it was when the tab was opened."""
    return str(st.context.cookies.get(COOKIE, ""))
