"""A stand-in for the compute process with the same questions and answers, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msip_core.runs.compute import JobStatus
from msip_core.workspace import Workspace
from tests.pages.lab_samples import answer

Answer = Callable[[Workspace, str, dict[str, Any], Path], dict[str, Any]]


@dataclass
class FakeCompute:
    """Answers at once, unless `hold` names the job: then it stays running until cancelled."""

    workspace: Workspace
    answers: Answer = answer
    hold: set[str] = field(default_factory=set)
    fail: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def key(self, job: str, params: dict[str, Any]) -> str:
        text = json.dumps([job, params], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def knows(self, key: str) -> bool:
        return key in self.states

    def submit(self, job: str, params: dict[str, Any]) -> str:
        key = self.key(job, params)
        self.asked.append((job, params))
        if job in self.hold:
            self.states[key] = "running"
        elif job in self.fail:
            self.states[key], self.errors[key] = "failed", self.fail[job]
        else:
            out = self.folder(key)
            out.mkdir(parents=True, exist_ok=True)
            result = self.answers(self.workspace, job, params, out)
            (out / "result.json").write_text(json.dumps(result), encoding="utf-8")
            self.states[key] = "done"
        return key

    def status(self, key: str) -> JobStatus:
        state = self.states[key]
        return JobStatus(
            state=state,
            done=1.0 if state == "done" else 0.3,
            message="3 of 10 images" if state == "running" else "",
            seconds_left=7.0,
            error=self.errors.get(key),
        )

    def result(self, key: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder(key) / "result.json").read_text("utf-8"))
        return value

    def folder(self, key: str) -> Path:
        return self.workspace.cache / key

    def cancel(self, key: str) -> None:
        self.states[key] = "cancelled"

    def pending(self) -> int:
        return sum(state in ("queued", "running") for state in self.states.values())

    def wait(self, key: str, timeout: float) -> None:
        """Nothing to wait for."""
