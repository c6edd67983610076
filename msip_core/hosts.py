"""Which names a request may give the server: only its own.

A foreign web page can let its name point to this computer (DNS rebinding); the browser then takes
the server for a part of that page. The request still carries the foreign name in `Host`, by which
it is known and refused, be it a page, an upload or a websocket.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import psutil

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_REFUSED = (
    b"This server is not known under that name. Whoever looks after it can add the name to "
    b"MSIP_HOSTS.\n"
)


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
