"""The real pruning run, in a worker that kills itself (SIGKILL) at a chosen point.

`kill.json` in the run folder names the point: {"stage", "iteration", "after"}; `after` counts the
safe points (stop checks) that pass within the stage first. Without the file nothing dies. Killing
from inside hits each stage for certain; nothing is cleaned up, as after any SIGKILL.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from msip_core.config import PruneConfig
from msip_core.events import Payload, RunContext, StageRecord
from msip_core.pruning.loop import run as real_run
from msip_core.workspace import Workspace


def run(config: PruneConfig, ctx: RunContext) -> None:
    real_run(config, Deadly(ctx))


class Deadly:
    """A RunContext that ends the process at its point."""

    def __init__(self, ctx: RunContext) -> None:
        self._ctx = ctx
        self.run_id: str = ctx.run_id
        self.run_dir: Path = ctx.run_dir
        self.workspace: Workspace = ctx.workspace
        file = ctx.run_dir / "kill.json"
        self._point: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        self._left: int | None = None

    def emit(self, record: Payload) -> None:
        self._ctx.emit(record)
        if isinstance(record, StageRecord):
            here = (record.stage.value, record.iteration)
            if here == (self._point.get("stage"), self._point.get("iteration")):
                self._left = self._point["after"]
                self._die_if_due()
            else:
                self._left = None

    def check_stop(self) -> None:
        self._ctx.check_stop()
        if self._left is not None:
            self._left -= 1
            self._die_if_due()

    def _die_if_due(self) -> None:
        if self._left is not None and self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
