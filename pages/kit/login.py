"""Login by Streamlit's own OpenID Connect, off unless the settings ask for it."""

from __future__ import annotations

import streamlit as st
from streamlit.errors import StreamlitAuthError

from msip_core.errors import ConfigError
from msip_core.language import t


def who() -> str:
    """The person at this tab by name, "" where nobody signs in."""
    return str(st.user.get("email") or st.user.get("name") or "")


def require_login(required: bool) -> None:
    """Stop the page at a sign-in button until the person is known.

    Raises:
        ConfigError: login is required but no identity provider is set up.
    """
    if not required or st.user.get("is_logged_in"):
        return
    st.title("MSIP Lab", anchor=False)
    st.caption(t("Sign in with the account of your institute."))
    if st.button(t("Sign in"), type="primary", icon=":material/login:"):
        try:
            st.login()
        except StreamlitAuthError as error:
            raise ConfigError(
                "Login is required here, but no identity provider is set up: fill [auth] in "
                ".streamlit/secrets.toml, and install streamlit[auth]."
            ) from error
    st.stop()
