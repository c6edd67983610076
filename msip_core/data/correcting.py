"""Correct the labels of a dataset: what a person saved becomes the next version (`versions`).

Who saves says which version they have seen. Where somebody else has corrected an image since, their
boxes stay, and the ones that come too late are kept as a draft that can be taken over; the other
images of the same save go in.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from msip_core.bounded import plain_text
from msip_core.boxes import Box
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.data.dataset_writer import spread
from msip_core.data.drafts import Draft, drop_draft, keep_draft
from msip_core.data.label_changes import label_changes
from msip_core.data.label_files import (
    box_line,
    label_path,
    label_text,
    parse_label,
    read_masks,
    version_dir,
)
from msip_core.data.manifest import DatasetDocument, ImageRecord
from msip_core.data.splitting import in_parts
from msip_core.data.versions import (
    DOCUMENT,
    Change,
    LabelState,
    Version,
    at_version,
    check_version,
    keep_imported,
    saving,
    settle,
    state_of,
    with_state,
)
from msip_core.data.writing import content_hash
from msip_core.errors import ConfigError, DatasetError, DiskFullError, InputError, NotFoundError
from msip_core.label_versions import VERSION_FILE
from msip_core.workspace import Workspace, whole_folder, write_json, write_text

log = logging.getLogger(__name__)

Boxes = Mapping[str, Sequence[Box]]
_MIN_SIDE = 0.98  # pixels, as at import
_MOST_BOXES = 20_000  # on one image
_LONGEST_NAME = 80


class Saved(NamedTuple):
    """What became of a save.

    Attributes:
        version: the newest one now; None where nothing differed from what was there.
        late: images that somebody else had corrected meanwhile: kept as drafts.
    """

    version: Version | None
    late: tuple[Draft, ...]


def save_labels(
    workspace: Workspace,
    name: str,
    boxes: Boxes,
    *,
    seen: int,
    who: str,
    note: str = "",
    classes: Sequence[str] | None = None,
    draft: str | None = None,
) -> Saved:
    """Give images these boxes, in pixels; all other images keep theirs.

    Args:
        boxes: image id -> all boxes that it has from now on. Two that are the same are one.
        seen: the version of the labels that was looked at.
        who: name of the person.
        classes: that `Box.cls` counts in, if more than the dataset has: those it has come first.
        draft: id of one that is taken over by this save, and then dropped.

    Raises:
        NotFoundError: no such dataset or image.
        DatasetError: a box that cannot be one, or classes in another order.
    """
    _check_words(who, note)
    with _open(workspace, name) as dataset:
        known = _classes(dataset, classes)
        check_version(dataset.document, seen)
        texts = {i: _text(dataset.image(i), found, known) for i, found in boxes.items()}
        changed = _changed(dataset, texts)
        late = [i for i in changed if dataset.image(i).labels_version > seen]
        kept = tuple(
            keep_draft(dataset, i, changed.pop(i), who=who.strip(), seen=seen, classes=known)
            for i in late
        )
        version = _add(dataset, changed, who=who, note=note, classes=known) if changed else None
        if draft is not None:
            with suppress(NotFoundError):  # somebody else was first: the history tells both
                drop_draft(dataset.root, draft)
        return Saved(version, kept)


def restore_version(
    workspace: Workspace, name: str, number: int, *, who: str, note: str = ""
) -> Version | None:
    """Bring back all labels of an older version, as a new one; None where they are the same.

    Raises:
        NotFoundError: no such dataset or version.
    """
    _check_words(who, note)
    with _open(workspace, name) as dataset:
        older = Dataset(dataset.root, at_version(dataset.root, dataset.document, number))
        pairs = list(zip(older.images, dataset.images, strict=True))
        texts = {  # as we write labels, whatever they were imported as
            then.id: label_text(older.boxes(then), then.width, then.height)
            for then, now in pairs
            if then.labels_version != now.labels_version
        }
        unlabelled = {t.id for t, n in pairs if t.labelled != n.labelled}
        same = texts.keys() - unlabelled - _changed(dataset, texts).keys()
        changed = {image: text for image, text in texts.items() if image not in same}
        if not changed:
            return None
        return _add(dataset, changed, who=who, note=note, classes=dataset.classes, older=older)


@contextmanager
def _open(workspace: Workspace, name: str) -> Iterator[Dataset]:
    """The newest version, while nobody else may save one."""
    root = open_dataset(workspace, name).root
    if not os.access(root, os.W_OK):
        raise InputError(
            "{root} can only be read here, so its labels cannot be corrected.", root=root
        )
    try:
        with saving(root):
            yield Dataset(root, settle(root))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                "The disk that holds {root} is full: nothing of this correction was "
                "saved. Free some room, then save again.",
                root=workspace.root,
            ) from error
        raise


# --- what was given -----------------------------------------------------------


def _check_words(who: str, note: str) -> None:
    if not who.strip() or len(who) > _LONGEST_NAME:
        raise ConfigError(
            "Say who corrects these labels, in at most {longest_name} letters: the history of "
            "the dataset tells it to the others.",
            longest_name=_LONGEST_NAME,
        )
    for text in (who, note):
        try:
            plain_text(text)
        except ValueError as error:
            raise ConfigError("This cannot be a name or a note: {error}.", error=error) from error


def _classes(dataset: Dataset, given: Sequence[str] | None) -> tuple[str, ...]:
    """The dataset's classes, or those given if they begin with these."""
    known = tuple(given) if given else dataset.classes
    if known[: len(dataset.classes)] != dataset.classes or len(set(known)) < len(known):
        raise DatasetError(
            "Dataset '{name}' has the classes {classes}, in this order "
            "(given: {known}): new ones can only come behind them.",
            name=dataset.name,
            classes=", ".join(dataset.classes),
            known=", ".join(known),
        )
    return known


