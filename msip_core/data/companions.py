"""Which image files of a source are micrographs, and which are masks or previews of them.

Told by where a file lies and how it is called, and by a micrograph of the same name elsewhere:
`masks/a.png`, `a_cp_masks.png`, `thumbs/a.jpg`, `a_overlay.png` all go with `a.tif`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from msip_core.data.manifest import Problem
from msip_core.data.references import ImageIndex, plain

_MASKS = frozenset((
    "mask", "masks", "segmentation", "segmentations", "segmentationobject", "segmentationclass",
    "outlines", "seg", "segs", "instances",
))  # fmt: skip
# Folders that hold text labels as often as masks.
_MAYBE_MASKS = frozenset((
    "label", "labels", "annotation", "annotations", "gt", "groundtruth", "target", "targets",
    "binary", "manual",
))  # fmt: skip
_PREVIEWS = frozenset((
    "preview", "previews", "thumb", "thumbs", "thumbnail", "thumbnails", "overlay", "overlays",
    "quicklook", "quicklooks", "visualization", "visualizations", "visualisation",
    "visualisations", "flows",
))  # fmt: skip
_MASK_NAME = re.compile(
    r"(?P<base>.+?)[ _.-]+(?:cp[ _-]?)?(?:masks?|seg|segmentations?|labels?|instances?|gt|"
    r"ground[ _-]?truth|binary|annotations?)",
    re.IGNORECASE,
)
_MASK_PREFIX = re.compile(r"(?:masks?|seg|labels?|gt)[ _.-]+(?P<base>.+)", re.IGNORECASE)
_PREVIEW_NAME = re.compile(
    r"(?P<base>.+?)[ _.-]+(?:previews?|thumb(?:s|nails?)?|overlays?|(?:outlines|flows)(?:[ _-]cp)?|"
    r"vis|annotated|quicklook)(?:[ _-]\d+)?",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[ _.-]+")


class Companions(NamedTuple):
    """Image files by what they are.

    Attributes:
        images: micrographs, in order.
        masks: micrograph -> its mask.
        problems: masks without a micrograph, second masks, previews.
        ambiguous: micrographs that have several masks.
    """

    images: list[str]
    masks: dict[str, str]
    problems: list[Problem]
    ambiguous: dict[str, str]


def in_mask_folder(name: str) -> bool:
    """Whether a path leads through a folder that is named for masks."""
    return _leads_through(name, _MASKS)


def sort_images(candidates: Sequence[str]) -> Companions:
    """Tell micrographs from their masks and previews. All are micrographs if no other is left."""
    outside = [n for n in candidates if not in_mask_folder(n) and not _leads_through(n, _PREVIEWS)]
    if not outside:
        return Companions(list(candidates), {}, [], {})
    stems = {plain(PurePosixPath(n).stem) for n in outside if not _is_maybe_mask(n)}
    masks: dict[str, list[str]] = {}
    previews: list[str] = []
    for name in candidates:
        stem = PurePosixPath(name).stem
        bases = [m["base"] for r in (_MASK_NAME, _MASK_PREFIX) if (m := r.fullmatch(stem))]
        bases = [base for base in bases if plain(base) in stems]
        preview = _PREVIEW_NAME.fullmatch(stem)
        if _leads_through(name, _PREVIEWS) or (preview and plain(preview["base"]) in stems):
            previews.append(name)
        elif in_mask_folder(name) or bases or (_is_maybe_mask(name) and plain(stem) in stems):
            masks[name] = [stem, *bases]
    taken = {*masks, *previews}
    images = [name for name in candidates if name not in taken]
    return _paired(images, masks, previews)


def _paired(images: list[str], masks: dict[str, list[str]], previews: list[str]) -> Companions:
    pairing = ImageIndex(images).pair(masks)
    problems = [
        Problem(file=name, what="mask without an image of that name") for name in pairing.lost
    ]
    problems += [
        Problem(file=name, what=f"another mask of {image}") for name, image in
        pairing.second.items()
    ]  # fmt: skip
    problems += [
        Problem(
            file=name,
            what="preview or overlay, not a micrograph: left out (rename it if it is one)",
        )
        for name in previews
    ]
    ambiguous = {
        image: f"it has several masks ({pairing.files[image]}, {name}): keep one for each image"
        for name, image in pairing.second.items()
    }
    return Companions(images, pairing.files, problems, ambiguous)


def _is_maybe_mask(name: str) -> bool:
    return _leads_through(name, _MAYBE_MASKS)


def _leads_through(name: str, words: frozenset[str]) -> bool:
    """Whether a folder of the path is one of the words, or `cp_masks`, `masks_png` and the like."""
    for part in PurePosixPath(name).parts[:-1]:
        pieces = _WORDS.split(part.lower())
        if part.lower() in words or (
            words is not _MAYBE_MASKS and not words.isdisjoint((pieces[0], pieces[-1]))
        ):
            return True
    return False
