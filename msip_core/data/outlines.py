"""Object outlines that come with boxes: polygons, our own masks/*.json, or instance mask PNGs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core.bounded import load_json
from msip_core.boxes import iou_matrix
from msip_core.data.archive import FileTree
from msip_core.data.labels import LabelledObject
from msip_core.data.micrographs import SUFFIXES, decode
from msip_core.errors import InputError

_FOLDERS = ("masks", "mask", "segmentation", "segmentations", "segmentationobject", "outlines")
# An instance of a mask belongs to the box that it fills: below this overlap, to none.
MIN_IOU = 0.5


class MaskIndex:
    """Mask files of a tree by the stem of the image they belong to.

    `images` are the files that are images themselves: all but those in a mask folder whose
    stem an image outside has too.
    """

    def __init__(self, tree: FileTree, candidates: Sequence[str]) -> None:
        self._tree = tree
        outside = {PurePosixPath(n).stem for n in candidates if not in_mask_folder(n)}
        masks = [n for n in candidates if in_mask_folder(n) and PurePosixPath(n).stem in outside]
        masks += [n for n in tree.names if n.endswith(".json") and in_mask_folder(n)]
        self._by_stem: dict[str, list[str]] = {}
        for name in masks:
            self._by_stem.setdefault(PurePosixPath(name).stem, []).append(name)
        taken = set(masks)
        self.images = [name for name in candidates if name not in taken]

    def __len__(self) -> int:
        return len(self._by_stem)

    def outlines(
        self, image: str, objects: Sequence[LabelledObject], size: tuple[int, int]
    ) -> tuple[list[LabelledObject], str | None]:
        """`objects` with the outlines of the image's mask file, and what was wrong with it."""
        name = self._mask_of(image)
        if name is None or not objects:
            return list(objects), None
        try:
            if name.endswith(".json"):
                return _from_json(self._tree.read(name), objects), None
            return _from_instances(self._tree.read(name), name, objects, size)
        # A mask of any make: what JSON, NumPy and OpenCV raise on it.
        except (
            InputError, ValueError, LookupError, TypeError, ArithmeticError, cv2.error,
        ) as error:  # fmt: skip
            return list(objects), f"its mask {name} was not used ({error})"

    def _mask_of(self, image: str) -> str | None:
        path = PurePosixPath(image)
        names = self._by_stem.get(path.stem, [])
        shared = sorted(names, key=lambda n: -len(set(PurePosixPath(n).parts) & set(path.parts)))
        return shared[0] if shared else None


def is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def in_mask_folder(name: str) -> bool:
    """Whether a path leads through a folder that is named for masks."""
    return any(part.lower() in _FOLDERS for part in PurePosixPath(name).parts[:-1])


def _from_json(data: bytes, objects: Sequence[LabelledObject]) -> list[LabelledObject]:
    """Our own format, in the order of the boxes."""
    value: Any = load_json(data)
    if not isinstance(value, dict) or not isinstance(value.get("outlines"), list):
        raise ValueError("it holds no list 'outlines'")
    outlines, crypts = value["outlines"], value.get("crypts")
    if crypts is not None and (not isinstance(crypts, list) or len(crypts) != len(outlines)):
        raise ValueError("its 'crypts' are not one list for each outline")
    if len(outlines) != len(objects):
        raise ValueError(f"{len(outlines)} outlines for {len(objects)} boxes")
    full = []
    for i, obj in enumerate(objects):
        buds = None if crypts is None else tuple(_points(points) for points in crypts[i])
        full.append(replace(obj, outline=_points(outlines[i]), crypts=buds))
    return full


def _points(points: list[list[float]]) -> NDArray[np.float64]:
    found = np.array(points, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(found).all():
        raise ValueError("a point is not two finite numbers")
    return found


def _from_instances(
    data: bytes, name: str, objects: Sequence[LabelledObject], size: tuple[int, int]
) -> tuple[list[LabelledObject], str | None]:
    """An image whose grey value is the number of the object; 0 is background."""
    pixels = decode(data, name).pixels
    mask = pixels if pixels.ndim == 2 else pixels[..., 0]
    if mask.shape != size:
        raise ValueError(f"it has {mask.shape[1]} x {mask.shape[0]} pixels, unlike its image")
    found = instance_outlines(np.asarray(mask))
    if not found:
        return list(objects), None
    spans = np.array([[*o.min(axis=0), *o.max(axis=0)] for o in found])
    iou = iou_matrix(np.array([obj.xyxy for obj in objects], dtype=np.float64), spans)
    full, used = list(objects), set()
    for flat in np.argsort(-iou, axis=None, kind="stable"):
        i, j = divmod(int(flat), len(found))
        if iou[i, j] < MIN_IOU:
            break
        if full[i].outline is None and j not in used:
            full[i] = replace(full[i], outline=found[j])
            used.add(j)
    return full, None


def instance_outlines(mask: NDArray[Any]) -> list[NDArray[np.float64]]:
    """Outer contour of every object of an instance mask, in pixel corners (x, y).

    A binary mask (0 and one other value) is cut into its connected parts first.
    """
    values = np.unique(mask)
    values = values[values != 0]
    if len(values) == 1:
        _, mask = cv2.connectedComponents((mask != 0).astype(np.uint8))
        values = np.unique(mask)[1:]
    if len(values) > 5000:
        raise ValueError(f"{len(values)} grey values cannot be object numbers")
    outlines = []
    for value in values:
        contour = mask_outline(np.asarray(mask == value))
        if contour is not None:
            outlines.append(contour)
    return outlines


def mask_outline(mask: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Outer contour (n, 2) of the largest part of a mask, through pixel centres + 0.5."""
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    big = [np.asarray(c, dtype=np.float64).reshape(-1, 2) + 0.5 for c in contours if len(c) >= 3]
    return max(big, key=lambda c: cv2.contourArea(c.astype(np.float32))) if big else None
