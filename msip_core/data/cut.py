"""A dataset whose large fields are cut into tiles, for training and for judging.

Tiles hold the boxes that lie in them, clipped; what is cut down to less than a tenth of a box is
left out, as Ultralytics' augmentation and sahi's slicing leave it out. Images that need no cutting
stay whole. Accuracy is still judged on whole fields: an evaluation joins what was found on the
tiles (msip_core.detector.evaluation), so that its numbers mean what they mean without tiles.

Tiles lie in <workspace>/cache/tiles/<dataset>/<key>/, made once for each way of cutting it, and go
with the dataset: what is kept by size and age alone would be cleared away under a training's feet.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from msip_core.boxes import Box
from msip_core.config import PruneConfig, TrainConfig
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.data.label_files import label_text
from msip_core.data.manifest import ImageRecord
from msip_core.data.object_sizes import SeenImage, trained_sizes
from msip_core.data.png import encode_png
from msip_core.data.tiling import Tile, Tiling, Wanted, choose_tiling, tiling_for_small
from msip_core.documents import read_json
from msip_core.errors import DiskFullError, InputError
from msip_core.messages import msg
from msip_core.models import ModelCard, TrainedSizes, open_card
from msip_core.workspace import Workspace, tiles_folder, write_json

LEAST_SHARE = 0.1  # of a box, below which it is left out of a tile
_LEAST_SIDE = 1.0  # pixel
_VERSION = 1  # of the tiles; another makes them anew
_LIST = "tiles.json"


class Place(NamedTuple):
    """Where a tile lies: in which image of the dataset, and where there."""

    image: str
    tile: Tile


@dataclass(frozen=True)
class CutDataset(Dataset):
    """A dataset of tiles and whole images.

    Attributes:
        whole: the dataset that was cut.
        places: of its tiles, by the tile's id; images that stayed whole are not in it.
        words: what was done, for people.
    """

    whole: Dataset = field(repr=False)
    places: Mapping[str, Place] = field(repr=False)
    words: str = ""

    def path(self, record: ImageRecord) -> Path:
        return super().path(record) if record.id in self.places else self.whole.path(record)

    def label_path(self, record: ImageRecord) -> Path:
        if record.id in self.places:
            return super().label_path(record)
        return self.whole.label_path(record)

    def _labelled_in(self, record: ImageRecord) -> Path:
        return self.root if record.id in self.places else self.whole.root

    def contours(self, record: ImageRecord) -> tuple[NDArray[np.float64], ...] | None:
        """Outlines are not cut: known for whole images alone."""
        return None if record.id in self.places else self.whole.contours(record)

    def crypts(self, record: ImageRecord) -> tuple[tuple[NDArray[np.float64], ...], ...] | None:
        return None if record.id in self.places else self.whole.crypts(record)

    @cached_property
    def _tiles(self) -> dict[str, list[ImageRecord]]:
        found: dict[str, list[ImageRecord]] = {}
        for record in self.images:
            place = self.places.get(record.id)
            found.setdefault(place.image if place else record.id, []).append(record)
        return found

    def tiles_of(self, whole: ImageRecord) -> list[ImageRecord]:
        """The tiles of an image of the whole dataset; the image itself if it was not cut."""
        return self._tiles[whole.id]


def uncut(dataset: Dataset) -> Dataset:
    """The dataset as it was imported."""
    return dataset.whole if isinstance(dataset, CutDataset) else dataset


def sizes_learned(dataset: Dataset) -> TrainedSizes | None:
    """Sizes that a training on this dataset learns from (`trained_sizes`); of one that is cut, the
    largest image is the largest tile, since what was much larger was cut."""
    sizes = trained_sizes(dataset)
    if sizes is None or not isinstance(dataset, CutDataset):
        return sizes
    sides = [max(p.tile.x2 - p.tile.x1, p.tile.y2 - p.tile.y1) for p in dataset.places.values()]
    return sizes.model_copy(update={"image_high": float(max(sides))})


def open_for_run(workspace: Workspace, config: TrainConfig | PruneConfig) -> Dataset:
    """The dataset of a run, its large fields cut as `config.tiles` says.

    "auto" cuts images whose objects would come to the network smaller than those that the run's
    first model has learned from; where that is not known, those shown at less than half their
    size whose objects would be smaller than two cells of YOLOv8's finest grid.

    Raises:
        NotFoundError, DatasetError: there is no such dataset, or it is damaged.
    """
    dataset = open_dataset(workspace, config.dataset, config.dataset_version)
    first = config.model if isinstance(config, PruneConfig) else config.weights
    card = _card(workspace, first)
    trained = card.trained if card else None
    if card is not None and trained is None and card.dataset == dataset.name:
        trained = sizes_learned(dataset)  # of cards from before they kept these sizes
    sizes = (trained, card.imgsz) if card and trained else None
    return cut(
        workspace,
        dataset,
        tilings_of(dataset, config.imgsz, sizes, config.tiles, config.tile_overlap),
    )


def _card(workspace: Workspace, first: str) -> ModelCard | None:
    """Of a run's first model; None for a file, a name of an architecture, or one that is gone."""
    try:
        return None if first.endswith((".pt", ".yaml")) else open_card(workspace, first)
    except InputError:
        return None  # said by whoever needs the model itself