def _text(record: ImageRecord, boxes: Sequence[Box], classes: Sequence[str]) -> str:
    """The label of an image with these boxes."""
    if len(boxes) > _MOST_BOXES:
        raise DatasetError(
            "{id}: {n} boxes on one image are not taken (at most {most_boxes}).",
            id=record.id,
            n=len(boxes),
            most_boxes=_MOST_BOXES,
        )
    fitted = (_fitted(record, n, box, classes) for n, box in enumerate(boxes, 1))
    return "".join(dict.fromkeys(box_line(box, record.width, record.height) for box in fitted))


def _fitted(record: ImageRecord, number: int, box: Box, classes: Sequence[str]) -> Box:
    """The part of a box that lies on its image."""
    which = {"id": record.id, "number": number}
    if not 0 <= box.cls < len(classes):
        raise DatasetError(
            "{id}: box {number} has class number {cls}, and there are the classes "
            "0 to {n}: {classes}.",
            **which,
            cls=box.cls,
            n=len(classes) - 1,
            classes=", ".join(classes),
        )
    if not all(map(math.isfinite, box.xyxy)):
        raise DatasetError("{id}: box {number} has a corner that is not a number.", **which)
    x1, x2 = (min(max(0.0, x), float(record.width)) for x in (box.x1, box.x2))
    y1, y2 = (min(max(0.0, y), float(record.height)) for y in (box.y1, box.y2))
    if min(x2 - x1, y2 - y1) < _MIN_SIDE:
        raise DatasetError(
            "{id}: box {number} ({x1:.0f}, {y1:.0f}, {x2:.0f}, {y2:.0f}) "
            "is smaller than a pixel of the image: make it larger or delete it.",
            **which,
            **dict(zip(("x1", "y1", "x2", "y2"), box.xyxy)),
        )
    return Box(cls=box.cls, x1=x1, y1=y1, x2=x2, y2=y2)


def _changed(dataset: Dataset, texts: Mapping[str, str]) -> dict[str, str]:
    """Those that mean other boxes than now; neither their order nor their rounding matters. Of an
    image that nobody has labelled yet, no box is news too: there is nothing on it."""
    found = {}
    for image, text in texts.items():
        record = dataset.image(image)
        after = parse_label(text, record.width, record.height)
        first = not dataset.document.is_labelled(record)
        if first or label_changes(dataset.boxes(record), after, _rounding(record)).any:
            found[image] = text
    return found


# --- the new version ----------------------------------------------------------


def _add(
    dataset: Dataset,
    texts: Mapping[str, str],
    *,
    who: str,
    note: str,
    classes: tuple[str, ...],
    older: Dataset | None = None,
) -> Version:
    """Make the next version of these labels, and settle it.

    Args:
        older: that the labels are brought back from, outlines included.
    """
    number = dataset.labels_version + 1
    root, place = dataset.root, version_dir(dataset.root, number)
    keep_imported(root, dataset.document, [dataset.image(i) for i in texts])
    with whole_folder(place) as draft:
        for folder in ("labels", "masks"):
            (draft / folder).mkdir(parents=True)
        sources = {i: older.image(i) if older else None for i in texts}
        for image, text in texts.items():
            _write(dataset, image, text, draft, sources[image])
        changes = [_change(dataset, draft, image, classes) for image in texts]
        labelled = {i: source.labelled if source else True for i, source in sources.items()}
        document = _after(
            dataset, changes, draft, number=number, classes=classes, labelled=labelled
        )
        version = Version(
            number=number,
            who=who.strip(),
            when=time.strftime("%Y-%m-%dT%H:%M:%S"),
            note=note.strip(),
            back_to=older.labels_version if older else None,
            changes=tuple(changes),
            state=state_of(document),
        )
        write_text(draft / DOCUMENT, document.model_dump_json(indent=1) + "\n")
        write_json(draft / VERSION_FILE, version.model_dump(mode="json"))
    try:
        settle(root)
    except OSError as error:  # it is saved, and counts: whoever opens it next tries this again
        log.warning("Version %d of %s is not settled yet: %s", number, root, error)
    return version


