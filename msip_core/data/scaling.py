"""The two grey values that a dataset of deep images is scaled by, measured once at import."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from msip_core import confined
from msip_core.config import ImageRecipe
from msip_core.data.archive import FileTree
from msip_core.data.enhance import Raw, needs_scaling, scaling_limits
from msip_core.data.incoming import large_image
from msip_core.data.mask_objects import shows_numbers
from msip_core.data.micrographs import decode
from msip_core.data.regions import raw_parts
from msip_core.errors import DatasetError
from msip_core.messages import msg

# Grey values kept for the percentiles, over all images: 32 MB as float32.
BUDGET = 2**23
_MOST_PER_IMAGE = 2**16
_FEWEST_PER_IMAGE = 256


def measure_recipe(
    tree: FileTree, images: list[str], recipe: ImageRecipe, progress: Callable[[float, str], None]
) -> tuple[ImageRecipe, list[str]]:
    """Fill `low_value` and `high_value` from the images that the recipe scales.

    Percentiles are taken over all those images together, from an evenly spaced sample of each
    (all pixels of small images). Values that a caller has already filled in are kept.

    Returns:
        The recipe to store, and what had to be decided, one sentence each.
    """
    if recipe.scope == "image" or recipe.low_value is not None:
        return recipe, []
    suspects = [name for name in images if recipe.normalise or _may_be_deep(tree, name)]
    if not suspects:
        return recipe, []
    samples, depths = _samples(tree, suspects, recipe, progress)
    if not samples:
        return recipe, []
    if len(depths) > 1:
        return recipe.model_copy(update={"scope": "image"}), [
            msg(
                "Images of several depths ({depths}) have no common grey scale: "
                "each was scaled by its own percentiles.",
                depths=", ".join(sorted(depths)),
            )
        ]
    low, high = scaling_limits(np.concatenate(samples), recipe)
    note = msg(
        "Grey value {low:.6g} became black and {high:.6g} white in all {n} scaled "
        "images (percentiles {low_percentile:g} and {high_percentile:g} of all).",
        low=low,
        high=high,
        n=len(samples),
        low_percentile=recipe.low_percentile,
        high_percentile=recipe.high_percentile,
    )
    return recipe.model_copy(update={"low_value": low, "high_value": high}), [note]


def _samples(
    tree: FileTree, images: list[str], recipe: ImageRecipe, progress: Callable[[float, str], None]
) -> tuple[list[NDArray[np.float32]], set[str]]:
    """Values of each image that is scaled, and the depths that occur."""
    share = max(_FEWEST_PER_IMAGE, min(_MOST_PER_IMAGE, BUDGET // len(images)))
    samples: list[NDArray[np.float32]] = []
    depths: set[str] = set()
    for number, name in enumerate(confined.one_by_one(images)):
        progress(
            number / len(images),
            msg("Measuring grey values: {number}/{n}", number=number + 1, n=len(images)),
        )
        try:
            kind, sample = _sample(tree, name, recipe, share)
        except DatasetError:
            continue  # named with its reason when the images come in
        if sample is not None:
            depths.add(kind)
            samples.append(sample)
    return samples, depths


def _sample(
    tree: FileTree, name: str, recipe: ImageRecipe, share: int
) -> tuple[str, NDArray[np.float32] | None]:
    """The depth of an image, and about `share` of its values; None where it is not scaled."""
    data = tree.read(name) if tree.on_disk(name) is None else None
    as_it_is = recipe.model_copy(update={"scope": "dataset", "low_value": 0.0, "high_value": 1.0})
    with large_image(tree, name, as_it_is, data) as large:
        field = large[0] if large else None
        if field is None or field.raw is None:
            whole = decode(data or tree.read(name), name, recipe.channel).pixels
            if shows_numbers(whole):  # left out when it comes in, and no light
                return "", None
            parts: Iterable[Raw] = [whole]
        else:
            parts = raw_parts(field)
        step, kind, values = 0, "", []
        for part in parts:
            kind = str(part.dtype)
            if not needs_scaling(part, recipe):
                return kind, None
            size = part.size if field is None else part[0].size * field.height
            step = step or max(1, size // share)
            values.append(part.ravel()[::step].astype(np.float32))
    return kind, np.concatenate(values)


def _may_be_deep(tree: FileTree, name: str) -> bool:
    """JPEG and BMP are 8 bit; a PNG says so in its header; all others may be anything."""
    suffix = name.lower().rpartition(".")[2]
    return suffix not in ("jpg", "jpeg", "bmp")
