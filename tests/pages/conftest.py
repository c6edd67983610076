"""The app on a temporary workspace, with a stand-in for the compute process and no supervisor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import pages.shared.lab as lab_module
from msip_core.runs.supervisor import Supervisor
from msip_core.settings import get_settings
from msip_core.workspace import Workspace
from tests.fresh import ROOT
from tests.pages import lab_samples
from tests.pages.fake_compute import FakeCompute

Open = Callable[..., AppTest]


@pytest.fixture
def compute(workspace: Workspace) -> FakeCompute:
    return FakeCompute(workspace)


@pytest.fixture
def app(
    workspace: Workspace,
    compute: FakeCompute,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[None]:
    """The pages look at the temporary workspace; no example is installed into it."""
    monkeypatch.setenv("MSIP_WORKSPACE", str(workspace.root))
    monkeypatch.setattr(lab_module, "get_compute", lambda _: compute)
    monkeypatch.setattr(lab_module, "ensure_supervisor", Supervisor)
    monkeypatch.setattr(lab_module, "ASSETS", tmp_path / "no-assets")
    get_settings.cache_clear()
    st.cache_resource.clear()
    st.cache_data.clear()
    yield
    get_settings.cache_clear()
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture
def open_page(app: None) -> Open:
    """Open one page at an address: open_page("runs", run="prune-1")."""

    def open_(page: str, **ids: str) -> AppTest:
        test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
        test.run()
        for name, value in ids.items():
            test.query_params[name] = value
        if page != "start":
            test.switch_page(f"pages/{page}.py")
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
