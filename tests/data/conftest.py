"""Small label folders in every format, and one drawn dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

# Imports work in a fork, which would load this library anew in every test.
import supervision.dataset.formats.yolo  # noqa: F401

from msip_core.config import ImportConfig
from msip_core.data.dataset import Dataset
from msip_core.data.importing import import_dataset
from msip_core.workspace import Workspace
from tests.drawn import copy_example

Importer = Callable[..., Dataset]


def grey(seed: int, height: int = 40, width: int = 60) -> np.ndarray:
    """An image that no other seed gives."""
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def write_image(path: Path, seed: int, height: int = 40, width: int = 60) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), grey(seed, height, width))
    return path


def yolo_folder(root: Path, labels: dict[str, str], names: list[str] | None = None) -> Path:
    """images/<stem>.png with labels/<stem>.txt; 60 x 40 pixels."""
    for i, (stem, text) in enumerate(labels.items()):
        write_image(root / "images" / f"{stem}.png", i)
        path = root / "labels" / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if names is not None:
        (root / "data.yaml").write_text(f"names: {json.dumps(names)}\n")
    return root


@pytest.fixture
def bring_in(workspace: Workspace) -> Importer:
    """Import a source under a name, with any `ImportConfig` field."""

    def run(source: Path, name: str = "set", **settings: object) -> Dataset:
        return import_dataset(workspace, ImportConfig(source=source, name=name, **settings))

    return run


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eight drawn images of 128 pixels, in a workspace of their own."""
    workspace = Workspace.open(tmp_path_factory.mktemp("drawn") / "workspace")
    return copy_example(workspace, images=8, size=128, seed=3)
