"""The story of a run as lines."""

from __future__ import annotations

import pytest

from msip_core.cli.foreground import Teller, line
from msip_core.events import (
    BaselineRecord,
    Cost,
    EpochRecord,
    FinalRecord,
    IterationRecord,
    Metrics,
    MilestoneRecord,
    ProgressRecord,
    Stage,
    StageRecord,
)

COST = Cost(macs=14_273_000_000, params=11_136_000, size_mb=22.5, imgsz=640)


def _metrics(split: str, map50: float) -> Metrics:
    return Metrics(split=split, map50=map50, map50_95=map50 / 2)


EPOCH = EpochRecord(
    iteration=2, phase="finetune", epoch=3, epochs=30, losses={"box": 1.5, "cls": 0.5},
    map50=0.91, seconds=12.0,
)  # fmt: skip


def test_baseline_tells_accuracy_and_cost() -> None:
    record = BaselineRecord(metrics=_metrics("val", 0.9), cost=COST, seconds=3)
    assert line(record) == "Baseline: mAP50 0.900, 14.27 G MACs, 11.14 M parameters"


def test_iteration_tells_accuracy_before_and_after_fine_tuning() -> None:
    record = IterationRecord(
        index=4, macs=1, params=1, size_mb=1, macs_ratio=0.752, map50_before=0.81,
        map50_95_before=0.4, map50_after=0.895, map50_95_after=0.5, seconds={}, layers=(),
    )  # fmt: skip
    assert line(record) == ("Iteration 4: 75.2 % of the MACs, mAP50 0.810 cut, 0.895 fine-tuned")


def test_stages_and_milestones_are_told_and_warnings_are_marked() -> None:
    assert line(StageRecord(stage=Stage.IMPORTANCE, iteration=2)) == "- importance (iteration 2)"
    assert line(MilestoneRecord(message="Kept the last good model.", level="warning")) == (
        "Note: Kept the last good model."
    )


def test_the_end_names_the_test_split_the_baseline_and_why_it_stopped() -> None:
    record = FinalRecord(
        iteration=5, metrics=_metrics("val", 0.9), test=_metrics("test", 0.88),
        baseline_test=_metrics("test", 0.89), cost=COST, macs_ratio=0.335,
        stopped_by="Stopped to protect accuracy.", model_id="m", artifacts={},
    )  # fmt: skip
    assert line(record) == (
        "Done: 33.5 % of the MACs, mAP50 0.880 on the test images (baseline 0.890). "
        "Stopped to protect accuracy."
    )


def test_an_epoch_ends_with_the_time_left(capfd: pytest.CaptureFixture[str]) -> None:
    tell = Teller()
    tell(EPOCH)
    tell(ProgressRecord(done=0.4, seconds_left=600))
    tell(EPOCH)
    tell.finish()

    first, second = capfd.readouterr().err.splitlines()
    assert second == "  epoch 3/30  loss 2.000  mAP50 0.910  (12 s)"
    assert first == second + "  ·  about 10 min left"


def test_a_trained_baseline_ends_without_a_share_of_macs() -> None:
    record = FinalRecord(
        iteration=0,
        metrics=_metrics("val", 0.9),
        cost=COST,
        macs_ratio=1.0,
        model_id="m",
        artifacts={},
    )
    assert line(record) == "Done: mAP50 0.900 on the val images"
