"""A stand-in for the compute process with the same questions and answers, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from msip_core.questions.base import Answer, Question, form_of, lane_of
from msip_core.runs.compute import JobStatus
from msip_core.runs.compute_child import State
from msip_core.workspace import Workspace
from tests.pages.lab_samples import answer

Answers = Callable[[Workspace, Question[Any], Path], BaseModel]
Kind = TypeVar("Kind", bound=BaseModel)
Asked = TypeVar("Asked", bound=Question[Any])


@dataclass
class FakeCompute:
    """Answers at once, unless `hold` names the question: then it stays running until cancelled."""

    workspace: Workspace
    answers: Answers = answer
    hold: set[type[Question[Any]]] = field(default_factory=set)
    fail: dict[type[Question[Any]], str] = field(default_factory=dict)
    asked: list[Question[Any]] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    lanes: dict[str, str] = field(default_factory=dict)

    def asked_of(self, kind: type[Asked]) -> list[Asked]:
        """The questions of one kind, in the order of asking."""
        return [question for question in self.asked if isinstance(question, kind)]

    def key(self, question: Question[Any]) -> str:
        text = json.dumps([type(question).__name__, question.model_dump(mode="json")])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def knows(self, key: str) -> bool:
        return key in self.states

    def submit(self, question: Question[Any], ticket: str = "") -> str:
        key = self.key(question) + ticket
        self.asked.append(question)
        self.lanes[key] = lane_of(question)
        if type(question) in self.hold:
            self.states[key] = "running"
        elif type(question) in self.fail:
            self.states[key], self.errors[key] = "failed", self.fail[type(question)]
        else:
            out = self.folder(key)
            out.mkdir(parents=True, exist_ok=True)
            found = self.answers(self.workspace, question, out)
            form_of(question.answer_type()).write(out, found)
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

    def result(self, question: Question[Answer]) -> Answer:
        return self.result_of(self.key(question), question.answer_type())

    def result_of(self, key: str, kind: type[Kind]) -> Kind:
        return form_of(kind).read(self.folder(key))

    def folder(self, key: str) -> Path:
        return self.workspace.cache / key

    def cancel(self, key: str) -> None:
        self.states[key] = "cancelled"

    def pending(self, like: Question[Any] | None = None) -> int:
        lanes = {"look", "work"} if like is None else {lane_of(like)}
        return sum(
            self.states[key] in ("queued", "running") and self.lanes.get(key, "look") in lanes
            for key in self.states
        )

    def wait(self, key: str, timeout: float) -> None:
        """Nothing to wait for."""
