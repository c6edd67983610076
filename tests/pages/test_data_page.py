"""Data: the way in, from a zip in the browser to a dataset that can be looked at."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from msip_core.data.dataset import list_datasets, open_dataset
from msip_core.data.synthetic import write_folder
from msip_core.settings import get_settings
from msip_core.workspace import Workspace
from tests.pages.conftest import Open, no_crash, words
from tests.pages.fake_compute import FakeCompute


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten small drawn micrographs with YOLO labels."""
    return write_folder(tmp_path_factory.mktemp("source") / "plate", 10, 96, 1)


@pytest.fixture(scope="module")
def archive(folder: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.write(path, path.relative_to(folder.parent))
    return stream.getvalue()


def _button(test: object, start: str) -> object:
    return next(b for b in test.button if b.label.startswith(start))  # type: ignore[attr-defined]


def test_a_zip_is_looked_into_imported_and_shown(
    workspace: Workspace, open_page: Open, archive: bytes
) -> None:
    test = open_page("data", view="add")
    test.file_uploader[0].upload("plate.zip", archive, "application/zip").run()
    assert "Found 10 images, 10 with labels" in words(test)
    # The file is on disk at once, and the address finds it again after a reload.
    kept = [path.name for path in workspace.uploads.iterdir()]
    assert test.query_params["source"] == kept[0]

    test.text_input[0].input("plate7").run()
    _button(test, "Import 10 images").click()
    test.run()

    no_crash(test)
    assert [item.name for item in list_datasets(workspace)] == ["plate7"]
    assert test.query_params["dataset"] == "plate7"
    assert "Look at the boxes" in words(test)


def test_a_reload_finds_the_upload_again(
    workspace: Workspace, open_page: Open, archive: bytes
) -> None:
    (workspace.uploads / "upload-0123456789abcdef.zip").write_bytes(archive)

    test = open_page("data", view="add", source="upload-0123456789abcdef.zip")

    assert "Found 10 images" in words(test)


@pytest.mark.parametrize("name", ["../lab.sqlite", "upload-0123456789abcdef.zip/../../x", "x.zip"])
def test_the_address_opens_nothing_but_uploads(open_page: Open, name: str) -> None:
    test = open_page("data", view="add", source=name)

    no_crash(test)
    assert "Found" not in words(test)


def test_a_file_that_is_no_zip_is_refused_in_words(open_page: Open) -> None:
    test = open_page("data", view="add")
    test.file_uploader[0].upload("plate.zip", b"not a zip", "application/zip").run()

    no_crash(test)
    assert len(test.error) == 1


def test_a_name_that_is_taken_is_said_before_the_import(
    workspace: Workspace, full: str, open_page: Open, archive: bytes
) -> None:
    test = open_page("data", view="add")
    test.file_uploader[0].upload("plate.zip", archive, "application/zip").run()
    test.text_input[0].input("example").run()

    assert "There is a dataset" in test.error[0].value
    assert not [b for b in test.button if b.label.startswith("Import")]


def test_beyond_the_limit_a_folder_of_the_server(
    open_page: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = open_page("data", view="add", way="server")
    assert "No folder of the server is open" in words(closed)

    monkeypatch.setenv("MSIP_IMPORT_ROOTS", f'["{folder.parent}"]')
    get_settings.cache_clear()
    test = open_page("data", view="add", way="server")
    test.text_input[0].input(str(folder)).run()

    assert "Found 10 images" in words(test)


def test_a_folder_outside_the_roots_is_refused(
    open_page: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSIP_IMPORT_ROOTS", f'["{folder}"]')
    get_settings.cache_clear()

    test = open_page("data", view="add", way="server")
    test.text_input[0].input("/etc").run()

    assert "outside the folders" in test.error[0].value


def test_the_example_is_drawn(workspace: Workspace, open_page: Open) -> None:
    test = open_page("data", view="add", way="drawn")
    test.slider[0].set_value(12).run()
    test.select_slider[0].set_value(128).run()
    _button(test, "Draw 12 images").click()
    test.run()

    assert len(open_dataset(workspace, "drawn").images) == 12
    assert "Drawn by computer" in words(test)


def test_an_import_that_runs_is_found_after_a_reload_and_can_be_cancelled(
    open_page: Open, compute: FakeCompute
) -> None:
    compute.hold.add("data-draw")
    test = open_page("data", view="add", way="drawn")
    _button(test, "Draw 24 images").click()
    task = test.run().query_params["task"]

    again = open_page("data", view="add", task=task)
    assert "30%" in again.get("progress")[0].proto.text
    again.button("job:import:cancel").click().run()

    assert "nothing half-made was left behind" in words(again.run())


def test_a_dataset_that_is_not_ready_names_the_one_thing(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    path = workspace.dataset_dir("example") / "dataset.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"split": "val"', '"split": "test"'), encoding="utf-8")
    if text == path.read_text(encoding="utf-8"):
        path.write_text(text.replace('"split":"val"', '"split":"test"'), encoding="utf-8")

    test = open_page("data", dataset="example")

    assert "Not ready" in words(test)
    assert "nothing to check progress on" in words(test)


def test_the_preview_shows_only_the_classes_asked_for(full: str, open_page: Open) -> None:
    test = open_page("data", dataset="example")
    assert len(test.image) == 8

    test.button_group("preview:split").set_value("test").run()

    assert 0 < len(test.image) < 8
