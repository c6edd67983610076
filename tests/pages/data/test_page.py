"""Data: the way in, from a zip in the browser to a dataset that can be looked at."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import streamlit as st
import tifffile
from PIL import Image
from streamlit.testing.v1 import AppTest

from msip_core.data.dataset import list_datasets, open_dataset
from msip_core.data.encodings import TEXTS
from msip_core.data.label_formats import PARSERS
from msip_core.data.micrographs import SUFFIXES
from msip_core.data.questions import Draw
from msip_core.data.readers.registry import SUFFIXES as OF_MICROSCOPES
from msip_core.data.writing import set_pixel_size
from msip_core.settings import get_settings
from msip_core.workspace import Workspace
from pages.data.importing import KINDS
from tests.pages.conftest import Open, no_crash, words
from tests.pages.data.conftest import button
from tests.pages.fake_compute import FakeCompute


def test_a_zip_is_looked_into_imported_and_shown(
    workspace: Workspace, open_page: Open, archive: bytes
) -> None:
    test = open_page("data", view="add")
    test.file_uploader[0].upload("plate.zip", archive, "application/zip").run()
    assert "Found 10 images, 10 with labels" in words(test)
    # The file is on disk at once, and the address finds it again after a reload.
    (kept,) = workspace.uploads.rglob("plate.zip")
    assert test.query_params["source"] == kept.relative_to(workspace.uploads).as_posix()
    assert test.text_input[0].value == "plate"

    test.text_input[0].input("plate7").run()
    button(test, "Import 10 images").click()
    test.run()

    no_crash(test)
    assert [item.name for item in list_datasets(workspace)] == ["plate7"]
    assert list(workspace.uploads.iterdir()) == []  # it was taken in
    assert test.query_params["dataset"] == "plate7"
    assert "Look at the boxes" in words(test)


def test_a_reload_finds_the_upload_again(
    workspace: Workspace, open_page: Open, archive: bytes
) -> None:
    kept = workspace.uploads / "upload-0123456789abcdef" / "plate 7.zip"
    kept.parent.mkdir()
    kept.write_bytes(archive)

    test = open_page("data", view="add", source="upload-0123456789abcdef/plate 7.zip")

    assert "Found 10 images" in words(test)


@pytest.mark.parametrize(
    "name",
    [
        "../lab.sqlite",
        "upload-0123456789abcdef.zip/../../x",
        "upload-0123456789abcdef/../x.zip",
        "upload-0123456789abcdef/..",
        "upload-0123456789abcdef/..\\x.zip",
        "x.zip",
        f"upload-0123456789abcdef/{'x' * 300}.zip",
    ],
)
def test_the_address_opens_nothing_but_uploads(
    workspace: Workspace, open_page: Open, name: str
) -> None:
    (workspace.uploads / "upload-0123456789abcdef").mkdir()
    Image.new("L", (64, 64), 90).save(workspace.uploads / "of-another.png")
    test = open_page("data", view="add", source=name)

    no_crash(test)
    assert "Found" not in words(test)


def test_a_file_that_is_no_zip_is_refused_in_words(open_page: Open) -> None:
    test = open_page("data", view="add")
    test.file_uploader[0].upload("plate.zip", b"not a zip", "application/zip").run()

    no_crash(test)
    assert len(test.error) == 1
    assert test.error[0].value.startswith("plate.zip is neither a folder nor a complete zip")


def test_pictures_can_be_dropped_as_they_are_and_a_zip_comes_alone(
    open_page: Open, archive: bytes
) -> None:
    test = open_page("data", view="add")
    for name in ("a.png", "b.png"):
        test.file_uploader[0].upload(name, b"read at the import", "image/png")
    test.run()
    assert "Found 2 new images" in words(test)

    test = open_page("data", view="add")
    test.file_uploader[0].upload("a.png", b"read at the import", "image/png")
    test.file_uploader[0].upload("plate.zip", archive, "application/zip").run()

    no_crash(test)
    assert [e.value for e in test.error] == [
        "Bring in 'plate.zip' alone: a zip is a whole dataset."
    ]


def test_a_name_that_is_taken_is_said_before_the_import(
    workspace: Workspace, full: str, open_page: Open, archive: bytes
) -> None:
    test = open_page("data", view="add")
    test.file_uploader[0].upload("plate.zip", archive, "application/zip").run()
    test.text_input[0].input("example").run()

    assert "There is a dataset" in test.error[0].value
    assert not [b for b in test.button if b.label.startswith("Import")]


def test_every_kind_of_file_that_is_read_can_come_in_a_folder() -> None:
    """QuPath writes .geojson: a browser that is not told of it leaves all boxes behind."""
    read = {suffix.removeprefix(".") for suffix in (*SUFFIXES, *OF_MICROSCOPES, *TEXTS)}

    assert read - {"zarr"} <= set(KINDS), "an OME-Zarr is a folder of its own, and comes in a zip"
    assert "geojson" in KINDS


def test_every_label_format_that_is_read_is_named_before_the_upload(open_page: Open) -> None:
    parsers = [name for _, _, parsers in PARSERS for name, _ in parsers]

    for said in (words(open_page("data", view="add")), words(open_page("start"))):
        for name in ("YOLO", "COCO", "Pascal VOC", "CSV", "masks", *parsers):
            assert name.split()[0].lower() in said.lower(), name


def test_a_name_that_no_folder_can_have_is_said_before_the_import(
    open_page: Open, archive: bytes
) -> None:
    test = open_page("data", view="add")
    test.file_uploader[0].upload("plate.zip", archive, "application/zip").run()
    test.text_input[0].input("May / plate 🧫").run()

    no_crash(test)
    assert "cannot be a dataset name" in test.error[0].value
    assert not [b for b in test.button if b.label.startswith("Import")]

    test.text_input[0].input("plate").run()
    test.slider[0].set_value((60.0, 99.8)).run()  # percentiles that become black and white
    assert "Black must lie below the 50th percentile" in test.error[0].value


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


def test_images_and_labels_are_taken_out_in_the_chosen_format(
    full: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[Callable[[], BinaryIO]] = []
    shown = st.download_button

    def button(label: str, data: Callable[[], BinaryIO], **more: object) -> bool:
        packed.append(data)
        return bool(shown(label, data, **more))

    monkeypatch.setattr("streamlit.download_button", button)
    test = open_page("data", dataset="example")
    (form,) = [s for s in test.selectbox if s.key == "data:export:format"]
    form.set_value("label-studio")
    (images,) = [s for s in test.toggle if s.key == "data:export:images"]
    images.set_value(False)
    test.run()

    no_crash(test)
    assert form.options == [
        "YOLO", "COCO", "Pascal VOC", "CVAT XML", "Label Studio", "QuPath GeoJSON", "CSV"
    ]  # fmt: skip
    labels = [button.proto.label for button in test.get("download_button")]
    assert "Download the labels" in labels
    with packed[-1]() as file, zipfile.ZipFile(file) as archive:
        assert set(archive.namelist()) == {"tasks.json", "labelling_interface.xml", "msip-lab.json"}


def test_the_example_is_drawn(workspace: Workspace, open_page: Open) -> None:
    test = open_page("data", view="add", way="drawn")
    test.slider[0].set_value(12).run()
    test.select_slider[0].set_value(128).run()
    button(test, "Draw 12 images").click()
    test.run()

    assert len(open_dataset(workspace, "drawn").images) == 12
    assert "Drawn by computer" in words(test)


def test_a_number_that_is_set_and_started_at_once_is_the_one_that_counts(
    workspace: Workspace, open_page: Open
) -> None:
    test = open_page("data", view="add", way="drawn")
    test.select_slider[0].set_value(128)
    test.slider[0].set_value(12)
    button(test, "Draw 24 images").click()  # the page has not been drawn since
    test.run()

    assert len(open_dataset(workspace, "drawn").images) == 12


def test_a_name_that_is_typed_and_imported_at_once_is_the_one_that_counts(
    workspace: Workspace, folder: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSIP_IMPORT_ROOTS", f'["{folder}"]')
    get_settings.cache_clear()
    test = open_page("data", view="add", way="server")
    test.text_input[0].input(str(folder)).run()
    next(field for field in test.text_input if field.label == "Name of the dataset").input("mine")
    button(test, "Import").click()
    test.run()

    assert [dataset.name for dataset in list_datasets(workspace)] == ["mine"]


def test_an_import_that_runs_is_found_after_a_reload_and_can_be_cancelled(
    open_page: Open, compute: FakeCompute
) -> None:
    compute.hold.add(Draw)
    test = open_page("data", view="add", way="drawn")
    button(test, "Draw 24 images").click()
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


def _zip(folder: Path, *, without: str = "", broken: str = "") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(folder.parent).as_posix()
            if broken and name.endswith(broken):
                file.writestr(name, b"\x89PNG cut off")
            elif not without or not name.endswith(without):
                file.write(path, name)
    return stream.getvalue()


def _first(folder: Path, suffix: str) -> str:
    found = (p for p in folder.rglob(f"*{suffix}") if "classes" not in p.name)
    return sorted(found)[0].name


def _reasons(test: AppTest) -> dict[str, list[str]]:
    """The table of files and reasons as it is read: without what keeps Markdown away."""
    table = test.table[0].value
    return {head: [cell.replace("\\", "") for cell in table[head]] for head in table}


def test_a_few_reasons_are_read_and_many_are_searched(workspace: Workspace, app: None) -> None:
    def page(rows: int) -> None:
        from pages.kit.layout import reasons_table

        reasons_table([{"File": f"plate_7_{i}.png", "Why": "[cut] *off*"} for i in range(rows)], "")

    few = AppTest.from_function(page, kwargs={"rows": 30}).run()
    many = AppTest.from_function(page, kwargs={"rows": 31}).run()

    assert (len(few.table), len(few.dataframe)) == (1, 0)
    assert list(few.table[0].value.iloc[0]) == ["plate_7_0.png", "\\[cut\\] \\*off\\*"]
    assert (len(many.table), len(many.dataframe)) == (0, 1)
    assert list(many.dataframe[0].value.iloc[0]) == ["plate_7_0.png", "[cut] *off*"]


def _import(test: AppTest, data: bytes) -> AppTest:
    test.file_uploader[0].upload("plate.zip", data, "application/zip").run()
    button(test, "Import").click()
    return test.run()


def test_an_unreadable_image_is_listed_and_the_others_go_on(
    workspace: Workspace, open_page: Open, folder: Path
) -> None:
    broken = _first(folder, ".png")

    test = _import(open_page("data", view="add"), _zip(folder, broken=broken))

    no_crash(test)
    table = _reasons(test)
    assert [Path(name).name for name in table["File"]] == [broken]
    assert table["What became of it"] == ["left out"]
    assert "1 file left out" in next(e.label for e in test.expander)
    assert "9 of 10 images" in words(test)


def test_images_without_labels_are_named_and_the_pairs_offered(
    open_page: Open, folder: Path
) -> None:
    label = _first(folder, ".txt")
    test = open_page("data", view="add")
    test.file_uploader[0].upload("plate.zip", _zip(folder, without=label)).run()

    assert "Found 10 images, 9 with labels" in words(test)
    assert [Path(name).stem for name in _reasons(test)["File"]] == [Path(label).stem]
    assert "image without a label" in _reasons(test)["Why"][0]
    assert button(test, "Import the 9 images that have labels")


def test_labels_without_images_are_named(open_page: Open, folder: Path) -> None:
    image = _first(folder, ".png")
    test = open_page("data", view="add")
    test.file_uploader[0].upload("plate.zip", _zip(folder, without=image)).run()

    assert "Found 9 images, 9 with labels" in words(test)
    assert "label without an image of that name" in _reasons(test)["Why"]


def test_voc_boxes_are_found_by_themselves(open_page: Open) -> None:
    stream = io.BytesIO()
    box = "<bndbox><xmin>4</xmin><ymin>5</ymin><xmax>40</xmax><ymax>44</ymax></bndbox>"
    with zipfile.ZipFile(stream, "w") as file:
        for n in range(3):
            picture = io.BytesIO()
            Image.new("L", (64, 64), 40 * n).save(picture, "PNG")
            file.writestr(f"w{n}.png", picture.getvalue())
            file.writestr(
                f"w{n}.xml",
                f"<annotation><filename>w{n}.png</filename><size><width>64</width>"
                f"<height>64</height></size><object><name>crypt</name>{box}</object></annotation>",
            )
    test = open_page("data", view="add")
    test.file_uploader[0].upload("voc.zip", stream.getvalue()).run()

    assert "Found 3 images, 3 with labels (Pascal VOC): 3 crypt." in words(test)


def test_sixteen_bit_images_are_said_to_be_scaled(
    workspace: Workspace, open_page: Open, folder: Path, tmp_path: Path
) -> None:
    deep = tmp_path / "deep"
    shutil.copytree(folder, deep)
    for path in deep.rglob("*.png"):
        grey = np.asarray(Image.open(path).convert("L"), np.uint16) * 250 + 100
        path.unlink()
        tifffile.imwrite(path.with_suffix(".tif"), grey)

    test = _import(open_page("data", view="add"), _zip(deep))

    assert "10 images were 16 bit deep and were scaled to 8 bit (grey values" in words(test)


def test_a_missing_pixel_size_is_entered_and_kept(
    workspace: Workspace, open_page: Open, folder: Path
) -> None:
    test = _import(open_page("data", view="add"), _zip(folder))
    name = test.query_params["dataset"]
    name = name if isinstance(name, str) else name[0]
    before = open_dataset(workspace, name).content_hash
    if open_dataset(workspace, name).pixel_size_um:
        set_pixel_size(workspace, name, None)
        test.run()
    assert "Sizes will be in pixels. Enter micrometres per pixel" in words(test)

    test.number_input(f"pixel-size:{name}").set_value(0.65).run()
    test.button(f"pixel-size:{name}:store").click().run()

    assert "One pixel is 0.65 µm." in words(test)
    assert open_dataset(workspace, name).pixel_size_um == 0.65
    assert [d.pixel_size_um for d in list_datasets(workspace)] == [0.65]
    assert open_dataset(workspace, name).content_hash == before


def test_a_pixel_size_of_nothing_is_refused(full: str, open_page: Open) -> None:
    test = open_page("data", dataset="example")
    test.number_input("pixel-size:example").set_value(0.0).run()
    test.button("pixel-size:example:store").click().run()

    assert "is no size of a micrograph" in test.error[0].value
