"""A large field read some rows at a time has the pixels that it has when it is read whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from msip_core.config import ImageRecipe
from msip_core.data import regions, tiff_rows
from msip_core.data.micrographs import Micrograph, read_micrograph
from msip_core.data.regions import Field, open_field, shrunk
from msip_core.errors import DatasetError

RNG = np.random.default_rng(3)
GREY = RNG.integers(0, 255, (230, 170), np.uint8)
COLOUR = RNG.integers(0, 255, (230, 170, 3), np.uint8)
DEEP = RNG.integers(100, 4000, (230, 170), np.uint16)


@pytest.fixture(autouse=True)
def _all_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "LARGE", 1000)
    monkeypatch.setattr(regions, "_ROWS", 50)
    monkeypatch.setattr(tiff_rows, "_KEPT_BYTES", 10_000)


TIFFS = {
    "one block": (COLOUR, {}),
    "strips": (COLOUR, {"rowsperstrip": 16, "compression": "lzw", "predictor": True}),
    "tiles": (GREY, {"tile": (64, 48), "compression": "zlib"}),
    "jpeg tiles": (COLOUR, {"tile": (64, 64), "compression": "jpeg"}),
    "colours apart": (
        np.moveaxis(COLOUR, -1, 0),
        {"planarconfig": "separate", "photometric": "rgb", "rowsperstrip": 30},
    ),
    "alpha": (
        np.dstack([COLOUR, GREY]),
        {"photometric": "rgb", "extrasamples": ["unassalpha"], "tile": (32, 32)},
    ),
    "16 bit": (DEEP, {"rowsperstrip": 7, "compression": "zlib"}),
    "big endian": (DEEP, {"byteorder": ">"}),
    "float": (DEEP.astype(np.float32) / 100, {"rowsperstrip": 64}),
    "z-stack": (
        np.stack([GREY, GREY[::-1], GREY // 2]),
        {"metadata": {"axes": "ZYX", "PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65}, "ome": True},
    ),
    "channels": (
        np.stack([DEEP, DEEP[::-1]]),
        {"metadata": {"axes": "CYX", "Channel": {"Name": ["GFP", "Brightfield"]}}, "ome": True},
    ),
}


@pytest.mark.parametrize("kind", TIFFS)
@pytest.mark.parametrize("scope", ["image", "dataset"])
def test_rows_of_a_tiff_are_those_of_the_whole_image(kind: str, scope: str, tmp_path: Path) -> None:
    pixels, how = TIFFS[kind]
    path = tmp_path / "field.tif"
    tifffile.imwrite(path, pixels, **how)
    limits = {"low_value": 120.0, "high_value": 3000.0} if scope == "dataset" else {}
    recipe = ImageRecipe(scope=scope, **limits)

    whole = read_micrograph(path, recipe)
    with open_field(path, recipe) as field:
        check_rows(field, whole, 1 if kind == "float" else 0)  # percentiles of a sample there


def check_rows(field: Field, whole: Micrograph, tolerance: int) -> None:
    assert field.in_parts
    assert (field.height, field.width) == whole.pixels.shape[:2] == (230, 170)
    for top, bottom in ((0, 230), (40, 90), (37, 38), (60, 200), (10, 90), (229, 230)):
        np.testing.assert_allclose(
            field.rows(top, bottom).astype(int),
            whole.pixels[top:bottom].astype(int),
            atol=tolerance,
        )
    assert (field.pixel_size_um, field.doubt) == (whole.pixel_size_um, whole.doubt)
    assert (field.note or "") in (whole.note or "")


@pytest.mark.parametrize(
    ("suffix", "mode", "more"),
    [
        ("png", "L", {}), ("png", "RGB", {}), ("png", "P", {}), ("png", "RGBA", {}),
        ("jpg", "L", {}), ("jpg", "RGB", {}), ("jpg", "RGB", {"exif": 6}), ("bmp", "RGB", {}),
    ],
)  # fmt: skip
def test_rows_of_other_pictures_too(
    suffix: str, mode: str, more: dict[str, int], tmp_path: Path
) -> None:
    path = tmp_path / f"field.{suffix}"
    exif = Image.Exif()
    if more:
        exif[0x0112] = more["exif"]
    Image.fromarray(COLOUR).convert(mode).save(path, exif=exif)

    field, whole = open_field(path), read_micrograph(path)

    assert field.in_parts
    assert (field.height, field.width) == whole.pixels.shape[:2]
    assert np.array_equal(field.pixels, whole.pixels)
    assert np.array_equal(field.rows(33, 77), whole.pixels[33:77])


def test_what_is_not_read_in_parts_is_read_whole_as_far_as_that_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    palette = np.repeat(np.arange(256, dtype=np.uint16)[None] * 257, 3, axis=0)
    tifffile.imwrite(tmp_path / "p.tif", GREY, photometric="palette", colormap=palette)
    Image.fromarray(DEEP).save(tmp_path / "deep.png")
    equalised = ImageRecipe(clahe=True)
    tifffile.imwrite(tmp_path / "g.tif", GREY)
    cases = [("p.tif", None), ("deep.png", None), ("g.tif", equalised)]

    for name, recipe in cases:
        field = open_field(tmp_path / name, recipe)
        assert not field.in_parts
        assert np.array_equal(field.pixels, read_micrograph(tmp_path / name, recipe).pixels)

    monkeypatch.setattr(regions, "MAX_PIXELS", 20_000)
    for name, recipe in cases:
        with pytest.raises(DatasetError, match=f"{name} is too large for (its kind|this model)"):
            open_field(tmp_path / name, recipe)


def test_a_file_that_ends_early_is_named_when_its_rows_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, COLOUR, rowsperstrip=16)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 40_000])

    with open_field(path) as field:
        assert field.rows(0, 20).shape == (20, 170, 3)
        with pytest.raises(DatasetError, match=r"cut\.tif ends before its last strip: copy"):
            field.rows(200, 230)


def test_channels_and_planes_are_chosen_as_of_small_files(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "c.tif", *TIFFS["channels"][:1], **TIFFS["channels"][1])
    named = ImageRecipe(channel="GFP")
    with open_field(tmp_path / "c.tif", named) as field:
        assert np.array_equal(field.pixels, read_micrograph(tmp_path / "c.tif", named).pixels)
    with pytest.raises(DatasetError, match="GFP, Brightfield"):
        open_field(tmp_path / "c.tif", ImageRecipe(channel="RFP"))
    tifffile.imwrite(tmp_path / "z.tif", *TIFFS["z-stack"][:1], **TIFFS["z-stack"][1])
    with open_field(tmp_path / "z.tif", z=2) as field:
        assert np.array_equal(field.pixels[..., 0], GREY[::-1])


def test_a_shrunk_field_is_the_mean_of_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "g.tif"
    tifffile.imwrite(path, GREY, rowsperstrip=16)

    with open_field(path) as field:
        small, factor = shrunk(field, 60)
        assert shrunk(field, 500)[1] == 1

    assert (factor, small.shape) == (4, (57, 42, 3))
    means = GREY[:228, :168].reshape(57, 4, 42, 4).mean(axis=(1, 3))
    assert np.abs(small[..., 0] - means).max() <= 1
