"""Which image files of a source are micrographs, and which are masks or previews of them.

Told by where a file lies and how it is called, and by a micrograph of the same name elsewhere:
`masks/a.png`, `a_cp_masks.png`, `thumbs/a.jpg`, `a_overlay.png` all go with `a.tif`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from msip_core.data.manifest import Problem
from msip_core.data.references import ImageIndex, plain
from msip_core.messages import msg

_MASKS = frozenset((
    "mask", "masks", "segmentation", "segmentations", "segmentationobject", "segmentationclass",
    "outlines", "seg", "segs", "instances",
))  # fmt: skip
_CLASSES = frozenset(("segmentationclass",))
# Folders that hold text labels as often as masks.
_MAYBE_MASKS = frozenset((
    "label", "labels", "annotation", "annotations", "gt", "groundtruth", "target", "targets",
    "binary", "manual",
))  # fmt: skip
# The same in the layouts of data sets: train_labels, labels_png, trainannot (CamVid), labelsTr
# (nnU-Net); never label_free, which is a way of looking.
_MAYBE_MASK_FOLDER = re.compile(
    r"(?:(?:train(?:ing)?|val(?:id(?:ation)?)?|test(?:ing)?)[ _.-]?)?"
    r"(?:labels?|annot(?:ation)?s?|gt|ground[ _-]?truth)"
    r"(?:t[rs]|[ _.-](?:png|tiff?|im(?:g|age)s?|masks?|seg|instances?))?",
    re.IGNORECASE,
)
_PREVIEWS = frozenset((
    "preview", "previews", "thumb", "thumbs", "thumbnail", "thumbnails", "overlay", "overlays",
    "quicklook", "quicklooks", "visualization", "visualizations", "visualisation",
    "visualisations", "flows",
))  # fmt: skip
# Folders whose images are previews where a micrograph of the same name lies elsewhere.
_MAYBE_PREVIEWS = frozenset((
    "predictions", "prediction", "predicted", "pred", "preds", "results", "result", "output",
    "outputs", "annotated", "drawn", "boxes", "heatmaps", "heatmap", "gradcam", "qc",
    "probabilities", "predict", "scalebar", "scalebars", "scale_bar", "scale bar",
))  # fmt: skip
_MASK_NAME = re.compile(
    r"(?P<base>.+?)[ _.-]+(?:(?:cp|bin(?:ary)?|inst(?:ance)?)[ _-]?)?(?:masks?|seg|segmentations?|"
    r"labels?|lbls?|instances?|gt|ground[ _-]?truth|binary|annotations?)",
    re.IGNORECASE,
)
_MASK_PREFIX = re.compile(
    r"(?:(?:count )?masks? of |(?:masks?|seg|labels?|gt)[ _.-]+)(?P<base>.+)", re.IGNORECASE
)
# What stands between a name and "mask": a_organoid_mask, a_stardist_labels. Never a number.
_WORD_BEFORE = re.compile(r"(?P<base>.+?)[ _.-]+[^\W\d_]{2,}", re.IGNORECASE)
_MOST_WORDS = 2
# Cell Tracking Challenge: 01/t000.tif has the objects in 01_GT/SEG/man_seg000.tif, and in TRA marks
# that tell one from another in time, but not how far they reach.
_TRACKED = re.compile(r"(?P<series>.+)_(?:GT|ST)/(?P<kind>SEG|TRA)/man_(?:seg|track)(?P<frame>\d+)")
# nnU-Net: imagesTr/a_0000.png is channel 0 of what labelsTr/a.png labels.
_NNUNET = re.compile(r"(?:.*/)?imagesT[rs]/(?P<base>[^/]+)_0000", re.IGNORECASE)
_IMAGE_NAME = re.compile(r"(?P<base>.+?)[ _.-]+(?:im(?:g|age)?|raw|input)", re.IGNORECASE)
_IMAGE_PREFIX = re.compile(r"(?:im(?:g|age)?|raw|input)[ _.-]+(?P<base>.+)", re.IGNORECASE)
_PREVIEW_NAME = re.compile(
    r"(?P<base>.+?)[ _.-]+(?:previews?|thumb(?:s|nails?)?|overlays?|"
    r"(?:cp[ _-])?(?:outlines|flows)(?:[ _-]cp)?|cp[ _-]output|(?<=ch\d\d_)sv|"
    r"vi[sz]|ov|ann(?:ot(?:ated)?)?|quicklook|pred|predicted|predictions?|results?|heatmaps?|"
    r"grad[ _-]?cam|detect(?:ed|ions?)|(?:with|w)[ _-](?:boxes|masks|labels|scale[ _-]?bar)|boxed|"
    r"scale[ _-]?bar|masks?[ _-]?colou?r(?:ed)?|bin|thresh(?:old(?:ed)?)?|segmented|contours|edges|"
    r"bbox(?:es)?|boxes|drawn|(?:(?:colou?r|id)[ _-])?label{1,2}ed|probabilit(?:y|ies)|"
    r"simple segmentation|object (?:predictions|identities|probabilities))(?:[ _-]\d+)?",
    re.IGNORECASE,
)
# Figures that Ultralytics writes into the folder of a training run, several at a time.
_FIGURE = re.compile(
    r"confusion_matrix(?:_normalized)?|results|labels(?:_correlogram)?|(?:box|mask|pose)?(?:f1|pr|p|r)"
    r"_curve|(?:train|val)_batch\d+(?:_labels|_pred)?",
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
        parts: micrograph -> masks of single objects, where each micrograph has a folder of masks.
    """

    images: list[str]
    masks: dict[str, str]
    problems: list[Problem]
    ambiguous: dict[str, str]
    parts: dict[str, list[str]]


