"""Zips and folders that cannot do harm."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path

import pytest

from msip_core.data import archive
from msip_core.data.archive import open_tree
from msip_core.data.passed_over import passed_over
from msip_core.errors import DatasetError, NotFoundError
from tests.data.conftest import Importer, write_image, yolo_folder


def write_zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def test_a_folder_and_its_zip_give_the_same_dataset(tmp_path: Path, bring_in: Importer) -> None:
    root = yolo_folder(tmp_path / "s", {"a": "0 0.5 0.5 0.2 0.2\n", "b": ""}, ["crypt"])
    entries = {
        path.relative_to(tmp_path).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    packed = write_zip(tmp_path / "s.zip", entries)

    from_folder, from_zip = bring_in(root, "one"), bring_in(packed, "two")

    assert from_zip.content_hash == from_folder.content_hash


def test_paths_that_lead_out_of_a_zip_are_left_out_and_named(tmp_path: Path) -> None:
    names = ["../evil.png", "/etc/evil.png", "C:/evil.png", "a/../../evil.png", "a\\..\\evil.png"]
    path = write_zip(tmp_path / "x.zip", dict.fromkeys(names, b"x") | {"good.png": b"x"})

    with open_tree(path) as tree:
        assert tree.names == ["good.png"]
        assert len(tree.refused) == 5
        assert {p.what for p in tree.refused} == {"its path leads out of the zip"}


def test_links_in_zips_and_folders_are_not_followed(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
        file.writestr("good.png", b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "good.png").write_bytes(b"x")
    os.symlink("/etc/passwd", tmp_path / "folder" / "link.png")
    os.symlink("/etc", tmp_path / "folder" / "etc")

    for source, links in ((tmp_path / "x.zip", 1), (tmp_path / "folder", 2)):
        with open_tree(source) as tree:
            assert tree.names == ["good.png"]
            assert [p.what for p in tree.refused] == ["is a link; links are not followed"] * links


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(tmp_path / "bomb.zip", {"a.png": b"\0" * 3_000_000})
    monkeypatch.setattr(archive, "FREE_BYTES", 1000)

    with pytest.raises(DatasetError, match="zip bomb"), open_tree(path):
        pass


def test_a_file_that_is_larger_than_its_entry_says_is_not_read_past_it(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.png": b"0123456789" * 1000})
    data = bytearray(path.read_bytes())
    # Claim 10 bytes in the central directory; the packed data unpack to 10,000.
    where = data.rindex(b"PK\x01\x02")
    data[where + 24 : where + 28] = (10).to_bytes(4, "little")
    path.write_bytes(bytes(data))

    with open_tree(path) as tree, pytest.raises(DatasetError, match="damaged inside the zip"):
        tree.read("a.png")


def test_a_damaged_entry_costs_one_image(tmp_path: Path, bring_in: Importer) -> None:
    root = yolo_folder(tmp_path / "s", {"a": "0 0.5 0.5 0.2 0.2\n", "b": "0 0.5 0.5 0.2 0.2\n"})
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as file:  # stored, so that bytes can be hit
        for path in sorted(root.rglob("*.*")):
            file.write(path, path.relative_to(root))
    data = bytearray((tmp_path / "s.zip").read_bytes())
    payload = (root / "images" / "a.png").read_bytes()
    data[data.index(payload) + 100] ^= 0xFF
    (tmp_path / "s.zip").write_bytes(bytes(data))

    report = bring_in(tmp_path / "s.zip").report

    assert report.kept == 1
    assert [p.file for p in report.skipped] == ["images/a.png"]
    assert "damaged inside the zip" in report.skipped[0].what


def test_leftovers_of_operating_systems_are_not_images(tmp_path: Path) -> None:
    names = ("__MACOSX/._a.png", ".DS_Store", "x/Thumbs.db", "#recycle/b.png", "a.png")
    path = write_zip(tmp_path / "x.zip", dict.fromkeys(names, b"x"))

    with open_tree(path) as tree:
        assert tree.names == ["a.png"]
        assert tree.refused == []


def test_no_path_and_no_zip_are_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    cut = io.BytesIO()
    with zipfile.ZipFile(cut, "w") as file:
        file.writestr("a.png", b"x" * 1000)
    (tmp_path / "cut.zip").write_bytes(cut.getvalue()[:-30])

    with pytest.raises(NotFoundError, match="no folder or zip"), open_tree(tmp_path / "none"):
        pass
    for name in ("a.rar", "cut.zip"):
        with pytest.raises(DatasetError, match="neither a folder nor a complete zip"):
            open_tree(tmp_path / name).__enter__()


def test_rubbish_of_windows_and_packed_files_are_no_images(tmp_path: Path) -> None:
    for name in ("a.png", "$RECYCLE.BIN/b.png", "System Volume Information/c.png", "~$d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    with open_tree(tmp_path) as tree:
        assert tree.names == ["a.png"]

    problems, notes = passed_over(["a.png", "labels.zip", "train.csv", "train.txt"], {"a.png"})
    assert [(p.file, p.what.startswith("is packed inside")) for p in problems] == [
        ("labels.zip", True)
    ]
    assert "train.csv" in str(notes)
    assert "train.txt" not in str(notes)


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_that_are_not_called_so_are_named(
    tmp_path: Path, bring_in: Importer, packed: bool
) -> None:
    folder = tmp_path / "in"
    write_image(folder / "good.png", 0)
    for number, name in enumerate(("scan1", "a.png.", "a.jpg_large", "a.tif.bak"), 1):
        write_image(folder / "x.png", number).rename(folder / name)
    for name in (".b.png.icloud", "c.raw", "README.md", ".hidden"):
        (folder / name).write_bytes(b"bplist00")
    if packed:
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as file:
            for path in folder.iterdir():
                file.write(path, path.name)

    report = bring_in(tmp_path / "in.zip" if packed else folder).report

    reasons = {problem.file: str(problem.what) for problem in report.skipped}
    assert sorted(reasons) == [".b.png.icloud", "a.jpg_large", "a.png.", "a.tif.bak", "scan1"]
    assert "was not downloaded" in reasons.pop(".b.png.icloud")
    assert all("does not end as one" in reason for reason in reasons.values())
    assert [n.partition(". ")[0] for n in report.notes if "kinds that are not read" in n] == [
        "Files of kinds that are not read: c.raw"
    ]