def _write(
    dataset: Dataset, image: str, text: str, draft: Path, source: ImageRecord | None
) -> None:
    """The label and the outlines of one image.

    Args:
        source: the image in an older version that is brought back: byte for byte, so that the hash
            of the content is the same again.
    """
    record = dataset.image(image)
    masks = read_masks(dataset.root, source or record)
    if source is not None:
        text = label_path(dataset.root, source).read_text("utf-8")
    else:  # outlines stay with boxes that nobody touched
        after = parse_label(text, record.width, record.height)
        kept = label_changes(dataset.boxes(record), after, _rounding(record)).kept
        masks = {
            kind: [found[i] if i is not None else [] for i in kept] for kind, found in masks.items()
        }
    (draft / "labels" / f"{image}.txt").write_text(text, encoding="utf-8")
    if any(any(found) for found in masks.values()):
        words = json.dumps(masks, separators=(",", ":"))
        (draft / "masks" / f"{image}.json").write_text(words, encoding="utf-8")


def _change(dataset: Dataset, draft: Path, image: str, classes: Sequence[str]) -> Change:
    """What the label in `draft` does to an image."""
    record = dataset.image(image)
    text = (draft / "labels" / f"{image}.txt").read_text(encoding="utf-8")
    after = parse_label(text, record.width, record.height)
    done = label_changes(dataset.boxes(record), after, _rounding(record))
    counts = Counter(classes[box.cls] for box in after)
    return Change(
        image=image, added=done.added, moved=done.moved, removed=done.removed,
        renamed=done.renamed, counts={c: counts[c] for c in classes if counts[c]},
        counts_before=record.counts, before=record.labels_version,
        labelled_before=record.labelled,
    )  # fmt: skip


def _rounding(record: ImageRecord) -> float:
    """Pixels that six digits of a fraction may move a corner."""
    return 2e-6 * max(record.width, record.height)


def _after(
    dataset: Dataset,
    changes: Sequence[Change],
    draft: Path,
    *,
    number: int,
    classes: tuple[str, ...],
    labelled: Mapping[str, bool | None],
) -> DatasetDocument:
    """The document of the new version, whose labels lie in `draft` yet."""
    changed = {change.image: change for change in changes}
    after = tuple(
        record.model_copy(
            update={
                "labels_version": number,
                "counts": changed[record.id].counts,
                "labelled": labelled[record.id],
            }
        )
        if record.id in changed
        else record
        for record in dataset.images
    )
    known = {r.id: sum(r.counts.values()) for r in after if dataset.document.is_labelled(r)}
    images: list[ImageRecord] = []
    shas: list[str] = []
    sizes: list[float] = []
    boxes: Counter[str] = Counter()
    for before, record in zip(dataset.images, in_parts(after, known), strict=True):
        path = label_path(dataset.root, before)
        if record.id in changed:
            path = draft / "labels" / path.name
        stat = path.stat()
        facts = _facts(path, stat.st_size, stat.st_mtime_ns, record.width, record.height)
        images.append(record)
        shas.append(facts.sha256)
        sizes += facts.sizes
        boxes.update(record.counts)
    state = LabelState(
        content_hash=content_hash(classes, dataset.recipe, tuple(images), shas),
        classes=classes,
        boxes={name: boxes[name] for name in classes},
        background=sum(not r.counts for r in images if dataset.document.is_labelled(r)),
        box_size=spread(sizes),
    )
    document = dataset.document.model_copy(update={"images": tuple(images)})
    return with_state(document, number, state)


class _Facts(NamedTuple):
    sha256: str
    sizes: tuple[float, ...]  # pixels: square root of each box's area


@lru_cache(maxsize=1 << 16)
def _facts(path: Path, size: int, changed: int, width: int, height: int) -> _Facts:
    """Of one label, read once per change of it: `size` and `changed` are its name here."""
    data = path.read_bytes()
    boxes = parse_label(data.decode("utf-8"), width, height)
    sizes = tuple(((b.x2 - b.x1) * (b.y2 - b.y1)) ** 0.5 for b in boxes)
    return _Facts(hashlib.sha256(data).hexdigest(), sizes)
