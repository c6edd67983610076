"""Bring a folder or zip of micrographs and labels into the workspace.

Images pass one by one, so memory does not grow with their number. Everything is built in a
hidden folder and renamed at the end: a dataset is there whole or not at all.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path

import psutil

from msip_core import confined
from msip_core.bounded import at_home
from msip_core.config import ImageRecipe, ImportConfig
from msip_core.data.archive import FileTree, open_tree
from msip_core.data.card import Card, read_card
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.data.dataset_writer import UNLABELLED, DatasetWriter, TakenImage
from msip_core.data.grouping import find_groups
from msip_core.data.incoming import measure_recipe
from msip_core.data.label_formats import find_labels
from msip_core.data.labels import LabelReader, called, count_classes
from msip_core.data.labels_csv import NAMELESS
from msip_core.data.manifest import NO_LABELS, ImportReport, Problem, SourceInfo, place_of
from msip_core.data.outlines import MaskIndex, is_image
from msip_core.data.passed_over import hidden_pictures, passed_over
from msip_core.data.pictures import Wish
from msip_core.data.previews import without_previews
from msip_core.data.questions import Import, Imported, Inspect
from msip_core.data.splitting import SplitItem, SplitPlan, plan_split, without_parts
from msip_core.data.staging import Asked, StagedTree, load_readers, planned, staged
from msip_core.data.verdicts import names_no_class
from msip_core.data.writing import write_dataset
from msip_core.errors import DatasetError, DiskFullError
from msip_core.messages import joined, msg
from msip_core.questions.base import Job, Progress
from msip_core.workspace import Workspace, check_room, whole_folder

# Kinds of microscopes; named in the report, not passed over, where they have no reader.
VENDOR_SUFFIXES = (
    ".czi", ".lif", ".lof", ".xlef", ".nd2", ".oib", ".oif", ".oir", ".poir", ".lsm", ".vsi",
    ".ets", ".svs", ".ndpi", ".scn", ".mrxs", ".bif", ".qptiff", ".btf", ".tf2", ".tf8", ".stk",
    ".zvi", ".ims", ".mrc", ".flex", ".c01", ".dv", ".r3d", ".ics", ".ids", ".ipl", ".nrrd",
    ".mha", ".mhd", ".nii", ".fits", ".spe", ".sld", ".webp", ".gif", ".jp2", ".j2k", ".jpf",
    ".jxl", ".jxr", ".jfif", ".heic", ".heif", ".avif", ".dng", ".cr2", ".cr3", ".nef", ".arw",
    ".dcm", ".dib", ".psd", ".xcf", ".exr", ".tga", ".pgm", ".ppm", ".pnm", ".avi", ".mp4", ".mov",
    ".webm", ".mkv", ".wmv", ".m4v",
)  # fmt: skip


@dataclass
class _Source:
    """A tree, looked through: its images, masks and labels."""

    tree: FileTree
    masks: MaskIndex
    reader: LabelReader | None
    notes: list[str]
    problems: list[Problem] = field(default_factory=list)
    card: Card = field(default_factory=Card)

    @property
    def images(self) -> list[str]:
        return self.masks.images

    @property
    def format(self) -> str:
        return self.reader.format if self.reader else NO_LABELS


def unread(tree: FileTree) -> list[Problem]:
    """Files of microscopes that have no reader, and pictures that are not called so: named, not
    passed over."""
    others = [name for name in tree.names if not is_image(name)]
    known = [name for name in others if name.lower().endswith(VENDOR_SUFFIXES)]
    what = msg("this kind of file is not read: export it as TIFF")
    unknown = hidden_pictures(tree, sorted(set(others) - set(known)))
    return [*(Problem(file=name, what=what) for name in known), *unknown]


def _look(tree: FileTree) -> _Source:
    images, previews = without_previews(tree, [name for name in tree.names if is_image(name)])
    masks = MaskIndex(tree, images)
    reader, notes, used = find_labels(tree, masks)
    source = _Source(tree, masks, reader, [*tree.notes, *notes], [*tree.refused, *previews])
    source.card, card_file = read_card(tree, source.notes)
    source.problems += masks.problems
    source.problems += (pictures := unread(tree))
    if reader:
        source.notes += reader.notes
        source.problems += reader.orphans
        if set(reader.classes) <= set(source.card.classes):
            reader.classes = list(source.card.classes)
        if not reader.labelled:  # else every image would be background
            source.reader = None
            source.notes.append(
                msg(
                    "No label could be matched with an image: all were taken as images without "
                    "labels. The label files are named below, with what is wrong."
                )
            )
    named = {problem.file for problem in pictures}.union(filter(is_image, tree.names))
    problems, unknown = passed_over(tree.names, used | masks.used | {card_file} | named)
    source.problems += problems
    source.notes += unknown
    if not source.images and source.problems:
        reasons = _named(source.problems)
        raise DatasetError(
            "Nothing in {label} could be used ({reasons}).", label=tree.label, reasons=reasons
        )
    if not source.images:
        raise DatasetError(
            "{label} holds no PNG, JPEG, BMP or TIFF image (other files: {n}): "
            "choose the folder or zip with the images.",
            label=tree.label,
            n=len(tree.names),
        )
    return source


def inspect_source(path: Path) -> SourceInfo:
    """Look through a folder, zip or single file without reading its pixels.

    Raises:
        NotFoundError, DatasetError: no such path, not a readable zip, or no image in it.
    """
    path = at_home(path)
    with open_tree(path) as tree, tempfile.TemporaryDirectory(prefix="inspect-") as folder:
        _load_readers(tree)
        text = confined.run(
            lambda _: _inspect(
                planned(tree, Asked(path, Wish(), _labelled), Path(folder))
            ).model_dump_json()
        )
    return SourceInfo.model_validate_json(text)


def inspect(question: Inspect, at: Job) -> SourceInfo:
    """The same as a job of the compute process."""
    at.progress(0.0, msg("Looking through the files"))
    return inspect_source(question.path)


def _inspect(tree: StagedTree) -> SourceInfo:
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
        chosen=tuple(
            Problem(file=name, what=told.said) for name, told in tree.told.items() if told.said
        ),
        channels=tree.channels,
    )


def _labelled(tree: FileTree) -> tuple[set[str], list[str]]:
    """Micrographs with labels, and all micrographs, before stacks become pictures."""
    images, _ = without_previews(tree, [name for name in tree.names if is_image(name)])
    masks = MaskIndex(tree, images)
    reader, _, _ = find_labels(tree, masks)
    return set(reader.labelled) if reader else set(), masks.images


def _load_readers(tree: FileTree) -> None:
    """Import here what readers import when they need it, so that no fork does so once more."""
    for name in ("coco", "pascal_voc", "yolo"):
        import_module(f"supervision.dataset.formats.{name}")
    load_readers(tree)


def _bring_in(folder: Path, tree: FileTree, config: ImportConfig, tell: Progress) -> str:
    """All that opens files of the source; the dataset is whole in `folder` afterwards."""
    for begun in folder.iterdir():  # by a worker that a file ended
        shutil.rmtree(begun)
    tell(0.0, msg("Looking through the files"))
    source = _look(tree)
    _check_class_map(source, config)
    confined.on_the_whole()
    needed = sum(tree.size(name) for name in source.images)
    check_room(folder.parent.parent, needed, msg("The import"))
    recipe, notes = measure_recipe(tree, source.images, config.recipe, _part(tell, 0.0, 0.15))
    source.notes += notes
    sizes = source.card.pixel_sizes_um
    writer = DatasetWriter(folder, tree, source.masks, source.reader, config, recipe, sizes)
    writer.take_all(source.images, _part(tell, 0.15, 0.95))
    _finish(folder, source, writer, config, recipe)
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
        ConfigError: the group pattern is none.
        DiskFullError: too little room in the workspace.
    """
    find_groups(["name"], config.split.group_pattern)  # said before the work, which takes hours
    tell = progress or (lambda done, message: None)
    target = workspace.dataset_dir(config.name)
    if target.exists():
        raise DatasetError(
            "There already is a dataset '{name}': choose another name, or delete that one.",
            name=config.name,
        )
    wish = Wish(channel=config.recipe.channel, stack=config.stack, every=config.every)
    asked = Asked(at_home(config.source), wish, _labelled)
    with open_tree(asked.source) as files, _building(workspace, config.name) as folder:
        _load_readers(files)
        with staged(workspace, files, asked, _part(tell, 0.0, 0.5)) as tree:
            part = _part(tell, 0.5 if tree is not files else 0.0, 1.0)
            confined.run(partial(_bring_in, folder, tree, config), part)
        tell(0.98, msg("Moving into place"))
        if target.exists():
            raise DatasetError(
                "A dataset '{name}' was made meanwhile: choose another.", name=config.name
            )
    tell(1.0, msg("Imported"))
    return open_dataset(workspace, config.name)