def in_mask_folder(name: str) -> bool:
    """Whether a path leads through a folder that is named for masks."""
    return _leads_through(name, _MASKS)


def in_preview_folder(name: str) -> bool:
    """Whether a path leads through a folder that is named for previews or overlays."""
    return _leads_through(name, _PREVIEWS)


def tells_companions(folder: str) -> bool:
    """Whether a folder's name may say that its images are masks or previews."""
    path = f"{folder}/x"
    return any(
        _leads_through(path, words) for words in (_MASKS, _MAYBE_MASKS, _PREVIEWS, _MAYBE_PREVIEWS)
    )


def sort_images(candidates: Sequence[str]) -> Companions:
    """Tell micrographs from their masks and previews. All are micrographs if no other is left."""
    outside = [n for n in candidates if not in_mask_folder(n) and not in_preview_folder(n)]
    if not outside:
        return Companions(list(candidates), {}, [], {}, {})
    own = [n for n in outside if not _is_maybe_mask(n) and not _leads_through(n, _MAYBE_PREVIEWS)]
    stems = {plain(PurePosixPath(n).stem) for n in own}
    called = _called(stems) | _called_by_nnunet(own)
    masks: dict[str, list[str]] = {}
    previews: list[str] = []
    figures = _figures(candidates)
    for name in candidates:
        stem = PurePosixPath(name).stem
        bases = _bases(name, called)
        if _is_preview(name, stems) or name in figures:
            previews.append(name)
        elif in_mask_folder(name) or bases or (_is_maybe_mask(name) and plain(stem) in called):
            known = [*bases, *([called[plain(stem)]] if plain(stem) in called else [])]
            masks[name] = [stem, *known]
    taken = {*masks, *previews}
    images = [name for name in candidates if name not in taken]
    masks, problems = _of_objects(masks)
    found = _paired(images, masks, previews)
    found.problems.extend(problems)
    return found


def _bases(name: str, called: dict[str, str]) -> list[str]:
    """The micrographs that a mask may be called after, by its name alone."""
    stem = PurePosixPath(name).stem
    found = [m["base"] for r in (_MASK_NAME, _MASK_PREFIX) if (m := r.fullmatch(stem))]
    known = [called[plain(base)] for base in found if plain(base) in called]
    if tracked := _tracked(name):
        frame = f"t{tracked['frame']}"
        known += [f"{tracked['series']}/{frame}"] if plain(frame) in called else []
    if known or not (match := _MASK_NAME.fullmatch(stem)):
        return known
    base = match["base"]
    for _ in range(_MOST_WORDS):
        before = _WORD_BEFORE.fullmatch(base)
        if before is None:
            return []
        base = before["base"]
        if plain(base) in called:
            return [called[plain(base)]]
    return []


def _is_preview(name: str, stems: set[str]) -> bool:
    stem = PurePosixPath(name).stem
    preview = _PREVIEW_NAME.fullmatch(stem)
    told = [stem, *([preview["base"]] if preview else [])]
    return (
        in_preview_folder(name)
        or bool(preview and plain(preview["base"]) in stems)
        or (_leads_through(name, _MAYBE_PREVIEWS) and any(plain(base) in stems for base in told))
    )


