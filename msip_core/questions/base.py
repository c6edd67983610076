"""A question, its key, the job that answers it, where it waits, and how its answer is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

from pydantic import BaseModel, JsonValue

from msip_core.cache import MARK, Form, key_of
from msip_core.questions.contents import state
from msip_core.recipes import Frozen
from msip_core.workspace import Workspace, write_json

Progress = Callable[[float, str], None]

# An answer is a frozen record; files that belong to it lie beside it, and it names them.
Answer = TypeVar("Answer", bound=BaseModel)
Answer_co = TypeVar("Answer_co", bound=BaseModel, covariant=True)


@dataclass(frozen=True, slots=True)
class Job:
    """Where a question is answered.

    Attributes:
        out: folder for the files of the answer.
        progress: is told the share done, in [0, 1], and a message; raises `errors.Stopped` once
            the job was cancelled.
    """

    workspace: Workspace
    out: Path
    progress: Progress


class Source(Frozen):
    """A model or an image, as questions name it."""

    def files(self, workspace: Workspace) -> Sequence[Path]:
        """What is read of it; a file that is not there counts as such."""
        raise NotImplementedError


class Question(Frozen, Generic[Answer_co]):
    """One thing to be found out: all that decides the answer, and nothing else.

    A job is a function `def job(question: Q, at: Job) -> Answer` of the room that knows how to
    answer; a question names it, so that whoever asks needs none of what it imports.
    """

    answered_by: ClassVar[str]  # "module:function"
    measures_time: ClassVar[bool] = False  # milliseconds: nothing else may be at work beside it

    def is_look(self) -> bool:
        """Whether it takes seconds: then it does not wait behind what takes minutes."""
        return False

    def files(self, workspace: Workspace) -> Sequence[Path]:
        """Files whose content the answer depends on: those of its sources."""
        return [path for source in self._sources() for path in source.files(workspace)]

    def key(self, workspace: Workspace) -> str:
        """The name under which the answer is kept: of the question and the state of its files."""
        states = [state(path, workspace) for path in self.files(workspace)]
        return key_of(type(self).__name__.lower(), self.model_dump(mode="json"), states)

    def answer(self, at: Job) -> Answer_co:
        """Do the work, here and now."""
        return cast(Answer_co, resolve_name(self.answered_by)(self, at))

    @classmethod
    def answer_type(cls) -> type[Answer_co]:
        """The class of the answer, as `Question[Answer]` names it."""
        named = (
            base.__pydantic_generic_metadata__["args"]
            for base in cls.__mro__[:-1]
            if issubclass(base, Question)
        )
        return cast(type[Answer_co], next(args[0] for args in named if args))

    def _sources(self) -> Iterator[Source]:
        for name in type(self).model_fields:
            value = getattr(self, name)
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, Source):
                    yield item


def name_of(question: Question[Any]) -> str:
    """The class of a question, as another process finds it."""
    return f"{type(question).__module__}:{type(question).__qualname__}"


def question_from(name: str, fields: Mapping[str, JsonValue]) -> Question[Any]:
    """A question that another process wrote down: `name_of` it, and its fields as JSON."""
    return cast(Question[Any], resolve_name(name).model_validate(dict(fields)))


def form_of(kind: type[Answer]) -> Form[Answer]:
    """The form of answers of this class (`cache.ContentStore`): JSON, files beside it."""
    return Form(
        lambda folder, value: write_json(folder / MARK, value.model_dump(mode="json")),
        lambda folder: kind.model_validate(json.loads((folder / MARK).read_text(encoding="utf-8"))),
    )


# A look at a few images never waits for a long count: each lane does one job after another, both at
# the same time.
#   look    heat maps, predictions on a few images: seconds each
#   work    everything else: imports, comparisons, previews, SHAP
Lane = Literal["look", "work"]


def lane_of(question: Question[Any]) -> Lane:
    """Where a question waits."""
    return "look" if question.is_look() else "work"


def go_together(one: Question[Any], other: Question[Any]) -> bool:
    """Whether two may be at work at once: to measure milliseconds would measure the other too."""
    return not (one.measures_time or other.measures_time)
