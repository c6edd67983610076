"""Work for runs in tests: milliseconds instead of a training, and it fails on demand."""

from __future__ import annotations

import time

from msip_core.config import PruneConfig, TrainConfig
from msip_core.errors import ConfigError, WorkError
from msip_core.events import EpochRecord, RunContext, Stage, StageRecord


def run(config: TrainConfig | PruneConfig, context: RunContext) -> None:
    """The run's name says how it goes: "slow", "broken", "wrong", or it simply ends."""
    context.emit(StageRecord(stage=Stage.TRAINING))
    if config.name == "broken":
        raise WorkError("The disk is full.")
    if config.name == "wrong":
        raise ConfigError("These classes are not in the dataset.")
    epochs = 3
    begun = context.run_dir / "begun"
    slow = config.name == "slow" and not begun.exists()
    begun.touch()
    for epoch in range(1, epochs + 1):
        for _ in range(600 if slow else 1):
            context.check_stop()
            time.sleep(0.1 if slow else 0.0)
        context.emit(
            EpochRecord(
                iteration=0,
                phase="train",
                epoch=epoch,
                epochs=epochs,
                losses={"box": 1.0},
                seconds=0.0,
            )
        )


def check(_: RunContext) -> None:
    """Nothing was saved, so there is nothing to check."""
