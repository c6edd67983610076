"""Files with more than one picture: thumbnails, channels, planes, sets of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from msip_core.config import ImageRecipe
from msip_core.data.micrographs import RawImage, image_size, read_micrograph, read_raw
from msip_core.data.readers.tiff_stack import TiffStack
from msip_core.errors import DatasetError


def flat(value: int, shape: tuple[int, int] = (24, 40)) -> NDArray[np.uint16]:
    return np.full(shape, value, np.uint16)


def write(path: Path, pixels: Any, **options: Any) -> Path:
    tifffile.imwrite(path, pixels, **options)
    return path


# --- thumbnails and pyramids --------------------------------------------------


def test_the_largest_series_is_the_image_wherever_it_stands(tmp_path: Path) -> None:
    for order in ((8, 1), (1, 8), (8, 4, 1)):
        path = tmp_path / f"{len(order)}{order[0]}.tif"
        with tifffile.TiffWriter(path) as writer:
            for step in order:
                writer.write(flat(7, (240 // step, 400 // step)))

        raw = read_raw(path)

        assert raw.pixels.shape == (240, 400)
        assert image_size(path.read_bytes(), path.name) == (400, 240)
        assert f"largest of {len(order)} images" in (raw.note or "")


def test_a_full_picture_below_a_small_first_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "sub.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(flat(1, (30, 50)), subifds=1, metadata=None)
        writer.write(flat(2, (240, 400)), metadata=None)

    assert (read_raw(path).pixels == 2).all()


def test_a_pyramid_gives_its_full_resolution(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(flat(5, (256, 256)), subifds=2)
        writer.write(flat(5, (128, 128)), subfiletype=1)
        writer.write(flat(5, (64, 64)), subfiletype=1)

    assert read_raw(path).pixels.shape == (256, 256)


# --- channels -----------------------------------------------------------------


def imagej(path: Path, labels: list[str] | None) -> Path:
    planes = np.stack([flat(10), flat(20)])
    metadata: dict[str, Any] = {"axes": "CYX"} | ({"Labels": labels} if labels else {})
    return write(path, planes, imagej=True, metadata=metadata)


def ome(path: Path, names: list[str], **more: Any) -> Path:
    planes = np.stack([flat(10 * (n + 1)) for n in range(len(names))])
    channel = {"Name": names} | more
    return write(path, planes, metadata={"axes": "CYX", "Channel": channel}, ome=True)


@pytest.mark.parametrize(
    "name", ["Brightfield", "bright field", "BF", "TL-Brightfield", "Phase", "DIC", "T PMT", "PH2"]
)
def test_the_channel_in_transmitted_light_is_taken_for_its_name(tmp_path: Path, name: str) -> None:
    for path in (imagej(tmp_path / "i.tif", ["GFP", name]), ome(tmp_path / "o.tif", ["GFP", name])):
        raw = read_raw(path)

        assert (raw.pixels == 20).all()
        assert raw.note == f"channel 2 of 2, for its name ('{name}')"
        assert raw.doubt is None


def test_how_a_channel_was_lit_tells_too(tmp_path: Path) -> None:
    path = ome(tmp_path / "o.tif", ["1", "2"], ContrastMethod=["Fluorescence", "Phase"])

    assert (read_raw(path).pixels == 20).all()


@pytest.mark.parametrize("labels", [None, ["GFP", "DAPI"], ["TLR4", "Subpharyngeal"]])
def test_a_channel_that_nobody_chose_is_said(tmp_path: Path, labels: list[str] | None) -> None:
    raw = read_raw(imagej(tmp_path / "i.tif", labels))

    assert (raw.pixels == 10).all()
    assert "nobody said which" in (raw.doubt or "")
    assert all(label in (raw.doubt or "") for label in labels or [])


@pytest.mark.parametrize("wanted", ["2", "DAPI", "dapi", "dap"])
def test_a_channel_is_chosen_by_number_or_name(tmp_path: Path, wanted: str) -> None:
    raw = read_raw(imagej(tmp_path / "i.tif", ["Brightfield", "DAPI"]), wanted)

    assert (raw.pixels == 20).all()
    assert raw.note == "channel 2 of 2, as asked ('DAPI')"
    assert raw.doubt is None


@pytest.mark.parametrize(
    ("wanted", "said"), [("RFP", "none of its channels"), ("3", "none"), ("F", "several")]
)
def test_a_file_without_that_channel_is_refused_with_those_it_has(
    tmp_path: Path, wanted: str, said: str
) -> None:
    with pytest.raises(DatasetError, match=said) as caught:
        read_raw(imagej(tmp_path / "i.tif", ["GFP", "BF"]), wanted)
    assert "GFP, BF" in caught.value.message


def test_a_file_of_another_single_channel_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "o.tif", flat(1), ome=True, metadata={"Channel": {"Name": "GFP"}})

    with pytest.raises(DatasetError, match="holds the channel 'GFP', not 'Brightfield'"):
        read_raw(path, "Brightfield")
    with pytest.raises(DatasetError, match="no channel 2"):
        read_raw(path, "2")
    assert (read_raw(path, "gfp").pixels == 1).all()


@pytest.mark.parametrize("layout", ["contig", "separate"])
def test_channels_that_are_samples_of_a_grey_page_are_channels(tmp_path: Path, layout: str) -> None:
    channels = np.stack([flat(value) for value in (10, 20, 30, 40)], -1)
    stored = channels if layout == "contig" else np.moveaxis(channels, -1, 0)
    path = write(tmp_path / "c.tif", stored, photometric="minisblack", planarconfig=layout)

    assert (read_raw(path).pixels == 10).all()
    assert "has 4 channels and nobody said which" in (read_raw(path).doubt or "")
    assert (read_raw(path, "3").pixels == 30).all()
    with pytest.raises(DatasetError, match="none of its channels"):
        read_raw(path, "5")
    stack = np.stack([channels, channels + 1])
    as_stack: dict[str, Any] = {"planarconfig": "contig", "metadata": {"axes": "ZYXS"}}
    write(path, stack, photometric="minisblack", **as_stack)
    assert (TiffStack(path).plane(0, 2, 1, 0) == 31).all()


def test_grey_with_alpha_is_one_channel_and_three_of_8_bit_are_colours(tmp_path: Path) -> None:
    two = np.stack([flat(10), flat(500)], -1)
    grey = write(tmp_path / "a.tif", two, photometric="minisblack", extrasamples=["unassalpha"])
    three = np.stack([flat(value).astype(np.uint8) for value in (1, 2, 3)], -1)
    colour = write(tmp_path / "c.tif", three, photometric="minisblack", planarconfig="contig")

    assert (read_raw(grey).pixels == 10).all()
    assert read_raw(grey).doubt is None
    assert (read_raw(colour).pixels == (1, 2, 3)).all()


def test_complex_numbers_are_no_micrograph(tmp_path: Path) -> None:
    path = write(tmp_path / "fft.tif", flat(1).astype(np.complex64))

    with pytest.raises(DatasetError, match="holds complex numbers"):
        read_raw(path)


def test_pages_without_a_meaning_are_chosen_by_number(tmp_path: Path) -> None:
    pages = np.stack([flat(value) for value in (10, 20, 30)])
    path = write(tmp_path / "pages.tif", pages, photometric="minisblack", metadata=None)

    assert (read_raw(path, "3").pixels == 30).all()
    assert "does not say what they are" in (read_raw(path).doubt or "")


def test_a_colour_of_a_picture_can_be_asked_for(tmp_path: Path) -> None:
    rgb = np.zeros((6, 5, 3), np.uint8)
    rgb[...] = (1, 2, 3)
    path = write(tmp_path / "rgb.tif", rgb, photometric="rgb")

    assert (read_raw(path, "green").pixels == 2).all()
    assert (read_raw(path, "Brightfield").pixels == (1, 2, 3)).all()


def test_three_8_bit_channels_with_names_are_no_colours(tmp_path: Path) -> None:
    planes = np.stack([np.full((6, 5), v, np.uint8) for v in (10, 20, 30)])
    metadata = {"axes": "CYX", "Labels": ["DAPI", "GFP", "BF"]}
    path = write(tmp_path / "a.tif", planes, imagej=True, metadata=metadata)

    assert (read_raw(path).pixels == 30).all()


def test_the_recipe_carries_the_channel_to_new_images(tmp_path: Path) -> None:
    path = imagej(tmp_path / "i.tif", ["GFP", "DAPI"])
    recipe = ImageRecipe(channel="DAPI", low_value=0, high_value=40)

    assert (read_micrograph(path, recipe).pixels == 128).all()


# --- planes -------------------------------------------------------------------


def test_a_z_plane_of_a_stack_can_be_asked_for(tmp_path: Path) -> None:
    stack = np.stack([flat(z) for z in range(1, 6)])
    path = write(tmp_path / "z.ome.tif", stack, metadata={"axes": "ZYX"})

    assert (read_raw(path, z=5).pixels == 5).all()
    assert (read_raw(path).pixels == 3).all()
    with pytest.raises(DatasetError, match="no plane 6"):
        read_raw(path, z=6)


def of_a_set(
    folder: Path, planes: dict[str, NDArray[Any]], places: dict[str, str], sizes: dict[str, int]
) -> dict[str, RawImage]:
    """An OME-TIFF of many files, each with the XML of all of them."""
    data = "".join(
        f'<TiffData IFD="{ifd}" {where} PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'
        for name, text in places.items()
        for ifd, where in enumerate(text.split("|"))
    )
    dims = " ".join(f'Size{axis}="{sizes.get(axis, 1)}"' for axis in "ZCT")
    channels = "".join(
        f'<Channel ID="Channel:0:{n}" SamplesPerPixel="1" Name="{("GFP", "BF", "RFP")[n]}"/>'
        for n in range(sizes.get("C", 1))
    )
    for name, pixels in planes.items():
        xml = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{name}"><Image ID="Image:0"><Pixels ID="P:0" DimensionOrder="XYZCT" '
            f'Type="uint16" SizeX="40" SizeY="24" {dims} PhysicalSizeX="0.5">{channels}{data}'
            "</Pixels></Image></OME>"
        )
        tifffile.imwrite(
            folder / name, pixels, description=xml, metadata=None, photometric="minisblack"
        )
    return {name: read_raw(folder / name) for name in planes}


def test_each_file_of_a_set_gives_its_own_plane(tmp_path: Path) -> None:
    names = [f"field_z{z}.ome.tif" for z in range(3)]

    found = of_a_set(
        tmp_path,
        {name: flat(z + 1) for z, name in enumerate(names)},
        {name: f'FirstZ="{z}"' for z, name in enumerate(names)},
        {"Z": 3},
    )

    assert [int(found[name].pixels.max()) for name in names] == [1, 2, 3]
    assert [int(found[name].pixels.min()) for name in names] == [1, 2, 3]
    assert found[names[1]].pixel_size_um == 0.5
    assert "several files: z plane 2 of 3" in (found[names[1]].note or "")


def test_a_file_of_a_set_is_refused_if_it_holds_another_channel(tmp_path: Path) -> None:
    names = ["c0.ome.tif", "c1.ome.tif"]
    of_a_set(
        tmp_path,
        {name: flat(c + 1) for c, name in enumerate(names)},
        {name: f'FirstC="{c}"' for c, name in enumerate(names)},
        {"C": 2},
    )

    assert (read_raw(tmp_path / "c1.ome.tif", "BF").pixels == 2).all()
    for wanted in ("BF", "2"):
        with pytest.raises(DatasetError, match="c0"):
            read_raw(tmp_path / "c0.ome.tif", wanted)


def test_a_file_of_a_set_with_several_planes_gives_the_right_one(tmp_path: Path) -> None:
    pages = np.stack([flat(value) for value in (11, 12, 13, 21, 22, 23)])
    places = "|".join(f'FirstT="0" FirstC="{c}" FirstZ="{z}"' for c in range(2) for z in range(3))
    later = "|".join(f'FirstT="1" FirstC="{c}" FirstZ="{z}"' for c in range(2) for z in range(3))

    found = of_a_set(
        tmp_path,
        {"t0.tif": pages, "t1.tif": pages + 100},
        {"t0.tif": places, "t1.tif": later},
        {"Z": 3, "C": 2, "T": 2},
    )

    assert (found["t0.tif"].pixels == 22).all()  # brightfield, the middle plane
    assert (found["t1.tif"].pixels == 122).all()
    assert (read_raw(tmp_path / "t1.tif", "GFP", 3).pixels == 113).all()


def test_planes_that_the_header_lists_and_the_file_lacks_are_not_read_as_black(
    tmp_path: Path,
) -> None:
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="P:0" DimensionOrder="XYZCT" Type="uint16" SizeX="40" '
        'SizeY="24" SizeZ="5" SizeC="1" SizeT="1"><Channel ID="C:0" SamplesPerPixel="1"/>'
        "<TiffData/></Pixels></Image></OME>"
    )
    path = write(tmp_path / "one.ome.tif", flat(9), description=xml, metadata=None)

    assert (read_raw(path).pixels == 9).all()


def test_inks_are_read_as_light_and_other_colours_are_refused(tmp_path: Path) -> None:
    inks = np.zeros((4, 6, 4), np.uint8)
    inks[0] = (0, 255, 51, 0)  # red 1, green 0, blue .8
    inks[1] = (0, 0, 0, 204)  # a fifth of white
    tifffile.imwrite(tmp_path / "inks.tif", inks, photometric="separated")
    lab = np.full((4, 6, 3), 128, np.uint8)
    tifffile.imwrite(tmp_path / "lab.tif", lab, photometric="cielab")

    pixels = read_raw(tmp_path / "inks.tif").pixels

    assert pixels[0, 0].tolist() == [255, 0, 204]
    assert pixels[1, 0].tolist() == [51, 51, 51]
    assert pixels[2, 0].tolist() == [255, 255, 255]
    with pytest.raises(DatasetError, match=r"lab.tif has colours of the kind CIELAB"):
        read_raw(tmp_path / "lab.tif")


def test_channels_that_stand_last_are_not_taken_for_a_side_of_the_image(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "last.tif", np.zeros((40, 60, 5), np.uint16))
    tifffile.imwrite(tmp_path / "first.tif", np.zeros((5, 40, 60), np.uint16))

    assert read_raw(tmp_path / "first.tif").pixels.shape == (40, 60)
    with pytest.raises(DatasetError, match=r"5 x 60 pixels .* save it with the channels first"):
        read_raw(tmp_path / "last.tif")


def test_a_picture_without_any_number_is_refused(tmp_path: Path) -> None:
    empty = np.full((24, 40), np.nan, np.float32)

    with pytest.raises(DatasetError, match="all its pixels are NaN"):
        read_raw(write(tmp_path / "a.tif", empty))
    empty[3, 4] = 1
    assert read_raw(write(tmp_path / "b.tif", empty)).pixels[3, 4] == 1
