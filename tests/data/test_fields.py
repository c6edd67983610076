"""Of the planes of one field one is counted, and it is said which."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from msip_core.data.fields import FieldPlane, PlaneWish, choose_planes, parse_plane, sharpness
from msip_core.data.names import read_names
from msip_core.errors import ConfigError


def choose(
    sources: list[str],
    sharp: list[float] | None = None,
    wish: PlaneWish = PlaneWish(),  # noqa: B008 - frozen
    channel: str | None = None,
) -> list[FieldPlane]:
    sharp = sharp or [1.0] * len(sources)
    return choose_planes(sources, read_names(sources), sharp, wish, channel)


def counted(sources: list[str], planes: list[FieldPlane]) -> list[str]:
    return [source for source, plane in zip(sources, planes) if plane.counted]


STACK = [f"x_p00_z{z:02d}_0_A01f00d0.TIF" for z in range(4)]


def test_the_sharpest_plane_of_a_stack_counts() -> None:
    planes = choose(STACK, [1, 3, 9, 2])

    assert counted(STACK, planes) == [STACK[2]]
    assert planes[2].why == "counted: z 2, the sharpest of 4"
    assert planes[0].why == "not counted: z 2, time 0, channel 0 of this field is"
    assert {plane.field for plane in planes} == {0}


def test_a_plane_that_was_asked_for_counts() -> None:
    planes = choose(STACK, [1, 3, 9, 2], PlaneWish(z=1))

    assert counted(STACK, planes) == [STACK[1]]
    assert planes[1].why == "counted: z 1, as asked"
    with pytest.raises(ConfigError, match="No image is of z plane 7"):
        choose(STACK, None, PlaneWish(z=7))


def test_a_field_without_that_plane_is_not_counted_and_says_so() -> None:
    sources = [*STACK, "x_p00_z09_0_A02f00d0.TIF"]

    planes = choose(sources, None, PlaneWish(z=1))

    assert counted(sources, planes) == [STACK[1]]
    assert planes[-1].why == "not counted: its field has no z plane 1"


def test_of_channels_the_one_in_transmitted_light_counts_or_the_one_asked_for() -> None:
    sources = ["A01_1_DAPI.tif", "A01_1_GFP.tif", "A01_1_BF.tif"]

    assert counted(sources, choose(sources)) == ["A01_1_BF.tif"]
    assert counted(sources, choose(sources, channel="gfp")) == ["A01_1_GFP.tif"]
    numbered = [f"r01c01f01p01-ch{c}sk1fk1fl1.tiff" for c in (1, 2)]
    assert counted(numbered, choose(numbered)) == numbered[:1]
    assert counted(numbered, choose(numbered, channel="2")) == numbered[1:]


def test_of_time_points_the_first_counts_or_the_one_asked_for() -> None:
    sources = [f"A01_1_t{t}.png" for t in (10, 2, 33)]

    assert counted(sources, choose(sources)) == ["A01_1_t2.png"]
    assert counted(sources, choose(sources, None, PlaneWish(time=33))) == ["A01_1_t33.png"]


def test_different_fields_all_count() -> None:
    sources = [f"A01_f{f}.png" for f in (1, 2, 3)] + [
        "a/1.png",
        "b/1.png",
        "train/7.png",
        "val/7.png",
    ]

    planes = choose(sources)

    assert counted(sources, planes) == sources
    assert {plane.why for plane in planes} == {""}


def test_the_same_picture_in_two_formats_counts_once() -> None:
    sources = ["A01_1.png", "A01_1.tif"]

    assert len(counted(sources, choose(sources))) == 1


def test_sharpness_falls_with_blur() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    values = [sharpness(cv2.GaussianBlur(pixels, (0, 0), s)) for s in (0.5, 1.0, 2.0)]

    assert values[0] > 5 * values[1] > 25 * values[2] > 0


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        (None, PlaneWish()), ("", PlaneWish()), ("sharpest", PlaneWish()), ("3", PlaneWish(z=3)),
        ("z07", PlaneWish(z=7)), ("T2", PlaneWish(time=2)), ("z3,t2", PlaneWish(z=3, time=2)),
    ],
)  # fmt: skip
def test_planes_are_asked_for_in_few_words(words: str | None, wish: PlaneWish) -> None:
    assert parse_plane(words) == wish


@pytest.mark.parametrize("words", ["middle", "z", "-1", "3,4", "1.5", "z3t"])
def test_other_words_name_no_plane(words: str) -> None:
    with pytest.raises(ConfigError, match="names no plane"):
        parse_plane(words)
