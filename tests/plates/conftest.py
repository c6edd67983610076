"""A thin detector that finds something on every picture, and drawn plates for it to count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from msip_core.config import CountConfig
from msip_core.data.synthetic import draw_micrograph
from msip_core.plates import counting
from msip_core.plates.counting import run
from msip_core.workspace import Workspace, write_json
from tests.detector.conftest import CLASSES, RunHistory, finding, thin_model

IMGSZ, SIDE = 64, 96
FILES = ("counts/model/images.jsonl", "counts/model/objects.jsonl")
Count = Callable[..., Path]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two models, "one" and "two", that find other things on the same pictures."""
    from msip_core.detector.build import register_model

    workspace = Workspace.open(tmp_path_factory.mktemp("plates") / "workspace")
    for seed, name in enumerate(("one", "two")):
        register_model(
            workspace, finding(thin_model(CLASSES, seed)), name=name, kind="baseline",
            imgsz=IMGSZ, model_id=name, architecture="yolov8n",
        )  # fmt: skip
    return workspace


@pytest.fixture(autouse=True)
def _one_by_one(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Steps of one picture, whatever processor the tests have."""
    monkeypatch.setattr(counting, "_ROUNDS", 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def count(lab: Workspace, tmp_path: Path) -> Count:
    """Count in this process; gives the run's folder."""

    def counted(
        source: Path, run_dir: str = "run", *, stop_after: int | None = None, **settings: Any
    ) -> Path:
        folder = tmp_path / run_dir
        folder.mkdir(exist_ok=True)
        config = CountConfig(**{"source": source, "model": "one", "device": "cpu", **settings})
        write_json(folder / "config.json", config.model_dump(mode="json"))
        run(config, RunHistory(lab, folder, stop_after=stop_after))
        return folder

    return counted


def picture(seed: int = 0) -> np.ndarray:
    return draw_micrograph(seed, size=(SIDE, SIDE)).pixels


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def write_plate(folder: Path, wells: tuple[str, ...] = ("A01", "A02"), fields: int = 2) -> Path:
    """Files named as many programs do it: `A01_f1.png`."""
    for number, well in enumerate(wells):
        for field in range(1, fields + 1):
            write(folder / f"{well}_f{field}.png", picture(100 * number + field))
    return folder
