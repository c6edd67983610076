"""One image after the other: read, check its labels, write both, remember what happened."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from msip_core import confined
from msip_core.config import ImageRecipe, ImportConfig
from msip_core.data.archive import FileTree, printable
from msip_core.data.enhance import apply_recipe, needs_scaling
from msip_core.data.fitting import fit_labels, orientation_of
from msip_core.data.labels import ImageLabels, LabelledObject, LabelReader
from msip_core.data.manifest import ImportReport, Problem, Spread
from msip_core.data.micrographs import RawImage, decode
from msip_core.data.outlines import MaskIndex
from msip_core.errors import DatasetError

# Rounding in label files puts boxes a fraction of a pixel outside; that is no repair.
_ROUNDING = 0.5
_MIN_SIDE = 1.0
UNLABELLED = (
    "image without a label: left out, since unlabelled organoids would be learned as background; "
    "an empty label file keeps it as background"
)


@dataclass(slots=True)
class TakenImage:
    """One image that is in, before the split is known."""

    id: str
    file: str
    source: str
    width: int
    height: int
    sha256: str
    label_sha256: str
    counts: dict[str, int]
    pixel_size_um: float | None


@dataclass
class Intake:
    """Writes images/, labels/ and masks/ of the dataset that is being built."""

    folder: Path
    tree: FileTree
    masks: MaskIndex
    reader: LabelReader | None
    config: ImportConfig
    recipe: ImageRecipe
    taken: list[TakenImage] = field(default_factory=list)
    skipped: list[Problem] = field(default_factory=list)
    repaired: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stems: set[str] = set()
        self._pixels_seen: dict[bytes, str] = {}
        self._depths: Counter[str] = Counter()
        self._boxes: Counter[str] = Counter()
        self._box_sizes: list[float] = []
        self._dropped: Counter[str] = Counter()
        self._plane_notes: Counter[str] = Counter()
        self._background = 0
        self._emptied = 0  # background, because all their boxes were dropped as asked
        self._outlined = 0
        # Ids in label files are given by first appearance and put in order at the end.
        self._order = list(dict.fromkeys(self._map(name) for name in self._listed()))
        self.classes: tuple[str, ...] = ()
        for name in ("images", "labels", "masks", "splits"):
            (self.folder / name).mkdir()

    def _listed(self) -> list[str]:
        return self.reader.classes if self.reader else []

    def _map(self, name: str) -> str | None:
        # Names go into lists, tables and figures: a line break in one would break these.
        return self.config.class_map.get(name, printable(name)) or None  # an empty name drops too

    def take_all(self, images: list[str], progress: Callable[[float, str], None]) -> None:
        """Bring in every image; bad ones are named and the others go on."""
        for number, name in enumerate(confined.one_by_one(images)):
            progress(number / len(images), f"Image {number + 1} of {len(images)}")
            try:
                self._take(name)
            except DatasetError as error:
                self.skipped.append(Problem(file=name, what=_strip_name(error.message, name)))
        self._settle_classes()

    def _take(self, name: str) -> None:
        if self.reader and self.reader.labelled and name not in self.reader.labelled:
            raise DatasetError(UNLABELLED)
        data = self.tree.read(name)
        raw = decode(data, name, self.recipe.channel)
        digest = hashlib.sha256(repr(raw.pixels.shape).encode() + raw.pixels.tobytes()).digest()
        if digest in self._pixels_seen:
            raise DatasetError(f"the same image as {self._pixels_seen[digest]}, which was kept")
        height, width = raw.pixels.shape[:2]
        labels = ImageLabels()
        if self.reader and name in self.reader.labelled:
            labels = fit_labels(self.reader.read(name), width, height, orientation_of(data))
            if labels.problems and not labels.objects:
                raise DatasetError(
                    f"none of its labels could be read ({labels.problems[0]}); as background it "
                    "would teach the wrong thing"
                )
        objects, warning = self.masks.outlines(name, labels.objects, (height, width))
        confined.at_hand(name)  # the last file read was its label or mask
        kept, mended = self._check(objects, width, height)
        dropped = Counter(obj.name for obj in objects if self._map(obj.name) is None)
        if not kept and objects and (mended or labels.problems):
            raise DatasetError(
                f"none of its boxes could be used ({[*mended, *labels.problems][0]}); as "
                "background it would teach the wrong thing"
            )
        self._pixels_seen[digest] = name
        self._dropped += dropped
        self._emptied += bool(dropped) and not kept
        doubts = [raw.doubt] if raw.doubt else []
        mended = [
            *doubts,
            *labels.problems,
            *labels.notes,
            *([warning] if warning else []),
            *mended,
        ]
        self.repaired += [Problem(file=name, what=what) for what in mended]
        self._store(name, data, raw, kept)

    # --- labels -------------------------------------------------------------

    def _check(
        self, objects: list[LabelledObject], width: int, height: int
    ) -> tuple[list[tuple[str, LabelledObject]], list[str]]:
        """Map classes, clip boxes, leave out what is no box; every change is named."""
        kept: list[tuple[str, LabelledObject]] = []
        mended: list[str] = []
        seen: set[tuple[str, tuple[float, ...]]] = set()
        for obj in objects:
            mapped = self._map(obj.name)
            if mapped is None:
                continue
            x1, y1, x2, y2 = obj.xyxy
            box = (max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2))
            where = f"box of {obj.name} at {x1:.0f}, {y1:.0f}, {x2:.0f}, {y2:.0f}"
            key = (mapped, tuple(round(v, 3) for v in box))
            if box[2] - box[0] < _MIN_SIDE or box[3] - box[1] < _MIN_SIDE:
                outside = x2 - x1 >= _MIN_SIDE and y2 - y1 >= _MIN_SIDE
                reason = "lies outside the image" if outside else "is smaller than a pixel"
                mended.append(f"{where} {reason}: left out")
            elif key in seen:
                mended.append(f"{where} occurs twice: left out once")
            else:
                if max(abs(a - b) for a, b in zip(box, obj.xyxy)) > _ROUNDING:
                    mended.append(f"{where} reaches outside the image: clipped")
                seen.add(key)
                kept.append((mapped, LabelledObject(obj.name, box, obj.outline, obj.crypts)))
        return kept, mended

    def _settle_classes(self) -> None:
        """Fix the class list: the source's order, names without any box left out."""
        self.classes = tuple(name for name in self._order if name and self._boxes[name])
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

    def _store(
        self, name: str, data: bytes, raw: RawImage, objects: list[tuple[str, LabelledObject]]
    ) -> None:
        stem = safe_stem(name, self._stems)
        height, width = raw.pixels.shape[:2]
        if raw.plain and not needs_scaling(raw.pixels, self.recipe) and not self.recipe.clahe:
            file = f"images/{stem}{_suffix(data)}"  # untouched original, byte for byte
        else:
            file = f"images/{stem}.png"
            data = encode_png(apply_recipe(raw.pixels, self.recipe))
        (self.folder / file).write_bytes(data)
        text = self._label_text(objects, width, height)
        (self.folder / "labels" / f"{stem}.txt").write_text(text, encoding="utf-8")
        self._write_masks(stem, [obj for _, obj in objects])
        counts = Counter(mapped for mapped, _ in objects)
        self.taken.append(
            TakenImage(
                id=stem,
                file=file,
                source=name,
                width=width,
                height=height,
                sha256=hashlib.sha256(data).hexdigest(),
                label_sha256=hashlib.sha256(text.encode()).hexdigest(),
                counts=dict(counts),
                pixel_size_um=raw.pixel_size_um,
            )
        )
        self._count(name, raw, objects)

    def _count(self, name: str, raw: RawImage, objects: list[tuple[str, LabelledObject]]) -> None:
        self._depths[str(raw.bit_depth)] += 1
        self._boxes.update(mapped for mapped, _ in objects)
        for _, obj in objects:
            x1, y1, x2, y2 = obj.xyxy
            self._box_sizes.append(((x2 - x1) * (y2 - y1)) ** 0.5)
        self._background += not objects
        self._outlined += sum(obj.outline is not None for _, obj in objects)
        if raw.note:
            self._plane_notes[raw.note] += 1

    def _label_text(
        self, objects: list[tuple[str, LabelledObject]], width: int, height: int
    ) -> str:
        lines = []
        for mapped, obj in objects:
            if mapped not in self._order:
                self._order.append(mapped)
            x1, y1, x2, y2 = obj.xyxy
            numbers = (
                (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
            )  # fmt: skip
            values = " ".join(f"{number:.6f}" for number in numbers)
            lines.append(f"{self._order.index(mapped)} {values}\n")
        return "".join(lines)

    def _write_masks(self, stem: str, objects: list[LabelledObject]) -> None:
        if not any(obj.outline is not None for obj in objects):
            return
        value: dict[str, object] = {
            "outlines": [[] if o.outline is None else o.outline.round(2).tolist() for o in objects]
        }
        if any(obj.crypts is not None for obj in objects):
            value["crypts"] = [[c.round(2).tolist() for c in obj.crypts or ()] for obj in objects]
        path = self.folder / "masks" / f"{stem}.json"
        path.write_text(json.dumps(value, separators=(",", ":")), encoding="utf-8")

    # --- report -------------------------------------------------------------

    def notes(self) -> list[str]:
        """What concerns more than one image."""
        notes = [f"Boxes of class '{c}' dropped, as asked: {n}." for c, n in self._dropped.items()]
        if self._emptied:
            notes.append(
                f"Images whose boxes are all of dropped classes: {self._emptied}. They were kept "
                "as background, as asked: a model learns that nothing is there."
            )
        notes += [
            f"Files with several planes: {n} ({what})." for what, n in self._plane_notes.items()
        ]
        if self._outlined:
            total = sum(self._boxes.values())
            notes.append(f"Outlines are known for {self._outlined} of {total} boxes.")
        empty = [name for name in self._order if name and not self._boxes[name]]
        if empty and self._boxes:
            notes.append(f"Classes without any box were left out: {', '.join(empty)}.")
        sizes = {t.pixel_size_um for t in self.taken}
        if len(sizes) > 1 and self.config.pixel_size_um is None:
            notes.append(
                "The images state different pixel sizes, or only some do: sizes of the dataset "
                "are given in pixels unless you enter one."
            )
        return notes

    def report(self, base: ImportReport) -> ImportReport:
        """Complete the report with what was counted."""
        sizes = {t.pixel_size_um for t in self.taken if t.pixel_size_um is not None}
        return base.model_copy(
            update={
                "kept": len(self.taken),
                "boxes": {name: self._boxes[name] for name in self.classes},
                "background": self._background,
                "width": spread([t.width for t in self.taken]),
                "height": spread([t.height for t in self.taken]),
                "box_size": spread(self._box_sizes),
                "depths": dict(self._depths),
                "pixel_sizes_um": tuple(sorted(sizes))[:20],
                "skipped": (*base.skipped, *self.skipped),
                "repaired": (*base.repaired, *self.repaired),
            }
        )


def spread(values: list[float] | list[int]) -> Spread | None:
    if not values:
        return None
    return Spread(low=min(values), median=float(np.median(values)), high=max(values))


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG bytes of (height, width, 3) RGB; grey images are stored with one channel."""
    grey = bool(
        (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all()
    )
    image = pixels[..., 0] if grey else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", np.ascontiguousarray(image))
    if not done:
        raise DatasetError("could not be written as PNG")
    return bytes(data.tobytes())


def safe_stem(source: str, taken: set[str]) -> str:
    """A file stem of plain letters for a source path, unique without regard to case."""
    stem = PurePosixPath(source).stem
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in stem)
    plain = plain.strip("_-")[:80] or "image"
    unique, number = plain, 1
    while unique.lower() in taken:
        number += 1
        unique = f"{plain}-{number}"
    taken.add(unique.lower())
    return unique


def _suffix(data: bytes) -> str:
    """The suffix that the content asks for, whatever the file was called."""
    if data[:3] == b"\xff\xd8\xff":
        return ".jpg"
    return ".bmp" if data[:2] == b"BM" else ".png"


def _strip_name(message: str, name: str) -> str:
    """The report names the file in its own column."""
    return message.removeprefix(f"{name} ").strip()
