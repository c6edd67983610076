"""Drawn stacks: one plane sharp, the others out of focus."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

Plane = NDArray[np.uint16]


def planes(sharp: int, count: int = 5, seed: int = 0) -> list[Plane]:
    """`count` planes of 40 x 60 pixels; plane `sharp` (from 0) is in focus."""
    grain = np.random.default_rng(seed).integers(1000, 30000, (40, 60), dtype=np.uint16)
    whole = grain.astype(np.float32)
    return [
        cv2.GaussianBlur(whole, (0, 0), 0.8 * abs(z - sharp)).astype(np.uint16)
        if z != sharp
        else grain
        for z in range(count)
    ]


def write_fields(folder: Path, sharp: dict[str, int], count: int = 5) -> Path:
    """Files of Opera Phenix, one a plane: `{"r01c02f03": 2}` is sharp in its third plane."""
    folder.mkdir()
    for seed, (field, at) in enumerate(sharp.items()):
        for z, plane in enumerate(planes(at, count, seed), 1):
            tifffile.imwrite(folder / f"{field}p{z:02d}-ch1sk1fk1fl1.tiff", plane)
    return folder


def stored(dataset: object, number: int = 0) -> NDArray[np.uint8]:
    """An image of a dataset as it is stored, one channel."""
    record = dataset.images[number]  # type: ignore[attr-defined]
    image = cv2.imread(str(dataset.root / record.file), cv2.IMREAD_UNCHANGED)  # type: ignore[attr-defined]
    assert image is not None
    return np.asarray(image, np.uint8)
