"""The real count, in a worker that kills itself (SIGKILL) when so many pictures have been seen.

`kill.json` in the run's folder says how many; without it nothing dies.
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import torch

from msip_core.config import CountConfig
from msip_core.events import ProgressRecord, RunContext
from msip_core.plates import counting, journal
from msip_core.plates.counting import run as real_run


def run(config: CountConfig, ctx: RunContext) -> None:
    file = ctx.run_dir / "kill.json"
    if file.exists():
        journal._EVERY = 0.0  # every picture is written when it was seen
        counting._ROUNDS = 1  # and seen alone
        torch.set_num_threads(1)
        _die_after(ctx, int(json.loads(file.read_text())["pictures"]))
    real_run(config, ctx)


def _die_after(ctx: RunContext, pictures: int) -> None:
    emit, seen = ctx.emit, 0

    def deadly(record: Any) -> None:
        nonlocal seen
        emit(record)
        seen += isinstance(record, ProgressRecord)
        if seen >= pictures:
            os.kill(os.getpid(), signal.SIGKILL)

    ctx.emit = deadly  # type: ignore[method-assign]