def tilings_of(
    dataset: Dataset,
    imgsz: int,
    sizes: tuple[TrainedSizes, int] | None,
    wanted: Wanted = "auto",
    overlap: float | None = None,
) -> dict[str, Tiling]:
    """How the images of a dataset are cut, by id; those that stay whole are not in it.

    Args:
        sizes: of what the model has learned, and the image size in that training; None where that
            is not known.
    """
    found: dict[str, Tiling] = {}
    own = trained_sizes(dataset) if wanted == "auto" and sizes is None else None
    for record in dataset.images:
        size = record.pixel_size_um or dataset.pixel_size_um
        seen = SeenImage(record.width, record.height, imgsz, size)
        if own is not None:
            tiling = tiling_for_small(own, overlap, seen)
        else:
            trained, then = sizes or (None, imgsz)
            tiling = choose_tiling(wanted, overlap, trained, then, seen)
        if tiling is not None:
            found[record.id] = tiling
    return found


def cut(workspace: Workspace, dataset: Dataset, tilings: Mapping[str, Tiling]) -> Dataset:
    """The dataset with these images cut; itself if there is nothing to cut."""
    if not tilings:
        return dataset
    ways = {image: [t.side, t.overlap] for image, t in sorted(tilings.items())}
    text = json.dumps([_VERSION, dataset.content_hash, ways])
    key = hashlib.sha256(text.encode()).hexdigest()
    folder = tiles_folder(workspace, dataset.name) / key[:40]
    try:
        listed = read_json(folder / _LIST)
    except InputError:  # it can be made again
        listed = None
    if not isinstance(listed, list):
        shutil.rmtree(folder, ignore_errors=True)  # of what others left of it
        _make(folder, dataset, tilings)
        listed = read_json(folder / _LIST) or []
    cut_images = {
        row["image"]: [ImageRecord.model_validate(one) for one in row["tiles"]] for row in listed
    }
    places = {
        one["id"]: Place(row["image"], Tile(*corners))
        for row in listed
        for one, corners in zip(row["tiles"], row["corners"], strict=True)
    }
    images = tuple(
        tile for record in dataset.images for tile in cut_images.get(record.id, [record])
    )
    document = dataset.document.model_copy(update={"images": images, "content_hash": key})
    return CutDataset(folder, document, dataset, places, _words(dataset, tilings, len(places)))


