"""Which pictures of a source are counted, and of which well each is."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msip_core.config import CountConfig
from msip_core.data import names
from msip_core.data.archive import open_tree
from msip_core.data.manifest import Problem
from msip_core.data.pictures import Picture, Plane
from msip_core.errors import ConfigError, DatasetError, NotFoundError
from msip_core.plates.plan import CountPlan, Item, _failed, _of_tree, _placed, plan_count
from msip_core.workspace import Workspace
from tests.data.stacks import write_fields
from tests.drawn import copy_example
from tests.plates.conftest import picture, write, write_plate


@pytest.fixture
def plan(workspace: Workspace, tmp_path: Path) -> Any:
    def planned(source: Path | None = None, **settings: Any) -> CountPlan:
        config = CountConfig(source=source, model="one", **settings)
        return plan_count(workspace, config, tmp_path / "unpacked")

    return planned


def wells(plan: CountPlan) -> list[tuple[str, str]]:
    return sorted({(item.plate, item.well) for item in plan.items})


def test_wells_of_the_same_name_on_two_plates_are_two_wells(plan: Any, tmp_path: Path) -> None:
    for name in ("plate 1", "plate 2"):
        write_plate(tmp_path / "in" / name, ("A01", "B02"), 1)

    found = plan(tmp_path / "in")

    assert wells(found) == [
        ("plate 1", "A01"),
        ("plate 1", "B02"),
        ("plate 2", "A01"),
        ("plate 2", "B02"),
    ]
    assert len(found.items) == 4


def test_the_folder_that_is_counted_may_name_the_plate(plan: Any, tmp_path: Path) -> None:
    assert wells(plan(write_plate(tmp_path / "Plate 7"))) == [
        ("plate 7", "A01"),
        ("plate 7", "A02"),
    ]


def test_a_zip_is_planned_like_its_folder(plan: Any, tmp_path: Path) -> None:
    folder = write_plate(tmp_path / "Plate 7")
    with zipfile.ZipFile(tmp_path / "Plate 7.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)

    assert plan(tmp_path / "Plate 7.zip").items == plan(folder).items


def test_no_list_of_names_is_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plate(tmp_path / "plate1", wells=("A01", "A02"))
    looked, find = [], names.find_well_words

    def counted(sources: list[str]) -> Any:
        looked.append(tuple(sources))
        return find(sources)

    monkeypatch.setattr(names, "find_well_words", counted)
    with open_tree(tmp_path / "plate1") as tree:
        _of_tree(tree, tmp_path / "plate1", CountConfig(source=tmp_path, model="one"), tmp_path)
    assert len(looked) == len(set(looked)) > 0


def test_planes_of_a_field_are_one_picture_in_a_well(plan: Any, tmp_path: Path) -> None:
    write_fields(tmp_path / "stack", {"r01c02f03": 2, "r01c02f04": 1, "r02c02f01": 0})

    found = plan(tmp_path / "stack")

    assert [(i.well, len(i.picture.planes)) for i in found.items] == [
        ("A02", 5),
        ("A02", 5),
        ("B02", 5),
    ]


def test_of_several_time_points_the_first_counts_and_the_others_are_named(
    plan: Any, tmp_path: Path
) -> None:
    for time in ("00d00h00m", "00d04h00m"):
        write(tmp_path / "in" / f"Exp_Phase_A1_1_{time}.png", picture(3))

    first, series = plan(tmp_path / "in"), plan(tmp_path / "in", every=1)

    assert [item.name for item in first.items] == ["Exp_Phase_A1_1_00d00h00m.png"]
    assert [problem.file for problem in first.left_out] == ["Exp_Phase_A1_1_00d04h00m.png"]
    assert [item.time for item in series.items] == ["00d00h00m", "00d04h00m"]


def test_a_channel_that_a_field_lacks_is_a_failure_and_not_silence(
    plan: Any, tmp_path: Path
) -> None:
    for channel in ("1", "2"):
        write(tmp_path / "in" / f"r01c01f01p01-ch{channel}sk1fk1fl1.png", picture(1))

    (item,) = plan(tmp_path / "in", channel="GFP").items

    assert item.problem == "its field has no channel 'GFP'"
    assert item.well == "A01"


def test_masks_and_previews_are_no_fields(plan: Any, tmp_path: Path) -> None:
    write_plate(tmp_path / "in", ("A01",), 1)
    write(tmp_path / "in" / "masks" / "A01_f1.png", np.zeros((96, 96), np.uint8))
    write(tmp_path / "in" / "A01_f1_thumb.png", picture(1)[:48, :48])

    found = plan(tmp_path / "in")

    assert [item.name for item in found.items] == ["A01_f1.png"]
    assert "A01_f1_thumb.png" in {problem.file for problem in found.left_out}


def test_files_that_nothing_reads_fail_in_their_well(plan: Any, tmp_path: Path) -> None:
    write_plate(tmp_path / "in", ("A01", "A02"), 1)
    (tmp_path / "in" / "A03_f1.vsi").write_bytes(b"vendor")

    bad = [item for item in plan(tmp_path / "in").items if item.problem]

    assert [(item.name, item.well) for item in bad] == [("A03_f1.vsi", "A03")]
    assert "export it as TIFF" in str(bad[0].problem)


def test_all_that_is_wrong_with_a_file_stands_in_one_row() -> None:
    items = _failed([Problem(file="a.lif", what="one"), Problem(file="b.lif", what="two"),
                     Problem(file="a.lif", what="three")])  # fmt: skip

    assert [(item.name, item.problem) for item in items] == [
        ("a.lif", "one; three"),
        ("b.lif", "two"),
    ]


def test_a_well_that_stands_in_the_file_counts_where_its_name_tells_none() -> None:
    stack = Picture(
        name="x.czi/A01.tif", planes=(Plane(file="x.czi"),), levels=("1",), well="A01", plate="P9"
    )
    items = [Item(name="x.czi/A01.tif", picture=stack), Item(name="y.png", file="y.png")]

    found = _placed("in", items, [item.name for item in items], CountConfig(source="in", model="m"))

    assert [(item.plate, item.well) for item in found.items] == [("P9", "A01"), ("", "")]
    assert "Wells of 1 image are told by the files themselves" in found.wells
    assert "No well is known of 1 of 2 images (the first is y.png)" in found.wells


def test_images_without_wells_are_summed_by_folder_and_this_is_said(
    plan: Any, tmp_path: Path
) -> None:
    for folder in ("control", "drug"):
        write(tmp_path / "in" / folder / "picture.png", picture(1))

    found = plan(tmp_path / "in")

    assert [item.series.rpartition("/")[2] for item in found.items] == ["control", "drug"]
    assert {item.well for item in found.items} == {""}
    assert "show no wells" in found.wells


def test_days_as_folders_of_images_without_wells_are_summed_apart(
    plan: Any, tmp_path: Path
) -> None:
    for seed, day in enumerate(("d3", "d5", "pre")):
        write(tmp_path / "in" / day / "org1.png", picture(seed))

    assert [item.series for item in plan(tmp_path / "in").items] == ["in/d3", "in/d5", "in/pre"]


def test_a_pattern_names_the_wells(plan: Any, tmp_path: Path) -> None:
    write(tmp_path / "in" / "donor-x_drop9.png", picture(1))
    write(tmp_path / "in" / "donor-y_drop9.png", picture(2))

    assert wells(plan(tmp_path / "in", group="donor-([a-z])")) == [("", "x"), ("", "y")]
    with pytest.raises(ConfigError):
        plan(tmp_path / "in", group="donor-([a-z]")


def test_a_part_of_a_dataset_is_counted_by_its_ids(plan: Any, workspace: Workspace) -> None:
    dataset = copy_example(workspace, "d", images=12, size=96)

    found = plan(dataset="d", part="test")

    assert [item.name for item in found.items] == [record.id for record in dataset.split("test")]
    assert all(item.well for item in found.items)


def test_a_source_without_an_image_is_refused(plan: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("nothing")
    with pytest.raises(DatasetError, match="no PNG"):
        plan(tmp_path / "in")
    shutil.rmtree(tmp_path / "in")
    with pytest.raises(NotFoundError):
        plan(tmp_path / "in")


@pytest.mark.parametrize(
    ("picture_of", "made"),
    [
        ("{w}.tif", "{w}_crop.tif"),
        ("{w}_1.tif", "{w}_stitched.tif"),
        ("{w}_4x.tif", "{w}_10x.tif"),
        ("{w}_1.tif", "{w}_1 (1).tif"),
        ("{w}_pre.tif", "{w}_post.tif"),
    ],
)
def test_what_was_made_of_a_field_or_is_later_is_not_counted_beside_it(
    plan: Any, tmp_path: Path, picture_of: str, made: str
) -> None:
    for well in ("A1", "A2", "B1", "B2"):
        for name in (picture_of, made):
            write(tmp_path / "in" / name.format(w=well), picture())

    found = plan(tmp_path / "in")

    assert [item.name for item in found.items] == [
        picture_of.format(w=well) for well in ("A1", "A2", "B1", "B2")
    ]
    assert {problem.file for problem in found.left_out} == {
        made.format(w=well) for well in ("A1", "A2", "B1", "B2")
    }


def test_of_words_that_may_be_channels_the_first_is_counted_with_a_doubt(
    plan: Any, tmp_path: Path
) -> None:
    for well in ("A1", "A2", "B1", "B2"):
        for word in ("fluo", "light"):
            write(tmp_path / "in" / f"{well}_{word}.tif", picture())

    found = plan(tmp_path / "in")

    assert [item.name for item in found.items] == [
        f"{w}_fluo.tif" for w in ("A1", "A2", "B1", "B2")
    ]
    assert "choose a channel" in (found.items[0].picture.doubt or "")
