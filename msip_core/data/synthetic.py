"""Drawn micrographs: organoids with and without crypts whose boxes, outlines and crypts are known.

They are the example, the test fixture, and the ground truth for explanations. The two classes
differ in the budding outline (crypts reach a quarter farther out); darkness, focus, place and
light are drawn from the same ranges, so that what a detector learns must be the border.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msip_core.boxes import Box
from msip_core.config import ImportConfig
from msip_core.data import optics
from msip_core.data.dataset import Dataset
from msip_core.data.importing import import_dataset
from msip_core.data.label_files import masks_text
from msip_core.data.mask_objects import mask_outline
from msip_core.data.optics import Scene, Texture
from msip_core.data.png import encode_png
from msip_core.data.questions import Draw, Imported
from msip_core.data.shapes import Points, Shape, budding_organoid, fill, smooth_organoid
from msip_core.data.writing import data_yaml
from msip_core.messages import msg
from msip_core.questions.base import Job, Progress
from msip_core.workspace import Workspace

CLASSES = ("crypt", "no_crypt")
# Fields of one well share light and camera; two fields a well give the split whole wells to keep.
FIELDS_PER_WELL = 2
# An organoid of the usual radius, 9 % of the image side, is about 130 µm wide.
_FIELD_UM = 720.0


@dataclass(frozen=True)
class DrawnMicrograph:
    """One drawn image and everything that is known about it.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, grey.
        boxes: one for each labelled organoid, tight around its outline inside the image.
        outlines: outline (n, 2) of each, in the same order.
        crypts: for each, the outlines of its crypts outside the body (empty: no crypts).
        masks: (organoids, H, W) bool.
    """

    pixels: NDArray[np.uint8]
    boxes: tuple[Box, ...]
    outlines: tuple[Points, ...]
    crypts: tuple[tuple[Points, ...], ...]
    masks: NDArray[np.bool_]


@dataclass(frozen=True)
class _Placed:
    shape: Shape
    centre: Points
    budding: bool


def draw_micrograph(
    seed: int | tuple[int, ...],
    size: tuple[int, int] = (256, 256),
    organoids: int | None = None,
    crypt_share: float = 0.5,
    scene: Scene | None = None,
) -> DrawnMicrograph:
    """Draw one micrograph.

    Args:
        seed: the same seed and arguments give the same image, bit for bit.
        size: (height, width) in pixels; organoids grow with the shorter side.
        organoids: how many to label; None draws 8 to 16. Fewer are drawn where they find no room.
        crypt_share: expected share of organoids with crypts.
        scene: light and camera; None draws them too.
    """
    rng = np.random.default_rng(seed)
    scene = scene or Scene.random(rng)
    wanted = int(rng.integers(8, 17)) if organoids is None else organoids
    placed = _place(rng, size, wanted, crypt_share)
    texture = Texture(rng, max(64, min(1024, max(size))))
    light: optics.Map = np.ones(size, np.float32)
    _background_objects(rng, light, texture)
    sharp = max(0.55, min(size) / 400)
    boxes, outlines, crypts, masks = [], [], [], []
    for item in placed:
        look = optics.random_look(rng, dense=0.5, sharp=sharp)
        optics.multiply_in(light, optics.organoid(item.shape, look, texture, rng), item.centre)
        known = _truth(item, size)
        if known:
            box, outline, buds, mask = known
            boxes.append(box)
            outlines.append(outline)
            crypts.append(buds)
            masks.append(mask)
    light *= optics.illumination(scene, size, texture, rng)
    grey = optics.record(light, scene, rng)
    return DrawnMicrograph(
        pixels=np.repeat(grey[:, :, None], 3, axis=2),
        boxes=tuple(boxes),
        outlines=tuple(outlines),
        crypts=tuple(crypts),
        masks=np.array(masks, dtype=bool).reshape(len(masks), *size),
    )


def _place(
    rng: np.random.Generator, size: tuple[int, int], wanted: int, crypt_share: float
) -> list[_Placed]:
    """Shapes at places where they touch each other at most a little."""
    h, w = size
    side = min(size)
    crowd = max(1.0, wanted / 14) ** 0.5  # more organoids are smaller, so that they find room
    placed: list[_Placed] = []
    for _ in range(wanted):
        budding = bool(rng.random() < crypt_share)
        radius = side * float(rng.uniform(0.055, 0.13)) / crowd
        radius = max(5.0, radius)
        # Crypts grow out of the body: the whole reaches farther than a smooth organoid.
        shape = budding_organoid(rng, 1.25 * radius) if budding else smooth_organoid(rng, radius)
        for _ in range(30):
            centre = rng.uniform([0.02 * w, 0.02 * h], [0.98 * w, 0.98 * h])
            gaps = [
                np.hypot(*(centre - other.centre)) - 0.92 * (shape.reach + other.shape.reach)
                for other in placed
            ]
            if all(gap > 0 for gap in gaps):
                placed.append(_Placed(shape, centre, budding))
                break
    return placed


def _background_objects(rng: np.random.Generator, light: optics.Map, texture: Texture) -> None:
    """What is not labelled: organoids far out of focus, dead cells, now and then a bubble."""
    h, w = light.shape
    side = min(h, w)
    for _ in range(int(rng.integers(1, 5))):
        shape = smooth_organoid(rng, side * float(rng.uniform(0.05, 0.12)))
        look = optics.random_look(rng, dense=0.9, sharp=side * float(rng.uniform(0.018, 0.04)))
        optics.multiply_in(
            light, optics.organoid(shape, look, texture, rng), rng.uniform([0, 0], [w, h])
        )
    density = h * w / side**2
    optics.debris(rng, light, int(rng.integers(8, 40) * density), max(0.8, side * 0.006))
    if rng.random() < 0.12:
        place = rng.uniform([0, 0], [w, h])
        optics.bubble(rng, light, side * float(rng.uniform(0.03, 0.06)), place)


def _truth(
    item: _Placed, size: tuple[int, int]
) -> tuple[Box, Points, tuple[Points, ...], NDArray[np.bool_]] | None:
    """Box, outline, crypt outlines and mask inside the image; None if almost nothing is inside."""
    centre = np.rint(item.centre)
    body = fill(item.shape.body, centre, size, 1.0)
    buds = [fill(bud, centre, size, 1.0) for bud in item.shape.buds]
    union = np.maximum.reduce([body, *buds])
    outline = mask_outline(union.astype(bool))
    if outline is None or union.sum() < 0.25 * np.pi * item.shape.radius**2:
        return None
    ys, xs = np.nonzero(union)
    box = Box(
        cls=0 if item.budding else 1,
        x1=float(xs.min()),
        y1=float(ys.min()),
        x2=float(xs.max() + 1),
        y2=float(ys.max() + 1),
    )
    outside = [mask_outline((bud > 0) & (body == 0)) for bud in buds]
    return box, outline, tuple(c for c in outside if c is not None), union.astype(bool)


# --- folders and datasets -----------------------------------------------------


def field_name(index: int) -> str:
    """plate1_A01_f0, plate1_A01_f1, plate1_A02_f0, ... over 96-well plates."""
    well, field = divmod(index, FIELDS_PER_WELL)
    plate, place = divmod(well, 96)
    row, column = divmod(place, 12)
    return f"plate{plate + 1}_{'ABCDEFGH'[row]}{column + 1:02d}_f{field}"


def draw_field(seed: int, index: int, size: int) -> DrawnMicrograph:
    """Image number `index` of a drawn plate; fields of one well share light and camera."""
    well = index // FIELDS_PER_WELL
    scene = Scene.random(np.random.default_rng((seed, well, 1)))
    return draw_micrograph((seed, index, 2), (size, size), scene=scene)


def write_folder(
    folder: Path, images: int, size: int, seed: int, *, progress: Progress | None = None
) -> Path:
    """Write a YOLO folder of drawn micrographs with masks/*.json; returns `folder`."""
    for name in ("images", "labels", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(images):
        if progress:
            progress(
                index / images,
                msg("Drawing image {index} of {images}", index=index + 1, images=images),
            )
        drawn, stem = draw_field(seed, index, size), field_name(index)
        (folder / "images" / f"{stem}.png").write_bytes(encode_png(drawn.pixels))
        lines = [_label(box, size) for box in drawn.boxes]
        (folder / "labels" / f"{stem}.txt").write_text("".join(lines), encoding="utf-8")
        known = masks_text(drawn.outlines, drawn.crypts, 2)
        (folder / "masks" / f"{stem}.json").write_text(known, encoding="utf-8")
    (folder / "data.yaml").write_text(data_yaml(CLASSES, drawn=True, parts=False), encoding="utf-8")
    return folder


def _label(box: Box, size: int) -> str:
    x, y = (box.x1 + box.x2) / 2 / size, (box.y1 + box.y2) / 2 / size
    return (
        f"{box.cls} {x:.8f} {y:.8f} {(box.x2 - box.x1) / size:.8f} {(box.y2 - box.y1) / size:.8f}\n"
    )


def import_example(
    workspace: Workspace,
    name: str = "example",
    images: int = 24,
    size: int = 256,
    seed: int = 0,
    *,
    progress: Progress | None = None,
) -> Dataset:
    """Draw a small plate and import it like any other folder.

    Raises:
        DatasetError: a dataset of that name exists.
    """
    with tempfile.TemporaryDirectory(prefix="drawn-", dir=workspace.cache) as folder:
        source = write_folder(Path(folder) / "drawn", images, size, seed, progress=progress)
        config = ImportConfig(source=source, name=name, pixel_size_um=round(_FIELD_UM / size, 4))
        return import_dataset(workspace, config, progress)


def draw(question: Draw, at: Job) -> Imported:
    """The same as a job of the compute process."""
    facts = question.model_dump()
    return Imported.of(import_example(at.workspace, **facts, progress=at.progress).document)
