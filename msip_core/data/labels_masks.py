"""Masks as the only labels: every object of a mask becomes a box with its outline.

An image has one mask with a number for each object, or a folder with a mask for each object.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from msip_core.data.archive import FileTree
from msip_core.data.labels import ImageLabels, LabelledObject, LabelReader
from msip_core.data.mask_objects import SPECK_PIXELS, objects_in, read_mask
from msip_core.errors import DatasetError
from msip_core.messages import msg

# Masks tell objects apart, not kinds of objects.
CLASS = "object"


@dataclass(kw_only=True)
class MaskReader(LabelReader):
    """An empty mask is background."""

    tree: FileTree
    files: dict[str, str]
    unsure: dict[str, str] = field(default_factory=dict)
    parts: dict[str, list[str]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=lambda: [CLASS])
    format: str = "masks"
    notes: list[str] = field(
        default_factory=lambda: [
            msg(
                "Boxes and outlines were made from masks. Masks name no classes: all objects are "
                "called '{name}'; give them another name in the class map ({name}=crypt).",
                name=CLASS,
            )
        ]
    )

    @property
    def labelled(self) -> set[str]:
        return {*self.files, *self.parts}

    def read(self, image: str) -> ImageLabels:
        if image in self.unsure:
            raise DatasetError(self.unsure[image])
        if image not in self.files:
            return self._of_parts(self.parts[image])
        name = self.files[image]
        found = objects_in(read_mask(self.tree.read(name), name))
        width, height = found.size
        labels = ImageLabels(picture=(float(width), float(height)))
        labels.objects = [LabelledObject(CLASS, o.xyxy, o.outline) for o in found.objects]
        if found.specks:
            labels.problems.append(
                msg(
                    "parts of its mask with fewer than {speck_pixels} pixels left out: {specks}",
                    speck_pixels=SPECK_PIXELS,
                    specks=found.specks,
                )
            )
        if found.void:
            labels.notes.append(
                msg(
                    "pixels of value 255 in its mask were taken as the border around objects "
                    "(Pascal VOC), not as an object"
                )
            )
        if found.binary:
            labels.notes.append(
                msg(
                    "its mask has two values: separate parts were taken as objects, so objects "
                    "that touch are one box"
                )
            )
        return labels

    def _of_parts(self, names: list[str]) -> ImageLabels:
        """One object a mask, in however many parts it is seen."""
        labels = ImageLabels()
        for name in names:
            mask = read_mask(self.tree.read(name), name)
            size = (float(mask.shape[1]), float(mask.shape[0]))
            labels.picture = labels.picture or size
            if size != labels.picture:
                raise DatasetError(
                    "its masks have several sizes ({name} is another than the first)", name=name
                )
            found = objects_in((mask != 0).astype(np.uint16), one=True).objects
            if not found:
                labels.problems.append(msg("the mask {name} is empty or a speck", name=name))
            labels.objects += [LabelledObject(CLASS, o.xyxy, o.outline) for o in found]
        return labels