def _make(folder: Path, dataset: Dataset, tilings: Mapping[str, Tiling]) -> None:
    """All tiles beside their place, then renamed; of two that make them, the first one's stay."""
    for begun in folder.parent.glob(".*"):
        pid = begun.name.rpartition(".")[2]
        if not (pid.isdecimal() and psutil.pid_exists(int(pid))):  # of a process that was killed
            shutil.rmtree(begun, ignore_errors=True)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        _write(draft, dataset, tilings)
        draft.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                "The disk is full: the tiles of dataset '{name}' need about as much room "
                "as its images. Delete old runs, or turn tiles off (tiles: never).",
                name=dataset.name,
            ) from error
        if not (folder / _LIST).is_file():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _words(dataset: Dataset, tilings: Mapping[str, Tiling], count: int) -> str:
    first = next(iter(tilings.values()))
    sides = sorted({tiling.side for tiling in tilings.values()})
    size = f"{sides[0]:,}"
    if len(sides) > 1:
        size = msg("{low:,} to {high:,}", low=sides[0], high=sides[-1])
    return msg(
        "{n} of {images} images are cut into {count} tiles of {size} px, "
        "since {why}. Accuracy is judged on whole images, tiles joined.",
        n=len(tilings),
        images=len(dataset.images),
        count=count,
        size=size,
        why=first.why,
    )


def _write(folder: Path, dataset: Dataset, tilings: Mapping[str, Tiling]) -> None:
    """Images, labels and tiles.json; the list last, so that it stands for all of them."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    rows = []
    for image, tiling in tilings.items():
        record = dataset.image(image)
        pixels, boxes = dataset.pixels(record), dataset.boxes(record)
        corners = [tile for row in tiling.rows(record.width, record.height) for tile in row]
        made = [_write_tile(folder, dataset, Place(image, tile), pixels, boxes) for tile in corners]
        rows.append(
            {"image": image, "corners": corners, "tiles": [m.model_dump(mode="json") for m in made]}
        )
    write_json(folder / _LIST, rows)


def _write_tile(
    folder: Path, dataset: Dataset, place: Place, pixels: NDArray[np.uint8], boxes: tuple[Box, ...]
) -> ImageRecord:
    tile = place.tile
    name = f"{place.image}@{tile.y1}-{tile.x1}"
    data = encode_png(np.ascontiguousarray(pixels[tile.y1 : tile.y2, tile.x1 : tile.x2]))
    (folder / "images" / f"{name}.png").write_bytes(data)
    width, height = tile.x2 - tile.x1, tile.y2 - tile.y1
    kept = clipped(boxes, tile)
    text = label_text(kept, width, height)
    (folder / "labels" / f"{name}.txt").write_text(text, encoding="utf-8")
    counts = {c: n for i, c in enumerate(dataset.classes) if (n := sum(b.cls == i for b in kept))}
    return dataset.image(place.image).model_copy(
        update={
            "id": name, "file": f"images/{name}.png", "width": width, "height": height,
            "sha256": hashlib.sha256(data).hexdigest(), "counts": counts, "labels_version": 1,
        }
    )  # fmt: skip


def clipped(boxes: tuple[Box, ...], tile: Tile) -> list[Box]:
    """What of the boxes lies in a tile, in its pixels; without what is hardly there."""
    kept = []
    for box in boxes:
        x1, y1 = max(box.x1, tile.x1), max(box.y1, tile.y1)
        x2, y2 = min(box.x2, tile.x2), min(box.y2, tile.y2)
        if min(x2 - x1, y2 - y1) < _LEAST_SIDE:
            continue
        if (x2 - x1) * (y2 - y1) < LEAST_SHARE * (box.x2 - box.x1) * (box.y2 - box.y1):
            continue
        x1, x2, y1, y2 = x1 - tile.x1, x2 - tile.x1, y1 - tile.y1, y2 - tile.y1
        kept.append(Box(cls=box.cls, x1=x1, y1=y1, x2=x2, y2=y2))
    return kept
