"""Object outlines that come with boxes: our own masks/*.json, or masks as images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core.bounded import load_json
from msip_core.boxes import best_pairs, iou_matrix
from msip_core.data.archive import FileTree
from msip_core.data.companions import in_mask_folder, sort_images
from msip_core.data.fitting import same_shape
from msip_core.data.labels import LabelledObject
from msip_core.data.mask_objects import objects_in, read_mask
from msip_core.data.micrographs import SUFFIXES
from msip_core.data.readers.registry import SUFFIXES as OWN_SUFFIXES
from msip_core.data.references import ImageIndex
from msip_core.errors import DatasetError, InputError
from msip_core.messages import msg

# An instance of a mask belongs to the box that it fills: below this overlap, to none.
MIN_IOU = 0.5
# What label files of programs hold; others in a folder of masks are taken for our own.
_LABELS = re.compile(
    rb'"(?:shapes|images|annotations|categories|features|geometry|regions|classTitle|_via_[a-z_]+)"'
)
_LOOKED_AT = 4096


class MaskIndex:
    """The micrographs of a tree, and the mask files that go with them.

    Attributes:
        images: the files that are micrographs; masks and previews are not.
        masks: micrograph -> its mask, as an image.
        problems: masks and previews that were left out.
        ambiguous: micrographs with several masks, and what that means.
        parts: micrograph -> masks of its single objects.
    """

    def __init__(self, tree: FileTree, candidates: Sequence[str]) -> None:
        self._tree = tree
        found = sort_images(candidates)
        self.images, self.masks, self.problems, self.ambiguous, self.parts = found
        own = [name for name in tree.names if is_outline_file(tree, name)]
        pairing = ImageIndex(self.images).pair({n: [PurePosixPath(n).stem] for n in own})
        self._own = pairing.files
        self.used = {*own, *self.masks.values(), *(problem.file for problem in self.problems)}
        self.used |= {name for names in self.parts.values() for name in names}

    def __len__(self) -> int:
        return len({*self.masks, *self._own})

    def outlines(
        self, image: str, objects: Sequence[LabelledObject], size: tuple[int, int]
    ) -> tuple[list[LabelledObject], str | None]:
        """`objects` with the outlines of the image's mask file, and what was wrong with it."""
        name = self._own.get(image) or self.masks.get(image)
        if name is None or all(obj.outline is not None for obj in objects):
            return list(objects), None
        try:
            if name.endswith(".json"):
                return _from_json(self._tree.read(name), objects), None
            return _from_instances(self._tree.read(name), name, objects, size)
        # A mask of any make: what JSON, NumPy and OpenCV raise on it.
        except (
            InputError, ValueError, LookupError, TypeError, ArithmeticError, cv2.error,
        ) as error:  # fmt: skip
            return list(objects), msg(
                "its mask {name} was not used ({error})", name=name, error=error
            )


def is_image(name: str) -> bool:
    return name.lower().endswith((*SUFFIXES, *OWN_SUFFIXES))


def is_outline_file(tree: FileTree, name: str) -> bool:
    """Whether a file is one of our own masks/*.json, and no label of a program that lies there."""
    if not name.lower().endswith(".json") or not in_mask_folder(name):
        return False
    try:
        return _LABELS.search(tree.read(name)[:_LOOKED_AT]) is None
    except DatasetError:
        return False  # named by whoever reads it as a label


def _from_json(data: bytes, objects: Sequence[LabelledObject]) -> list[LabelledObject]:
    """Our own format, in the order of the boxes."""
    value: Any = load_json(data)
    if not isinstance(value, dict) or not isinstance(value.get("outlines"), list):
        raise ValueError(msg("it holds no list 'outlines'"))
    outlines, crypts = value["outlines"], value.get("crypts")
    if crypts is not None and (not isinstance(crypts, list) or len(crypts) != len(outlines)):
        raise ValueError(msg("its 'crypts' are not one list for each outline"))
    if len(outlines) != len(objects):
        raise ValueError(
            msg("{n} outlines for {objects} boxes", n=len(outlines), objects=len(objects))
        )
    full = []
    for i, obj in enumerate(objects):
        buds = None if crypts is None else tuple(_points(points) for points in crypts[i])
        full.append(replace(obj, outline=_points(outlines[i]), crypts=buds))
    return full


def _points(points: list[list[float]]) -> NDArray[np.float64]:
    found = np.array(points, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(found).all():
        raise ValueError(msg("a point is not two finite numbers"))
    return found


def _from_instances(
    data: bytes, name: str, objects: Sequence[LabelledObject], size: tuple[int, int]
) -> tuple[list[LabelledObject], str | None]:
    """An image whose value is the number of the object; 0 is background."""
    mask = objects_in(read_mask(data, name))
    width, height = mask.size
    if not same_shape((width, height), size[1], size[0]):
        raise ValueError(
            msg("it has {width} x {height} pixels, unlike its image", width=width, height=height)
        )
    scale = np.array([size[1] / width, size[0] / height])
    found = [o.outline * scale for o in mask.objects if o.outline is not None]
    if not found:
        return list(objects), None
    spans = np.array([[*o.min(axis=0), *o.max(axis=0)] for o in found])
    iou = iou_matrix(np.array([obj.xyxy for obj in objects], dtype=np.float64), spans)
    iou[[obj.outline is not None for obj in objects]] = 0
    full = list(objects)
    for i, j in best_pairs(iou, MIN_IOU):
        full[i] = replace(full[i], outline=found[j])
    return full, None
