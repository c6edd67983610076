"""One image after the other: read, check its labels, write both, remember what happened."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from msip_core import confined
from msip_core.boxes import Box
from msip_core.config import ImageRecipe, ImportConfig
from msip_core.data.archive import FileTree, printable
from msip_core.data.fitting import check_upright, fit_labels, orientation_of
from msip_core.data.import_notes import TakenImage, notes_of
from msip_core.data.incoming import Incoming, incoming
from msip_core.data.label_files import label_text, masks_text
from msip_core.data.labels import ImageLabels, LabelledObject, LabelReader, called
from msip_core.data.labels_csv import NAMELESS
from msip_core.data.manifest import ImportReport, Problem, Spread
from msip_core.data.outlines import MaskIndex, is_image
from msip_core.data.references import unique
from msip_core.data.verdicts import marks_nothing, names_no_class
from msip_core.errors import DatasetError
from msip_core.messages import joined, mark, msg

# Class and box of every object, to compare two labels of one picture.
_Marked = list[tuple[str, tuple[int, ...]]]
# Names that Windows gives to devices, and to no file.
_DEVICES = re.compile(r"con|prn|aux|nul|(?:com|lpt)[0-9]", re.IGNORECASE)
# Rounding in label files puts boxes a fraction of a pixel outside; that is no repair.
_ROUNDING = 0.5
_MANY = 3  # boxes
_MIN_SIDE = 0.98  # pixels; of one pixel, the six digits of a label file leave so much
UNLABELLED = mark(
    "image without a label: left out, since unlabelled objects would be learned as background; "
    "an empty label file keeps it as background"
)


@dataclass
class DatasetWriter:
    """Writes images/, labels/ and masks/ of the dataset that is being built.

    Attributes:
        pixel_sizes_um: of images whose size stands beside them, and not in their file.
    """

    folder: Path
    tree: FileTree
    masks: MaskIndex
    reader: LabelReader | None
    config: ImportConfig
    recipe: ImageRecipe
    pixel_sizes_um: Mapping[str, float] = field(default_factory=dict)
    taken: list[TakenImage] = field(default_factory=list)
    skipped: list[Problem] = field(default_factory=list)
    repaired: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stems: set[str] = set()
        self._pixels_seen: dict[bytes, tuple[str, _Marked | None]] = {}
        self._boxes_seen: dict[tuple[tuple[str, tuple[int, ...]], ...], str] = {}
        self._chosen: list[Problem] = []
        self._unsure: list[Problem] = []
        self._renamed = {called(old): new for old, new in self.config.class_map.items()}
        # Ids in label files are given by first appearance and put in order at the end.
        listed = self.reader.classes if self.reader else []
        self._listed = frozenset(map(called, listed))
        self._order = list(dict.fromkeys(map(self._map, listed)))
        self.classes: tuple[str, ...] = ()
        for name in ("images", "labels", "masks", "splits"):
            (self.folder / name).mkdir()

    def _map(self, name: str) -> str | None:
        if self._is_nothing(name):
            return None
        name = called(name)
        if names_no_class(name) and name not in self._listed and name not in self._renamed:
            name = NAMELESS  # what a list of classes has is a name, whatever it is
        # Names go into lists, tables and figures: a line break in one would break these.
        return self._renamed.get(name, printable(name)) or None  # "" drops too

    def _is_nothing(self, name: str) -> bool:
        """Of a class that marks no object, unless the class map says what becomes of it."""
        return marks_nothing(name) and called(name) not in self._renamed

    def take_all(self, images: list[str], progress: Callable[[float, str], None]) -> None:
        """Bring in every image; bad ones are named and the others go on."""
        # Those without a label last: of two copies the labelled one is the image.
        images = sorted(images, key=self._is_unlabelled)
        for number, name in enumerate(confined.one_by_one(images)):
            progress(
                number / len(images), msg("Image {number} of {n}", number=number + 1, n=len(images))
            )
            try:
                self._take(name)
            except DatasetError as error:
                self.skipped.append(Problem(file=name, what=error.message.without(name)))
        self._settle_classes()

    def _take(self, name: str) -> None:
        if self._is_unlabelled(name) and not self.config.keep_unlabelled:
            raise DatasetError(UNLABELLED)
        with incoming(self.tree, name, self.recipe) as image:
            self._take_image(name, self._as_told(name, image))

    def _is_unlabelled(self, name: str) -> bool:
        return self.reader is not None and name not in self.reader.labelled

    def _take_image(self, name: str, image: Incoming) -> None:
        height, width = image.height, image.width
        labels = ImageLabels()
        if self.reader and name in self.reader.labelled:
            check_upright(image.source)
            turned = orientation_of(image.source)
            labels = fit_labels(self.reader.read(name), width, height, turned)
            if labels.problems and not labels.objects:
                raise DatasetError(
                    "none of its labels could be read ({problems}); as background it "
                    "would teach the wrong thing",
                    problems=labels.problems[0],
                )
        objects, warning = self.masks.outlines(name, labels.objects, (height, width))
        confined.at_hand(name)  # the last file read was its label or mask
        nothing = Counter(obj.name for obj in objects if self._is_nothing(obj.name))
        labels.problems += _of_nothing(nothing)
        kept, mended = self._check(objects, width, height)
        dropped = Counter(obj.name for obj in objects if self._map(obj.name) is None) - nothing
        if not kept and objects and (mended or labels.problems):
            raise DatasetError(
                "none of its boxes could be used ({why}); as "
                "background it would teach the wrong thing",
                why=[*mended, *labels.problems][0],
            )
        self._check_pixels(name, image, kept)
        doubts = [image.doubt] if image.doubt else []
        mended = [
            *doubts,
            *labels.problems,
            *labels.notes,
            *([warning] if warning else []),
            *mended,
        ]
        self._unsure += [Problem(file=name, what=what) for what in (*doubts, *labels.problems)]
        self.repaired += [Problem(file=name, what=what) for what in mended]
        self._store(name, image, kept)
        self.taken[-1].dropped, self.taken[-1].scored = dropped, labels.scored
        self.taken[-1].lost = len(labels.problems)

    def _check_pixels(
        self, name: str, image: Incoming, kept: list[tuple[str, LabelledObject]]
    ) -> None:
        """Raises DatasetError for a copy, and for objects in a picture that shows nothing."""
        if kept and image.flat:
            raise DatasetError(
                "all its pixels have one value, and its labels mark objects: copy or export the "
                "image again"
            )
        digest = image.digest
        marked = _marked(kept)
        if digest not in self._pixels_seen:
            self._pixels_seen[digest] = (name, marked)
            return
        first, before = self._pixels_seen[digest]
        if marked == before or self._is_unlabelled(name):
            raise DatasetError("the same image as {pixels_seen}, which was kept", pixels_seen=first)
        self._pixels_seen[digest] = (first, None)  # a third copy is left out as well
        self._withdraw(first, _differ(name))
        raise DatasetError(_differ(first))

    def _withdraw(self, name: str, why: str) -> None:
        """Take an image out again that had come in; one that is out already stays out."""
        for image in [image for image in self.taken if image.source == name]:
            self.taken.remove(image)
            for file in (image.file, f"labels/{image.id}.txt", f"masks/{image.id}.json"):
                (self.folder / file).unlink(missing_ok=True)
            for rows in (self.repaired, self._unsure, self._chosen):
                rows[:] = [row for row in rows if row.file != name]
            self.skipped.append(Problem(file=name, what=why))

    def _as_told(self, name: str, image: Incoming) -> Incoming:
        """With what is known of a picture that was taken from a stack."""
        told = self.tree.told.get(name)
        if told is None:
            return image
        note = joined("; ", filter(None, (told.said, image.note)))
        size = told.pixel_size_um or image.pixel_size_um
        doubt = told.doubt or image.doubt
        return replace(image, note=note or None, doubt=doubt, pixel_size_um=size)

    # --- labels -------------------------------------------------------------

    def _check(
        self, objects: list[LabelledObject], width: int, height: int
    ) -> tuple[list[tuple[str, LabelledObject]], list[str]]:
        """Map classes, clip boxes, leave out what is no box; every change is named."""
        kept: list[tuple[str, LabelledObject]] = []
        mended: list[str] = []
        seen: dict[tuple[float, ...], list[str]] = {}  # the classes of each box
        for obj in objects:
            mapped = self._map(obj.name)
            if mapped is None:
                continue
            x1, y1, x2, y2 = obj.xyxy
            box = (max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2))
            where = msg(
                "box of {name} at {x1:.0f}, {y1:.0f}, {x2:.0f}, {y2:.0f}",
                name=obj.name,
                x1=x1,
                y1=y1,
                x2=x2,
                y2=y2,
            )
            same = seen.setdefault(tuple(round(v, 3) for v in box), [])
            if box[2] - box[0] < _MIN_SIDE or box[3] - box[1] < _MIN_SIDE:
                outside = x2 - x1 >= _MIN_SIDE and y2 - y1 >= _MIN_SIDE
                mended.append(
                    msg("{where} lies outside the image: left out", where=where)
                    if outside
                    else msg("{where} is smaller than a pixel: left out", where=where)
                )
            elif mapped in same:
                mended.append(msg("{where} occurs twice: left out once", where=where))
            else:
                if max(abs(a - b) for a, b in zip(box, obj.xyxy)) > _ROUNDING:
                    mended.append(msg("{where} reaches outside the image: clipped", where=where))
                if same:
                    mended.append(
                        msg(
                            "{where} is of class '{other}' too: both were taken; keep the right "
                            "one, or join the classes in the class map",
                            where=where,
                            other=same[0],
                        )
                    )
                same.append(mapped)
                kept.append((mapped, LabelledObject(obj.name, box, obj.outline, obj.crypts)))
        return kept, mended

    def _settle_classes(self) -> None:
        """Fix the class list: the source's order, names without any box left out."""
        boxes = self._boxes()
        self.classes = tuple(name for name in self._order if name and boxes[name])
        number = {self._order.index(name): i for i, name in enumerate(self.classes)}
        if all(old == new for old, new in number.items()):
            return
        for image in self.taken:
            path = self.folder / "labels" / f"{image.id}.txt"
            lines = [line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
            text = "".join(f"{number[int(cls)]} {rest}\n" for cls, rest in lines)
            path.write_text(text, encoding="utf-8")
            image.label_sha256 = hashlib.sha256(text.encode()).hexdigest()

    # --- files --------------------------------------------------------------

    def _store(self, name: str, image: Incoming, objects: list[tuple[str, LabelledObject]]) -> None:
        stem = safe_stem(name, self._stems)
        height, width = image.height, image.width
        file = f"images/{stem}{image.suffix}"
        digest = image.store(self.folder / file)
        text = self._label_text(objects, width, height)
        (self.folder / "labels" / f"{stem}.txt").write_text(text, encoding="utf-8")
        self._write_masks(stem, [obj for _, obj in objects])
        self.taken.append(
            TakenImage(
                id=stem,
                file=file,
                source=name,
                width=width,
                height=height,
                sha256=digest,
                label_sha256=hashlib.sha256(text.encode()).hexdigest(),
                counts=dict(Counter(mapped for mapped, _ in objects)),
                pixel_size_um=self.pixel_sizes_um.get(name) or image.pixel_size_um,
                depth=str(image.bit_depth),
                box_sizes=[_size(obj) for _, obj in objects],
                reach=_reach(objects, width, height),
                outlined=sum(obj.outline is not None for _, obj in objects),
                plane=image.note if name not in self.tree.told else None,
                labelled=False if self._is_unlabelled(name) else None,
                alike=self._alike(name, objects),
            )
        )
        if image.note:
            self._chosen.append(Problem(file=name, what=image.note))

    def _alike(self, name: str, objects: list[tuple[str, LabelledObject]]) -> str | None:
        """The first image with the same boxes, where these are too many to be so by chance."""
        if len(objects) < _MANY:
            return None
        first = self._boxes_seen.setdefault(tuple(_marked(objects)), name)
        return first if first != name else None

    def _label_text(
        self, objects: list[tuple[str, LabelledObject]], width: int, height: int
    ) -> str:
        boxes = []
        for mapped, obj in objects:
            if mapped not in self._order:
                self._order.append(mapped)
            x1, y1, x2, y2 = obj.xyxy
            boxes.append(Box(cls=self._order.index(mapped), x1=x1, y1=y1, x2=x2, y2=y2))
        return label_text(boxes, width, height)

    def _write_masks(self, stem: str, objects: list[LabelledObject]) -> None:
        if not any(obj.outline is not None for obj in objects):
            return
        text = masks_text([o.outline for o in objects], [o.crypts for o in objects], 2)
        (self.folder / "masks" / f"{stem}.json").write_text(text, encoding="utf-8")

    # --- report -------------------------------------------------------------

    def _boxes(self) -> Counter[str]:
        return sum((Counter(image.counts) for image in self.taken), Counter())

    def notes(self) -> list[str]:
        """What concerns more than one image."""
        said = self.config.pixel_size_um is not None
        return list(notes_of(self.taken, [name for name in self._order if name], sizes_said=said))

    def report(self, base: ImportReport) -> ImportReport:
        """Complete the report with what was counted."""
        sizes = {t.pixel_size_um for t in self.taken if t.pixel_size_um is not None}
        boxes = self._boxes()
        return base.model_copy(
            update={
                "kept": len(self.taken),
                "boxes": {name: boxes[name] for name in self.classes},
                "background": sum(not t.counts and t.labelled is None for t in self.taken)
                if self.reader
                else 0,
                "width": spread([t.width for t in self.taken]),
                "height": spread([t.height for t in self.taken]),
                "box_size": spread([size for t in self.taken for size in t.box_sizes]),
                "depths": dict(Counter(t.depth for t in self.taken)),
                "pixel_sizes_um": tuple(sorted(sizes))[:20],
                "skipped": (*base.skipped, *self.skipped),
                "repaired": (*base.repaired, *self.repaired),
                "unsure": tuple(self._unsure),
                "chosen": tuple(self._chosen),
            }
        )


def _differ(other: str) -> str:
    return msg(
        "the same image as {other}, with other labels: both were left out; keep one", other=other
    )


def _reach(
    objects: list[tuple[str, LabelledObject]], width: int, height: int
) -> tuple[float, float]:
    """How far boxes go to the right and down, as shares of the image."""
    right = max((obj.xyxy[2] for _, obj in objects), default=0.0)
    return right / width, max((obj.xyxy[3] for _, obj in objects), default=0.0) / height


def _size(obj: LabelledObject) -> float:
    x1, y1, x2, y2 = obj.xyxy
    return ((x2 - x1) * (y2 - y1)) ** 0.5


def spread(values: list[float] | list[int]) -> Spread | None:
    if not values:
        return None
    return Spread(low=min(values), median=float(np.median(values)), high=max(values))


def _marked(objects: list[tuple[str, LabelledObject]]) -> _Marked:
    return sorted((mapped, tuple(map(round, obj.xyxy))) for mapped, obj in objects)


def _of_nothing(boxes: Counter[str]) -> list[str]:
    return [
        msg(
            "boxes of class '{name}' left out, since such a class marks no object: {n}; if these "
            "are objects, say in the class map what they are",
            name=name,
            n=n,
        )
        for name, n in boxes.items()
    ]


def safe_stem(source: str, taken: set[str]) -> str:
    """A file stem of plain letters for a source path, unique without regard to case."""
    path = PurePosixPath(source)
    # One of several pictures of a file is called after both.
    files = [PurePosixPath(part).stem for part in path.parts[:-1] if is_image(part)]
    stem = "_".join([*files, path.stem])
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in stem)
    plain = plain.strip("_-")[:80] or "image"
    plain = f"image_{plain}" if _DEVICES.fullmatch(plain) else plain
    return unique(plain, taken)
