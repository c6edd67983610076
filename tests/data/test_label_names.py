"""Names that are written in two ways, or occur twice: the right image, or none."""

from __future__ import annotations

import json
import unicodedata
import zipfile
from pathlib import Path

import cv2
import pytest

from msip_core.data.encodings import decode_text, likeliest
from msip_core.data.references import ImageIndex
from tests.data.conftest import Importer, grey
from tests.data.labelling import boxes, coco, field, left_out, voc

LINE = "0 0.3 0.5 0.2 0.5\n"
BOX = [(40.0, 30.0, 80.0, 90.0)]


@pytest.mark.parametrize(("on_disk", "written"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_are_compared_in_one_form(
    tmp_path: Path, bring_in: Importer, on_disk: str, written: str
) -> None:
    name = "organoïde_été"
    for kind in ("coco", "yolo", "csv"):
        field(tmp_path / kind / unicodedata.normalize(on_disk, f"{name}.png"))
    there = unicodedata.normalize(written, f"{name}.png")
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [40, 30, 40, 60]}
    coco(tmp_path / "coco" / "x.json", [{"id": 1, "file_name": there}], [annotation])
    (tmp_path / "yolo" / there).with_suffix(".txt").write_text(LINE)
    (tmp_path / "csv" / "x.csv").write_text(f"{there},40,30,80,90,crypt\n")

    for kind in ("coco", "yolo", "csv"):
        assert list(boxes(bring_in(tmp_path / kind, kind)).values()) == [BOX]


@pytest.mark.parametrize("prefix", ["0ab1cd34-", "0ab1cd34__", "deadbeef-"])
def test_label_studios_prefix_is_looked_through(
    tmp_path: Path, bring_in: Importer, prefix: str
) -> None:
    field(tmp_path / "s" / "micrographs" / "plate 1_A01.png")
    field(tmp_path / "s" / "micrographs" / "plate 1_A02.png", 1)
    (tmp_path / "s" / "labels").mkdir()
    (tmp_path / "s" / "labels" / f"{prefix}plate_1_A01.txt").write_text(LINE)
    (tmp_path / "s" / "labels" / f"{prefix}plate_1_A02.txt").write_text("")

    assert boxes(bring_in(tmp_path / "s")) == {
        "micrographs/plate 1_A01.png": BOX,
        "micrographs/plate 1_A02.png": [],
    }


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("my plate #1 (2).png", "0ab1cd34-my_plate_1_2.txt"),
        ("Größe 1.png", "0ab1cd34-Gr%C3%B6%C3%9Fe_1.txt"),
        ("a&b;c.png", "0ab1cd34-abc.txt"),
    ],
)
def test_names_that_label_studio_changed_are_found(
    tmp_path: Path, bring_in: Importer, image: str, label: str
) -> None:
    field(tmp_path / "s" / "images" / image)
    (tmp_path / "s" / "labels").mkdir()
    (tmp_path / "s" / "labels" / label).write_text(LINE)

    assert boxes(bring_in(tmp_path / "s")) == {f"images/{image}": BOX}


@pytest.mark.parametrize("names", [("a.png", "a.jpg"), ("a.tif", "a.png", "a.bmp")])
def test_one_label_for_several_images_of_its_name_is_nobodys(
    tmp_path: Path, bring_in: Importer, names: tuple[str, ...]
) -> None:
    for i, name in enumerate((*names, "b.png")):
        field(tmp_path / "s" / name, i)
        (tmp_path / "s" / name).with_suffix(".txt").write_text(LINE)

    dataset = bring_in(tmp_path / "s")

    assert set(boxes(dataset)) == {"b.png"}
    assert all("keep one image for each label" in left_out(dataset)[name] for name in names)


def test_a_name_that_fits_several_images_says_which(tmp_path: Path, bring_in: Importer) -> None:
    for i in (1, 2):
        field(tmp_path / "s" / f"day{i}" / "000.png", i)
    (tmp_path / "s" / "x.csv").write_text("000.png,20,30,60,90,crypt\n")

    why = left_out(bring_in(tmp_path / "s"))["x.csv"]

    assert why == "lists '000.png', which may be day1/000.png or day2/000.png: write the folder too"


def test_labels_in_mirrored_folders_belong_to_the_image_of_the_same_path(
    tmp_path: Path, bring_in: Importer
) -> None:
    for i, folder in enumerate(("a/b", "b/a")):
        field(tmp_path / "images" / folder / "1.png", i)
        path = tmp_path / "xml" / folder / "1.xml"
        path.parent.mkdir(parents=True)
        voc(path, (10 * i + 11, 11, 100, 100))

    dataset = bring_in(tmp_path)

    assert boxes(dataset) == {
        "images/a/b/1.png": [(10, 10, 100, 100)],
        "images/b/a/1.png": [(20, 10, 100, 100)],
    }


