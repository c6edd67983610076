"""Reading any microscope file: pixels, depth, pixel size, and plain refusals."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from msip_core.config import ImageRecipe
from msip_core.data import micrographs
from msip_core.data.enhance import apply_recipe
from msip_core.data.micrographs import decode, read_micrograph, read_raw
from msip_core.errors import DatasetError

RAMP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_an_8_bit_grey_image_keeps_its_grey_values(tmp_path: Path, suffix: str) -> None:
    grey = (RAMP % 256).astype(np.uint8)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), grey)

    micrograph = read_micrograph(tmp_path / f"a{suffix}")

    assert micrograph.bit_depth == 8
    assert micrograph.pixels.shape == (64, 64, 3)
    assert all((micrograph.pixels[..., c] == grey).all() for c in range(3))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_colours_come_in_the_order_red_green_blue(tmp_path: Path, suffix: str) -> None:
    rgb = np.zeros((5, 7, 3), np.uint8)
    rgb[...] = (200, 100, 50)
    Image.fromarray(rgb).save(tmp_path / f"a{suffix}")

    assert (read_micrograph(tmp_path / f"a{suffix}").pixels == (200, 100, 50)).all()


def test_a_jpeg_gives_the_very_pixels_that_opencv_and_so_the_detector_reads(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), rgb)

    expected = cv2.imread(str(tmp_path / "a.jpg"))[..., ::-1]

    assert (read_micrograph(tmp_path / "a.jpg").pixels == expected).all()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_12_bit_image_in_16_bits_uses_the_full_8_bit_range(tmp_path: Path, suffix: str) -> None:
    cv2.imwrite(str(tmp_path / f"a{suffix}"), RAMP)  # 0 ... 4095

    raw = read_raw(tmp_path / f"a{suffix}")
    micrograph = read_micrograph(tmp_path / f"a{suffix}")

    assert raw.bit_depth == 12
    assert (raw.pixels == RAMP).all()
    # Ultralytics' own shift by 8 would leave 16 grey levels.
    assert len(np.unique(micrograph.pixels)) == 256


def test_16_bit_colour_png_is_not_cut_to_its_high_byte(tmp_path: Path) -> None:
    bgr = np.stack([RAMP, RAMP + 5000, RAMP + 10000], axis=2)
    cv2.imwrite(str(tmp_path / "a.png"), bgr)

    assert (read_raw(tmp_path / "a.png").pixels == bgr[..., ::-1]).all()


def test_scaling_maps_the_percentiles_to_black_and_white_by_the_written_formula() -> None:
    raw = np.arange(101, dtype=np.uint16).reshape(1, 101) * 10  # percentile p is 10 p
    recipe = ImageRecipe(scope="image", low_percentile=10, high_percentile=90)

    scaled = apply_recipe(raw, recipe)[0, :, 0]

    assert scaled[10] == 0
    assert scaled[90] == 255
    assert scaled[50] == round(255 * (500 - 100) / 800)
    assert (scaled[:10] == 0).all()
    assert (scaled[91:] == 255).all()


def test_fixed_grey_values_scale_every_image_alike() -> None:
    recipe = ImageRecipe(low_value=100, high_value=355)

    scaled = apply_recipe(np.array([[100, 101, 355, 60000]], np.uint16), recipe)

    assert scaled[0, :, 0].tolist() == [0, 1, 255, 255]


def test_8_bit_images_stay_as_they_are_unless_the_recipe_normalises() -> None:
    image = np.array([[10, 20, 30]], np.uint8)
    stretched = ImageRecipe(scope="image", normalise=True, low_percentile=0, high_percentile=100)

    assert apply_recipe(image, ImageRecipe(low_value=0, high_value=4000))[0, :, 0].tolist() == [
        10,
        20,
        30,
    ]
    assert apply_recipe(image, stretched)[0, :, 0].tolist() == [0, 128, 255]


def test_the_recipe_does_not_change_the_callers_array() -> None:
    raw = RAMP.astype(np.float32)
    copy = raw.copy()

    apply_recipe(raw, ImageRecipe(clahe=True))

    assert (raw == copy).all()


def test_dead_pixels_of_a_float_image_become_black_or_white_not_noise() -> None:
    raw = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    raw[0, 0], raw[0, 1] = np.nan, np.inf

    scaled = apply_recipe(raw, ImageRecipe(low_percentile=0, high_percentile=100))

    assert scaled[0, 0, 0] == 0
    assert scaled[0, 1, 0] == 255


def test_an_image_of_one_grey_value_is_black() -> None:
    assert (apply_recipe(np.full((4, 4), 700, np.uint16), ImageRecipe()) == 0).all()


def test_clahe_raises_local_contrast_and_keeps_colours_grey() -> None:
    flat = np.full((64, 64), 120, np.uint8)
    flat[20:40, 20:40] = 126

    better = apply_recipe(flat, ImageRecipe(clahe=True, clahe_clip=40))

    assert np.ptp(better) > np.ptp(flat)
    assert (better[..., 0] == better[..., 2]).all()


# --- TIFF ---------------------------------------------------------------------


def test_ome_tiff_states_its_pixel_size_and_significant_bits(tmp_path: Path) -> None:
    metadata = {
        "axes": "YX",
        "PhysicalSizeX": 650.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 650.0,
        "PhysicalSizeYUnit": "nm",
        "SignificantBits": 14,
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", RAMP, metadata=metadata)

    raw = read_raw(tmp_path / "a.ome.tif")

    assert raw.pixel_size_um == pytest.approx(0.65)
    assert raw.bit_depth == 14


@pytest.mark.parametrize(("size", "unit"), [(6.5e-7, "m"), (6.5e-5, "cm"), (6500, "Å")])
def test_ome_tiff_may_state_its_pixel_size_in_other_units(
    tmp_path: Path, size: float, unit: str
) -> None:
    metadata = {"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeXUnit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", RAMP, metadata=metadata)

    assert read_raw(tmp_path / "a.ome.tif").pixel_size_um == pytest.approx(0.65)


def test_imagej_tiff_in_microns_gives_its_pixel_size(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", RAMP, imagej=True, resolution=(2.0, 2.0), metadata={"unit": "um"}
    )

    assert read_raw(tmp_path / "a.tif").pixel_size_um == pytest.approx(0.5)


def test_a_print_resolution_per_inch_is_not_taken_for_a_pixel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RAMP, resolution=(300, 300), resolutionunit="INCH")

    assert read_raw(tmp_path / "a.tif").pixel_size_um is None


def test_of_a_z_stack_the_middle_plane_is_read_and_the_note_says_so(tmp_path: Path) -> None:
    stack = np.stack([np.full((8, 9), z, np.uint16) for z in range(5)])
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "ZYX"})

    raw = read_raw(tmp_path / "a.ome.tif")

    assert (raw.pixels == 2).all()
    assert raw.note == "number 3 of 5 z planes"


def test_of_several_pages_and_channels_the_first_is_read(tmp_path: Path) -> None:
    pages = np.stack([np.full((8, 9), p + 1, np.uint16) for p in range(4)])
    tifffile.imwrite(tmp_path / "pages.tif", pages, photometric="minisblack", metadata=None)
    tifffile.imwrite(tmp_path / "channels.ome.tif", pages, metadata={"axes": "CYX"})

    for name in ("pages.tif", "channels.ome.tif"):
        raw = read_raw(tmp_path / name)
        assert (raw.pixels == 1).all()
        assert "number 1 of 4" in (raw.note or "")


def test_three_8_bit_channels_of_an_imagej_composite_are_colour(tmp_path: Path) -> None:
    planes = np.stack([np.full((6, 5), v, np.uint8) for v in (10, 20, 30)])
    tifffile.imwrite(tmp_path / "a.tif", planes, imagej=True, metadata={"axes": "CYX"})

    assert (read_raw(tmp_path / "a.tif").pixels == (10, 20, 30)).all()


def test_planar_and_rgba_tiffs_become_rgb(tmp_path: Path) -> None:
    rgba = np.zeros((6, 5, 4), np.uint8)
    rgba[...] = (1, 2, 3, 255)
    tifffile.imwrite(tmp_path / "rgba.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    planar = np.moveaxis(rgba[..., :3], 2, 0)
    tifffile.imwrite(tmp_path / "planar.tif", planar, photometric="rgb", planarconfig="separate")

    assert (read_raw(tmp_path / "rgba.tif").pixels == (1, 2, 3)).all()
    assert (read_raw(tmp_path / "planar.tif").pixels == (1, 2, 3)).all()


def test_palette_images_get_their_colours(tmp_path: Path) -> None:
    image = Image.fromarray((RAMP % 3).astype(np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255] + [0] * (253 * 3))
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.tif")

    for name in ("a.png", "a.tif"):
        raw = read_raw(tmp_path / name)
        assert raw.pixels[0, :3].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
        assert not raw.plain


def test_white_is_zero_tiffs_are_turned_the_right_way_round(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 255]], np.uint8), photometric="miniswhite")

    assert read_raw(tmp_path / "a.tif").pixels.tolist() == [[255, 0]]


def test_a_dead_pixel_of_a_white_is_zero_tiff_takes_no_other_with_it(tmp_path: Path) -> None:
    pixels = np.array([[0.25, 1.0, np.inf, np.nan]], np.float32)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")

    assert read_raw(tmp_path / "a.tif").pixels[0, :2].tolist() == [1.0, 0.25]


@pytest.mark.parametrize("deep", [np.uint8, np.uint16])
def test_a_rotated_photograph_is_turned_upright_as_opencv_does(tmp_path: Path, deep: type) -> None:
    image = Image.fromarray(np.arange(6, dtype=deep).reshape(2, 3) * deep(40))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)

    raw = read_raw(tmp_path / "a.png")

    assert raw.pixels.shape == (3, 2)
    assert not raw.plain


# --- refusals -----------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_file_that_was_cut_short_is_refused_with_its_name(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    cv2.imwrite(str(whole), np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    (tmp_path / f"cut{suffix}").write_bytes(whole.read_bytes()[:-900])

    with pytest.raises(DatasetError, match=f"cut{suffix}"):
        read_micrograph(tmp_path / f"cut{suffix}")


def test_text_and_empty_files_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a PNG, JPEG, BMP or TIFF"):
        decode(b"hello world", "a.png")
    with pytest.raises(DatasetError, match="is empty"):
        decode(b"", "a.png")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_micrograph(tmp_path / "missing.png")


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    png = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header
    png += zlib.crc32(header).to_bytes(4, "big")
    data = b"IDAT" + zlib.compress(b"\0")
    png += len(data[4:]).to_bytes(4, "big") + data + zlib.crc32(data).to_bytes(4, "big")

    with pytest.raises(DatasetError, match="too large"):
        decode(png, "bomb.png")


def test_a_tiff_with_too_many_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((50, 50), np.uint8))
    monkeypatch.setattr(micrographs, "MAX_PIXELS", 2000)

    with pytest.raises(DatasetError, match="too large"):
        decode(file.getvalue(), "big.tif")
