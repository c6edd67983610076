"""The server answers under its own names only."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from msip_core.settings import Settings
from pages.kit.server import OwnHostsOnly, host_of, own_hosts

OWN = own_hosts(["lab.example.org"])


def _ask(host: bytes | None, kind: str = "http") -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def inner(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "reached"})

    async def receive() -> dict[str, Any]:
        return {}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if host is None else [(b"host", host)]
    scope = {"type": kind, "headers": headers}
    asyncio.run(OwnHostsOnly(inner, lambda: OWN)(scope, receive, send))
    return sent


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8501", "LOCALHOST.", "127.0.0.1:8501", "127.0.0.2", "[::1]:8501",
     "[0:0:0:0:0:0:0:1]", "lab.example.org:443", socket.gethostname()],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_its_own_names_are_answered(host: str, kind: str) -> None:
    assert _ask(host.encode(), kind) == [{"type": "reached"}]


@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"evil.example:8501", b"localhost.evil.example", b"127.0.0.1.evil.example",
     b"localhost@evil.example", b"localhost:8501:1", b"[::1", b"[::1]x", b"", b"localhost:",
     b"local host", b"8.8.8.8", b"\xff", None],
)  # fmt: skip
def test_any_other_name_is_refused(host: bytes | None) -> None:
    assert _ask(host)[0]["status"] == 403
    assert _ask(host, "websocket") == [{"type": "websocket.close", "code": 1008}]


def test_the_life_of_the_server_is_no_request() -> None:
    assert _ask(None, "lifespan") == [{"type": "reached"}]


def test_every_address_is_no_name() -> None:
    assert "0.0.0.0" not in own_hosts(["0.0.0.0", "::"])
    assert host_of("Lab.Example.org:80") == "lab.example.org"


def test_more_names_come_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSIP_HOSTS", "lab.example.org, second.example")
    assert Settings().hosts == ("lab.example.org", "second.example")
