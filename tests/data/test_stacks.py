"""Of a stack one picture comes in: the sharpest plane, a projection, or the plane asked for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from filelock import FileLock

from msip_core.config import ImageRecipe, ImportConfig
from msip_core.data import staging
from msip_core.data.importing import import_dataset, inspect_source
from msip_core.data.stacks import parse_stack, reduce
from msip_core.errors import ConfigError, Stopped
from msip_core.workspace import Workspace
from tests.data.conftest import Importer
from tests.data.stacks import planes, stored, write_fields

# Grey values as they are, so that pixels can be compared.
AS_IS = ImageRecipe(low_value=0, high_value=255)


def small(values: list[int]) -> list[np.ndarray]:
    return [np.full((24, 32), value, np.uint8) for value in values]


@pytest.mark.parametrize("at", [0, 2, 4])
def test_the_sharpest_plane_is_found_wherever_it_stands(at: int) -> None:
    found = reduce(planes(at), "sharpest")

    assert found.at == at
    assert (found.pixels == planes(at)[at]).all()


def test_projections_take_the_brightest_and_the_darkest_values() -> None:
    stack = planes(2)

    assert (reduce(stack, "max").pixels == np.max(stack, axis=0)).all()
    assert (reduce(stack, "min").pixels == np.min(stack, axis=0)).all()


@pytest.mark.parametrize("words", ["blurred", "z", "-1", "2.5"])
def test_a_way_that_is_none_is_refused(words: str) -> None:
    with pytest.raises(ConfigError, match="is no way to take one plane"):
        parse_stack(words)


def test_words_for_planes_are_read() -> None:
    assert [parse_stack(w) for w in (None, "Max", "minimum", "z03", "7")] == [
        "sharpest",
        "max",
        "min",
        "3",
        "7",
    ]


def test_a_z_stack_in_one_tiff_gives_its_sharpest_plane(tmp_path: Path, bring_in: Importer) -> None:
    stack = np.stack(planes(3))
    folder = tmp_path / "in"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", stack, imagej=True, metadata={"axes": "ZYX", "unit": "um"},
                     resolution=(2.0, 2.0))  # fmt: skip

    dataset = bring_in(folder)

    assert [image.source for image in dataset.images] == ["a.tif"]
    assert dataset.images[0].pixel_size_um == pytest.approx(0.5)
    (row,) = dataset.report.chosen
    assert (row.file, row.what) == ("a.tif", "z plane 4, the sharpest of 5")


@pytest.mark.parametrize(
    ("way", "value", "said"),
    [
        ("max", 90, "maximum of 3 z planes"),
        ("min", 30, "minimum of 3 z planes"),
        ("middle", 90, "number 2 of 3 z planes"),
        ("3", 60, "z plane 3, as asked, of 3"),
    ],
)
def test_another_way_can_be_asked_for(
    tmp_path: Path, bring_in: Importer, way: str, value: int, said: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    tifffile.imwrite(
        folder / "a.tif", np.stack(small([30, 90, 60])), imagej=True, metadata={"axes": "ZYX"}
    )

    dataset = bring_in(folder, stack=way, recipe=AS_IS)

    assert (stored(dataset) == value).all()
    assert said in dataset.report.chosen[0].what


def test_a_plane_that_is_not_there_leaves_the_file_out_by_name(
    tmp_path: Path, bring_in: Importer
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, count in (("few", 2), ("many", 5)):
        tifffile.imwrite(
            folder / f"{name}.tif",
            np.stack(planes(1, count)),
            imagej=True,
            metadata={"axes": "ZYX"},
        )

    dataset = bring_in(folder, stack="4")

    assert [image.source for image in dataset.images] == ["many.tif"]
    assert [(p.file, p.what) for p in dataset.report.skipped] == [
        ("few.tif", "has no z plane 4 (there are 1 to 2)")
    ]


def test_every_nth_time_point_is_an_image(tmp_path: Path, bring_in: Importer) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    tifffile.imwrite(
        folder / "a.tif",
        np.stack(small([10, 20, 30, 40, 50])),
        imagej=True,
        metadata={"axes": "TYX"},
    )

    dataset = bring_in(folder, every=2, recipe=AS_IS)

    assert [int(stored(dataset, i)[0, 0]) for i in range(3)] == [10, 30, 50]
    assert [image.source for image in dataset.images] == [
        f"a.tif/scene-001_t00{number}.tif" for number in (1, 3, 5)
    ]
    assert len({image.group for image in dataset.images}) == 1, "one field on one side of a split"


def test_planes_in_files_of_their_own_are_one_image_a_field(
    tmp_path: Path, bring_in: Importer
) -> None:
    folder = write_fields(tmp_path / "in", {"r01c02f01": 1, "r01c02f02": 4, "r02c03f01": 2})

    dataset = bring_in(folder)

    assert [image.source for image in dataset.images] == [
        f"{field}p{z:02d}-ch1sk1fk1fl1.tiff"
        for field, z in (("r01c02f01", 2), ("r01c02f02", 5), ("r02c03f01", 3))
    ]
    assert dataset.report.chosen[0].what == ("5 files of one field; z plane 2, the sharpest of 5")


def test_labelled_planes_stay_as_they_are(tmp_path: Path, bring_in: Importer) -> None:
    """Boxes were drawn on the plane that the person saw, not on the one that we would take."""
    folder = write_fields(tmp_path / "in", {"r01c02f01": 1, "r01c02f02": 4})
    labelled = ["r01c02f01p03-ch1sk1fk1fl1", "r01c02f02p01-ch1sk1fk1fl1"]
    for stem in labelled:
        (folder / f"{stem}.txt").write_text("0 0.5 0.5 0.2 0.2\n")

    dataset = bring_in(folder)

    assert sorted(image.id for image in dataset.images) == labelled
    assert sum(image.counts["class_0"] for image in dataset.images) == 2


def test_of_channels_in_files_the_one_asked_for_comes_in(
    tmp_path: Path, bring_in: Importer
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for well in ("B02", "C03"):
        for channel, value in ((1, 50), (2, 80)):
            pixels = np.full((24, 32), value + ord(well[0]), np.uint8)
            tifffile.imwrite(folder / f"exp_{well}_s1_w{channel}.tif", pixels)

    first = bring_in(folder, "first")
    second = bring_in(folder, "second", recipe=ImageRecipe(channel="2"))

    assert [image.source for image in first.images] == ["exp_B02_s1_w1.tif", "exp_C03_s1_w1.tif"]
    assert "nobody said which" in first.report.repaired[0].what
    assert [image.source for image in second.images] == ["exp_B02_s1_w2.tif", "exp_C03_s1_w2.tif"]
    assert not second.report.repaired


def test_an_image_in_several_ome_files_is_one_image(tmp_path: Path, bring_in: Importer) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    names = ["one.ome.tif", "two.ome.tif", "three.ome.tif"]
    blocks = "".join(
        f'<TiffData FirstZ="{z}" FirstC="0" FirstT="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    for z, (name, plane) in enumerate(zip(names, planes(1, 3))):
        xml = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{z}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            'DimensionOrder="XYZCT" Type="uint16" SizeX="60" SizeY="40" SizeZ="3" SizeC="1" '
            f'SizeT="1" PhysicalSizeX="0.65"><Channel ID="Channel:0" Name="BF"/>{blocks}'
            "</Pixels></Image></OME>"
        )
        tifffile.imwrite(folder / name, plane, description=xml, metadata=None)

    dataset = bring_in(folder)

    (image,) = dataset.images
    assert image.pixel_size_um == pytest.approx(0.65)
    assert dataset.report.chosen[0].what == (
        "an image in several files; its only channel ('BF'); z plane 2, the sharpest of 3"
    )


def test_a_look_tells_what_a_stack_is_before_the_import(tmp_path: Path) -> None:
    folder = write_fields(tmp_path / "in", {"r01c02f01": 1, "r01c02f02": 4})

    found = inspect_source(folder)

    assert found.images == 2
    assert found.channels == ()


def test_a_look_lists_the_channels_that_can_be_chosen(tmp_path: Path, bring_in: Importer) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(2):
        pixels = np.stack([np.full((24, 32), value + number, np.uint8) for value in (20, 90)])
        names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "Brightfield"]}}
        tifffile.imwrite(folder / f"{number}.ome.tif", pixels, metadata=names)
    for channel in (1, 2):
        for well in ("B02", "C03"):
            tifffile.imwrite(folder / f"exp_{well}_s1_w{channel}.tif", pixels[0] + channel)

    channels = inspect_source(folder).channels

    assert channels == ("DAPI", "Brightfield", "1", "2")
    for name, value in (("DAPI", 20), ("Brightfield", 90)):
        taken = bring_in(folder, name, recipe=ImageRecipe(channel=name))
        picture = next(image for image in taken.images if image.source.startswith("0.ome"))
        assert np.median(taken.pixels(picture)) == value


# --- large plates -------------------------------------------------------------


def test_an_import_that_was_ended_goes_on_where_it_was(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_fields(tmp_path / "in", {f"r01c01f0{n}": n % 5 for n in range(1, 7)})
    config = ImportConfig(source=folder, name="plate")
    with monkeypatch.context() as patch:
        # As a computer that goes down: what is there stays, and nobody tidies up.
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        patch.setattr(staging, "StagedTree", _goes_down)
        with pytest.raises(SystemError):
            import_dataset(workspace, config)
    (left,) = [f for f in workspace.datasets.glob(".staged-*") if f.is_dir()]
    (left / "000005.json").unlink()
    times = {f.name: f.stat().st_mtime_ns for f in left.glob("0*.json")}
    read: list[int] = []
    share = staging._render_share
    monkeypatch.setattr(
        staging,
        "_render_share",
        lambda asked, plan, place, numbers, tell: (
            (read.extend(numbers), "")[1] or share(asked, plan, place, numbers, tell)
        ),
    )
    monkeypatch.setattr(staging.confined, "run", lambda work, tell=None: work(tell or _quiet))

    dataset = import_dataset(workspace, config)

    assert len(times) == 5
    assert read == [5]
    assert len(dataset.images) == 6
    assert not list(workspace.datasets.glob(".staged-*"))


def _quiet(done: float, message: str) -> None:
    pass


def _goes_down(*_: object) -> None:
    raise SystemError("power cut")


def test_an_import_at_work_stays_however_old_it_looks(workspace: Workspace) -> None:
    at_work, left = (workspace.datasets / f".staged-{name}" for name in "ab")
    for folder in (at_work, left):
        folder.mkdir()
        os.utime(folder, (1, 1))  # the clock was wrong when it began
    with FileLock(f"{at_work}.lock"):
        staging._sweep(workspace)
    assert at_work.is_dir()
    assert not list(workspace.datasets.glob(".staged-b*"))


def test_an_import_that_is_cancelled_leaves_nothing(tmp_path: Path, workspace: Workspace) -> None:
    folder = write_fields(tmp_path / "in", {f"r01c01f0{n}": n % 5 for n in range(1, 7)})

    def cancel(done: float, message: str) -> None:
        if message.startswith("Choosing planes"):
            raise Stopped("cancel")

    with pytest.raises(Stopped):
        import_dataset(workspace, ImportConfig(source=folder, name="plate"), cancel)

    assert list(workspace.datasets.iterdir()) == []


def test_files_that_changed_are_read_anew(tmp_path: Path, workspace: Workspace) -> None:
    folder = write_fields(tmp_path / "in", {"r01c01f01": 1})
    with staging.open_tree(folder) as tree:
        before = staging._key(folder, tree, staging.Wish())
    tifffile.imwrite(folder / "r01c01f01p01-ch1sk1fk1fl1.tiff", planes(0)[0][:20])

    with staging.open_tree(folder) as tree:
        after = staging._key(folder, tree, staging.Wish())
        other = staging._key(folder, tree, staging.Wish(stack="max"))

    assert len({before, after, other}) == 3
