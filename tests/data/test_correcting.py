"""Corrections of labels: every one is a version that can be brought back, and none is lost."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from msip_core.boxes import Box
from msip_core.config import TrainConfig
from msip_core.data import correcting, versions
from msip_core.data.correcting import restore_version, save_labels
from msip_core.data.cut import open_for_run
from msip_core.data.dataset import Dataset, list_datasets, open_dataset
from msip_core.data.drafts import drafts_of, drop_draft
from msip_core.data.label_changes import label_changes
from msip_core.data.versions import history
from msip_core.errors import ConfigError, DatasetError, DiskFullError, NotFoundError
from msip_core.repair import repair
from msip_core.runs.provenance import record_provenance
from msip_core.runs.service import RunService
from msip_core.workspace import Workspace
from tests.data.conftest import Importer, write_image, yolo_folder
from tests.data.labelling import left_out

# 60 x 40 pixels: a crypt of 12 x 8 at (24, 16), and a cyst of 6 x 8 at (6, 4).
TWO = "0 0.5 0.5 0.2 0.2\n1 0.15 0.2 0.1 0.2\n"
CRYPT = Box(cls=0, x1=24, y1=16, x2=36, y2=24)
CYST = Box(cls=1, x1=6, y1=4, x2=12, y2=12)
NEW = Box(cls=1, x1=40, y1=30, x2=52, y2=38)


@pytest.fixture
def wells(bring_in: Importer, tmp_path: Path) -> Dataset:
    """Six images with the same two boxes."""
    labels = {f"well{n}": TWO for n in range(6)}
    return bring_in(yolo_folder(tmp_path / "wells", labels, ["crypt", "cyst"]), "wells")


def saved(workspace: Workspace, boxes: dict[str, list[Box]], seen: int = 1, who: str = "Ada"):
    return save_labels(workspace, "wells", boxes, seen=seen, who=who)


def rounded(data: Dataset, image: str) -> list[tuple[int, ...]]:
    return [(b.cls, *(round(v) for v in b.xyxy)) for b in data.boxes(data.image(image))]


def test_images_without_a_label_come_in_beside_labelled_ones_to_be_labelled(
    workspace: Workspace, bring_in: Importer, tmp_path: Path
) -> None:
    labels = {f"well{n}": TWO for n in range(8)} | {"empty": ""}
    folder = yolo_folder(tmp_path / "s", labels, ["crypt", "cyst"])
    for n in range(3):
        write_image(folder / "images" / f"new{n}.png", 50 + n)
    write_image(folder / "images" / "copy.png", 0)  # the pixels of well0, which has a label

    data = bring_in(folder, "wells", keep_unlabelled=True)

    new = {record.id for record in data.images if not data.document.is_labelled(record)}
    assert (len(data.images), new, data.report.background) == (12, {"new0", "new1", "new2"}, 1)
    assert left_out(data) == {
        "images/copy.png": "the same image as images/well0.png, which was kept"
    }
    assert sum(note.startswith("Images without a label: 3.") for note in data.report.notes) == 1
    lists = "".join(path.read_text() for path in (data.root / "splits").iterdir())
    assert "new" not in lists
    saved(workspace, {"new0": [], "new1": [NEW]})
    data = open_dataset(workspace, "wells")
    assert data.report.background == 2
    learned = {r.id for part in ("train", "val", "test") for r in data.split(part)}
    assert learned == {record.id for record in data.images} - {"new2"}


# --- what a version is ----------------------------------------------------------


def test_a_correction_is_the_next_version_and_says_who_did_what(
    workspace: Workspace, wells: Dataset
) -> None:
    moved = CRYPT.model_copy(update={"x1": 20.0, "x2": 34.0})
    done = save_labels(
        workspace,
        "wells",
        {"well0": [moved, NEW], "well1": [CRYPT, CYST.model_copy(update={"cls": 0})]},
        seen=1,
        who=" Ada ",
        note="edges",
    )

    now = open_dataset(workspace, "wells")
    assert rounded(now, "well0") == [(0, 20, 16, 34, 24), (1, 40, 30, 52, 38)]
    assert done.late == ()
    first, second = history(now.root, now.document)
    assert (second.number, second.who, second.note) == (2, "Ada", "edges")
    each = [(c.image, c.added, c.moved, c.removed, c.renamed) for c in second.changes]
    assert each == [("well0", 1, 1, 1, 0), ("well1", 0, 0, 0, 1)]
    assert [second.total(w) for w in ("added", "moved", "removed", "renamed")] == [1, 1, 1, 1]
    assert first.state.boxes == {"crypt": 6, "cyst": 6}
    assert now.report.boxes == second.state.boxes == {"crypt": 7, "cyst": 5}
    assert now.image("well1").counts == {"crypt": 2}
    assert list_datasets(workspace)[0].boxes == {"crypt": 7, "cyst": 5}
    assert list_datasets(workspace)[0].labels_version == 2
    # The files that other programs read are those of the newest version.
    text = (now.root / "labels" / "well0.txt").read_text()
    assert text == "0 0.450000 0.500000 0.233333 0.200000\n1 0.766667 0.850000 0.200000 0.200000\n"


def test_the_size_of_boxes_that_the_data_page_tells_follows(
    workspace: Workspace, wells: Dataset
) -> None:
    large = Box(cls=0, x1=0, y1=0, x2=40, y2=40)
    saved(workspace, {"well0": [large]})

    size = open_dataset(workspace, "wells").report.box_size
    assert size is not None
    assert size.high == pytest.approx(40, abs=1e-3)


def test_other_images_and_the_whole_hash_are_as_an_import_would_have_them(
    workspace: Workspace, wells: Dataset, bring_in: Importer, tmp_path: Path
) -> None:
    saved(workspace, {"well0": [CRYPT]})

    labels = {f"well{n}": TWO for n in range(6)} | {"well0": "0 0.5 0.5 0.2 0.2\n"}
    again = bring_in(yolo_folder(tmp_path / "again", labels, ["crypt", "cyst"]), "again")
    now = open_dataset(workspace, "wells")
    assert now.content_hash == again.content_hash
    assert now.content_hash != wells.content_hash
    assert now.readiness() == again.readiness()


def test_nothing_changed_is_no_version(workspace: Workspace, wells: Dataset) -> None:
    done = saved(workspace, {"well0": [CYST, CRYPT]})  # another order is no other label

    assert done.version is None
    assert open_dataset(workspace, "wells").labels_version == 1
    assert not (wells.root / "versions" / "2").exists()


def test_an_older_version_is_read_as_it_was(workspace: Workspace, wells: Dataset) -> None:
    saved(workspace, {"well0": [CRYPT]})
    saved(workspace, {"well0": [], "well1": [NEW]}, seen=2)

    each = [open_dataset(workspace, "wells", n) for n in (1, 2, 3)]
    assert [len(data.boxes(data.image("well0"))) for data in each] == [2, 1, 0]
    assert [data.image("well0").counts for data in each] == [
        {"crypt": 1, "cyst": 1},
        {"crypt": 1},
        {},
    ]
    assert each[0].content_hash == wells.content_hash
    assert len({data.content_hash for data in each}) == 3
    assert [data.report.background for data in each] == [0, 0, 1]
    with pytest.raises(NotFoundError, match="no version 4 of its labels: it has the versions 1 to"):
        open_dataset(workspace, "wells", 4)


def test_whoever_opened_a_dataset_goes_on_reading_its_version(
    workspace: Workspace, wells: Dataset
) -> None:
    between = (saved(workspace, {"well0": []}), open_dataset(workspace, "wells"))[1]
    saved(workspace, {"well0": [NEW]}, seen=2)

    assert rounded(wells, "well0") == [(0, 24, 16, 36, 24), (1, 6, 4, 12, 12)]
    assert rounded(between, "well0") == []
    assert rounded(open_dataset(workspace, "wells"), "well0") == [(1, 40, 30, 52, 38)]


def test_a_version_is_brought_back_as_a_new_one_byte_for_byte(
    workspace: Workspace, wells: Dataset
) -> None:
    before = (wells.root / "labels" / "well0.txt").read_bytes()
    saved(workspace, {"well0": [NEW], "well1": []})
    back = restore_version(workspace, "wells", 1, who="Bo")

    now = open_dataset(workspace, "wells")
    assert back is not None
    assert (back.number, back.who, back.back_to) == (3, "Bo", 1)
    assert (now.root / "labels" / "well0.txt").read_bytes() == before
    assert now.content_hash == wells.content_hash
    assert restore_version(workspace, "wells", 1, who="Bo") is None
    assert [v.number for v in history(now.root, now.document)] == [1, 2, 3]


# --- outlines -------------------------------------------------------------------


def test_outlines_stay_with_boxes_that_nobody_touched(workspace: Workspace, drawn: Dataset) -> None:
    shutil.copytree(drawn.root, workspace.dataset_dir("example"))
    data = open_dataset(workspace, "example")
    record = next(r for r in data.images if len(data.boxes(r)) >= 3)
    boxes, outlines, crypts = data.boxes(record), data.contours(record), data.crypts(record)
    assert outlines is not None
    assert crypts is not None
    moved = boxes[1].model_copy(update={"x2": boxes[1].x2 + 3})
    new = Box(cls=0, x1=1, y1=1, x2=9, y2=9)

    save_labels(workspace, "example", {record.id: [new, moved, boxes[2]]}, seen=1, who="Ada")

    now = open_dataset(workspace, "example")
    kept, buds = now.contours(now.image(record.id)), now.crypts(now.image(record.id))
    assert kept is not None
    assert buds is not None
    assert [len(line) for line in kept] == [0, 0, len(outlines[2])]
    assert len(buds[2]) == len(crypts[2])
    older = open_dataset(workspace, "example", 1)
    assert len(older.contours(older.image(record.id)) or ()) == len(boxes)


# --- two people -----------------------------------------------------------------


def test_of_two_tabs_the_second_loses_nothing_and_overwrites_nothing(
    workspace: Workspace, wells: Dataset
) -> None:
    saved(workspace, {"well0": [CRYPT]}, who="Ada")
    late = saved(workspace, {"well0": [NEW], "well1": [CYST]}, seen=1, who="Bo")

    now = open_dataset(workspace, "wells")
    assert rounded(now, "well0") == [(0, 24, 16, 36, 24)], "Ada's stays"
    assert rounded(now, "well1") == [(1, 6, 4, 12, 12)], "Bo's other image went in"
    (draft,), damaged = drafts_of(now.root)
    assert (draft.image, draft.who, draft.seen, damaged) == ("well0", "Bo", 1, [])
    assert [round(v) for v in draft.boxes[0].xyxy] == [40, 30, 52, 38]
    assert late.late == (draft,)

    taken = save_labels(
        workspace, "wells", {"well0": draft.boxes}, seen=3, who="Bo", draft=draft.id
    )
    assert taken.version is not None
    assert rounded(open_dataset(workspace, "wells"), "well0") == [(1, 40, 30, 52, 38)]
    assert drafts_of(now.root) == ([], [])


def test_who_comes_late_with_the_same_boxes_is_not_late(
    workspace: Workspace, wells: Dataset
) -> None:
    saved(workspace, {"well0": [CRYPT]})

    assert saved(workspace, {"well0": [CRYPT]}, seen=1, who="Bo") == (None, ())


def test_a_draft_can_be_dropped_once(workspace: Workspace, wells: Dataset) -> None:
    saved(workspace, {"well0": [CRYPT]})
    (draft,) = saved(workspace, {"well0": []}, seen=1, who="Bo").late

    drop_draft(wells.root, draft.id)
    with pytest.raises(NotFoundError, match="was taken over or dropped"):
        drop_draft(wells.root, draft.id)
    with pytest.raises(NotFoundError, match="There is no draft"):
        drop_draft(wells.root, "../../dataset")


# --- a crash --------------------------------------------------------------------


class KilledError(BaseException):
    """Nothing in the program catches it."""


# The steps of a save by which it is seen, in their order.
STEPS = ("kept", "written", "renamed", "copied", "summed up")


def _die(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the save right before or after one of its steps, as kill -9 would."""

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    if at == "kept":
        monkeypatch.setattr(correcting, "_write", killed)
    elif at == "written":
        monkeypatch.setattr(correcting, "write_json", killed)
    elif at == "renamed":
        # The first call is before the save: it must still work.
        steps = iter([versions.settle, killed])

        def settle(root: Path) -> object:
            return next(steps)(root)

        monkeypatch.setattr(correcting, "settle", settle)
    elif at == "copied":
        monkeypatch.setattr(versions, "summarise", killed)
    else:
        monkeypatch.setattr(versions.os, "replace", _but_documents(killed))
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # nobody clears up after a kill


