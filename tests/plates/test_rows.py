"""Sizes and sums, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from msip_core.plates.rows import ImageRow, crypt_class, ellipse, wells_of

CLASSES = ("crypt", "no_crypt")


def image(name: str, well: str = "A01", plate: str = "", **more: Any) -> ImageRow:
    return ImageRow(plate=plate, well=well, field=name, image=name, **{"state": "counted", **more})


def test_a_box_of_40_by_10_holds_an_ellipse_of_100_pi_and_the_diameter_of_its_disc_is_20() -> None:
    area, diameter = ellipse(40, 10)

    assert (area, diameter) == (pytest.approx(100 * math.pi), 20)
    assert area == pytest.approx(math.pi / 4 * diameter**2)


def test_a_well_is_the_sum_of_its_fields_and_of_its_plate_alone() -> None:
    wells = wells_of(
        [
            image("a", plate="p1", counts={"crypt": 3, "no_crypt": 1}),
            image("b", plate="p1", counts={"crypt": 1, "no_crypt": 3}),
            image("c", plate="p2", counts={"crypt": 0, "no_crypt": 5}),
        ],
        CLASSES,
    )

    assert [(w.plate, w.well, w.total, w.crypt_fraction) for w in wells] == [
        ("p1", "A01", 8, 0.5),
        ("p2", "A01", 5, 0.0),
    ]
    assert wells[0].counts == {"crypt": 4, "no_crypt": 4}


def test_a_field_that_failed_is_none_that_was_counted_and_a_blank_one_is() -> None:
    (well,) = wells_of(
        [
            image("a", counts={"crypt": 2, "no_crypt": 0}),
            image("b", state="empty", counts={"crypt": 0, "no_crypt": 0}),
            image("c", state="failed", reason="damaged"),
        ],
        CLASSES,
    )

    assert (well.fields_counted, well.fields_empty, well.fields_failed) == (2, 1, 1)


def test_a_well_without_an_object_has_no_crypt_fraction() -> None:
    (well,) = wells_of([image("a", counts={"crypt": 0, "no_crypt": 0})], CLASSES)

    assert (well.total, well.crypt_fraction) == (0, None)


def test_images_without_a_well_are_summed_by_their_series_and_each_time_point_for_itself() -> None:
    one = {"crypt": 1, "no_crypt": 0}
    wells = wells_of(
        [
            image("x/1", "", series="x", counts=one),
            image("x/2", "", series="x", counts=one),
            image("y/1", "", series="y", counts=one),
            image("t1", "B02", time="1", counts=one),
            image("t2", "B02", time="2", counts=one),
        ],
        CLASSES,
    )

    assert [(w.group, w.time, w.total) for w in wells] == [
        ("x", "", 2),
        ("y", "", 1),
        ("B02", "1", 1),
        ("B02", "2", 1),
    ]


@pytest.mark.parametrize(
    ("classes", "wanted"),
    [
        (("crypt", "no_crypt"), "crypt"),
        (("spheroid", "budding organoid"), "budding organoid"),
        (("without crypts", "With-Crypts"), "With-Crypts"),
        (("cell", "debris"), None),
    ],
)
def test_the_class_with_crypts_is_told_by_its_name(
    classes: tuple[str, ...], wanted: str | None
) -> None:
    assert crypt_class(classes) == wanted
