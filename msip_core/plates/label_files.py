"""What a model counted as a zip in the label format of another program, with scores."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from msip_core.data.archive import ZARR
from msip_core.data.card import Card
from msip_core.data.dataset import open_dataset
from msip_core.data.export import (
    Exported,
    Progress,
    check_format,
    exported_names,
    image_of,
    inside,
    part_of,
    write_set,
)
from msip_core.data.export_formats import ExportedImage, ExportedObject, ExportedSet
from msip_core.data.manifest import ImageRecord
from msip_core.data.png import png_of
from msip_core.data.regions import Field
from msip_core.errors import DatasetError
from msip_core.plates import folder
from msip_core.plates.overlays import objects_by_image, pictures_again
from msip_core.plates.rows import Counting, ImageRow, ObjectRow
from msip_core.workspace import Workspace


def write_labels(
    workspace: Workspace,
    run_dir: Path,
    counting: Counting,
    form: str,
    target: Path,
    *,
    with_images: bool = True,
    progress: Progress | None = None,
) -> Exported:
    """Write `target`, a zip as `data export` writes it, of the images that could be read.

    Args:
        form: see `export_formats.FORMATS`.
        with_images: the planes that were counted, as the model saw them (PNG); False leaves them
            out, and labels name the originals.

    Raises:
        ConfigError: no such format.
        DatasetError: no image could be read, or one cannot be read any more.
    """
    check_format(form)
    images = [image for image in counting.images if image.state != "failed"]
    if not images:
        raise DatasetError(
            "No image of {source} could be read: there is nothing to write labels for.",
            source=counting.source,
        )
    config = folder.read_config(run_dir)
    dataset = None if config.source is not None else open_dataset(workspace, config.dataset)
    sources = {record.id: record.source for record in dataset.images} if dataset else {}
    records = [_record(image, sources.get(image.image, image.image)) for image in images]
    names = exported_names(records, originals=not with_images)

    label = config.dataset if config.source is None else config.source.stem
    drawn = bool(dataset and dataset.drawn)
    whole = ExportedSet(label, counting.classes, drawn, counting.name or counting.model)
    card = Card(
        name=label,
        classes=counting.classes,
        drawn=drawn,
        pixel_sizes_um={names[i.image]: i.um_per_px for i in images if i.um_per_px},
        predicted_by=whole.model,
        predicted_from=config.conf,
    )
    exported = _images(images, records, names, objects_by_image(counting.objects))
    pictures = partial(pictures_again, workspace, run_dir, images)
    put = partial(_put, pictures, names) if with_images else None
    return write_set(target, form, whole, exported, card, put, progress)


def _put(
    pictures: Callable[[], Iterator[tuple[ImageRow, Field | DatasetError]]],
    names: Mapping[str, str],
    archive: zipfile.ZipFile,
    tell: Progress,
) -> None:
    """The planes that were counted, as PNG."""
    for n, (image, field) in enumerate(pictures()):
        tell(n / len(names), image_of(n, len(names)))
        if isinstance(field, DatasetError):
            raise field
        info = zipfile.ZipInfo(names[image.image])  # stored: a PNG is packed already
        with archive.open(info, "w", force_zip64=True) as file:
            for part in png_of(field):
                file.write(part)


def _record(image: ImageRow, source: str) -> ImageRecord:
    """The image as it is named by; a folder called .zarr would be read as one file."""
    path = PurePosixPath(source)
    folders = [part[:-5] if part.lower().endswith(ZARR) else part for part in path.parts[:-1]]
    return ImageRecord(
        id=image.image, file=f"{image.image}.png", width=image.width, height=image.height,
        split=None, group="", sha256="", source=str(PurePosixPath(*folders, path.name)),
    )  # fmt: skip


def _images(
    images: Sequence[ImageRow],
    records: Sequence[ImageRecord],
    names: Mapping[str, str],
    objects: Mapping[str, Sequence[ObjectRow]],
) -> list[ExportedImage]:
    return [
        ExportedImage(
            names[image.image],
            image.width,
            image.height,
            part_of(record),
            [_object(row, image) for row in objects.get(image.image, ())],
            image.um_per_px,
        )
        for image, record in zip(images, records, strict=True)
    ]


def _object(row: ObjectRow, image: ImageRow) -> ExportedObject:
    corners = inside((row.x1, row.y1, row.x2, row.y2), image.width, image.height)
    outline = None if row.outline is None else np.array(row.outline, np.float64)
    return ExportedObject(row.class_name, corners, outline, score=row.score)
