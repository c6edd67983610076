"""A dataset as one zip in the label format of another program: images, labels, and a card.

images/<part>/<folders>/<name>   as the workspace stores them, under their own names
msip-lab.json                    the card: what label formats have no place for (see `Card`)

Names and folders of the originals stay, since wells and plates are read from them; the part of the
split is a folder, since every reader knows that. Bringing the zip in again gives the same dataset.
"""

from __future__ import annotations

import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath

from msip_core.boxes import Box, Detection
from msip_core.data.card import CARD, Card
from msip_core.data.companions import tells_companions
from msip_core.data.dataset import Dataset, gone
from msip_core.data.export_formats import (
    FORMATS,
    Counts,
    ExportedImage,
    ExportedObject,
    ExportedSet,
)
from msip_core.data.label_files import damaged_label
from msip_core.data.labels import SPLIT_WORDS
from msip_core.data.manifest import ImageRecord, SplitName
from msip_core.data.references import unique
from msip_core.errors import ConfigError, DatasetError
from msip_core.events import Record
from msip_core.messages import msg
from msip_core.questions.base import Progress
from msip_core.questions.contents import sha256_of
from msip_core.workspace import atomic_path

# What Windows does not take in a name of a file.
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]')
_SORTING = frozenset(("images", "image", "imgs", "img", "labels", "annotations"))


class Predictions(Record):
    """What a model found on the images of a dataset.

    Attributes:
        model: its id or file.
        conf: lowest score of a box.
        classes: the model's own.
        found: image id -> its boxes.
    """

    model: str
    conf: float
    classes: tuple[str, ...]
    found: Mapping[str, Sequence[Detection]]


class Exported(Record):
    """What was written.

    Attributes:
        without_outline: objects whose outline is known and was left out, since the format has
            either a box or an outline, and the two differ.
    """

    path: str
    format: str
    images: int
    boxes: int
    outlines: int
    without_outline: int


def export_dataset(
    dataset: Dataset,
    form: str,
    target: Path,
    *,
    predictions: Predictions | None = None,
    with_images: bool = True,
    progress: Progress | None = None,
) -> Exported:
    """Write `target`, a zip, in the format `form` (see `export_formats.FORMATS`). What nobody has
    labelled stays out: with an empty label it would come back as background.

    Args:
        predictions: written in place of the labels, with their scores.
        with_images: False leaves the images out; labels then name the originals.

    Raises:
        ConfigError: no such format.
        DatasetError: nothing is labelled, or an image or label is gone from the workspace.
    """
    check_format(form)
    if predictions is None and not dataset.classes:
        # Empty label files would say that nothing is on these images.
        raise DatasetError(
            "Dataset '{name}' has no labels to take out: choose a model, and its "
            "predictions are written.",
            name=dataset.name,
        )
    records = dataset.images if predictions else dataset.document.labelled
    names = exported_names(records, originals=not with_images)

    def put(archive: zipfile.ZipFile, tell: Progress) -> None:
        for n, record in enumerate(records):
            tell(n / len(records), image_of(n, len(records)))
            if not (path := dataset.path(record)).is_file():
                raise gone(path)
            if sha256_of(path) != record.sha256:
                raise damaged_label(path)
            archive.write(path, names[record.id], zipfile.ZIP_STORED)

    whole = ExportedSet(
        dataset.name,
        predictions.classes if predictions else dataset.classes,
        dataset.drawn,
        predictions.model if predictions else None,
    )
    images = list(_images(dataset, names, predictions))
    card = _card(dataset, names, predictions)
    return write_set(target, form, whole, images, card, put if with_images else None, progress)


def check_format(form: str) -> None:
    """Raises ConfigError where there is no label format of that name."""
    if form not in FORMATS:
        raise ConfigError(
            "There is no label format '{form}': choose {formats}.",
            form=form,
            formats=", ".join(FORMATS),
        )


def image_of(n: int, count: int) -> str:
    """What is told while images are written; `n` from 0."""
    return msg("Image {n} of {images}", n=n + 1, images=count)


