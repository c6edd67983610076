"""Work of a study's runs for the test with a real cluster: epochs that take a while, no torch."""

from __future__ import annotations

import json
import time

from msip_core.config import PruneConfig, TrainConfig
from msip_core.events import EpochRecord, RunContext
from msip_core.workspace import write_json
from tests.studies import fake_work

EPOCHS = 4
_SECONDS = 1.0  # a look at it takes a third of that


def run(config: TrainConfig | PruneConfig, ctx: RunContext) -> None:
    state = ctx.run_dir / "iterations" / "1" / "state.json"
    first = json.loads(state.read_text())["epoch"] if state.exists() else 0
    for epoch in range(first + 1, EPOCHS + 1):
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            ctx.check_stop()
            time.sleep(0.05)
        write_json(state, {"epoch": epoch})
        ctx.emit(
            EpochRecord(
                iteration=1, phase="finetune", epoch=epoch, epochs=EPOCHS,
                losses={"box": 1 / epoch}, map50=0.8, seconds=_SECONDS,
            )
        )  # fmt: skip
    fake_work.run(config, ctx)
