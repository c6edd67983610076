"""Previews and thumbnails among micrographs: small copies that nobody labelled."""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core import confined
from msip_core.data.archive import FileTree, TreeOnDisk
from msip_core.data.companions import in_preview_folder
from msip_core.data.manifest import Problem
from msip_core.data.micrographs import decode, image_size
from msip_core.data.references import plain
from msip_core.data.verdicts import ASIDE
from msip_core.errors import DatasetError
from msip_core.messages import msg

# As microscopes and picture programs call them; ImageXpress writes `_thumb` and a hexadecimal id,
# Cellomics o0 for what it drew over channel d0, CellVoyager DC_ and SC_ for what it corrects by.
_NAMED = re.compile(
    r"(?<![a-z])(?:thumb|thumbnails?|thumbs|preview|previews)(?![g-z])|(?<=[a-p]\d\df\d\d)o\d+$"
    r"|^[ds]c_.+_(?:cam|ch)\d+$",
    re.I,
)
# A copy has at most half of the original's sides, so a quarter of its pixels; its file is smaller
# than a third however it is compressed.
_SIDES = 0.5
_BYTES = 3
_ASPECT = 0.02
_ALIKE = 0.99  # correlation of both, shrunk to the same few pixels
_SAME = 0.97  # of pictures that have one name already
_SIGNATURE = 24
# Formats from the one that keeps most to the one that loses most.
_FORMATS = ((".tif", ".tiff"), (".png", ".bmp"), (".jpg", ".jpeg"))
# Folders that say only how their pictures are stored: jpg/a.jpg is beside a.tif.
_STORED = re.compile(
    r"(?:as[-_ ]?)?(?:tiff?s?|pngs?|jpe?gs?|bmps?)|convert(?:ed)?|export(?:ed|s)?", re.I
)
_HEAD = 256 * 1024  # bytes; headers with a profile and a thumbnail are shorter


def without_previews(tree: FileTree, images: list[str]) -> tuple[list[str], list[Problem]]:
    """The images that are micrographs, and why the others are none, file by file.

    A file is a preview by its name (or its folder's), or since it is the same picture as another
    file at most half as wide. If all are named so, the name says nothing. Nor is one that people
    have put aside.
    """
    by_name = msg(
        "is named as a preview or thumbnail, an overlay or a correction image: left out; rename it "
        "if it is a micrograph"
    )
    why = dict.fromkeys(filter(is_named_preview, images), by_name)
    if len(why) == len(images):
        why = {}
    rest = [name for name in images if name not in why]
    if (aside := list(filter(ASIDE.search, rest))) != rest:
        put_aside = msg(
            "its name or folder says that it was put aside: left out; rename or move it if it is "
            "to be used"
        )
        why |= dict.fromkeys(aside, put_aside)
    # An overlay may be drawn larger than the micrograph that it shows.
    rest = [name for name in rest if name not in why and not in_preview_folder(name)]
    for name, other in _copies(tree, rest).items():
        why[name] = msg("is a small copy of {copies}", copies=other)
    for name, other in _other_formats(tree, [n for n in images if n not in why]).items():
        why[name] = msg("is the picture of {other} in another format", other=other)
    left_out = [Problem(file=name, what=what) for name, what in why.items()]
    return [name for name in images if name not in why], left_out


def is_named_preview(name: str) -> bool:
    """Whether a file, or a folder on its way (POSIX), is called a preview or thumbnail."""
    path = PurePosixPath(name)
    return bool(_NAMED.search(path.stem) or any(_NAMED.fullmatch(p) for p in path.parts[:-1]))