def write_set(  # noqa: PLR0917 - what every export has
    target: Path,
    form: str,
    whole: ExportedSet,
    images: Sequence[ExportedImage],
    card: Card,
    put: Callable[[zipfile.ZipFile, Progress], None] | None,
    progress: Progress | None = None,
) -> Exported:
    """Write the zip: the images by `put`, if they are wanted, the labels, and the card."""
    tell = progress or (lambda done, message: None)
    counts = Counts()
    with (
        atomic_path(target) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive,
    ):
        if put is not None:
            put(archive, lambda done, message: tell(0.8 * done, message))
        tell(0.8, msg("Writing the labels"))
        for name, text in FORMATS[form].write(whole, images, counts):
            archive.writestr(name, text)
        archive.writestr(CARD, card.model_dump_json(indent=1) + "\n")
    tell(1.0, msg("Written"))
    return Exported(
        path=str(target),
        format=form,
        images=len(images),
        **asdict(counts),
    )


def exported_names(images: Sequence[ImageRecord], *, originals: bool = False) -> dict[str, str]:
    """Image id -> its path in the zip; unique also without regard to case and suffix.

    Args:
        originals: with the suffix of the file that was brought in.
    """
    taken: set[str] = set()
    names = {}
    for record in images:
        source = PurePosixPath(record.source)
        folders = [piece for part in source.parts[:-1] if (piece := _folder(part))]
        top = PurePosixPath("images", part_of(record), *folders)
        place = unique(f"{top}/{_writable(source.stem) or record.id}", taken)
        names[record.id] = place + (source if originals else PurePosixPath(record.file)).suffix
    return names


def part_of(record: ImageRecord) -> SplitName:
    """Formats name a part for every image; new images, which are in none, go as training images,
    the part that every program asks for."""
    return record.split or "train"


def _folder(part: str) -> str:
    """A folder's name without what means a part of the split or a kind of file to a reader."""
    if part.lower() in _SORTING or tells_companions(part):
        return ""
    pieces = re.split(r"([-_.])", part)
    kept = "".join(piece for piece in pieces if piece.lower() not in SPLIT_WORDS)
    return _writable(part if kept == part else kept.strip("-_."))


def _writable(name: str) -> str:
    """A name that every system takes."""
    text = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", name)).strip().rstrip(". ")
    return f"_{text[1:]}" if text.startswith(".") else text


def _images(
    dataset: Dataset, names: Mapping[str, str], predictions: Predictions | None
) -> Iterator[ExportedImage]:
    for record in dataset.images:
        if record.id not in names:
            continue
        if predictions is None:
            objects = _labelled(dataset, record)
        else:
            objects = [
                ExportedObject(
                    predictions.classes[d.cls],
                    inside(d.xyxy, record.width, record.height),
                    score=d.score,
                )
                for d in predictions.found.get(record.id, ())
            ]
        yield ExportedImage(
            names[record.id],
            record.width,
            record.height,
            part_of(record),
            objects,
            dataset.pixel_size_um or record.pixel_size_um,
        )


def inside(
    xyxy: tuple[float, float, float, float], width: int, height: int
) -> tuple[float, float, float, float]:
    """Corners within the image: boxes of a detector reach over its border by parts of a pixel."""
    x1, x2 = (min(max(0.0, x), float(width)) for x in xyxy[::2])
    y1, y2 = (min(max(0.0, y), float(height)) for y in xyxy[1::2])
    return x1, y1, x2, y2


def _labelled(dataset: Dataset, record: ImageRecord) -> list[ExportedObject]:
    boxes: tuple[Box, ...] = dataset.boxes(record)
    contours = dataset.contours(record) or [None] * len(boxes)
    crypts = dataset.crypts(record) or [None] * len(boxes)
    return [
        ExportedObject(
            dataset.classes[box.cls],
            box.xyxy,
            None if outline is None or len(outline) < 3 else outline,
            buds,
        )
        for box, outline, buds in zip(boxes, contours, crypts, strict=True)
    ]


def _card(dataset: Dataset, names: Mapping[str, str], predictions: Predictions | None) -> Card:
    sizes = {
        names[record.id]: size
        for record in dataset.images
        if record.id in names and (size := dataset.pixel_size_um or record.pixel_size_um)
    }
    return Card(
        name=dataset.name,
        classes=predictions.classes if predictions else dataset.classes,
        drawn=dataset.drawn,
        pixel_sizes_um=sizes,
        labels_version=dataset.labels_version,
        predicted_by=predictions.model if predictions else None,
        predicted_from=predictions.conf if predictions else None,
    )