def take_in(question: Import, at: Job) -> Imported:
    """The same as a job; an upload is gone afterwards."""
    dataset = import_dataset(at.workspace, question.config, at.progress)
    at.workspace.clear_upload(question.config.source)
    return Imported.of(dataset.document)


def _finish(
    folder: Path, source: _Source, writer: DatasetWriter, config: ImportConfig, recipe: ImageRecipe
) -> None:
    """Split what came in, write the lists and the report."""
    if not writer.taken:
        reasons = _named(writer.skipped + source.problems)
        raise DatasetError(
            "Nothing in {label} could be used ({reasons}).",
            label=source.tree.label,
            reasons=reasons,
        )
    plan = _split(source, writer.taken, config)
    drawn = source.card.drawn or bool(source.reader and source.reader.drawn)
    report = writer.report(
        ImportReport(
            source=source.tree.label,
            place=place_of(config.source),
            format=source.format,
            found=len(source.images),
            class_map=config.class_map,
            grouping=plan.grouping,
            notes=(*source.notes, *writer.notes(), *plan.notes),
            skipped=tuple(source.problems),
        )
    )
    write_dataset(
        folder,
        config=config,
        recipe=recipe,
        classes=writer.classes,
        taken=writer.taken,
        plan=plan,
        report=report,
        drawn=drawn,
    )


