"""A made-up run, told as records."""

from __future__ import annotations

import pytest

from msip_core.views.history import RunHistory
from tests.views import samples


@pytest.fixture(scope="session")
def history() -> RunHistory:
    """A completed pruning run with five iterations."""
    return RunHistory(
        id="run-1", name="plate 7, a third", state="completed",
        config=samples.prune_config(iterations=5),
        baseline=samples.baseline_record(),
        iterations=tuple(samples.iteration_records()),
        epochs=tuple(samples.epoch_records()),
        final=samples.final_record(),
        provenance={
            "msip_lab": "0.1.0", "versions": {"torch": "2.15.0", "onnx": None},
            "hardware": {"processor": "Some CPU", "gpus": [], "memory_gb": 16.0},
            "model": {"sha256": "ab12"},
        },
        dataset={
            "images": 120, "splits": {"train": 86, "val": 10, "test": 24},
            "boxes": {"crypt": 300, "no_crypt": 210}, "classes": list(samples.CLASSES),
            "pixel_size_um": 1.3, "content_hash": "cd34", "drawn": False,
        },
        seconds=812.0,
        notes=(("Batch 16 did not fit; went on with 8.", True),),
    )  # fmt: skip
