"""Words into what questions name, and a question answered here and now."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from msip_core.bounded import real_place
from msip_core.cli.console import ProgressLines
from msip_core.data.micrographs import SUFFIXES
from msip_core.data.references import unique
from msip_core.errors import ConfigError, NotFoundError
from msip_core.models import open_card
from msip_core.questions.base import Answer, Job, Question
from msip_core.questions.sources import (
    DatasetImage,
    ImageFile,
    ImageOf,
    ModelOf,
    RunStep,
    SavedModel,
    WeightsFile,
)
from msip_core.workspace import Workspace

_NAME_BYTES = 150  # of a file name; disks take 255, with suffix and number


def ask(workspace: Workspace, question: Question[Answer], out: Path) -> Answer:
    """Answer a question in this process: files go to `out`, nothing is kept."""
    out.mkdir(parents=True, exist_ok=True)
    return question.answer(Job(workspace, out, ProgressLines()))


def model_source(workspace: Workspace, words: str) -> ModelOf:
    """A model as questions name it.

    Args:
        words: id of a model, a .pt file, or RUN/STEP for a step of a pruning run.

    Raises:
        NotFoundError, ConfigError: there is none.
    """
    if words.endswith(".pt"):
        path = real_place(words)
        if not path.is_file():
            raise NotFoundError("There is no weights file {path}.", path=path)
        return WeightsFile(weights=path)
    run, slash, step = words.partition("/")
    if slash:
        if not re.fullmatch("[0-9]{1,6}", step):  # digits of other scripts are no numbers here
            raise ConfigError("'{words}' is no RUN/STEP: the step must be a number.", words=words)
        return RunStep(run=run, iteration=int(step))
    return SavedModel(model=open_card(workspace, words).id)


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Files as they are, folders as the micrographs in them, in the order of names.

    Raises:
        NotFoundError: a path is not there, or there is no micrograph at all.
    """
    files: list[Path] = []
    for path in map(real_place, paths):
        if path.is_dir():
            files += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        elif path.is_file():
            files.append(path)
        else:
            raise NotFoundError("There is nothing at {path}.", path=path)
    if not files:
        raise NotFoundError(
            "No micrograph there; these files are read: {suffixes}.", suffixes=", ".join(SUFFIXES)
        )
    return list(dict.fromkeys(files))


def image_source(workspace: Workspace, file: Path) -> ImageOf:
    """An image as questions name it; one of a dataset by its id, so that its outlines are known."""
    if file.is_relative_to(workspace.datasets):
        name, folder, *rest = file.relative_to(workspace.datasets).parts
        if folder == "images" and len(rest) == 1:
            return DatasetImage(dataset=name, image=file.stem)
    return ImageFile(path=file)


def short_names(files: Sequence[Path]) -> list[str]:
    """File names for tables and pictures: unique, also where letters' case and accents do not
    count, and short enough for any disk."""
    taken: set[str] = set()
    stems = (file.stem.encode("utf-8", "replace")[:_NAME_BYTES] for file in files)
    return [unique(stem.decode("utf-8", "ignore"), taken) for stem in stems]
