"""Images too large for memory come in some rows at a time, with the pixels that they have."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from msip_core.config import ImageRecipe
from msip_core.data import incoming as incoming_module
from msip_core.data import regions
from msip_core.data.dataset import Dataset
from tests.data.conftest import Importer

RNG = np.random.default_rng(5)
GREY = RNG.integers(0, 255, (230, 170), np.uint8)
COLOUR = RNG.integers(0, 255, (230, 170, 3), np.uint8)
DEEP = RNG.integers(100, 4000, (230, 170), np.uint16)


def source(folder: Path) -> Path:
    folder.mkdir()
    tifffile.imwrite(folder / "deep.tif", DEEP, rowsperstrip=16, compression="zlib")
    tifffile.imwrite(folder / "colour.tif", COLOUR, rowsperstrip=16)
    cv2.imwrite(str(folder / "grey.png"), GREY)
    cv2.imwrite(str(folder / "deep2.png"), DEEP[::-1])
    for name in ("deep", "colour", "grey", "deep2"):
        (folder / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    return folder


def pixels(dataset: Dataset) -> dict[str, np.ndarray]:
    return {record.source.split("/")[-1]: dataset.pixels(record) for record in dataset.images}


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_in_parts_a_dataset_is_the_same_as_whole(
    zipped: bool, bring_in: Importer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = source(tmp_path / "s")
    if zipped:
        with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
            for file in sorted(place.iterdir()):
                archive.write(file, file.name)
        place = tmp_path / "s.zip"
    whole = bring_in(place, "whole")
    for module in (regions, incoming_module):
        monkeypatch.setattr(module, "LARGE", 1000)
    monkeypatch.setattr(regions, "_ROWS", 50)

    parts = bring_in(place, "parts")

    assert parts.recipe == whole.recipe
    assert parts.recipe.low_value is not None
    first, second = pixels(whole), pixels(parts)
    assert first.keys() == second.keys()
    for name, image in first.items():
        assert np.array_equal(second[name], image), name
    grey = next(record for record in parts.images if record.source.endswith("grey.png"))
    assert parts.path(grey).read_bytes() == (tmp_path / "s" / "grey.png").read_bytes()
    assert parts.report.depths == {"8": 2, "16": 1, "12": 1}  # in parts, as the file has it


def test_what_is_larger_than_the_bound_is_named_with_it_and_the_others_come_in(
    bring_in: Importer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (regions, incoming_module):
        monkeypatch.setattr(module, "LARGE", 1000)
        monkeypatch.setattr(module, "MOST_COLOUR", 30_000)
        monkeypatch.setattr(module, "MOST_DECODED", 40_000)
    cv2.imwrite(str(source(tmp_path / "s") / "wide.png"), COLOUR)
    (tmp_path / "s" / "wide.txt").write_text("0 0.5 0.5 0.2 0.2\n")

    dataset = bring_in(tmp_path / "s")

    left_out = {problem.file: problem.what for problem in dataset.report.skipped}
    assert set(left_out) == {"colour.tif", "wide.png"}
    for what in left_out.values():
        assert "is too large (170 x 230 pixels" in what
        assert "0 megapixels" in what
    assert len(dataset.images) == 3


def test_an_image_is_stretched_by_its_own_percentiles_in_parts_too(
    bring_in: Importer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ImageRecipe(scope="image", normalise=True)
    whole = bring_in(source(tmp_path / "s"), "whole", recipe=own)
    for module in (regions, incoming_module):
        monkeypatch.setattr(module, "LARGE", 1000)

    parts = bring_in(tmp_path / "s", "parts", recipe=own)

    for name, image in pixels(whole).items():
        assert np.array_equal(pixels(parts)[name], image), name
