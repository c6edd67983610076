"""Detectors built once for all tests of this room; tests must leave them as they are."""

from __future__ import annotations

import pytest
from ultralytics.nn.tasks import DetectionModel

from tests.explain.toy import LAYOUTS


@pytest.fixture(scope="session")
def layouts() -> dict[str, DetectionModel]:
    """The same small YOLOv8 with C2f, with C2f_v2, and pruned and unrolled into stock layers."""
    return {name: build() for name, build in LAYOUTS.items()}


@pytest.fixture(scope="session")
def yolo(layouts: dict[str, DetectionModel]) -> DetectionModel:
    return layouts["C2f"]