def _split(source: _Source, taken: list[TakenImage], config: ImportConfig) -> SplitPlan:
    existing = source.reader.splits if source.reader else {}
    items = [SplitItem(t.source, t.counts, existing.get(t.source)) for t in taken]
    return (plan_split if source.reader else without_parts)(items, config.split)


def _part(tell: Progress, start: float, end: float) -> Progress:
    """Progress of one part of the work, as progress of the whole."""
    return lambda done, message: tell(start + (end - start) * done, message)


def _check_class_map(source: _Source, config: ImportConfig) -> None:
    """A name in the map that the source does not have is a typing error, unless it stays: say so
    now."""
    known = set(map(called, source.reader.classes)) if source.reader else set()
    named = {called(old) for old, new in config.class_map.items() if new != old}
    if source.reader and not named <= known:
        known |= set(count_classes(source.reader)[0])
    if any(map(names_no_class, known)):
        known.add(NAMELESS)
    unknown = sorted(named - known)
    if unknown:
        raise DatasetError(
            "The class map names {unknown}, but {label} has the classes {known}: correct the map.",
            unknown=", ".join(unknown),
            label=source.tree.label,
            known=", ".join(sorted(known)) or msg("(none)"),
        )


@contextmanager
def _building(workspace: Workspace, name: str) -> Iterator[Path]:
    """A hidden folder to build in, which becomes the dataset if all went well."""
    _sweep(workspace)
    try:
        with whole_folder(workspace.dataset_dir(name)) as folder:
            yield folder
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                "The disk that holds {root} is full: delete old runs or choose "
                "another workspace. Nothing was left behind.",
                root=workspace.root,
            ) from error
        raise


def _sweep(workspace: Workspace) -> None:
    """Remove what a killed import (its process is gone) or a killed deletion left."""
    for folder in workspace.datasets.glob(".building-*"):
        pid = folder.name.rsplit("-", 2)[-2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
    for folder in workspace.datasets.glob(".deleted-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _named(problems: Sequence[Problem]) -> str:
    """The first three, for a sentence."""
    each = (msg("{file}: {what}", file=p.file, what=p.what) for p in problems[:3])
    return joined("; ", each)
