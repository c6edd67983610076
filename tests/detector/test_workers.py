"""How many processes load images: by the computer, unless somebody wanted a number."""

from __future__ import annotations

import pytest

from msip_core.config import parse_run_config
from msip_core.detector import pool
from msip_core.detector.pool import loader_workers


@pytest.mark.parametrize(
    ("device", "wanted", "cores", "found"),
    [("cuda:0", None, 16, 8), ("cuda:1", None, 4, 3), ("cuda:0", None, 1, 0), ("cuda:0", 0, 16, 0),
     ("cuda:0", 12, 4, 12), ("cpu", None, 16, 0), ("cpu", 4, 16, 0), ("mps", None, 16, 0)],
)  # fmt: skip
def test_a_gpu_is_fed_by_all_cores_but_one_and_a_processor_by_itself(
    monkeypatch: pytest.MonkeyPatch, device: str, wanted: int | None, cores: int, found: int
) -> None:
    monkeypatch.setattr(pool, "usable_cores", lambda: cores)
    assert loader_workers(device, wanted) == found


def test_older_configs_keep_the_number_that_they_state() -> None:
    base = {"kind": "train", "dataset": "d", "weights": "yolov8n.yaml"}
    assert parse_run_config({**base, "workers": 0}).workers == 0
    assert parse_run_config(base).workers is None
