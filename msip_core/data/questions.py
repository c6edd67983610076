"""What pages ask of this room: look into a source, import it, draw an example (`questions`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from msip_core.config import ImportConfig
from msip_core.data.manifest import (
    DatasetDocument,
    DatasetSummary,
    ImportReport,
    SourceInfo,
    summarise,
)
from msip_core.events import Record
from msip_core.questions.base import Question
from msip_core.workspace import Workspace


class Inspect(Question[SourceInfo]):
    """What a folder or zip on the server's disk holds."""

    answered_by: ClassVar[str] = "msip_core.data.importing:inspect"

    path: Path

    def files(self, workspace: Workspace) -> Sequence[Path]:
        return [self.path]


class Imported(Record):
    """A dataset that has come in."""

    dataset: str
    summary: DatasetSummary
    report: ImportReport

    @classmethod
    def of(cls, dataset: DatasetDocument) -> Imported:
        return cls(dataset=dataset.name, summary=summarise(dataset), report=dataset.report)


class Import(Question[Imported]):
    """Take a source in as a dataset."""

    answered_by: ClassVar[str] = "msip_core.data.importing:take_in"

    config: ImportConfig

    def files(self, workspace: Workspace) -> Sequence[Path]:
        return [self.config.source]


class Draw(Question[Imported]):
    """Draw an example plate and import it; `size`: side of its images in pixels."""

    answered_by: ClassVar[str] = "msip_core.data.synthetic:draw"

    name: str
    images: int
    size: int
    seed: int
