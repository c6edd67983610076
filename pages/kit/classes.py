"""Classes of models and datasets: whether they are the same, and what their objects are called."""

from __future__ import annotations

from collections.abc import Sequence

from msip_core.data.dataset import DatasetSummary
from msip_core.models import ModelCard

_ORGANOIDS = frozenset({"crypt", "no_crypt", "cyst", "early", "late", "spheroid"})


def plain_names(names: Sequence[str]) -> list[str]:
    """Names without regard to case."""
    return [name.strip().lower() for name in names]


def knows_the_classes(card: ModelCard, data: DatasetSummary) -> bool:
    """Whether detector and images know the same classes, in the same order."""
    return plain_names(card.classes) == plain_names(data.classes)


def are_organoids(classes: Sequence[str]) -> bool:
    """Whether objects of these classes are organoids; glands, cells and all else are "objects"."""
    return any(name in _ORGANOIDS or "organoid" in name for name in plain_names(classes))
