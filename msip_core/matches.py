"""What a detector found on each image of a split, matched with the labels: all that average
precision needs, so that it can be computed again for any choice of images. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msip_core.arrays import DamagedArraysError, read_arrays, write_arrays

IOUS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True, slots=True)
class Matches:
    """Detections and labels of one model on one split.

    Attributes:
        images: file names; `image` and `label_image` count in them.
        image: (n,) index of the image of each detection.
        conf: (n,) its confidence.
        cls: (n,) its class.
        hit: (n, 10) whether it is a label's detection at each threshold of IOUS.
        label_image, label_cls: (m,) image and class of each label.
    """

    images: tuple[str, ...]
    image: NDArray[np.int64]
    conf: NDArray[np.float64]
    cls: NDArray[np.int64]
    hit: NDArray[np.bool_]
    label_image: NDArray[np.int64]
    label_cls: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write an .npz that `load_matches` reads."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        write_arrays(path, {"images": np.array(self.images, np.str_), **arrays})


_ARRAYS = ("image", "conf", "cls", "hit", "label_image", "label_cls")


def load_matches(path: Path) -> Matches:
    """What `Matches.save` wrote."""
    content = read_arrays(path)
    if missing := {"images", *_ARRAYS} - set(content):
        raise DamagedArraysError(
            "{path} is damaged: it lacks '{missing}'.", path=path, missing=min(missing)
        )
    return Matches(tuple(map(str, content["images"])), *(content[name] for name in _ARRAYS))