def _of_objects(masks: dict[str, list[str]]) -> tuple[dict[str, list[str]], list[Problem]]:
    """The masks that tell where each object is, and why the others are left out."""
    # Pascal VOC has a picture of the objects and one of their classes.
    of_classes = {name for name in masks if _leads_through(name, _CLASSES)}
    if len(of_classes) == len(masks):
        of_classes = set()
    classes = msg("it tells classes, not objects: the mask of objects was taken")
    why = {name: classes for name in masks if name in of_classes}
    tracks = [n for n in masks if (m := _tracked(n)) is not None and m["kind"] == "TRA"]
    why |= dict.fromkeys(tracks, msg("it tells tracks, and not how far an object reaches"))
    return {n: b for n, b in masks.items() if n not in why}, _problems(why)


def _problems(why: Mapping[str, str]) -> list[Problem]:
    return [Problem(file=name, what=what) for name, what in why.items()]


def _tracked(name: str) -> re.Match[str] | None:
    return _TRACKED.fullmatch(str(PurePosixPath(name).with_suffix("")))


def _called(stems: set[str]) -> dict[str, str]:
    """What masks may be called after -> stem of the micrograph: `000_masks` goes with `000_img`,
    `mask_7` with `image_7`. A micrograph's own name comes first."""
    called = {}
    for stem in stems:
        for pattern in (_IMAGE_NAME, _IMAGE_PREFIX):
            if match := pattern.fullmatch(stem):
                called[match["base"]] = stem
    return called | {stem: stem for stem in stems}


def _called_by_nnunet(images: Sequence[str]) -> dict[str, str]:
    paths = {name: str(PurePosixPath(name).with_suffix("")) for name in images}
    return {
        plain(match["base"]): PurePosixPath(name).stem
        for name, path in paths.items()
        if (match := _NNUNET.fullmatch(path))
    }


def _figures(candidates: Sequence[str]) -> set[str]:
    """Figures of training runs: in folders that hold three or more, and not all that there is."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in candidates:
        if _FIGURE.fullmatch(PurePosixPath(name).stem):
            folders[str(PurePosixPath(name).parent)].append(name)
    figures = {name for names in folders.values() if len(names) >= 3 for name in names}
    return figures if len(figures) < len(candidates) else set()


def _paired(images: list[str], masks: dict[str, list[str]], previews: list[str]) -> Companions:
    pairing = ImageIndex(images).pair(masks)
    parts = _parts(images, pairing.lost)
    taken = {name for names in parts.values() for name in names}
    without = msg("mask without an image of that name")
    why = {name: without for name in pairing.lost if name not in taken}
    for name, image in pairing.second.items():
        why[name] = msg("another mask of {image}", image=image)
    preview = msg("preview or overlay, not a micrograph: left out (rename it if it is one)")
    why |= dict.fromkeys(previews, preview)
    ambiguous = {
        image: msg(
            "it has several masks ({files}, {name}): keep one for each image",
            files=pairing.files[image],
            name=name,
        )
        for name, image in pairing.second.items()
    }
    return Companions(images, pairing.files, _problems(why), ambiguous, parts)


def _parts(images: list[str], masks: list[str]) -> dict[str, list[str]]:
    """`x/images/x.png` -> all of `x/masks/`, if that is the only micrograph of the folder x."""
    inside: dict[str, list[str]] = defaultdict(list)
    for image in images:
        for folder in PurePosixPath(image).parents:
            inside[str(folder)].append(image)
    found: dict[str, list[str]] = defaultdict(list)
    for mask in masks:
        folders = PurePosixPath(mask).parts[:-1]
        at = next((i for i, part in enumerate(folders) if part.lower() in _MASKS), 0)
        there = inside.get("/".join(folders[:at]), []) if at else []
        if len(there) == 1:
            found[there[0]].append(mask)
    return dict(found)


def _is_maybe_mask(name: str) -> bool:
    folders = PurePosixPath(name).parts[:-1]
    return _leads_through(name, _MAYBE_MASKS) or any(map(_MAYBE_MASK_FOLDER.fullmatch, folders))


def _leads_through(name: str, words: frozenset[str]) -> bool:
    """Whether a folder of the path is one of the words, or `cp_masks`, `masks_png` and the like."""
    for part in PurePosixPath(name).parts[:-1]:
        pieces = _WORDS.split(part.lower())
        if part.lower().rstrip("0123456789") in words or (  # predict2
            words not in (_MAYBE_MASKS, _MAYBE_PREVIEWS)
            and not words.isdisjoint((pieces[0], pieces[-1]))
        ):
            return True
    return False