def _copies(tree: FileTree, images: list[str]) -> dict[str, str]:
    """Small copies and what they are copies of. Opens nothing where no file is much smaller."""
    sizes = {name: tree.size(name) for name in images}
    most = max(sizes.values(), default=0)
    if not any(size * _BYTES <= most for size in sizes.values()):
        return {}
    extents = _extents(tree, images)
    widest = max((max(extent) for extent in extents.values()), default=0)
    signatures: dict[str, NDArray[np.float32] | None] = {}
    copies: dict[str, str] = {}
    small = [
        n for n, e in extents.items() if max(e) <= _SIDES * widest and sizes[n] * _BYTES <= most
    ]
    for name in confined.one_by_one(small):
        for other in _much_larger(extents, name):
            for file in (name, other):
                if file not in signatures:
                    signatures[file] = _signature(tree, file)
            if _alike(signatures[name], signatures[other]):
                copies[name] = other
                break
    return copies


def _other_formats(tree: FileTree, images: list[str]) -> dict[str, str]:
    """`a.jpg` -> `a.tif` beside it, of the same name, sides and picture; the one that loses less
    stays."""
    beside: dict[str, list[str]] = defaultdict(list)
    for name in images:
        *folders, _ = (path := PurePosixPath(name)).parts
        place = [part for part in folders if not _STORED.fullmatch(part)]
        beside[plain("/".join([*place, path.stem]))].append(name)
    pairs: dict[str, str] = {}
    for names in beside.values():
        first, *others = sorted(names, key=_rank)
        pairs |= {n: first for n in others if _rank(n) > _rank(first)}
    same = {name for name in confined.one_by_one(list(pairs)) if _is_same(tree, name, pairs[name])}
    return {name: pairs[name] for name in same}


def _rank(name: str) -> int:
    suffix = PurePosixPath(name).suffix.lower()
    return next((i for i, same in enumerate(_FORMATS) if suffix in same), 0)


def _is_same(tree: FileTree, name: str, other: str) -> bool:
    try:
        if _extent(tree, name) != _extent(tree, other):
            return False
    except DatasetError:
        return False  # named when it comes in
    return _alike(_signature(tree, name), _signature(tree, other))


def _extents(tree: FileTree, images: list[str]) -> dict[str, tuple[int, int]]:
    """Width and height of those that can be opened; the others are named when they come in."""
    extents: dict[str, tuple[int, int]] = {}
    for name in confined.one_by_one(images):
        try:
            extents[name] = _extent(tree, name)
        except DatasetError:
            continue
    return extents


def _extent(tree: FileTree, name: str) -> tuple[int, int]:
    """Width and height; of a file on disk its first bytes tell, but of a TIFF, which may say it at
    its end."""
    if isinstance(tree, TreeOnDisk) and not name.lower().endswith((".tif", ".tiff")):
        with suppress(DatasetError):  # no image, or a longer header: the whole file says which
            return image_size(tree.head(name, _HEAD), name)
    return image_size(tree.read(name), name)


def _much_larger(extents: dict[str, tuple[int, int]], name: str) -> list[str]:
    width, height = extents[name]
    return [
        other
        for other, (w, h) in extents.items()
        if width <= _SIDES * w and abs(width * h / (w * height) - 1) <= max(_ASPECT, 1.5 / height)
    ]


def _signature(tree: FileTree, name: str) -> NDArray[np.float32] | None:
    """A few pixels of it, without brightness and contrast; None if it cannot be read or is flat."""
    try:
        return _few_pixels(decode(tree.read(name), name).pixels)
    except DatasetError:
        return None


def show_the_same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two pictures of one size show the same, whatever compressed or brightened them."""
    first, second = _few_pixels(one), _few_pixels(other)
    if first is None or second is None:
        return first is second  # both of one value
    return float((first * second).mean()) >= _SAME


def _few_pixels(pixels: NDArray[Any]) -> NDArray[np.float32] | None:
    grey = pixels.astype(np.float32) if pixels.ndim == 2 else pixels.mean(axis=2, dtype=np.float32)
    few = cv2.resize(np.nan_to_num(grey), (_SIGNATURE, _SIGNATURE), interpolation=cv2.INTER_AREA)
    spread = float(few.std())
    return np.asarray((few - few.mean()) / spread, np.float32) if spread > 0 else None


def _alike(one: NDArray[np.float32] | None, other: NDArray[np.float32] | None) -> bool:
    return one is not None and other is not None and float((one * other).mean()) >= _ALIKE
