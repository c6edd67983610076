"""Uploads keep their names, each in a folder of its own that they cannot leave."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath

import pytest

from msip_core.config import CountConfig
from msip_core.errors import DiskFullError, InputError
from msip_core.runs.service import RunService
from msip_core.runs.state import Action
from msip_core.workspace import Workspace
from pages.data.uploads import Kept, rename_upload
from pages.kit import upload
from pages.kit.upload import keep_upload, safe_relative, server_path
from tests.pages.lab_samples import BASELINE, add_model


class Dropped(io.BytesIO):
    """What Streamlit hands over."""

    def __init__(self, name: str, content: bytes, file_id: str = "") -> None:
        super().__init__(content)
        self.name, self.size, self.file_id = name, len(content), file_id or name


def test_a_zip_keeps_its_name_and_is_written_once(workspace: Workspace) -> None:
    first = keep_upload(workspace, [Dropped("../My plate.ZIP", b"zip" * 5_000_000, "id-1")])
    again = keep_upload(workspace, [Dropped("../My plate.ZIP", b"other", "id-1")])

    assert first == again
    assert first.name == "My plate.zip"
    assert first.parent.parent == workspace.uploads
    assert first.parent.name.startswith("upload-")
    assert first.stat().st_size == 15_000_000
    assert list(workspace.uploads.rglob("*")) == [first.parent, first]


def test_two_zips_of_one_name_do_not_meet(workspace: Workspace) -> None:
    first = keep_upload(workspace, [Dropped("plate.zip", b"monday", "id-1")])
    second = keep_upload(workspace, [Dropped("plate.zip", b"tuesday", "id-2")])

    assert (first.read_bytes(), second.read_bytes()) == (b"monday", b"tuesday")


def test_a_folder_keeps_its_names_so_that_labels_find_their_images(workspace: Workspace) -> None:
    files = [Dropped("plate/images/a.png", b"1"), Dropped("plate/labels/a.txt", b"2")]

    folder = keep_upload(workspace, files)

    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert found == ["plate/images/a.png", "plate/labels/a.txt"]


def test_two_files_of_one_name_are_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"Two files are called 'A\.png'"):
        keep_upload(workspace, [Dropped("a.png", b"1", "x"), Dropped("A.png", b"2", "y")])


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("C:\\plates\\a.png", "C_/plates/a.png"),
        ("/abs/a.png", "abs/a.png"),
        ("a/b/c/d/e.png", "c/d/e.png"),
        (".hidden", "hidden"),
        ("..", "_"),
        ("well<1>.tif", "well_1_.tif"),
        ("plates/类器官_é.tif", "plates/类器官_é.tif"),
        ("cafe\u0301.png", "caf\u00e9.png"),
        ("官" * 85 + ".png", "官" * 50 + ".png"),
        ("a" * 140 + "." + "b" * 110, "a" * 140 + "." + "b" * 9),
    ],
)
def test_a_name_cannot_leave_its_folder(name: str, safe: str) -> None:
    assert safe_relative(name) == PurePosixPath(safe)


def test_an_upload_that_does_not_fit_says_how_much_is_free(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 10

    monkeypatch.setattr(upload.shutil, "disk_usage", lambda _: Usage)

    with pytest.raises(DiskFullError, match="free some room"):
        keep_upload(workspace, [Dropped("a.zip", b"x" * 11)])


def test_only_configured_folders_of_the_server_are_open(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "open" / "link").symlink_to(tmp_path / "secret")
    roots = [tmp_path / "open"]

    assert server_path(f" {tmp_path}/open ", roots) == tmp_path / "open"
    for wrong in ("secret", "open/../secret", "open/link"):
        with pytest.raises(InputError, match="outside the folders"):
            server_path(str(tmp_path / wrong), roots)
    with pytest.raises(InputError, match="check the spelling"):
        server_path(str(tmp_path / "open" / "none"), roots)
    with pytest.raises(InputError, match="none is set"):
        server_path(str(tmp_path), [])


def test_only_the_upload_that_was_taken_in_is_cleared(workspace: Workspace, tmp_path: Path) -> None:
    zipped = keep_upload(workspace, [Dropped("plate.zip", b"zip", "id-1")])
    other = keep_upload(workspace, [Dropped("plate.zip", b"zip", "id-2")])
    folder = keep_upload(workspace, [Dropped(n, b"x", f"id-{n}") for n in ("a/1.png", "a/1.txt")])
    elsewhere = tmp_path / "mine" / "plate.zip"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"zip")

    for source in (zipped, folder, elsewhere, tmp_path, workspace.uploads, workspace.root,
                   workspace.uploads / ".." / "models", Path("plate.zip")):  # fmt: skip
        workspace.clear_upload(source)

    assert list(workspace.uploads.iterdir()) == [other.parent]
    assert elsewhere.is_file()
    assert workspace.models.is_dir()


def test_what_a_count_looks_at_stays_as_long_as_the_count(workspace: Workspace) -> None:
    add_model(workspace, BASELINE)
    plate = keep_upload(workspace, [Dropped("plate.zip", b"zip", "id-1")])
    sheet = keep_upload(workspace, [Dropped("sheet.csv", b"well", "id-2")])
    service = RunService(workspace)
    counts = [
        service.submit(CountConfig(source=plate, sample_sheet=sheet, model=BASELINE, name="one")),
        service.submit(CountConfig(source=plate, model=BASELINE, name="two")),
    ]
    for count in counts:
        service.act(count, Action.CANCEL)

    workspace.clear_upload(plate)  # as an import of the same upload does
    assert plate.is_file()

    service.delete(counts[0])
    assert plate.is_file()
    assert not sheet.exists()
    service.delete(counts[1])
    assert not plate.exists()


def test_a_slash_in_the_title_of_an_upload_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "upload-0123456789abcdef" / "plate.zip"
    file.parent.mkdir()
    file.write_bytes(b"zip")

    assert rename_upload(Kept(file, 1, 3, 0.0), "May/plate 7").name == "May_plate 7.zip"
