"""CZI and OME-Zarr, drawn here; and what is said where a reader is not installed."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msip_core.config import ImageRecipe
from msip_core.data.importing import inspect_source
from msip_core.data.readers import registry
from msip_core.data.readers.base import micrometres
from msip_core.data.wells import plain_well
from msip_core.errors import DatasetError
from tests.data.conftest import Importer, write_image
from tests.data.stacks import planes

WHY = "needs requirements-microscopes.txt"


@pytest.fixture
def czi(tmp_path: Path) -> Path:
    """Two channels of four z planes, the third in focus; 0.5 µm a pixel."""
    module = pytest.importorskip("pylibCZIrw.czi", reason=WHY)
    path = tmp_path / "files" / "exp.czi"
    path.parent.mkdir()
    with module.create_czi(str(path)) as file:
        for channel in range(2):
            for z, plane in enumerate(planes(2, 4, channel)):
                file.write(plane, plane={"C": channel, "Z": z, "T": 0})
        file.write_metadata(
            "exp", channel_names={0: "GFP", 1: "Brightfield"}, scale_x=0.5e-6, scale_y=0.5e-6
        )
    return path


def _ngff(path: Path, value: int, **attributes: Any) -> None:
    zarr = pytest.importorskip("zarr", reason=WHY)
    pixels = np.stack(planes(1, 3, value))[None, None]
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    group.create_array("0", data=pixels, chunks=(1, 1, 1, 40, 60))
    axes = [{"name": name} for name in "tcz"]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    scale = {"type": "scale", "scale": [1, 1, 1, 0.25, 0.25]}
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": axes,
            "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
        }
    ]
    group.attrs["omero"] = {"channels": [{"label": "BF"}]}
    group.attrs.update(attributes)


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """An OME-Zarr plate of two wells with two fields each."""
    zarr = pytest.importorskip("zarr", reason=WHY)
    path = tmp_path / "files" / "screen.zarr"
    wells = [("B", "3", 1, 2), ("C", "4", 2, 3)]
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    for number, (row, column, _, _) in enumerate(wells):
        well = root.create_group(f"{row}/{column}")
        well.attrs["well"] = {"images": [{"path": "0"}, {"path": "1"}]}
        for field in range(2):
            _ngff(path / row / column / str(field), 10 * number + field)
    root.attrs["plate"] = {
        "name": "screen 7",
        "wells": [{"path": f"{r}/{c}", "rowIndex": i, "columnIndex": j} for r, c, i, j in wells],
    }
    return path


def test_a_czi_comes_in_with_channel_plane_and_pixel_size(czi: Path, bring_in: Importer) -> None:
    dataset = bring_in(czi.parent)

    (image,) = dataset.images
    assert (image.source, image.width, image.height) == ("exp.czi", 60, 40)
    assert image.pixel_size_um == pytest.approx(0.5)
    assert dataset.report.chosen[0].what == (
        "channel 2 of 2, for its name ('Brightfield'); z plane 3, the sharpest of 4"
    )
    assert not dataset.report.skipped
    assert not dataset.report.repaired


def test_another_channel_can_be_asked_for_by_name(czi: Path, bring_in: Importer) -> None:
    dataset = bring_in(czi, recipe=ImageRecipe(channel="gfp"))

    assert "channel 1 of 2, as asked ('GFP')" in dataset.report.chosen[0].what
    with pytest.raises(DatasetError, match="'DAPI' is none of its channels"):
        bring_in(czi, "other", recipe=ImageRecipe(channel="DAPI"))


def test_a_czi_in_a_zip_is_read_too(czi: Path, tmp_path: Path, bring_in: Importer) -> None:
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(czi, "day 3/exp.czi")

    dataset = bring_in(archive)

    assert [image.source for image in dataset.images] == ["day 3/exp.czi"]


def test_boxes_of_a_czi_go_with_its_picture(czi: Path, bring_in: Importer) -> None:
    (czi.parent / "exp.txt").write_text("0 0.5 0.5 0.2 0.2\n")

    dataset = bring_in(czi.parent)

    assert dataset.images[0].counts == {"class_0": 1}


def test_a_damaged_czi_is_left_out_by_name(czi: Path, bring_in: Importer) -> None:
    (czi.parent / "broken.czi").write_bytes(czi.read_bytes()[:300])

    dataset = bring_in(czi.parent)

    assert [image.source for image in dataset.images] == ["exp.czi"]
    assert [problem.file for problem in dataset.report.skipped] == ["broken.czi"]


def test_a_plate_of_ome_zarr_gives_fields_with_their_wells(plate: Path, bring_in: Importer) -> None:
    dataset = bring_in(plate.parent)

    assert sorted(image.source for image in dataset.images) == [
        f"screen.zarr/screen 7/{place}.tif"
        for place in ("B03_f01", "B03_f02", "C04_f01", "C04_f02")
    ]
    assert {image.pixel_size_um for image in dataset.images} == {0.25}
    assert all("z plane 2, the sharpest of 3" in row.what for row in dataset.report.chosen)
    assert not dataset.report.skipped


def test_an_ome_zarr_in_a_zip_is_one_file_of_it(
    plate: Path, tmp_path: Path, bring_in: Importer
) -> None:
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(plate.rglob("*")):
            file.write(path, path.relative_to(plate.parent))

    assert len(bring_in(archive).images) == 4


def test_a_file_whose_reader_is_missing_is_named_with_the_command(
    tmp_path: Path, bring_in: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    write_image(tmp_path / "in" / "a.png", 0)
    (tmp_path / "in" / "b.nd2").write_bytes(b"of Nikon")

    for problems in (
        inspect_source(tmp_path / "in").problems,
        bring_in(tmp_path / "in").report.skipped,
    ):
        (problem,) = problems
        assert problem.file == "b.nd2"
        assert "python -m pip install --no-deps -r requirements-microscopes.txt" in problem.what


def test_the_optional_readers_change_nothing_of_the_lock() -> None:
    root = Path(__file__).parents[2]

    def names(file: str) -> set[str]:
        lines = (root / file).read_text(encoding="utf-8").splitlines()
        return {line.split("==")[0] for line in lines if line[:1].isalnum()}

    assert not names("requirements-microscopes.txt") & names("requirements.lock")
    assert {"pylibczirw", "liffile", "nd2", "zarr"} <= names("requirements-microscopes.txt")


def test_sizes_that_are_none_and_places_outside_a_plate_are_not_believed() -> None:
    assert [micrometres(v) for v in ("0", "1", "nan", "x", 6.5e-7)] == [
        None,
        None,
        None,
        None,
        pytest.approx(0.65),
    ]
    assert [plain_well(*p) for p in ((1, 2), (26, 0), (-1, -1), (3, 99))] == [
        "B03",
        "AA01",
        None,
        None,
    ]
