"""What a model counts on pictures, without a run of the queue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from msip_core.config import CountConfig
from msip_core.events import Record
from msip_core.questions.base import Question
from msip_core.workspace import Workspace


class Counted(Record):
    """What was counted: so many pictures; their rows lie beside (`plates.folder`)."""

    pictures: int


class Count(Question[Counted]):
    """Objects on every picture of a source, as a run that counts finds them.

    Attributes:
        paths: what of the source is counted: folders and files; all of it where none is named.
    """

    answered_by: ClassVar[str] = "msip_core.plates.jobs:count"

    config: CountConfig
    paths: tuple[Path, ...] = ()

    def files(self, workspace: Workspace) -> Sequence[Path]:
        return [*super().files(workspace), *self.paths, *filter(None, [self.config.source])]