def _but_documents(killed: object):
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(source).name == "dataset.json":  # moved up: the last step of all
            killed()  # type: ignore[operator]
        real(source, target)

    return replace


@pytest.mark.parametrize("at", STEPS)
def test_a_save_that_is_killed_is_there_whole_or_not_at_all(
    workspace: Workspace, wells: Dataset, at: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _die(at, patch)
        with pytest.raises(KilledError):
            saved(workspace, {"well0": [NEW], "well1": []})
    was_saved = STEPS.index(at) >= STEPS.index("renamed")

    now = open_dataset(workspace, "wells")
    assert now.labels_version == (2 if was_saved else 1)
    assert rounded(now, "well0") == (
        [(1, 40, 30, 52, 38)] if was_saved else [(0, 24, 16, 36, 24), (1, 6, 4, 12, 12)]
    )
    text = (now.root / "labels" / "well1.txt").read_text()
    assert text.count("\n") == (0 if was_saved else 2)
    assert list_datasets(workspace)[0].boxes["crypt"] == (4 if was_saved else 6)
    found = {finding.what: finding for finding in repair(workspace)}
    assert found["datasets"].found == "as they were imported"
    # And the next save goes on from there.
    done = saved(workspace, {"well2": []}, seen=now.labels_version)
    assert done.version is not None
    assert done.version.number == now.labels_version + 1


def test_what_a_killed_save_left_is_cleared_away_by_doctor(
    workspace: Workspace, wells: Dataset
) -> None:
    left = wells.root / "versions" / ".building-2-999999999-abc123"
    left.mkdir(parents=True)

    repair(workspace)

    assert not left.exists()


def test_a_full_disk_is_said_and_nothing_is_saved(
    workspace: Workspace, wells: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(correcting, "write_json", full)
    with pytest.raises(DiskFullError, match="nothing of this correction was saved"):
        saved(workspace, {"well0": []})
    assert open_dataset(workspace, "wells").labels_version == 1


# --- what is refused ------------------------------------------------------------


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ({"well9": []}, "has no image 'well9'"),
        ({"well0": [CRYPT.model_copy(update={"cls": 2})]}, "class number 2, and there are"),
        ({"well0": [CRYPT.model_copy(update={"x1": float("nan")})]}, "is not a number"),
        ({"well0": [CRYPT.model_copy(update={"x1": 35.9})]}, "smaller than a pixel"),
        ({"well0": [CRYPT.model_copy(update={"x1": 70.0, "x2": 80.0})]}, "smaller than a pixel"),
    ],
)
def test_what_is_no_box_is_refused_by_name(
    workspace: Workspace, wells: Dataset, boxes: dict[str, list[Box]], words: str
) -> None:
    with pytest.raises((DatasetError, NotFoundError), match=words):
        saved(workspace, boxes)
    assert open_dataset(workspace, "wells").labels_version == 1


