"""What the workspace writes down about a dataset: dataset.json and summary.json.

dataset.json   DatasetDocument: every image with size, hash, split and group, and the report
summary.json   DatasetSummary: the few numbers that a list of datasets needs
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field

from msip_core.bounded import at_home
from msip_core.config import ImageRecipe
from msip_core.data.readiness import concerns_of, objects_of, readiness_of
from msip_core.events import Record
from msip_core.messages import Message, Telling, Words, mark, msg

SplitName = Literal["train", "val", "test"]
NO_LABELS = mark("images without labels")  # the format of a source that has none
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
_NAMED = 5  # files in a sentence


class ImageRecord(Record):
    """One image of a dataset.

    Attributes:
        id: file name without suffix; unique in the dataset.
        file: POSIX path below the dataset folder, such as "images/x.png".
        split: None in a dataset of new images, which are not learned from.
        group: plate, well, donor ... whose images stay on one side of the split.
        sha256: of the stored file.
        source: path of the original inside the folder or zip it came from.
        counts: boxes per class name.
        pixel_size_um: micrometres per pixel as the file states it, else None.
        labels_version: the version of the dataset's labels that its own are from (`label_files`).
        labelled: whether somebody has labelled it, if only as empty; None: as its source was, which
            had labels or none; False: it came in beside labelled images.
    """

    id: str
    file: str
    width: int
    height: int
    split: SplitName | None
    group: str
    sha256: str
    source: str
    counts: dict[str, int] = {}
    pixel_size_um: float | None = None
    labels_version: int = 1
    labelled: bool | None = None


class Problem(Record, Telling):
    """One file (or one label in it) that was left out or mended, and why."""

    file: str
    what: Words


class Told(Record, Telling):
    """How one picture was taken from a stack or a microscope's file.

    Attributes:
        said: channel, plane, scene and so on, in words.
        doubt: why that may be wrong.
        pixel_size_um: as the file states it.
    """

    said: Words = ""
    doubt: Words | None = None
    pixel_size_um: float | None = None


class SourceInfo(Record, Telling):
    """What a folder or zip holds, before anything is imported."""

    format: Words
    images: int
    labelled: int
    classes: dict[str, int]
    problems: tuple[Problem, ...] = ()
    notes: tuple[Words, ...] = ()
    chosen: tuple[Problem, ...] = ()
    channels: tuple[str, ...] = ()


class Spread(Record):
    """Smallest, middle and largest of a set of numbers."""

    low: float
    median: float
    high: float


class ImportReport(Record, Telling):
    """What came in, what did not, and every decision that was taken on the way.

    Attributes:
        place: digest of the path of the source, so that it is found again (`place_of`).
        found: image files in the source.
        kept: images in the dataset.
        boxes: boxes per class after mapping.
        background: kept images that are labelled as empty.
        box_size: square root of box areas, in pixels.
        depths: images per bit depth of the original, such as {"8": 20, "16": 4}.
        pixel_sizes_um: distinct micrometres per pixel that the files state.
        grouping: one sentence on how images were kept together in the split.
        notes: decisions that concern the whole dataset, one sentence each.
        unsure: of what was mended, that which makes an image a doubtful teacher: labels that were
            lost, a plane or channel that may be the wrong one.
        chosen: what was taken of files with several planes, channels or scenes, file by file.
    """

    source: str = ""
    place: str = ""
    format: Words = ""
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
    grouping: Words = ""
    notes: tuple[Words, ...] = ()
    skipped: tuple[Problem, ...] = ()
    repaired: tuple[Problem, ...] = ()
    unsure: tuple[Problem, ...] = ()
    chosen: tuple[Problem, ...] = ()

    @property
    def unlabelled(self) -> bool:
        """New images without any label: to be counted, not to be learned from."""
        return self.format == NO_LABELS and not self.boxes

    def headline(self) -> str:
        """One sentence: images and boxes in, things left out and mended."""
        boxes = ", ".join(f"{n} {name}" for name, n in self.boxes.items()) or msg("no boxes")
        facts = {"kept": self.kept, "found": self.found, "boxes": boxes}
        facts |= {"skipped": len(self.skipped), "repaired": len(self.repaired)}
        return Message(_HEADLINES[bool(self.skipped), bool(self.repaired)], facts)


# By whether something was left out, and mended.
_HEADLINES = {
    (True, True): mark(
        "{kept} of {found} images ({boxes}); {skipped} left out; {repaired} mended."
    ),
    (True, False): mark("{kept} of {found} images ({boxes}); {skipped} left out."),
    (False, True): mark("{kept} of {found} images ({boxes}); {repaired} mended."),
    (False, False): mark("{kept} of {found} images ({boxes})."),
}


class DatasetDocument(Record):
    """The whole of dataset.json.

    Attributes:
        labels_version: grows with each correction (`versions`); 1 is what was imported.
        version: of this document's form.
    """

    name: str
    classes: tuple[str, ...]
    recipe: ImageRecipe
    pixel_size_um: float | None
    images: tuple[ImageRecord, ...]
    report: ImportReport
    content_hash: str
    created: str
    drawn: bool = False
    labels_version: int = 1
    version: Literal[1] = 1

    @property
    def labelled(self) -> tuple[ImageRecord, ...]:
        """Images that a model may learn from or be judged by. What nobody has labelled would be
        learned as background, so it is left out as soon as other images are labelled."""
        if not self.classes:
            return self.images
        return tuple(record for record in self.images if self.is_labelled(record))

    @property
    def unlabelled(self) -> bool:
        """New images without any label, or without one again since an old version came back."""
        return self.report.unlabelled or (bool(self.images) and not self.labelled)

    def is_labelled(self, record: ImageRecord) -> bool:
        """Whether its source or somebody has labelled an image, if only as empty."""
        return self.report.format != NO_LABELS if record.labelled is None else record.labelled

    def doubts(self) -> tuple[str, ...]:
        """What to look at before training, in a sentence; empty where nothing is unsure. An image
        that a person has corrected since was looked at."""
        seen = {record.source for record in self.images if record.labels_version > 1}
        files = (problem.file for problem in self.report.unsure)
        names = list(dict.fromkeys(file for file in files if file not in seen))
        if not names:
            return ()
        facts: dict[str, object] = {"shown": ", ".join(names[:_NAMED])}
        said = mark(
            "Look at these first: {shown}. Labels were lost there, or the plane may be the "
            "wrong one: what is not labelled is learned as background."
        )
        if (more := len(names) - _NAMED) > 0:
            facts["more"] = more
            said = mark(
                "Look at these first: {shown} and {more} more. Labels were lost there, or the "
                "plane may be the wrong one: what is not labelled is learned as background."
            )
        return (Message(said, facts),)

    def concerns(self) -> tuple[str, ...]:
        """What is unsure, too few or too rare to be learned or judged, a sentence each."""
        return (*self.doubts(), *concerns_of(objects_of(self.images, self.classes)))


def place_of(source: Path) -> str:
    """What tells the places of sources apart, without telling anybody where they lie."""
    place = os.path.realpath(at_home(source))
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class DatasetSummary(Record, Telling):
    """The whole of summary.json: enough for a list of datasets."""

    name: str
    images: int
    boxes: dict[str, int]
    splits: dict[str, int]
    classes: tuple[str, ...]
    ready: bool
    missing: Words | None
    pixel_size_um: float | None
    created: str
    drawn: bool = Field(default=False, description="drawn by computer")
    content_hash: str = ""
    labels_version: int = 1
    concerns: tuple[Words, ...] = ()
    unlabelled: bool = Field(default=False, description="new images, to be counted")
    place: str = Field(default="", description="where its source lay, as `place_of` has it")
    title: str = Field(default="", description="what people call it; kept in a file of its own")

    @property
    def words(self) -> str:
        """What it is called on screen."""
        return self.title or self.name


def summarise(document: DatasetDocument) -> DatasetSummary:
    """The few numbers of a dataset that lists show."""
    ready, missing = readiness_of(
        document.labelled, document.classes, unlabelled=document.unlabelled
    )
    counts = Counter(image.split for image in document.images)
    return DatasetSummary(
        name=document.name,
        images=len(document.images),
        boxes=document.report.boxes,
        splits={split: counts[split] for split in SPLITS},
        classes=document.classes,
        ready=ready,
        missing=missing,
        pixel_size_um=document.pixel_size_um,
        created=document.created,
        drawn=document.drawn,
        content_hash=document.content_hash,
        labels_version=document.labels_version,
        concerns=document.concerns(),
        unlabelled=document.unlabelled,
        place=document.report.place,
    )
