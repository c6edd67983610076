"""One thin detector for the whole room; tests must not change it."""

from __future__ import annotations

import pytest

from msip_core.detector.library import DetectionModel
from msip_core.groups.budget import Budget
from tests.allocation.kit import budget_of
from tests.importance.kit import thin_detector


@pytest.fixture(scope="session")
def detector() -> DetectionModel:
    """YOLOv8n at full width: 59 groups."""
    return thin_detector(0.25)


@pytest.fixture(scope="session")
def budget(detector: DetectionModel) -> Budget:
    return budget_of(detector, 128)
