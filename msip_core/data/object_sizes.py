"""How large objects are for the network: what it was trained on, and whether an image fits.

A detector finds what is about as large, in pixels of its input, as what it has learned. Training
varies the scale by half (Ultralytics' `scale=0.5`), so more than `FACTOR` away is new to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from msip_core.boxes import Box
from msip_core.data.dataset import Dataset
from msip_core.messages import Message, mark, msg
from msip_core.models import TrainedSizes

FACTOR = 1.5
_FEWEST_BOXES = 5  # before the sizes of what was found say anything
_MOST_IMAGES = 500  # that are looked at, evenly spread


def trained_sizes(dataset: Dataset) -> TrainedSizes | None:
    """Sizes of the objects of a dataset and of its images; None without any box."""
    records = dataset.split("train") or dataset.images
    if len(records) > _MOST_IMAGES:
        records = tuple(
            records[i] for i in np.linspace(0, len(records) - 1, _MOST_IMAGES).astype(int)
        )
    sides, shares = [], []
    for record in records:
        for box in dataset.boxes(record):
            sides.append(_side(box))
            shares.append(_side(box) / max(record.width, record.height))
    if not sides:
        return None
    low, median, high = (float(v) for v in np.percentile(shares, (5, 50, 95)))
    longer = [max(record.width, record.height) for record in records]
    scales = [r.pixel_size_um or dataset.pixel_size_um for r in records]
    known = [value for value in scales if value]
    return TrainedSizes(
        object_px=float(np.median(sides)),
        share_low=low,
        share=median,
        share_high=high,
        image_low=min(longer),
        image=float(np.median(longer)),
        image_high=max(longer),
        pixel_size_um=float(np.median(known)) if len(known) == len(scales) else None,
    )


class SeenImage(NamedTuple):
    """An image as a model sees it.

    Attributes:
        width, height: in pixels.
        imgsz: longer side that it is scaled to for the network.
        pixel_size_um: micrometres per pixel; compared where the training's is known too.
    """

    width: int
    height: int
    imgsz: int
    pixel_size_um: float | None = None


def size_warning(
    trained: TrainedSizes, trained_imgsz: int, seen: SeenImage, found: Sequence[Box]
) -> str | None:
    """Why a model does not see this image's objects as it learned them; None if it does.

    Args:
        trained_imgsz: longer side that images were scaled to in training.
        found: what the model found on the image.
    """
    longer = max(seen.width, seen.height)
    here_um, then_um = seen.pixel_size_um, trained.pixel_size_um
    # One pixel here is so many of the training's.
    relative = here_um / then_um if here_um and then_um else 1.0
    zoom = seen.imgsz / trained_imgsz
    shown = longer * relative / zoom
    if shown > trained.image_high * FACTOR or shown < trained.image_low / FACTOR:
        return _other_scale(trained, trained_imgsz, seen, relative)
    if len(found) < _FEWEST_BOXES:
        return None
    size = float(np.median([_side(box) for box in found])) * seen.imgsz / longer
    low, high = trained.share_low * trained_imgsz, trained.share_high * trained_imgsz
    if low / FACTOR <= size <= high * FACTOR:
        return None
    return msg(
        "What was found is {size:.0f} px large for the network (median), what it learned "
        "{share:.0f} px (most from {low:.0f} to {high:.0f}): check these boxes and count by eye.",
        size=size,
        share=trained.share * trained_imgsz,
        low=low,
        high=high,
    )


def _other_scale(
    trained: TrainedSizes, trained_imgsz: int, seen: SeenImage, relative: float
) -> str:
    """Both sizes, and what to do."""
    longer = max(seen.width, seen.height)
    here = trained.object_px / relative * seen.imgsz / longer
    learned = trained.share * trained_imgsz
    extents = {"longer": longer, "image": trained.image}
    extent = msg("images {longer:,} px here and {image:,.0f} px there", **extents)
    if seen.pixel_size_um and trained.pixel_size_um:
        extent = msg(
            "images {longer:,} px here and {image:,.0f} px there, {here_um:,.0f} µm here and "
            "{there_um:,.0f} µm there",
            **extents,
            here_um=longer * seen.pixel_size_um,
            there_um=trained.image * trained.pixel_size_um,
        )
    side = max(32, round(trained.image / relative * seen.imgsz / trained_imgsz))
    sizes = msg(
        "Objects as large as in training are {here:.0f} px for the network on this image, they "
        "were {learned:.0f} px in training ({extent})",
        here=here,
        learned=learned,
        extent=extent,
    )
    said = mark(
        "{sizes}: many will be missed. Take a field of about {side:,} px, not a part of it."
    )
    if here < learned:
        said = mark("{sizes}: many will be missed. Cut the image into tiles of about {side:,} px.")
    return Message(said, {"sizes": sizes, "side": side})


def _side(box: Box) -> float:
    """Side of the square as large as the box, in pixels."""
    return float(np.sqrt(max(0.0, box.x2 - box.x1) * max(0.0, box.y2 - box.y1)))
