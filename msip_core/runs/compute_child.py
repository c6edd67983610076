"""The compute process as its server sees it: start, end, and what the two say to each other, one
JSON object a line."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal

from pydantic import JsonValue, TypeAdapter

from msip_core.messages import Telling, Words
from msip_core.questions.base import Question, name_of, question_from
from msip_core.recipes import Frozen
from msip_core.runs.executors import worker_environment
from msip_core.runs.processes import describe_exit, open_log
from msip_core.workspace import Workspace

LOG_NAME = "compute.log"
State = Literal["queued", "running", "done", "failed", "cancelled"]


class Order(Frozen):
    """To the process: answer this.

    Attributes:
        key: the name of the answer.
        question, fields: its class, and what it asks.
        threads: of the processor.
    """

    key: str
    question: str
    fields: dict[str, JsonValue]
    threads: int

    @classmethod
    def of(cls, key: str, question: Question[Any], threads: int) -> Order:
        fields = question.model_dump(mode="json")
        return cls(key=key, question=name_of(question), fields=fields, threads=threads)

    def asked(self) -> Question[Any]:
        """The question itself."""
        return question_from(self.question, self.fields)


class Cancel(Frozen):
    """To the process: the answer under this key is not wanted any more."""

    cancel: str


class Progress(Frozen, Telling):
    """From the process: how far it is, `done` a share."""

    key: str
    done: float
    message: Words


class End(Frozen, Telling):
    """From the process: how the work ended; `error` says in one sentence why it failed."""

    key: str
    state: Literal["done", "failed", "cancelled"]
    error: Words | None = None


ORDERS: TypeAdapter[Order | Cancel] = TypeAdapter(Order | Cancel)
REPORTS: TypeAdapter[Progress | End] = TypeAdapter(Progress | End)


class Child:
    """One compute process. It ends by itself when this server does (its stdin closes)."""

    def __init__(self, workspace: Workspace) -> None:
        self.log = workspace.cache / LOG_NAME
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._sending = threading.Lock()
        with open_log(self.log) as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "msip_core.runs.compute_process", str(workspace.root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=worker_environment(),
                # Ctrl-C in the server's terminal is for the server.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, order: Order | Cancel) -> bool:
        """Hand an order over; False if the process is gone."""
        assert self._process.stdin is not None
        try:
            with self._sending:
                self._process.stdin.write(order.model_dump_json() + "\n")
                self._process.stdin.flush()
        except (BrokenPipeError, ValueError):  # ValueError: closed by `end` in another thread
            return False
        return True

    def reports(self) -> Iterator[Progress | End]:
        """What the process says, until it ends."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):  # a killed process may leave half a line
                yield REPORTS.validate_json(line)

    def end(self) -> str:
        """Kill the process if it still lives; return how it ended, in words."""
        if self.is_alive():
            self._process.kill()
        return describe_exit(self._process.wait())

    def close(self) -> None:
        """End the process and give its pipes back; nobody listens any more."""
        self.end()
        # An order that a dying process did not take is still in the buffer, and closing flushes.
        with suppress(BrokenPipeError), self._process:
            pass
