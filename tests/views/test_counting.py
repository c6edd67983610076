"""Counts per image and well: each field once, and every image that was not counted is there."""

from __future__ import annotations

from msip_core.boxes import Detection
from msip_core.views.counting import CountedImage, count_rows, well_rows

CLASSES = ("crypt", "no_crypt")


def found(*classes: int) -> list[Detection]:
    return [
        Detection(cls=cls, x1=0, y1=0, x2=9, y2=9, score=0.9, number=n + 1)
        for n, cls in enumerate(classes)
    ]


IMAGES = [
    CountedImage("a_z1", "well A01", found(0, 1, 1), "", "A01", "z 1", True, "counted: z 1", "odd"),
    CountedImage("a_z2", "well A01", found(0, 0), "", "A01", "z 2", False, "not counted: z 1 is"),
    CountedImage("b", "well A01", found(), "", "A01"),
    CountedImage("c", "plate 2 well A01", found(0), "plate 2", "A01"),
]


def test_every_image_has_a_row_that_says_whether_it_counts() -> None:
    rows = count_rows(IMAGES, CLASSES)

    assert rows[0] == {
        "image": "a_z1", "group": "well A01", "crypt": 1, "no_crypt": 2, "total": 3,
        "plane": "z 1", "counted": "yes", "why": "counted: z 1", "note": "odd",
    }  # fmt: skip
    assert [row["counted"] for row in rows] == ["yes", "no", "yes", "yes"]
    assert rows[2]["total"] == 0


def test_a_well_of_a_plate_has_one_row_in_which_one_plane_of_each_field_counts() -> None:
    rows = well_rows(IMAGES, CLASSES)

    assert rows[0] == {
        "group": "well A01", "plate": "", "well": "A01", "images": 2, "crypt": 1, "no_crypt": 2,
        "total": 3, "mean_per_image": 1.5, "planes": "a_z1: counted: z 1", "not_counted": 1,
        "note": "odd",
    }  # fmt: skip
    assert rows[1]["plate"] == "plate 2"
    assert len(rows) == 2


def test_a_well_without_the_plane_that_was_asked_for_has_no_mean() -> None:
    rows = well_rows([IMAGES[1]], CLASSES)

    assert (rows[0]["images"], rows[0]["total"], rows[0]["mean_per_image"]) == (0, 0, None)
