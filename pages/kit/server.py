"""The server behind the pages: it begins to work when it starts, not when a page is opened, and
answers only under its own names.

A foreign web page can let its name point to this computer (DNS rebinding); the browser then takes
the server for a part of that page. The request still carries the foreign name in `Host`, by which
it is known and refused, be it a page, an upload or a websocket.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import psutil
import streamlit as st
from starlette.middleware import Middleware
from streamlit.runtime.pages_manager import PagesManager

from msip_core.errors import MsipError
from msip_core.serving import start_serving
from msip_core.settings import get_settings
from msip_core.workspace import Workspace

logger = logging.getLogger(__name__)


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_REFUSED = (
    b"This server is not known under that name. Whoever looks after it can add the name to "
    b"MSIP_HOSTS.\n"
)


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


def own_hosts(more: Iterable[str] = ()) -> frozenset[str]:
    """The names and addresses of this computer, and those given (lower case, no port)."""
    names = {"localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()}
    names |= {f"{socket.gethostname()}.local"}  # how computers are found without a name server
    for addresses in psutil.net_if_addrs().values():
        names |= {
            a.address.partition("%")[0]
            for a in addresses
            if a.family in (socket.AF_INET, socket.AF_INET6)
        }
    found = {host for name in (*names, *more) if (host := host_of(name))}
    return frozenset(found - {"0.0.0.0", "::"})  # "every address" is no name of ours


def host_of(value: str) -> str | None:
    """The host of a `Host` header without its port, in one spelling; None if it is none."""
    text = value.strip().lower()
    if text.startswith("["):
        text, closing, port = text[1:].partition("]")
        if not closing or (port and not _is_port(port)):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(f":{port}"):
            return None
    text = text.removesuffix(".")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text if text and all(c.isalnum() or c in "-._" for c in text) else None


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isascii() and text[1:].isdigit()


class OwnHostsOnly:
    """ASGI middleware: 403 for requests under a name that is not the server's own."""

    def __init__(self, app: Application, hosts: Callable[[], frozenset[str]]) -> None:
        """`hosts` is asked again for a name that is not known: addresses change with the net."""
        self._app, self._ask = app, hosts
        self._hosts = hosts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._is_own(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before accept: HTTP 403
        else:
            headers = [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", str(len(_REFUSED)).encode()),
            ]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSED})

    def _is_own(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"host"]
        if len(given) != 1:
            return False
        host = host_of(given[0].decode("latin-1"))
        if host is None:
            return False
        if host in self._hosts or _is_loopback(host):
            return True
        if _is_address(host):
            self._hosts = self._ask()
        return host in self._hosts


def _is_loopback(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