def test_a_box_over_the_border_is_clipped_and_two_alike_are_one(
    workspace: Workspace, wells: Dataset
) -> None:
    out = CRYPT.model_copy(update={"x2": 75.0})
    saved(workspace, {"well0": [out, out]})

    assert rounded(open_dataset(workspace, "wells"), "well0") == [(0, 24, 16, 60, 24)]


def test_somebody_has_to_say_who_they_are(workspace: Workspace, wells: Dataset) -> None:
    with pytest.raises(ConfigError, match="Say who corrects"):
        saved(workspace, {"well0": []}, who="  ")


def test_classes_are_added_behind_those_there_are(workspace: Workspace, wells: Dataset) -> None:
    debris = [NEW.model_copy(update={"cls": 2})]
    with pytest.raises(DatasetError, match="new ones can only come behind"):
        save_labels(workspace, "wells", {"well0": debris}, seen=1, who="Ada",
                    classes=("cyst", "crypt", "debris"))  # fmt: skip
    save_labels(workspace, "wells", {"well0": debris}, seen=1, who="Ada",
                classes=("crypt", "cyst", "debris"))  # fmt: skip

    now = open_dataset(workspace, "wells")
    assert now.classes == ("crypt", "cyst", "debris")
    assert now.image("well0").counts == {"debris": 1}
    assert open_dataset(workspace, "wells", 1).classes == ("crypt", "cyst")


