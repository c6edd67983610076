"""Versions of a dataset's labels: each correction is one, and none is ever written again.

versions/<n>/version.json   Version: who, when, what, image by image
             labels/ masks/ of the images that it changed (see `label_files`)
             dataset.json   of the whole dataset, until the version is settled
         drafts/            boxes that somebody else's save came before (see `correcting`)
         save.lock          held while one is saved

A version is made beside its place and renamed: that renaming is the save. Settling then brings
labels/, masks/, the lists, summary.json and dataset.json after it, in this order; whoever opens a
dataset whose newest version is not settled (its writer was killed) settles it first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from msip_core.data.label_files import version_dir
from msip_core.data.manifest import DatasetDocument, ImageRecord, Spread, summarise
from msip_core.data.training_lists import data_yaml, write_lists
from msip_core.errors import DatasetError, NotFoundError
from msip_core.events import Record
from msip_core.label_versions import VERSION_FILE, VERSIONS
from msip_core.workspace import (
    atomic_path,
    deleted_meanwhile,
    plain_bytes,
    write_json,
    write_text,
)

DOCUMENT = "dataset.json"
_PATIENCE = 20.0  # seconds that one save may hold up another


class Change(Record):
    """What one version did to one image.

    Attributes:
        added, moved, removed, renamed: boxes, see `label_changes`.
        counts: boxes per class name afterwards; `counts_before` before.
        before: the version that the image's labels were from; `labelled_before` whether they were
            labels at all (`ImageRecord.labelled`).
    """

    image: str
    added: int = 0
    moved: int = 0
    removed: int = 0
    renamed: int = 0
    counts: dict[str, int] = {}
    counts_before: dict[str, int] = {}
    before: int = 1
    labelled_before: bool | None = None


class LabelState(Record):
    """What of a dataset follows from its labels as a whole."""

    content_hash: str
    classes: tuple[str, ...]
    boxes: dict[str, int]
    background: int
    box_size: Spread | None = None


class Version(Record):
    """One version of the labels.

    Attributes:
        number: from 1, which is what was imported.
        when: local time, as of the other documents of a dataset.
        back_to: the older version that it brought back.
    """

    number: int
    who: str
    when: str
    note: str = ""
    back_to: int | None = None
    changes: tuple[Change, ...] = ()
    state: LabelState

    def total(self, what: str) -> int:
        """Boxes "added", "moved", "removed" or "renamed" on all images together."""
        return sum(int(getattr(change, what)) for change in self.changes)


def state_of(document: DatasetDocument) -> LabelState:
    report = document.report
    return LabelState(
        content_hash=document.content_hash,
        classes=document.classes,
        boxes=report.boxes,
        background=report.background,
        box_size=report.box_size,
    )


def with_state(document: DatasetDocument, number: int, state: LabelState) -> DatasetDocument:
    """The document of version `number`, its images left as they are."""
    report = document.report.model_copy(
        update={"boxes": state.boxes, "background": state.background, "box_size": state.box_size}
    )
    return document.model_copy(
        update={
            "classes": state.classes,
            "content_hash": state.content_hash,
            "labels_version": number,
            "report": report,
        }
    )


# --- reading -----------------------------------------------------------------


def read_document(path: Path) -> DatasetDocument:
    """dataset.json as it lies there.

    Raises:
        DatasetError: it is damaged. NotFoundError: it is gone.
    """
    try:
        return DatasetDocument.model_validate_json(plain_bytes(path))
    except FileNotFoundError:
        raise deleted_meanwhile(path.parent.name) from None
    except ValidationError as error:
        raise DatasetError(
            "{path} is damaged: import the dataset again.",
            path=path,
        ) from error


def newest_document(root: Path) -> DatasetDocument:
    """The newest version's, settled first where its writer was killed.

    Raises:
        DatasetError: it is damaged.
    """
    document = read_document(root / DOCUMENT)
    if not version_dir(root, document.labels_version + 1).is_dir():
        return document
    try:
        with saving(root):
            return settle(root)
    except (OSError, DatasetError):
        # A disk that can only be read, or a long save: what is saved counts all the same.
        return _unsettled(root, document) or document


def _unsettled(root: Path, document: DatasetDocument) -> DatasetDocument | None:
    """The document of a version that was saved and is not settled yet."""
    path = version_dir(root, document.labels_version + 1) / DOCUMENT
    return read_document(path) if path.is_file() else None


def history(root: Path, document: DatasetDocument) -> list[Version]:
    """All versions up to that of the document, the first one first.

    Raises:
        DatasetError: one of them is damaged.
    """
    if document.labels_version == 1:
        return [imported(document)]
    return [_read(root, number) for number in range(1, document.labels_version + 1)]


def imported(document: DatasetDocument) -> Version:
    """Version 1 of a dataset that was never corrected."""
    return Version(number=1, who="", when=document.created, state=state_of(document))


def at_version(root: Path, document: DatasetDocument, number: int) -> DatasetDocument:
    """The dataset as it was in an older version.

    Raises:
        NotFoundError: there is no such version; the message says which there are.
        DatasetError: one on the way back is damaged.
    """
    newest = document.labels_version
    check_version(document, number)
    if number == newest:
        return document
    images = {record.id: record for record in document.images}
    for later in range(newest, number, -1):
        for change in _read(root, later).changes:
            images[change.image] = changed_back(images[change.image], change)
    older = document.model_copy(update={"images": tuple(images.values())})
    return with_state(older, number, _read(root, number).state)


def check_version(document: DatasetDocument, number: int) -> None:
    """Raises NotFoundError where its labels have no version of that number."""
    if not 1 <= number <= document.labels_version:
        raise NotFoundError(
            "Dataset '{name}' has no version {number} of its labels: it has the versions "
            "1 to {newest}.",
            name=document.name,
            number=number,
            newest=document.labels_version,
        )


def changed_back(record: ImageRecord, change: Change) -> ImageRecord:
    """The image before a change."""
    return record.model_copy(
        update={
            "labels_version": change.before,
            "counts": change.counts_before,
            "labelled": change.labelled_before,
        }
    )


def _read(root: Path, number: int) -> Version:
    path = version_dir(root, number) / VERSION_FILE
    try:
        return Version.model_validate_json(plain_bytes(path))
    except (OSError, ValidationError) as error:
        raise DatasetError(
            "{path} is missing or damaged, so version {number} of the labels of '{name}' "
            "cannot be shown: the newest one is not touched by that.",
            path=path,
            number=number,
            name=root.name,
        ) from error


# --- writing -----------------------------------------------------------------


@contextmanager
def saving(root: Path) -> Iterator[None]:
    """Keeps others from saving a version meanwhile, or from deleting the dataset.

    Raises:
        DatasetError: another save holds it for too long. NotFoundError: it was deleted.
    """
    lock = FileLock(root / VERSIONS / "save.lock")
    try:
        (root / VERSIONS).mkdir(exist_ok=True)
        lock.acquire(timeout=_PATIENCE)
    except FileNotFoundError:
        raise deleted_meanwhile(root.name) from None
    except Timeout as error:
        raise DatasetError(
            "The labels of '{name}' are just being saved by somebody else: try again.",
            name=root.name,
        ) from error
    try:
        yield
    finally:
        lock.release()


def settle(root: Path) -> DatasetDocument:
    """Bring everything after the newest version; to be called while `saving`.

    Each step can be done again: whoever is killed in it leaves what the next one needs.
    """
    document = read_document(root / DOCUMENT)
    while (newer := _unsettled(root, document)) is not None:
        version = _read(root, newer.labels_version)
        folder = version_dir(root, version.number)
        for change in version.changes:
            _copy(folder, root, f"labels/{change.image}.txt")
            _copy(folder, root, f"masks/{change.image}.json")
        write_lists(root, newer.labelled)
        write_text(root / "data.yaml", data_yaml(newer.classes, newer.drawn))
        write_json(root / "summary.json", summarise(newer).model_dump(mode="json"))
        os.replace(folder / DOCUMENT, root / DOCUMENT)
        document = newer
    return document


def keep_imported(root: Path, document: DatasetDocument, images: list[ImageRecord]) -> None:
    """Before their first correction: keep version 1 of these images."""
    folder = version_dir(root, 1)
    if document.labels_version == 1:
        write_json(folder / VERSION_FILE, imported(document).model_dump(mode="json"))
    for record in images:
        if record.labels_version > 1 or (folder / "labels" / f"{record.id}.txt").is_file():
            continue
        _copy(root, folder, f"masks/{record.id}.json")
        _copy(root, folder, f"labels/{record.id}.txt")  # last: readers go by it


def _copy(source: Path, target: Path, name: str) -> None:
    """One file in one step; where the source has none, the target has none."""
    if not (source / name).is_file():
        (target / name).unlink(missing_ok=True)
        return
    with atomic_path(target / name) as temporary:
        shutil.copyfile(source / name, temporary)
