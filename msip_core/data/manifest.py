"""What the workspace writes down about a dataset: dataset.json and summary.json.

dataset.json   DatasetDocument: every image with size, hash, split and group, and the report
summary.json   DatasetSummary: the few numbers that a list of datasets needs
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from msip_core.config import ImageRecipe
from msip_core.data.readiness import concerns_of, objects_of, readiness_of
from msip_core.events import Record

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


class ImageRecord(Record):
    """One image of a dataset.

    Attributes:
        id: file name without suffix; unique in the dataset.
        file: POSIX path below the dataset folder, such as "images/x.png".
        group: plate, well, donor ... whose images stay on one side of the split.
        sha256: of the stored file.
        source: path of the original inside the folder or zip it came from.
        counts: boxes per class name.
        pixel_size_um: micrometres per pixel as the file states it, else None.
    """

    id: str
    file: str
    width: int
    height: int
    split: SplitName
    group: str
    sha256: str
    source: str
    counts: dict[str, int] = {}
    pixel_size_um: float | None = None


class Problem(Record):
    """One file (or one label in it) that was left out or mended, and why."""

    file: str
    what: str


class Spread(Record):
    """Smallest, middle and largest of a set of numbers."""

    low: float
    median: float
    high: float


class ImportReport(Record):
    """What came in, what did not, and every decision that was taken on the way.

    Attributes:
        found: image files in the source.
        kept: images in the dataset.
        boxes: boxes per class after mapping.
        background: kept images that are labelled as empty.
        box_size: square root of box areas, in pixels.
        depths: images per bit depth of the original, such as {"8": 20, "16": 4}.
        pixel_sizes_um: distinct micrometres per pixel that the files state.
        grouping: one sentence on how images were kept together in the split.
        notes: decisions that concern the whole dataset, one sentence each.
    """

    source: str = ""
    format: str = ""
    found: int = 0
    kept: int = 0
    boxes: dict[str, int] = {}
    background: int = 0
    width: Spread | None = None
    height: Spread | None = None
    box_size: Spread | None = None
    depths: dict[str, int] = {}
    pixel_sizes_um: tuple[float, ...] = ()
    class_map: dict[str, str | None] = {}
    grouping: str = ""
    notes: tuple[str, ...] = ()
    skipped: tuple[Problem, ...] = ()
    repaired: tuple[Problem, ...] = ()

    def headline(self) -> str:
        """One sentence: images and boxes in, things left out and mended."""
        boxes = ", ".join(f"{n} {name}" for name, n in self.boxes.items()) or "no boxes"
        text = f"{self.kept} of {self.found} images ({boxes})"
        if self.skipped:
            text += f"; {len(self.skipped)} left out"
        if self.repaired:
            text += f"; {len(self.repaired)} mended"
        return text + "."


class DatasetDocument(Record):
    """The whole of dataset.json."""

    name: str
    classes: tuple[str, ...]
    recipe: ImageRecipe
    pixel_size_um: float | None
    images: tuple[ImageRecord, ...]
    report: ImportReport
    content_hash: str
    created: str
    drawn: bool = False
    version: Literal[1] = 1


class DatasetSummary(Record):
    """The whole of summary.json: enough for a list of datasets."""

    name: str
    images: int
    boxes: dict[str, int]
    splits: dict[str, int]
    classes: tuple[str, ...]
    ready: bool
    missing: str | None
    pixel_size_um: float | None
    created: str
    drawn: bool = Field(default=False, description="drawn by computer")
    content_hash: str = ""
    concerns: tuple[str, ...] = ()


def summarise(document: DatasetDocument) -> DatasetSummary:
    """The few numbers of a dataset that lists show."""
    ready, missing = readiness_of(document.images, document.classes)
    splits = {split: sum(i.split == split for i in document.images) for split in SPLITS}
    return DatasetSummary(
        name=document.name,
        images=len(document.images),
        boxes=document.report.boxes,
        splits=splits,
        classes=document.classes,
        ready=ready,
        missing=missing,
        pixel_size_um=document.pixel_size_um,
        created=document.created,
        drawn=document.drawn,
        content_hash=document.content_hash,
        concerns=concerns_of(objects_of(document.images, document.classes)),
    )
