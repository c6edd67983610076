"""Labels that were corrected in another program, brought back to the dataset that they came from.

The folder or zip is read like any that is imported, in whatever format; its images are found again
by their content, or by name and size where a program has written them anew.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from msip_core.bounded import at_home
from msip_core.boxes import Box
from msip_core.config import ImportConfig
from msip_core.data.archive import open_tree
from msip_core.data.card import read_card
from msip_core.data.dataset import Dataset
from msip_core.data.importing import import_dataset
from msip_core.data.manifest import NO_LABELS, ImageRecord, Problem
from msip_core.data.outlines import is_image
from msip_core.data.previews import show_the_same
from msip_core.data.readers.registry import kind_of
from msip_core.data.references import plain
from msip_core.errors import DatasetError
from msip_core.messages import msg
from msip_core.questions.base import Progress
from msip_core.workspace import Workspace


class Corrected(NamedTuple):
    """What a folder or zip says about a dataset.

    Attributes:
        boxes: image id -> all its boxes.
        classes: that they count in: the dataset's, then new ones.
        seen: the version that was exported, where the files tell.
        passed_over: images that were not used, with the reason.
    """

    boxes: dict[str, tuple[Box, ...]]
    classes: tuple[str, ...]
    seen: int | None
    passed_over: tuple[Problem, ...]


def read_corrected(
    dataset: Dataset,
    source: Path,
    *,
    class_map: Mapping[str, str | None] | None = None,
    new_classes: Sequence[str] = (),
    progress: Progress | None = None,
) -> Corrected:
    """Read corrected labels; nothing is saved yet.

    Args:
        class_map: old name -> new name; None drops boxes of that class.
        new_classes: that may come beside those of the dataset.

    Raises:
        DatasetError: no image is one of the dataset's, a class is not known, or the source cannot
            be read.
        NotFoundError: there is no such folder or zip.
    """
    source = at_home(source)
    with tempfile.TemporaryDirectory(prefix="corrected-") as folder:
        # In a workspace of its own: nothing of it is kept, and no name of this one is taken.
        # `background` too, where it is one of them.
        kept: dict[str, str | None] = {name: name for name in dataset.classes}
        given = _given(Workspace.open(folder), source, kept | dict(class_map or {}), progress)
        classes = _classes(dataset, given, new_classes)
        boxes, passed_over = _taken(dataset, given, classes)
    if not boxes:
        first = f" (the first: {passed_over[0].file}, {passed_over[0].what})" if passed_over else ""
        raise DatasetError(
            "None of the images in {source} could be used for dataset '{name}'{first}: "
            "give the images together with the labels, as `data export` writes them.",
            source=source,
            name=dataset.name,
            first=first,
        )
    return Corrected(boxes, classes, _seen(dataset, source), tuple(passed_over))


def _given(
    workspace: Workspace,
    source: Path,
    class_map: dict[str, str | None],
    progress: Progress | None,
) -> Dataset:
    """The source as a dataset. Raises DatasetError where it lacks images or labels."""
    with open_tree(source) as tree:
        if not any(is_image(name) or kind_of(name) for name in tree.names):
            raise DatasetError(
                "{source} holds no images, which tell whose labels these are: give them together, "
                "as `data export` writes them without --labels-only.",
                source=source,
            )
    config = ImportConfig(source=source, name="corrected", class_map=class_map)
    given = import_dataset(workspace, config, progress)
    if not given.classes and given.report.format == NO_LABELS:
        raise DatasetError(
            "{source} holds images without labels: choose the folder or zip that the other "
            "program has written, with its label files.",
            source=source,
        )
    return given


def _taken(
    dataset: Dataset, given: Dataset, classes: tuple[str, ...]
) -> tuple[dict[str, tuple[Box, ...]], list[Problem]]:
    """Boxes of each image of the dataset that was given, and what was passed over."""
    find = _Finder(dataset, given)
    boxes, passed_over = {}, list(given.report.skipped)
    for record in given.images:
        ours, why = find(record)
        if ours is None:
            passed_over.append(Problem(file=record.source, what=why))
            continue
        boxes[ours.id] = tuple(
            box.model_copy(update={"cls": classes.index(given.classes[box.cls])})
            for box in given.boxes(record)
        )
    return boxes, passed_over


def _classes(dataset: Dataset, given: Dataset, new: Sequence[str]) -> tuple[str, ...]:
    known = (*dataset.classes, *(name for name in new if name not in dataset.classes))
    unknown = [name for name in given.classes if name not in known]
    if unknown:
        raise DatasetError(
            "Dataset '{name}' has the classes {classes}, and these labels have {unknown} too: map "
            "a class to another one (--map old=new), or say that it is new (--new-class).",
            name=dataset.name,
            classes=", ".join(dataset.classes) or msg("(none)"),
            unknown=", ".join(unknown),
        )
    return known


class _Finder:
    """The images of a dataset by content, and by name where they show the same."""

    def __init__(self, dataset: Dataset, given: Dataset) -> None:
        self._dataset, self._given = dataset, given
        self._by_content = {record.sha256: record for record in dataset.images}
        self._by_name: dict[str, list[ImageRecord]] = {}
        for record in dataset.images:
            for name in {plain(PurePosixPath(record.source).stem), plain(record.id)}:
                self._by_name.setdefault(name, []).append(record)

    def __call__(self, record: ImageRecord) -> tuple[ImageRecord | None, str]:
        """The same image of the dataset, or why there is none."""
        if (found := self._by_content.get(record.sha256)) is not None:
            return found, ""
        named = self._by_name.get(plain(PurePosixPath(record.source).stem), [])
        if not named:
            return None, msg("no image of the dataset has this content or this name")
        same = [r for r in named if (r.width, r.height) == (record.width, record.height)]
        if len(same) == 1:
            pixels = self._given.pixels(record), self._dataset.pixels(same[0])
            if show_the_same(*pixels):
                return same[0], ""
            return None, msg(
                "it has the name and the size of an image of the dataset, and shows another "
                "picture: its boxes would mark nothing there"
            )
        if same:
            return None, msg("several images of the dataset have this name")
        ours = named[0]
        return None, (
            msg(
                "it is {width} × {height} pixels, and in the dataset {own_width} × "
                "{own_height}: its boxes would not fit",
                width=record.width,
                height=record.height,
                own_width=ours.width,
                own_height=ours.height,
            )
        )


def _seen(dataset: Dataset, source: Path) -> int | None:
    """The version that was exported, as the card in the zip says."""
    with open_tree(source) as tree:
        card, _ = read_card(tree, [])
    newest = dataset.labels_version
    return card.labels_version if 1 <= (card.labels_version or 0) <= newest else None
