"""The app on a temporary workspace, with a stand-in for the compute process and no supervisor."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.scriptrunner import script_runner
from streamlit.runtime.scriptrunner.script_cache import ScriptCache
from streamlit.testing.v1 import AppTest, app_test, local_script_runner
from streamlit.util import calc_hash

import pages.kit.lab as lab_module
from msip_core.runs.supervisor import Supervisor
from msip_core.settings import get_settings
from msip_core.workspace import Workspace
from pages.kit.navigation import page_file
from tests.fresh import ROOT
from tests.pages import lab_samples
from tests.pages.fake_compute import FakeCompute

# Addresses (pages.kit.navigation).
_ADDRESSES = {page_file(address): address for address in ("new", "share")}
_FILES = [path.relative_to(ROOT).as_posix() for path in (ROOT / "pages").glob("*/page.py")]
PAGES = sorted(_ADDRESSES.get(file, file.split("/")[1]) for file in _FILES)

Open = Callable[..., AppTest]


@pytest.fixture
def compute(workspace: Workspace) -> FakeCompute:
    return FakeCompute(workspace)


@pytest.fixture(scope="session")
def _known_once() -> Iterator[None]:
    """AppTest looks for components in every installed package with each new session, and compiles
    the pages' sources with each run, where a server does both once: a third of a second a test."""
    found, compiled = manifest_scanner.scan_component_manifests(), ScriptCache()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", lambda: found)
        for module in (app_test, local_script_runner):
            patch.setattr(module, "ScriptCache", lambda: compiled)
        yield


@pytest.fixture
def app(
    _known_once: None,
    workspace: Workspace,
    compute: FakeCompute,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[None]:
    """The pages look at the temporary workspace; no example is installed into it."""
    monkeypatch.setenv("MSIP_WORKSPACE", str(workspace.root))
    monkeypatch.setattr(lab_module, "get_compute", lambda _: compute)
    monkeypatch.setattr(lab_module, "start_serving", Supervisor)
    monkeypatch.setattr(lab_module, "ASSETS", tmp_path / "no-assets")
    # AppTest forgets before each run that app.py has declared its pages, as if every run were the
    # first of a server's life (test_first_link.py is about that one).
    monkeypatch.setattr(script_runner, "_mpa_v1", _run_the_router)
    get_settings.cache_clear()
    st.cache_resource.clear()
    st.cache_data.clear()
    yield
    get_settings.cache_clear()
    st.cache_resource.clear()
    st.cache_data.clear()


def _run_the_router(main_script: str) -> None:
    code = compile(Path(main_script).read_text(encoding="utf-8"), main_script, "exec")
    exec(code, sys.modules["__main__"].__dict__)


@pytest.fixture
def open_page(app: None) -> Open:
    """Open one page at an address: open_page("runs", run="prune-1")."""

    def open_(page: str, **ids: str) -> AppTest:
        test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=180)
        for name, value in ids.items():
            test.query_params[name] = value
        if page != "start":
            # Before the first run AppTest knows no addresses, only names of files.
            test._page_hash = calc_hash(page)
        return test.run()

    return open_


@pytest.fixture
def full(workspace: Workspace) -> str:
    """A workspace with dataset, models and runs; the id of its finished pruning run."""
    return lab_samples.fill(workspace)


def words(test: AppTest) -> str:
    """All text of a page, to look for sentences."""
    kinds = ("title", "subheader", "markdown", "caption", "info", "error", "warning", "success",
             "text", "code")  # fmt: skip
    return "\n".join(str(item.value) for kind in kinds for item in test.get(kind))


def no_crash(test: AppTest) -> None:
    assert not test.exception, [item.value for item in test.exception]
    assert "Something went wrong" not in words(test)