def test_two_labels_that_differ_by_label_studios_prefix_only_are_both_left_out(
    tmp_path: Path, bring_in: Importer
) -> None:
    for i, name in enumerate(("a", "b")):
        field(tmp_path / "s" / f"{name}.png", i)
    for name in ("0ab1cd34-a", "1ab1cd34-a", "2ab1cd34-b"):
        (tmp_path / "s" / f"{name}.txt").write_text(LINE)

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"b.png": BOX}
    assert "prefix of Label Studio" in left_out(dataset)["0ab1cd34-a.txt"]
    assert "prefix of Label Studio" in left_out(dataset)["1ab1cd34-a.txt"]


def test_a_prefix_that_the_image_has_too_is_part_of_its_name() -> None:
    index = ImageIndex(["0ab1cd34-a.png", "1ab1cd34-a.png"])

    assert index.find("1ab1cd34-a.txt") == "1ab1cd34-a.png"
    assert index.find("a") is None
    assert index.find("2ab1cd34-a") is None


def test_of_one_stem_in_several_folders_the_common_folder_decides(
    tmp_path: Path, bring_in: Importer
) -> None:
    for day in (1, 2, 3):
        for i in range(2):
            field(tmp_path / "s" / f"raw/day{day}/00{i}.png", 10 * day + i)
            label = tmp_path / "s" / f"labels/Day{day}/00{i}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"0 0.{day} 0.5 0.1 0.5\n")

    found = boxes(bring_in(tmp_path / "s"))

    assert len(found) == 6
    for source, rows in found.items():
        assert rows[0][0] == 20 * int(source[7]) - 10


def test_a_label_of_a_missing_image_is_not_given_to_its_namesake(
    tmp_path: Path, bring_in: Importer
) -> None:
    field(tmp_path / "c" / "day2" / "000.png")
    entries = [{"id": day, "file_name": f"day{day}/000.png"} for day in (1, 2)]
    found = [
        {"id": day, "image_id": day, "category_id": 1, "bbox": [20 * day, 30, 40, 60]}
        for day in (1, 2)
    ]
    coco(tmp_path / "c" / "x.json", entries, found)
    field(tmp_path / "t" / "day2" / "000.png")
    (tmp_path / "t" / "x.csv").write_text(
        "day1/000.png,20,30,60,90,crypt\nday2/000.png,40,30,80,90,crypt\n"
    )

    for kind in ("c", "t"):
        dataset = bring_in(tmp_path / kind, kind)
        assert boxes(dataset) == {"day2/000.png": BOX}
        assert any("day1/000.png" in p.what for p in dataset.report.skipped)


def test_names_that_differ_in_case_only_are_two_images(tmp_path: Path, bring_in: Importer) -> None:
    for i, name in enumerate(("a", "A")):
        field(tmp_path / "s" / "images" / f"{name}.png", i)
        (tmp_path / "s" / "labels").mkdir(exist_ok=True)
        (tmp_path / "s" / "labels" / f"{name}.txt").write_text(LINE if i else "")

    assert boxes(bring_in(tmp_path / "s")) == {"images/A.png": BOX, "images/a.png": []}


# --- COCO's ids ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "named", "category"),
    [
        (7, "7", "1"),
        ("7", 7, 1),
        (7.0, 7, 1.0),
        ("1b4e28ba-2fa1-11d2-883f-0016d3cca427", "1b4e28ba-2fa1-11d2-883f-0016d3cca427", 1),
        ("a.png", "a.png", "crypt"),
        (7, "a.png", "1"),
    ],
)
def test_ids_are_compared_as_text(
    tmp_path: Path, bring_in: Importer, listed: object, named: object, category: object
) -> None:
    field(tmp_path / "s" / "a.png")
    annotation = {"id": 1, "image_id": named, "category_id": category, "bbox": [40, 30, 40, 60]}
    coco(tmp_path / "s" / "x.json", [{"id": listed, "file_name": "a.png"}], [annotation])

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"a.png": BOX}
    assert dataset.classes == ("crypt",)


def test_images_without_boxes_are_no_background_where_boxes_have_lost_their_image(
    tmp_path: Path, bring_in: Importer
) -> None:
    for i in range(2):
        field(tmp_path / "s" / f"a{i}.png", i)
    entries = [{"id": i, "file_name": f"a{i}.png"} for i in range(2)]
    found = [
        {"id": i, "image_id": number, "category_id": 1, "bbox": [40, 30, 40, 60]}
        for i, number in enumerate((0, 77))
    ]
    coco(tmp_path / "s" / "x.json", entries, found)

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"a0.png": BOX}
    assert dataset.report.background == 0
    assert "1 annotations whose image is not in its list" in left_out(dataset)["a1.png"]


