"""Masks as the only labels: every object of a mask becomes a box with its outline."""

from __future__ import annotations

from dataclasses import dataclass, field

from msip_core.data.archive import FileTree
from msip_core.data.labels import ImageLabels, LabelledObject
from msip_core.data.manifest import Problem, SplitName
from msip_core.data.mask_objects import SPECK_PIXELS, objects_in, read_mask
from msip_core.errors import DatasetError

# Masks tell objects apart, not kinds of objects.
CLASS = "object"


@dataclass
class MaskReader:
    """See `labels.LabelReader`. An empty mask is background."""

    tree: FileTree
    files: dict[str, str]
    unsure: dict[str, str] = field(default_factory=dict)
    classes: list[str] = field(default_factory=lambda: [CLASS])
    format: str = "masks"
    orphans: list[Problem] = field(default_factory=list)
    notes: list[str] = field(
        default_factory=lambda: [
            f"Boxes and outlines were made from masks. Masks name no classes: all objects are "
            f"called '{CLASS}'; give them another name in the class map ({CLASS}=crypt)."
        ]
    )
    used: set[str] = field(default_factory=set)
    splits: dict[str, SplitName] = field(default_factory=dict)
    drawn: bool = False

    @property
    def labelled(self) -> set[str]:
        return set(self.files)

    def read(self, image: str) -> ImageLabels:
        if image in self.unsure:
            raise DatasetError(self.unsure[image])
        name = self.files[image]
        found = objects_in(read_mask(self.tree.read(name), name))
        width, height = found.size
        labels = ImageLabels(picture=(float(width), float(height)))
        labels.objects = [LabelledObject(CLASS, o.xyxy, o.outline) for o in found.objects]
        if found.specks:
            labels.problems.append(
                f"parts of its mask with fewer than {SPECK_PIXELS} pixels left out: {found.specks}"
            )
        if found.binary:
            labels.notes.append(
                "its mask has two values: separate parts were taken as objects, so objects that "
                "touch are one box"
            )
        return labels