# --- images that nobody has labelled ----------------------------------------------


def test_of_unlabelled_images_those_that_were_looked_at_are_learned_from(
    workspace: Workspace, bring_in: Importer, tmp_path: Path
) -> None:
    for n in range(10):
        write_image(tmp_path / "new" / f"well{n}.png", n)
    data = bring_in(tmp_path / "new", "wells")
    assert {record.split for record in data.images} == {None}, "they are not split yet"
    box = CRYPT.model_copy(update={"cls": 0})

    looked_at = {"well2": [box], "well5": [], "well7": [box]}
    save_labels(workspace, "wells", looked_at, seen=1, who="Ada", classes=("crypt",))

    now = open_dataset(workspace, "wells")
    assert [r.id for r in now.split("train")] == ["well2", "well5"], "one is background"
    assert [r.id for r in now.split("val")] == ["well7"]
    assert sum(record.split is None for record in now.images) == 7
    assert now.split("test") == ()
    assert now.readiness().ready
    assert (now.root / "splits" / "train.txt").read_text().count("\n") == 2
    assert "crypt" in (now.root / "data.yaml").read_text()
    restore_version(workspace, "wells", 1, who="Ada")
    again = open_dataset(workspace, "wells")
    assert again.split("train") == (), "nobody has labelled them any more"
    assert open_dataset(workspace, "wells", 2).split("train") == now.split("train")


