"""A RunContext for benchmarks that train or prune in their own process."""

from __future__ import annotations

from typing import Any

from msip_core.workspace import Workspace


class Quiet:
    """Says nothing and is never stopped.

    Attributes:
        records: what it was told.
    """

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self.workspace, self.run_id = workspace, run_id
        self.run_dir = workspace.run_dir(run_id)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.records: list[Any] = []

    def emit(self, record: Any) -> None:
        self.records.append(record)

    def check_stop(self) -> None: ...
