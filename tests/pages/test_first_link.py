"""The first page of a server's life is not opened past the router."""

from __future__ import annotations

import pytest

from msip_core.workspace import Workspace
from tests.fresh import ROOT, run_fresh


@pytest.mark.parametrize("page", ["data", "runs"])
def test_a_page_that_streamlit_finds_by_itself_goes_through_app(
    workspace: Workspace, page: str
) -> None:
    code = (
        "from streamlit.testing.v1 import AppTest\n"
        "from streamlit.runtime.pages_manager import PagesManager\n"
        "test = AppTest.from_file('app.py', default_timeout=60)\n"
        f"test.switch_page('pages/{page}.py').run()\n"
        "assert not test.exception, test.exception\n"
        "print(PagesManager.uses_pages_directory, len(test.title), len(test.get('logo')))\n"
    )

    assert (
        run_fresh(code, timeout=500, MSIP_WORKSPACE=str(workspace.root)).split()[-3:][0] == "False"
    )


def test_every_address_is_the_name_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first link after a start says "Page not found"."""
    from pages.shared import navigation

    found: dict[str, str] = {}

    def record(path: str, *, url_path: str = "start", **_: object) -> str:
        found[path] = url_path
        return path

    monkeypatch.setattr(navigation.st, "Page", record)
    navigation.all_pages()

    assert found == {f"pages/{name}.py": name for name in found.values()}
    assert set(found) == {path.relative_to(ROOT).as_posix() for path in ROOT.glob("pages/*.py")}
