"""Bring a folder or zip of micrographs and labels into the workspace.

Images pass one by one, so memory does not grow with their number. Everything is built in a
hidden folder and renamed at the end: a dataset is there whole or not at all.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path

import psutil

from msip_core import confined
from msip_core.config import ImageRecipe, ImportConfig
from msip_core.data.archive import FileTree, open_tree
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.data.intake import UNLABELLED, Intake, TakenImage
from msip_core.data.labels import LabelReader, count_classes, find_labels
from msip_core.data.manifest import ImportReport, Problem
from msip_core.data.outlines import MaskIndex, is_image
from msip_core.data.passed_over import passed_over
from msip_core.data.previews import without_previews
from msip_core.data.scaling import measure_recipe
from msip_core.data.splitting import SplitItem, SplitPlan, plan_split
from msip_core.data.writing import write_dataset
from msip_core.errors import DatasetError, DiskFullError
from msip_core.events import Record
from msip_core.workspace import Workspace

Progress = Callable[[float, str], None]
# Read by vendor readers that are not part of this version; named in the report, not passed over.
VENDOR_SUFFIXES = (
    ".czi",
    ".lif",
    ".nd2",
    ".oib",
    ".oif",
    ".lsm",
    ".vsi",
    ".svs",
    ".ndpi",
    ".webp",
    ".gif",
)


class SourceInfo(Record):
    """What a folder or zip holds, before anything is imported."""

    format: str
    images: int
    labelled: int
    classes: dict[str, int]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class _Source:
    """A tree, looked through: its images, masks and labels."""

    tree: FileTree
    masks: MaskIndex
    reader: LabelReader | None
    notes: list[str]
    problems: list[Problem] = field(default_factory=list)

    @property
    def images(self) -> list[str]:
        return self.masks.images

    @property
    def format(self) -> str:
        return self.reader.format if self.reader else "images without labels"


def _look(tree: FileTree) -> _Source:
    images, previews = without_previews(tree, [name for name in tree.names if is_image(name)])
    masks = MaskIndex(tree, images)
    reader, notes, used = find_labels(tree, masks)
    source = _Source(tree, masks, reader, [*tree.notes, *notes], [*tree.refused, *previews])
    source.problems += masks.problems
    source.problems += [
        Problem(file=name, what="this kind of file is not read: export it as TIFF")
        for name in tree.names
        if name.lower().endswith(VENDOR_SUFFIXES)
    ]
    if reader:
        source.notes += reader.notes
        source.problems += reader.orphans
    problems, note = passed_over(tree.names, used | masks.used)
    source.problems += problems
    source.notes += [note] if note else []
    if not source.images:
        raise DatasetError(
            f"{tree.label} holds no PNG, JPEG, BMP or TIFF image ({len(tree.names)} other files): "
            "choose the folder or zip with the images."
        )
    return source


def inspect_source(path: Path) -> SourceInfo:
    """Look through a folder or zip without opening its images.

    Raises:
        NotFoundError, DatasetError: no such path, not a readable zip, or no image in it.
    """
    with open_tree(Path(path)) as tree:
        _load_readers()
        text = confined.run(lambda _: _inspect(tree).model_dump_json())
    return SourceInfo.model_validate_json(text)


def _inspect(tree: FileTree) -> SourceInfo:
    source = _look(tree)
    classes, problems = count_classes(source.reader) if source.reader else ({}, [])
    if source.reader and source.reader.labelled:
        alone = (name for name in source.images if name not in source.reader.labelled)
        problems += [Problem(file=name, what=UNLABELLED) for name in alone]
    return SourceInfo(
        format=source.format,
        images=len(source.images),
        labelled=len(source.reader.labelled) if source.reader else 0,
        classes=classes,
        problems=tuple(source.problems + problems),
        notes=tuple(source.notes),
    )


def _load_readers() -> None:
    """Import here what readers import when they need it, so that no fork does so once more."""
    for name in ("coco", "pascal_voc", "yolo"):
        import_module(f"supervision.dataset.formats.{name}")


def _bring_in(folder: Path, tree: FileTree, config: ImportConfig, tell: Progress) -> str:
    """All that opens files of the source; the dataset is whole in `folder` afterwards."""
    for begun in folder.iterdir():  # by a worker that a file ended
        shutil.rmtree(begun)
    tell(0.0, "Looking through the files")
    source = _look(tree)
    _check_class_map(source, config)
    confined.on_the_whole()
    _check_room(tree, source.images, folder)
    recipe, notes = measure_recipe(tree, source.images, config.recipe, _part(tell, 0.0, 0.15))
    source.notes += notes
    intake = Intake(folder, tree, source.masks, source.reader, config, recipe)
    intake.take_all(source.images, _part(tell, 0.15, 0.95))
    _finish(folder, source, intake, config, recipe)
    return ""


def import_dataset(
    workspace: Workspace, config: ImportConfig, progress: Progress | None = None
) -> Dataset:
    """Import images and labels as dataset `config.name`.

    Args:
        progress: called with the share done in [0, 1] and a sentence; may raise
            `errors.Stopped`, then nothing is left behind.

    Raises:
        DatasetError: the name is taken, the class map names an unknown class, or nothing usable
            is in the source. Single bad files never raise: they are in the report.
        DiskFullError: too little room in the workspace.
    """
    tell = progress or (lambda done, message: None)
    target = workspace.dataset_dir(config.name)
    if target.exists():
        raise DatasetError(
            f"There already is a dataset '{config.name}': choose another name, or delete that one."
        )
    with open_tree(config.source) as tree, _building(workspace, config.name) as folder:
        _load_readers()
        confined.run(partial(_bring_in, folder, tree, config), tell)
        tell(0.98, "Moving into place")
        if target.exists():
            raise DatasetError(f"A dataset '{config.name}' was made meanwhile: choose another.")
        folder.rename(target)
    tell(1.0, "Imported")
    return open_dataset(workspace, config.name)


def _finish(
    folder: Path, source: _Source, intake: Intake, config: ImportConfig, recipe: ImageRecipe
) -> None:
    """Split what came in, write the lists and the report."""
    if not intake.taken:
        reasons = "; ".join(f"{p.file}: {p.what}" for p in (intake.skipped + source.problems)[:3])
        raise DatasetError(f"Nothing in {source.tree.label} could be used ({reasons}).")
    plan = _split(source, intake.taken, config)
    drawn = bool(source.reader and source.reader.drawn)
    report = intake.report(
        ImportReport(
            source=source.tree.label,
            format=source.format,
            found=len(source.images),
            class_map=config.class_map,
            grouping=plan.grouping,
            notes=(*source.notes, *intake.notes(), *plan.notes),
            skipped=tuple(source.problems),
        )
    )
    write_dataset(
        folder,
        config=config,
        recipe=recipe,
        classes=intake.classes,
        taken=intake.taken,
        plan=plan,
        report=report,
        drawn=drawn,
    )


def _split(source: _Source, taken: list[TakenImage], config: ImportConfig) -> SplitPlan:
    existing = source.reader.splits if source.reader else {}
    items = [SplitItem(t.source, t.counts, existing.get(t.source)) for t in taken]
    return plan_split(items, config.split)


def _part(tell: Progress, start: float, end: float) -> Progress:
    """Progress of one part of the work, as progress of the whole."""
    return lambda done, message: tell(start + (end - start) * done, message)


def _check_class_map(source: _Source, config: ImportConfig) -> None:
    """A name in the map that the source does not have is a typing error: say so now."""
    known = set(source.reader.classes) if source.reader else set()
    if source.reader and not set(config.class_map) <= known:
        known |= set(count_classes(source.reader)[0])
    unknown = sorted(set(config.class_map) - known)
    if unknown:
        raise DatasetError(
            f"The class map names {', '.join(unknown)}, but {source.tree.label} has the classes "
            f"{', '.join(sorted(known)) or '(none)'}: correct the map."
        )


def _check_room(tree: FileTree, images: list[str], folder: Path) -> None:
    needed = sum(tree.size(name) for name in images)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskFullError(
            f"The images need {needed / 1024**3:.1f} GiB, but {folder.parent.parent} has only "
            f"{free / 1024**3:.1f} GiB free: delete old runs or choose another workspace."
        )


@contextmanager
def _building(workspace: Workspace, name: str) -> Iterator[Path]:
    """A hidden folder to build in; gone afterwards unless it was renamed."""
    _sweep(workspace)
    folder = workspace.datasets / f".building-{name}-{os.getpid()}-{secrets.token_hex(3)}"
    folder.mkdir(parents=True)
    try:
        yield folder
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(
                f"The disk that holds {workspace.root} is full: delete old runs or choose "
                "another workspace. Nothing was left behind."
            ) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(workspace: Workspace) -> None:
    """Remove what a killed import (its process is gone) or a killed deletion left."""
    for folder in workspace.datasets.glob(".building-*"):
        pid = folder.name.rsplit("-", 2)[-2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
    for folder in workspace.datasets.glob(".deleted-*"):
        shutil.rmtree(folder, ignore_errors=True)