def test_an_id_that_is_given_twice_leaves_both_images_out(
    tmp_path: Path, bring_in: Importer
) -> None:
    for i in range(3):
        field(tmp_path / "s" / f"a{i}.png", i)
    entries = [{"id": i % 2, "file_name": f"a{i}.png"} for i in range(3)]
    found = [{"id": i, "image_id": i, "category_id": 1, "bbox": [40, 30, 40, 60]} for i in (0, 1)]
    coco(tmp_path / "s" / "x.json", entries, found)

    dataset = bring_in(tmp_path / "s")

    assert boxes(dataset) == {"a1.png": BOX}
    assert "gives the id 0 to several images" in left_out(dataset)["a0.png"]
    assert "gives the id 0 to several images" in left_out(dataset)["a2.png"]


# --- encodings ---------------------------------------------------------------------------


class _OldEntry(zipfile.ZipInfo):
    """An entry as old programs write it: in their own encoding, without saying so."""

    encoding = "gbk"

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.filename.encode(self.encoding), self.flag_bits & ~0x800


def _old_zip(path: Path, encoding: str, stem: str, told: bool) -> Path:
    """Two images with YOLO labels, or with a COCO file that says the names."""
    kind = type("Entry", (_OldEntry,), {"encoding": encoding})
    names = [f"{stem}_{i}" for i in range(2)]
    with zipfile.ZipFile(path, "w") as file:
        for i, name in enumerate(names):
            file.writestr(
                kind(f"图/{name}.png" if encoding == "gbk" else f"{name}.png"),
                cv2.imencode(".png", grey(i))[1].tobytes(),
            )
            if not told:
                file.writestr(kind(f"{name}.txt"), LINE)
        if told:
            entries = [{"id": i, "file_name": f"{name}.png"} for i, name in enumerate(names)]
            found = [
                {"id": i, "image_id": i, "category_id": 1, "bbox": [6, 4, 12, 20]} for i in (0, 1)
            ]
            value = {
                "images": entries,
                "annotations": found,
                "categories": [{"id": 1, "name": "crypt"}],
            }
            file.writestr("a.json", json.dumps(value))
    return path


@pytest.mark.parametrize(
    ("encoding", "stem", "label", "told"),
    [
        ("gbk", "类器官", "GBK", True),
        ("gbk", "肠道类器官培养", "GBK", False),
        ("big5", "類器官培養", "Big5", False),
        ("cp932", "腸オルガノイド", "Shift-JIS", False),
        ("cp949", "오가노이드", "EUC-KR", True),
        ("cp437", "organoïde_été", "CP437", False),
        ("cp850", "Münster_Größe_Ãõ", "CP850", True),
        ("cp1252", "Münster_Größe", "Windows-1252", False),
        ("cp866", "органоид", "CP866", False),
        ("cp1251", "органоид", "Windows-1251", True),
        ("koi8-r", "органоид", "KOI8-R", True),
        ("cp852", "Řez_žlutý", "CP852", True),
        ("cp1253", "οργανοειδές", "Windows-1253", True),
        ("cp862", "תמונה", "CP862", True),
    ],
)
def test_names_of_old_zips_are_read_in_the_encoding_that_fits(
    tmp_path: Path, bring_in: Importer, encoding: str, stem: str, label: str, told: bool
) -> None:
    dataset = bring_in(_old_zip(tmp_path / "x.zip", encoding, stem, told))

    assert [Path(r.source).name for r in dataset.images] == [f"{stem}_0.png", f"{stem}_1.png"]
    assert sum(map(len, boxes(dataset).values())) == 2
    assert any(f"read as {label} " in note for note in dataset.report.notes)


def test_utf_8_without_its_flag_needs_no_guess(tmp_path: Path, bring_in: Importer) -> None:
    dataset = bring_in(_old_zip(tmp_path / "x.zip", "utf-8", "类器官_é", False))

    assert [r.source for r in dataset.images] == ["类器官_é_0.png", "类器官_é_1.png"]
    assert not any("read as" in note for note in dataset.report.notes)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8-sig", "größe"),
        ("utf-16", "größe"),
        ("utf-16-le", "class,größe"),
        ("utf-16-be", "class,größe"),
        ("cp1252", "größe µm"),
        ("gb18030", "类器官，晚期"),
        ("cp932", "腸オルガノイド"),
    ],
)
def test_text_of_any_program_is_read(encoding: str, text: str) -> None:
    assert decode_text(text.encode(encoding)).removeprefix("\ufeff") == text


def test_what_is_known_counts_more_than_what_is_likely() -> None:
    raws = ["오가노이드_1".encode("cp949")]

    assert likeliest(raws, ("gb18030", "cp949")) == "gb18030"
    assert likeliest(raws, ("gb18030", "cp949"), ['"file": "오가노이드_1.png"']) == "cp949"
    assert likeliest([b"\xff\xff\xff"], ("gb18030", "big5")) is None
