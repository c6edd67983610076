"""The two grey values that a dataset of deep images is scaled by, measured once at import."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from msip_core import confined
from msip_core.config import ImageRecipe
from msip_core.data.archive import FileTree
from msip_core.data.enhance import needs_scaling, scaling_limits
from msip_core.data.micrographs import decode
from msip_core.errors import DatasetError

# Grey values kept for the percentiles, over all images: 32 MB as float32.
BUDGET = 2**23
_MOST_PER_IMAGE = 2**16
_FEWEST_PER_IMAGE = 256


def measure_recipe(
    tree: FileTree,
    images: list[str],
    recipe: ImageRecipe,
    progress: Callable[[float, str], None],
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
    share = max(_FEWEST_PER_IMAGE, min(_MOST_PER_IMAGE, BUDGET // len(suspects)))
    samples: list[NDArray[np.float32]] = []
    depths: set[str] = set()
    for number, name in enumerate(confined.one_by_one(suspects)):
        progress(number / len(suspects), f"Measuring grey values: {number + 1}/{len(suspects)}")
        try:
            pixels = decode(tree.read(name), name, recipe.channel).pixels
        except DatasetError:
            continue  # named with its reason when the images come in
        if needs_scaling(pixels, recipe):
            depths.add(str(pixels.dtype))
            flat = pixels.ravel()
            samples.append(flat[:: max(1, flat.size // share)].astype(np.float32))
    if not samples:
        return recipe, []
    if len(depths) > 1:
        return recipe.model_copy(update={"scope": "image"}), [
            f"Images of several depths ({', '.join(sorted(depths))}) have no common grey scale: "
            "each was scaled by its own percentiles."
        ]
    low, high = scaling_limits(np.concatenate(samples), recipe)
    note = (
        f"Grey value {low:.6g} became black and {high:.6g} white in all {len(samples)} scaled "
        f"images (percentiles {recipe.low_percentile:g} and {recipe.high_percentile:g} of all)."
    )
    return recipe.model_copy(update={"low_value": low, "high_value": high}), [note]


def _may_be_deep(tree: FileTree, name: str) -> bool:
    """JPEG and BMP are 8 bit; a PNG says so in its header, a TIFF may be anything."""
    suffix = name.lower().rpartition(".")[2]
    return suffix in ("tif", "tiff", "png")
