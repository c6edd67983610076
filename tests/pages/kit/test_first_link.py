"""The first page of a server's life is not opened past the router."""

from __future__ import annotations

import pytest

from tests.fresh import ROOT, run_fresh


def test_a_server_takes_no_file_for_a_page_by_itself() -> None:
    """Else a first tab on any page but Start would have neither menu nor error handling."""
    code = (
        "import asyncio\n"
        "from streamlit.runtime.pages_manager import PagesManager\n"
        "from pages.kit import server\n"
        "server._start = lambda: None\n"
        "async def life():\n"
        "    async with server.work_from_the_start(None):\n"
        "        PagesManager('app.py')\n"
        "        print(PagesManager.uses_pages_directory)\n"
        "asyncio.run(life())\n"
    )

    assert run_fresh(code).split()[-1] == "False"


def test_every_page_has_its_address_and_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    from pages.kit import navigation

    found: dict[str, str] = {}

    def record(path: str, *, url_path: str = "start", **_: object) -> str:
        found[url_path] = path
        return path

    monkeypatch.setattr(navigation.st, "Page", record)
    navigation.all_pages()

    assert found == {address: navigation.page_file(address) for address in found}
    folders = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("pages/*/page.py")}
    assert set(found.values()) == folders
