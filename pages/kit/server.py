"""The server behind the pages: it begins to work when it starts, not when a page is opened, and
answers only under its own names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st
from starlette.middleware import Middleware
from streamlit.runtime.pages_manager import PagesManager

from msip_core.errors import MsipError
from msip_core.hosts import OwnHostsOnly, own_hosts
from msip_core.serving import start_serving
from msip_core.settings import get_settings
from msip_core.workspace import Workspace

logger = logging.getLogger(__name__)


@asynccontextmanager
async def work_from_the_start(_app: object) -> AsyncIterator[None]:
    """Streamlit's hook for the life of the server."""
    # Until the first `st.navigation` of its life, it would take the folder pages/ for its old kind
    # of app and open a first tab on any page but Start past app.py.
    PagesManager.uses_pages_directory = False
    start = asyncio.get_running_loop().run_in_executor(None, _start)
    yield
    await start


def _start() -> None:
    try:
        supervisor = start_serving(Workspace.open(get_settings().workspace))
    except (MsipError, OSError) as error:
        # The pages say the same to whoever opens one; the server must be there for that.
        logger.error("The queue is not worked on: %s", error)
    else:
        logger.info("Working on the queue of %s", supervisor.workspace.root)


def middleware() -> list[Middleware]:
    """What every request passes first."""
    return [Middleware(OwnHostsOnly, hosts=_hosts)]


def _hosts() -> frozenset[str]:
    configured = (st.get_option("server.address"), st.get_option("browser.serverAddress"))
    return own_hosts([*get_settings().hosts, *filter(None, configured)])
