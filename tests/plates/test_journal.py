"""What a kill leaves is cut back to whole images, of all models alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from msip_core.plates.journal import Journal, image_rows, object_rows
from msip_core.plates.rows import ImageRow, ObjectRow, Role

BOTH: tuple[Role, ...] = ("model", "baseline")


def image(number: int, objects: int) -> ImageRow:
    return ImageRow(
        plate="p",
        well="A01",
        field=f"f{number}",
        image=f"{number}.png",
        state="counted",
        counts={"crypt": objects},
    )


def objects(number: int, count: int) -> list[ObjectRow]:
    return [
        ObjectRow(
            plate="p", well="A01", field=f"f{number}", image=f"{number}.png", object=n,
            class_name="crypt", score=0.5, x1=0, y1=0, x2=4, y2=4, area_px=12.57, diameter_px=4,
            outline=((0.0, 0.0), (4.0, 0.5)) if n == 1 else None,
        )
        for n in range(1, count + 1)
    ]  # fmt: skip


def written(folder: Path, counts: list[int], roles: tuple[Role, ...] = ("model",)) -> None:
    journal = Journal(folder, roles)
    for number, count in enumerate(counts):
        for role in roles:
            journal.append(role, image(number, count), objects(number, count))
    journal.commit()


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    written(tmp_path, [2, 0, 3])

    images = image_rows(tmp_path, "model")
    assert images == [image(0, 2), image(1, 0), image(2, 3)]
    assert list(object_rows(tmp_path, "model", images)) == [*objects(0, 2), *objects(2, 3)]


@pytest.mark.parametrize(
    ("file", "good", "bad"),
    [
        ("images", '"well":"A01"', '"well":{}'),
        ("images", '{"crypt":2}', '{"crypt":"many"}'),
        ("objects", '"score":0.5', '"score":"high"'),
    ],
)
def test_a_row_with_something_else_where_a_number_or_a_name_belongs_is_refused(
    tmp_path: Path, file: str, good: str, bad: str
) -> None:
    written(tmp_path, [2])
    path = tmp_path / f"counts/model/{file}.jsonl"
    path.write_text(path.read_text().replace(good, bad))
    with pytest.raises(ValueError, match="validation error"):
        list(object_rows(tmp_path, "model", image_rows(tmp_path, "model")))


@pytest.mark.parametrize("torn", [1, 20, -1])
def test_a_torn_last_line_is_dropped_with_its_objects(tmp_path: Path, torn: int) -> None:
    written(tmp_path, [2, 3])
    file = tmp_path / "counts/model/images.jsonl"
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + second[:torn])

    assert image_rows(tmp_path, "model") == [image(0, 2)]
    assert Journal(tmp_path, ["model"]).counted == 1
    assert file.read_bytes() == first
    assert len((tmp_path / "counts/model/objects.jsonl").read_bytes().splitlines()) == 2


def test_objects_whose_image_never_came_are_dropped(tmp_path: Path) -> None:
    written(tmp_path, [2])
    with (tmp_path / "counts/model/objects.jsonl").open("ab") as file:
        file.write(b'{"plate": "p", "object": 1}\n{"pl')

    assert Journal(tmp_path, ["model"]).counted == 1
    assert list(object_rows(tmp_path, "model", [image(0, 2)])) == objects(0, 2)
    assert len((tmp_path / "counts/model/objects.jsonl").read_bytes().splitlines()) == 2


def test_zeros_that_a_power_cut_leaves_are_no_rows(tmp_path: Path) -> None:
    written(tmp_path, [1, 1])
    file = tmp_path / "counts/model/objects.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] + b"\0" * (len(whole) // 2 - 1) + b"\n")

    assert Journal(tmp_path, ["model"]).counted == 1


def test_two_models_go_on_behind_the_same_image(tmp_path: Path) -> None:
    written(tmp_path, [2, 3, 1], BOTH)
    file = tmp_path / "counts/baseline/images.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:2]))

    assert Journal(tmp_path, BOTH).counted == 2
    assert [len(image_rows(tmp_path, role)) for role in BOTH] == [2, 2]


def test_work_in_groups_goes_on_between_two_groups(tmp_path: Path) -> None:
    written(tmp_path, [1, 1, 1, 1, 1])

    assert Journal(tmp_path, ["model"], together=4).counted == 4
    assert len(image_rows(tmp_path, "model")) == 4


def test_a_reader_sees_whole_images_while_the_next_is_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path, ["model"])
    journal.append("model", image(0, 1), objects(0, 1))
    assert image_rows(tmp_path, "model") == []

    journal.commit()

    assert image_rows(tmp_path, "model") == [image(0, 1)]