# --- runs -----------------------------------------------------------------------


def test_a_run_keeps_the_version_that_it_was_started_with(
    workspace: Workspace, wells: Dataset
) -> None:
    service = RunService(workspace)
    config = TrainConfig(dataset="wells", weights="yolov8n.yaml", imgsz=64)
    run = service.submit(config)
    asked = service.get(run).config
    folder = service.run_dir(run)
    assert record_provenance(folder, asked, workspace) == []
    saved(workspace, {"well0": []})

    assert asked.dataset_version == 1
    seen = open_for_run(workspace, asked)
    assert len(seen.boxes(seen.image("well0"))) == 2
    assert seen.content_hash == wells.content_hash
    said = record_provenance(folder, asked, workspace)
    assert not [line for line in said if "dataset" in line], "its data are the same as before"
    kept = json.loads((folder / "provenance.json").read_text())["dataset"]
    assert (kept["version"], kept["content_sha256"]) == (1, wells.content_hash)
    later = service.get(service.submit(config)).config
    assert later.dataset_version == 2
    assert service.get(service.repeat(run)).config.dataset_version == 1


def test_a_run_from_before_there_were_versions_is_about_the_first(
    workspace: Workspace, wells: Dataset
) -> None:
    service = RunService(workspace)
    run = service.submit(TrainConfig(dataset="wells", weights="yolov8n.yaml", imgsz=64))
    path = service.run_dir(run) / "config.json"
    config = json.loads(path.read_text())
    del config["dataset_version"]
    path.write_text(json.dumps(config))
    saved(workspace, {"well0": []})

    assert RunService(workspace).get(run).config.dataset_version == 1


# --- what counts as moved -------------------------------------------------------


def test_a_box_that_still_overlaps_was_moved_and_one_that_does_not_is_another() -> None:
    square = Box(cls=0, x1=0, y1=0, x2=10, y2=10)
    beside = square.model_copy(update={"x1": 8.0, "x2": 18.0})  # IoU 20 / 180 = 0.11
    away = square.model_copy(update={"x1": 9.0, "x2": 19.0})  # IoU 10 / 190 = 0.05

    assert label_changes([square], [beside], 0.01)[:4] == (0, 1, 0, 0)
    assert label_changes([square], [away], 0.01)[:4] == (1, 0, 1, 0)


def test_of_two_boxes_at_one_place_the_one_of_the_same_class_is_kept() -> None:
    one, other = (Box(cls=c, x1=0, y1=0, x2=10, y2=10) for c in (0, 1))

    assert label_changes([one, other], [other], 0.01) == (0, 0, 1, 0, (1,))
    assert label_changes([one], [other], 0.01) == (0, 0, 0, 1, (0,))
