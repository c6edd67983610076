"""From grey values of any depth to 8-bit RGB, by one recipe.

The same recipe is used at import, at prediction and for explanations, so that a model never
meets an image that was scaled in another way than those it learned from.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from msip_core.config import ImageRecipe

Raw = NDArray[np.generic]
_VALUES_AT_ONCE = 2**22


def needs_scaling(raw: Raw, recipe: ImageRecipe) -> bool:
    """Deep images always are scaled; 8-bit images only if the recipe normalises."""
    return raw.dtype != np.uint8 or recipe.normalise


def scaling_limits(values: Raw, recipe: ImageRecipe) -> tuple[float, float]:
    """Grey values that become 0 and 255: the recipe's percentiles of `values`.

    Values that are not finite (dead pixels of float images) are left out. Where all values are
    equal, the upper limit is one above the lower.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(flat, [recipe.low_percentile, recipe.high_percentile])
    return float(low), float(high) if high > low else float(low) + 1.0


def apply_recipe(raw: Raw, recipe: ImageRecipe) -> NDArray[np.uint8]:
    """Turn raw pixels into what the detector sees.

    Args:
        raw: (height, width) or (height, width, 3), any numeric type; not changed.
        recipe: with `low_value`/`high_value` filled, these two grey values become 0 and 255;
            without them (or with scope "image") the image's own percentiles do. The same two
            values serve all colour channels, so that colours stay what they are.

    Returns:
        (height, width, 3) uint8 RGB: round(255 (v - low) / (high - low)), clipped.
    """
    image = _scale(raw, recipe) if needs_scaling(raw, recipe) else np.asarray(raw, np.uint8)
    if recipe.clahe:
        image = _equalise(image, recipe)
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    return np.ascontiguousarray(image)


def _scale(raw: Raw, recipe: ImageRecipe) -> NDArray[np.uint8]:
    fixed = recipe.scope == "dataset" and recipe.low_value is not None
    if fixed and recipe.low_value is not None and recipe.high_value is not None:
        low, high = recipe.low_value, recipe.high_value
    else:
        low, high = scaling_limits(raw, recipe)
    image = np.empty(raw.shape, np.uint8)
    rows = max(1, _VALUES_AT_ONCE // max(1, raw[:1].size))
    for top in range(0, raw.shape[0], rows):  # as floats a large image would take a gigabyte
        part = np.asarray(raw[top : top + rows], dtype=np.float32)
        scaled = np.nan_to_num(part, nan=low, posinf=high, neginf=low)
        scaled -= np.float32(low)
        scaled *= np.float32(255.0 / (high - low))
        image[top : top + rows] = np.rint(np.clip(scaled, 0, 255))
    return image


def _equalise(image: NDArray[np.uint8], recipe: ImageRecipe) -> NDArray[np.uint8]:
    """Contrast-limited adaptive histogram equalisation of the lightness, colours kept."""
    tool = cv2.createCLAHE(recipe.clahe_clip, (recipe.clahe_tiles, recipe.clahe_tiles))
    if image.ndim == 2:
        return np.asarray(tool.apply(image), dtype=np.uint8)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[:, :, 0] = tool.apply(np.ascontiguousarray(lab[:, :, 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), dtype=np.uint8)
