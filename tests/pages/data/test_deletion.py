"""Data: a deletion is told before it is done."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from msip_core.data.dataset import list_datasets
from msip_core.runs.service import RunService
from msip_core.workspace import Workspace
from tests.pages.conftest import Open, no_crash, words


def opened(open_page: Open) -> AppTest:
    """The Data page with the warning before a deletion open."""
    test = open_page("data", dataset="example")
    test.session_state["dataset:deletion"] = True
    return test.run()


def test_nothing_is_looked_up_for_a_deletion_before_it_is_opened(
    full: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    place = "msip_core.studies.dependants.dependants_of"
    monkeypatch.setattr(place, lambda _, name: asked.append(name))
    open_page("data", dataset="example")
    assert not asked


def test_a_dataset_is_deleted_by_a_second_click_that_tells_what_was_made_with_it(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = opened(open_page)
    said = words(test)
    assert "Made with it: 2 runs" in said
    assert full in said.replace("\\", "")

    test.button("dataset:delete").click().run()

    no_crash(test)
    assert list_datasets(workspace) == []
    assert "Images, or a zip with images and labels" in [u.label for u in test.file_uploader]


def test_a_dataset_that_a_run_waits_for_cannot_be_deleted(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    service = RunService(workspace)
    service.submit(service.get(full).config)

    test = opened(open_page)

    assert "wait until they end" in words(test)
    assert [b for b in test.button if b.key == "dataset:delete"] == []


def test_a_damaged_dataset_can_be_deleted_on_its_page(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    (workspace.datasets / "example" / "dataset.json").write_text("{")

    test = opened(open_page)
    test.button("dataset:delete").click().run()

    assert list_datasets(workspace) == []


# --- new images, unsure images, channels, what was left --------------------------------
