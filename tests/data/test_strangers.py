"""One bad file never ends an import: it is a row of the report, and the rest comes in."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msip_core import confined
from msip_core.config import SplitConfig
from msip_core.data import archive, incoming
from msip_core.data.archive import open_tree
from msip_core.data.importing import import_dataset, inspect_source
from msip_core.data.micrographs import RawImage, decode
from msip_core.errors import ConfigError, DatasetError
from msip_core.workspace import Workspace
from tests.data.conftest import Importer, write_image, yolo_folder

BOX = "0 0.5 0.5 0.2 0.2\n"
GOOD = {f"g{i}": BOX for i in range(4)}


def _reasons(dataset: Any) -> str:
    return "\n".join(
        f"{p.file}: {p.what}" for p in dataset.report.skipped + dataset.report.repaired
    )


def _nothing_left(workspace: Workspace) -> bool:
    return not list(workspace.datasets.glob(".building-*"))


# --- zips and folders -----------------------------------------------------------


def _named(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            info = zipfile.ZipInfo("x")
            info.filename = name
            file.writestr(info, b"x")
        file.writestr("good.png", b"x")
    return path


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "has no name"),
        (".", "has no name"),
        (" ", "has no name"),
        ("a/" * 700 + "q.png", "folders deep"),
        ("n" * 1500 + ".png", "longer than"),
        ("a\x1b[2Jb.png", "control characters"),
        ("a\nb.png", "control characters"),
        ("D:\\q.png", "leads out"),
        ("//server/q.png", "leads out"),
    ],
)
def test_an_odd_name_in_a_zip_is_left_out_and_told_in_one_line(
    tmp_path: Path, name: str, reason: str
) -> None:
    with open_tree(_named(tmp_path / "x.zip", name)) as tree:
        assert tree.names == ["good.png"]
        (problem,) = tree.refused
    assert reason in problem.what
    assert len(problem.file) <= 300
    assert problem.file.isprintable()


def _with_method(path: Path, name: str, method: int, flags: int = 0) -> Path:
    """Say of one entry that it is compressed by another method, or encrypted."""
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(mark)
        while start >= 0:
            header = 30 if mark == b"PK\x03\x04" else 46
            if data[start + header : start + header + len(name)] == name.encode():
                struct.pack_into("<HH", data, start + at, flags, method)
            start = data.find(mark, start + 4)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("method", "flags", "reason"),
    [(99, 0, "not known here"), (14, 0, "damaged"), (12, 0, "damaged"), (8, 1, "encrypted")],
)
def test_an_entry_of_an_odd_compression_costs_itself_alone(
    tmp_path: Path, bring_in: Importer, method: int, flags: int, reason: str
) -> None:
    root = yolo_folder(tmp_path / "s", GOOD | {"bad": BOX}, ["crypt"])
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as file:
        for one in sorted(p for p in root.rglob("*") if p.is_file()):
            file.write(one, one.relative_to(root).as_posix())
    dataset = bring_in(_with_method(path, "images/bad.png", method, flags))
    assert len(dataset.images) == 4
    assert reason in _reasons(dataset)
    assert "images/bad.png" in _reasons(dataset)


def test_a_compression_that_gives_more_than_the_zip_declares_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.txt", b"0" * 50_000_000)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.find(b"PK\x01\x02") + 24, 5)
    path.write_bytes(data)
    with open_tree(path) as tree, pytest.raises(DatasetError, match="damaged"):
        tree.read("a.txt")


def test_folders_without_end_and_names_of_any_bytes_are_rows(
    tmp_path: Path, bring_in: Importer
) -> None:
    root = yolo_folder(tmp_path / "s", GOOD, ["crypt"])
    place = os.getcwd()
    try:
        os.chdir(root)
        for _ in range(300):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(place)
    (Path(os.fsdecode(os.fsencode(root / "images") + b"/\xff\xfe.png"))).write_bytes(b"x")
    os.mkfifo(root / "images" / "pipe.png")
    try:
        dataset = bring_in(root)
    finally:
        os.system(f"rm -rf '{root / 'd'}'")  # too deep for Python's own
    assert len(dataset.images) == 4
    said = _reasons(dataset)
    assert f"more than {archive.MAX_DEPTH} folders deep" in said
    assert "not UTF-8" in said
    assert "a device or a pipe" in said


# --- labels -------------------------------------------------------------------


def _coco(root: Path, **changes: Any) -> Path:
    for i in range(3):
        write_image(root / f"p{i}.png", i)
    value: dict[str, Any] = {
        "images": [{"id": i, "file_name": f"p{i}.png"} for i in range(3)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [5, 5, 20, 20]} for i in range(3)
        ],
        "categories": [{"id": 1, "name": "crypt"}],
    }
    for key, more in changes.items():
        value[key] = [*value[key], *more]
    (root / "a.json").write_text(json.dumps(value))
    return root


_ANNOTATION = {"id": 9, "image_id": 0, "category_id": 1, "bbox": [1, 1, 9, 9]}


@pytest.mark.parametrize(
    "changes",
    [
        {"categories": [{"id": [2], "name": "x"}]},
        {"categories": [{"id": "2", "name": "x"}, {"id": None, "name": "y"}, {"id": 2.5}, 7]},
        {"images": [{"id": {}, "file_name": "p0.png"}, None, "p1.png"]},
        {"images": [{"id": 5, "file_name": ["p0.png"]}, {"id": 6}]},
        {"annotations": [_ANNOTATION | {"image_id": [0]}, _ANNOTATION | {"category_id": {}}, 3]},
        {"annotations": [_ANNOTATION | {"bbox": [0, 0, 10**400, 1]}]},
        {"annotations": [_ANNOTATION | {"segmentation": [{"x": 1}]}]},
        {"annotations": [_ANNOTATION | {"segmentation": [[10**350, 1, 2, 3, 4, 5]]}]},
        {"annotations": [_ANNOTATION | {"bbox": {"x": 1}, "id": {}}]},
        {"annotations": [_ANNOTATION | {"iscrowd": [0], "area": "x"}]},
    ],
    ids=lambda value: next(iter(value)),
)
def test_odd_entries_of_coco_cost_themselves_alone(
    tmp_path: Path, bring_in: Importer, changes: dict[str, Any]
) -> None:
    dataset = bring_in(_coco(tmp_path / "s", **changes))
    assert len(dataset.images) == 3
    assert dataset.report.boxes["crypt"] >= 3


@pytest.mark.parametrize("number", ["1e400", "9" * 5000, "inf", "nan", "½"])
def test_a_class_number_that_is_none_costs_its_box(
    tmp_path: Path, bring_in: Importer, number: str
) -> None:
    root = yolo_folder(tmp_path / "s", GOOD | {"odd": BOX + f"{number} .5 .5 .1 .1\n"}, ["crypt"])
    dataset = bring_in(root)
    assert dataset.report.boxes["crypt"] == 5
    assert "line 2 left out" in _reasons(dataset)


@pytest.mark.parametrize(
    "text",
    [
        "names: {400000000: a, 0: crypt}",
        "names: {'²': a, 0: crypt}",
        "names: [crypt]\nday: 2023-02-30",
        "names: [crypt]\nmore: !!int x",
        "names: [crypt]\nkpt_shape: [99999999999999999999, 3]",
        "names: [crypt]\ntrain: {a: b}\nval: [[[]]]\npath: [1]",
    ],
)
def test_an_odd_value_in_data_yaml_costs_no_names(
    tmp_path: Path, bring_in: Importer, text: str
) -> None:
    root = yolo_folder(tmp_path / "s", GOOD)
    (root / "data.yaml").write_text(text)
    assert bring_in(root).classes == ("crypt",)


def test_a_label_with_a_million_lines_is_left_out_at_once(
    tmp_path: Path, bring_in: Importer
) -> None:
    root = yolo_folder(tmp_path / "s", GOOD | {"many": BOX * 1_000_000}, ["crypt"])
    dataset = bring_in(root)
    assert len(dataset.images) == 4
    assert "1,000,000 lines" in _reasons(dataset)


@pytest.mark.parametrize("name", ["classes.txt", "train.txt"])
def test_a_damaged_list_beside_the_labels_costs_the_list_alone(
    tmp_path: Path, bring_in: Importer, name: str
) -> None:
    root = yolo_folder(tmp_path / "s", GOOD)
    if name == "train.txt":
        (root / "data.yaml").write_text("names: [crypt]\ntrain: train.txt\n")
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as file:
        for one in sorted(p for p in root.rglob("*") if p.is_file()):
            file.write(one, one.relative_to(root).as_posix())
        file.writestr(name, "images/g0.png\ncrypt\n" * 9)
    data = path.read_bytes()
    at = data.find(f"{name}images/g0.png".encode()) + len(name) + 3
    path.write_bytes(data[:at] + b"#" + data[at + 1 :])
    dataset = bring_in(path)
    assert len(dataset.images) == 4
    assert any(name in note for note in dataset.report.notes)


@pytest.mark.parametrize(
    "value",
    ["[" * 50_000, '{"outlines": [[[1' + "0" * 500 + ',1]]]}', "null", '{"outlines": [[1, 2, 3]]}',
     '{"outlines": [[]], "crypts": []}', '{"outlines": [[[NaN, 1], [1, 1], [2, 2]]]}'],
)  # fmt: skip
def test_an_odd_mask_costs_itself_alone(tmp_path: Path, bring_in: Importer, value: str) -> None:
    root = yolo_folder(tmp_path / "s", GOOD, ["crypt"])
    (root / "masks").mkdir()
    (root / "masks" / "g0.json").write_text(value)
    dataset = bring_in(root)
    assert len(dataset.images) == 4
    assert "its mask masks/g0.json was not used" in _reasons(dataset)


def test_a_column_of_a_table_that_is_named_twice_and_written_once_is_one(
    tmp_path: Path, bring_in: Importer
) -> None:
    root = tmp_path / "s"
    write_image(root / "a.png", 1)
    (root / "l.csv").write_text("file,file,xmin,ymin,xmax,ymax,class\na.png,1,2,11,12,crypt\n")
    assert bring_in(root).report.boxes == {"crypt": 1}


def test_rows_of_a_table_before_its_fault_are_kept_and_the_fault_is_named(
    tmp_path: Path, bring_in: Importer
) -> None:
    root = tmp_path / "s"
    write_image(root / "a.png", 1)
    (root / "l.csv").write_text('a.png,1,2,11,12,crypt\n"a.png,1,2,3,4,x\na.png,5,5,9,9,x\n')
    dataset = bring_in(root)
    assert dataset.report.boxes == {"crypt": 1}
    assert "a quotation mark is not closed" in _reasons(dataset)


# --- files that end their reader -------------------------------------------------


def _deadly(task: Callable[[], object]) -> Callable[..., RawImage]:
    def read(data: bytes, name: str, *choice: Any) -> RawImage:
        if "deadly" in name:
            task()
        return decode(data, name, *choice)

    return read


def _spin() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (os.abort, "SIGABRT"),
        (_spin, "seconds to read"),
        (lambda: np.ones(2 * confined.MEMORY_BYTES, np.uint8), "more memory"),
        (lambda: dict[bytes, int]()[b"x"], "KeyError"),
    ],
    ids=["abort", "loop", "memory", "fault"],
)
def test_an_image_that_ends_its_reader_is_a_row_of_the_report(
    workspace: Workspace,
    tmp_path: Path,
    bring_in: Importer,
    monkeypatch: pytest.MonkeyPatch,
    task: Callable[[], object],
    reason: str,
) -> None:
    monkeypatch.setattr(confined, "CPU_SECONDS", 1.0)
    monkeypatch.setattr(incoming, "decode", _deadly(task))
    root = yolo_folder(tmp_path / "s", GOOD | {"deadly": BOX}, ["crypt"])
    dataset = bring_in(root)
    assert [image.id for image in dataset.images] == sorted(GOOD)
    assert f"images/deadly.png: {'' if reason != 'SIGABRT' else 'is damaged'}" in _reasons(dataset)
    assert reason in _reasons(dataset)
    assert _nothing_left(workspace)


def test_looking_through_a_source_survives_a_label_that_ends_its_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from msip_core.data import labels_coco

    monkeypatch.setattr(labels_coco, "load_json", lambda text: os.abort())
    root = yolo_folder(tmp_path / "s", GOOD, ["crypt"])
    (root / "z.json").write_text("{}")
    found = inspect_source(root)
    assert (found.format, found.labelled) == ("YOLO", 4)


def test_memory_of_the_caller_does_not_grow_by_an_import(
    workspace: Workspace, tmp_path: Path
) -> None:
    from msip_core.config import ImportConfig

    root = yolo_folder(tmp_path / "s", GOOD, ["crypt"])
    before = os.getpid()
    dataset = import_dataset(workspace, ImportConfig(source=root, name="a"))
    assert os.getpid() == before
    assert len(dataset.images) == 4


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(?=g)(g\d)", "looking ahead"),
        (r"(g)\1", r"'\\1'"),
        ("(g", "not a regular expression"),
        ("g", "one pair of brackets"),
    ],
)
def test_a_group_pattern_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, bring_in: Importer, pattern: str, reason: str
) -> None:
    root = yolo_folder(tmp_path / "s", GOOD, ["crypt"])
    with pytest.raises(ConfigError) as caught:
        bring_in(root, split=SplitConfig(group_pattern=pattern))
    assert reason.replace("\\\\", "\\") in caught.value.message


def test_a_group_pattern_takes_linear_time(tmp_path: Path, bring_in: Importer) -> None:
    root = yolo_folder(tmp_path / "s", {"a" * 60 + str(i): BOX for i in range(4)}, ["crypt"])
    dataset = bring_in(root, split=SplitConfig(group_pattern="(a+)+!"))
    assert len(dataset.images) == 4
