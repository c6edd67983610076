"""Opening datasets: words for what is missing, and fast however many there are."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from msip_core.data.dataset import Dataset, list_datasets, open_dataset, over_groups
from msip_core.data.manifest import ImageRecord
from msip_core.data.readiness import readiness_of
from msip_core.errors import DatasetError, NotFoundError
from msip_core.workspace import Workspace
from tests.data.conftest import Importer, yolo_folder


def record(split: str, **counts: int) -> ImageRecord:
    return ImageRecord.model_validate(
        {
            "id": "a", "file": "images/a.png", "width": 1, "height": 1, "split": split,
            "group": "a", "sha256": "", "source": "a", "counts": counts,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("images", "classes", "words"),
    [
        ((), (), "There are no images"),
        ((record("train"),), (), "No image has a box"),
        ((record("val", crypt=1),), ("crypt",), "No labelled image in the train part"),
        (
            (record("train", crypt=1), record("val")),
            ("crypt",),
            "No labelled image in the val part",
        ),
        (
            (record("train", crypt=1), record("val", cyst=1)),
            ("crypt", "cyst"),
            "No box of class 'cyst' in the train part",
        ),
    ],
)
def test_the_badge_names_the_one_missing_thing(
    images: tuple[ImageRecord, ...], classes: tuple[str, ...], words: str
) -> None:
    ready, missing = readiness_of(images, classes)

    assert not ready
    assert words in (missing or "")


@pytest.mark.parametrize(
    ("limit", "chosen"),
    [
        (2, ["A01_1", "C01_1"]),  # evenly spaced groups, not the first two images of A01
        (4, ["A01_1", "B01_1", "C01_1", "D01_1"]),
        (5, ["A01_1", "A01_2", "B01_1", "C01_1", "D01_1"]),
        (99, ["A01_1", "A01_2", "A01_3", "B01_1", "C01_1", "C01_2", "D01_1"]),
    ],
)
def test_a_few_images_come_from_as_many_groups_as_there_are(limit: int, chosen: list[str]) -> None:
    names = ["A01_1", "A01_2", "A01_3", "B01_1", "C01_1", "C01_2", "D01_1"]
    records = [record("test").model_copy(update={"id": n, "group": n[:3]}) for n in names]

    assert [one.id for one in over_groups(records, limit)] == chosen


def test_a_dataset_with_labelled_train_and_val_images_is_ready() -> None:
    images = (record("train", crypt=1), record("val", crypt=2))

    assert readiness_of(images, ("crypt",)) == (True, None)


def test_a_missing_dataset_or_image_is_said_with_what_there_is(
    workspace: Workspace, drawn: Dataset
) -> None:
    with pytest.raises(NotFoundError, match=r"no dataset 'x' .*none yet"):
        open_dataset(workspace, "x")
    with pytest.raises(NotFoundError, match="has no image 'x'; it has 8 images"):
        drawn.image("x")


def test_a_damaged_dataset_does_not_hide_the_others(
    tmp_path: Path, workspace: Workspace, bring_in: Importer
) -> None:
    for name in ("good", "bad"):
        bring_in(yolo_folder(tmp_path / name, {"a": "0 0.5 0.5 0.2 0.2\n"}, ["crypt"]), name)
    for file in ("summary.json", "dataset.json"):
        (workspace.dataset_dir("bad") / file).write_text("{")

    found = {summary.name: summary for summary in list_datasets(workspace)}

    assert set(found) == {"good", "bad"}
    assert "damaged" in (found["bad"].missing or "")
    with pytest.raises(DatasetError, match="is damaged"):
        open_dataset(workspace, "bad")


def test_a_dataset_that_was_cut_off_or_lost_its_document_is_not_called_ready(
    tmp_path: Path, workspace: Workspace, bring_in: Importer
) -> None:
    """Lists read the small summary, which knows nothing of it."""
    bring_in(yolo_folder(tmp_path / "good", {"a": "0 0.5 0.5 0.2 0.2\n"}, ["crypt"]), "good")
    for name in ("cut", "zeros", "lost"):
        shutil.copytree(workspace.dataset_dir("good"), workspace.dataset_dir(name))
    document = workspace.dataset_dir("good") / "dataset.json"
    half = document.read_bytes()[: document.stat().st_size // 2]
    (workspace.dataset_dir("cut") / "dataset.json").write_bytes(half)
    (workspace.dataset_dir("zeros") / "dataset.json").write_bytes(half + bytes(4096))
    (workspace.dataset_dir("lost") / "dataset.json").unlink()
    workspace.dataset_dir("empty").mkdir()

    missing = {summary.name: str(summary.missing) for summary in list_datasets(workspace)}

    assert {name for name, why in missing.items() if "damaged" in why} == {"cut", "zeros", "lost"}
    assert set(missing) == {"good", "cut", "zeros", "lost"}


def test_files_that_went_away_are_named(tmp_path: Path, bring_in: Importer) -> None:
    dataset = bring_in(yolo_folder(tmp_path / "s", {"a": ""}, ["crypt"]))
    (image,) = dataset.images
    dataset.path(image).unlink()

    with pytest.raises(DatasetError, match="is gone from the workspace"):
        dataset.pixels(image)


def test_reading_and_importing_data_load_no_torch_and_no_streamlit() -> None:
    code = (
        "import sys, msip_core.data.importing, msip_core.data.synthetic\n"
        "bad = {'torch', 'streamlit', 'matplotlib', 'supervision'} & set(sys.modules)\n"
        "sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
