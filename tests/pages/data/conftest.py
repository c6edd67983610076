"""A plate of drawn micrographs, as a folder and as a zip."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from msip_core.data.synthetic import write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten small drawn micrographs with YOLO labels."""
    return write_folder(tmp_path_factory.mktemp("source") / "plate", 10, 96, 1)


@pytest.fixture(scope="module")
def archive(folder: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.write(path, path.relative_to(folder.parent))
    return stream.getvalue()


def button(test: object, start: str) -> object:
    return next(b for b in test.button if b.label.startswith(start))  # type: ignore[attr-defined]
