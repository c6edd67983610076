"""Data: new images, with and without labels."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from msip_core.config import ImportConfig
from msip_core.data.dataset import list_datasets, open_dataset
from msip_core.data.importing import import_dataset
from msip_core.workspace import Workspace
from tests.pages.conftest import Open, no_crash, words
from tests.pages.data.conftest import button


def _in(folder: Path) -> Path:
    """A folder beside the workspace."""
    (folder / "in").mkdir(exist_ok=True)
    return folder / "in"


def _bring_in(workspace: Workspace, source: Path, name: str) -> None:
    import_dataset(workspace, ImportConfig(source=source, name=name))


def test_new_images_are_welcome_and_their_next_step_is_counting(
    workspace: Workspace, full: str, open_page: Open, tmp_path: Path
) -> None:
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 60), dtype=np.uint8)
        Image.fromarray(pixels).save(_in(tmp_path) / f"plate1_A0{number + 1}_f0.png")
    _bring_in(workspace, tmp_path / "in", "fresh")

    test = open_page("data", dataset="fresh")

    no_crash(test)
    said = words(test)
    assert "New images" in said
    assert "Not ready" not in said
    assert not any(word in said for word in ("To learn from", "For the final test"))
    assert [m.label for m in test.metric] == ["Images"]
    assert "preview:split" not in [group.key for group in test.get("button_group")]
    assert "page" not in [field.key for field in test.number_input]  # of one page
    links = [link.proto.label for link in test.get("page_link")]
    assert "Next: add what is missing" not in links
    assert [link for link in links if link == "Next: count them"] or "msip_core predict" in said


def test_new_images_are_greeted_and_asked_for_no_parts(
    workspace: Workspace, open_page: Open, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
        for number in range(3):
            Image.fromarray(np.full((40, 60), 80 * number, np.uint8)).save(tmp_path / "a.png")
            archive.write(tmp_path / "a.png", f"plate1_A0{number + 1}_f0.png")
    test = open_page("data", view="add")
    test.file_uploader[0].upload("new.zip", (tmp_path / "new.zip").read_bytes(), "application/zip")
    test.run()

    assert "Found 3 new images without labels: a model can count them." in words(test)
    assert not test.warning
    assert not [s for s in test.slider if "final test" in s.label]
    button(test, "Import 3 images").click().run()  # type: ignore[attr-defined]
    no_crash(test)
    assert list_datasets(workspace)[0].unlabelled


def test_without_a_model_new_images_lead_to_one(
    workspace: Workspace, open_page: Open, tmp_path: Path
) -> None:
    Image.fromarray(np.arange(2400, dtype=np.uint8).reshape(40, 60)).save(_in(tmp_path) / "a.png")
    _bring_in(workspace, tmp_path / "in", "fresh")

    links = [link.proto.label for link in open_page("data", dataset="fresh").get("page_link")]

    assert links[-1] == "Next: bring in a model"


def test_an_image_that_lost_labels_is_named_before_training(
    workspace: Workspace, open_page: Open, folder: Path, tmp_path: Path
) -> None:
    source = shutil.copytree(folder, tmp_path / "plate")
    label = sorted((source / "labels").rglob("*.txt"))[0]
    label.write_text(label.read_text() + "77 0.2 0.2 0.1 0.1\n")
    _bring_in(workspace, source, "plate")

    test = open_page("data", dataset="plate")

    assert any("Look at these first" in item.value for item in test.markdown)
    (warning,) = [w.value for w in test.warning if "Look at these first" in w.value]
    assert label.stem in warning.replace("\\", "")
    trained = open_page("models", view="train", dataset="plate")
    assert any("Look at these first" in w.value for w in trained.warning)


def test_channels_of_the_files_are_there_to_choose(
    workspace: Workspace, open_page: Open, tmp_path: Path
) -> None:
    pixels = np.stack([np.full((24, 32), value, np.uint8) for value in (20, 90)])
    names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "Brightfield"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata=names)
    test = open_page("data", view="add")
    test.file_uploader[0].upload("a.ome.tif", (tmp_path / "a.ome.tif").read_bytes(), "image/tiff")
    test.run()

    field = next(box for box in test.selectbox if box.label == "Channel, in files of several")
    assert field.options == ["DAPI", "Brightfield"]
    field.set_value("DAPI").run()
    button(test, "Import").click().run()  # type: ignore[attr-defined]

    no_crash(test)
    (summary,) = list_datasets(workspace)
    assert open_dataset(workspace, summary.name).recipe.channel == "DAPI"


def test_an_upload_that_was_left_can_be_gone_on_with_renamed_and_deleted(
    workspace: Workspace, open_page: Open, archive: bytes
) -> None:
    test = open_page("data", view="add")
    test.file_uploader[0].upload("plate.zip", archive, "application/zip").run()
    assert "uploads" not in [one.proto.id for one in test.expander]  # the one looked at now

    test = open_page("data", view="add")
    (left,) = [one for one in test.expander if "not taken in" in one.label]
    assert left.label == "1 upload that was not taken in"
    assert "plate.zip" in words(test)
    test.button("upload:rename:0")
    next(f for f in test.text_input if str(f.key).startswith("upload:title")).set_value("Mai 7")
    test.button("upload:rename:0").click().run()
    assert [file.name for file in workspace.uploads.rglob("*.zip")] == ["Mai 7.zip"]

    test.button("upload:go:0").click().run()
    assert "Found 10 images" in words(test)

    test = open_page("data", view="add")
    test.button("upload:delete:0").click().run()
    no_crash(test)
    assert list(workspace.uploads.iterdir()) == []
