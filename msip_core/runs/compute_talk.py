"""What a server and its compute process say to each other, one JSON object a line."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import JsonValue, TypeAdapter

from msip_core.messages import Telling, Words
from msip_core.questions.base import Question, name_of, question_from
from msip_core.recipes import Frozen

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
