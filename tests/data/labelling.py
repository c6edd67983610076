"""How tests of labels write a source and read what became of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from msip_core.data.dataset import Dataset

WIDTH, HEIGHT = 200, 120
Rows = list[tuple[float, ...]]


def field(
    path: Path, seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT), turn: int = 1
) -> Path:
    """A grey micrograph of the size (width, height); `turn` is the camera's tag."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    exif = Image.Exif()
    if turn != 1:
        exif[0x0112] = turn
    pixels = rng.integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def voc(
    path: Path, box: tuple[float, ...], size: tuple[float, float] | None = (WIDTH, HEIGHT)
) -> None:
    """One object; the box in Pascal VOC's own pixels."""
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    corners = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    path.write_text(
        f"<annotation>{stated}<object><name>crypt</name><bndbox>{corners}</bndbox></object>"
        "</annotation>"
    )


def coco(
    path: Path, images: list[dict], annotations: list[dict], names: tuple[str, ...] = ("crypt",)
) -> None:
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(names)]
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )


def boxes(dataset: Dataset) -> dict[str, Rows]:
    """Source file -> corners in pixels, rounded."""
    return {
        record.source: [tuple(round(v, 1) for v in b.xyxy) for b in dataset.boxes(record)]
        for record in dataset.images
    }


def left_out(dataset: Dataset) -> dict[str, str]:
    """File -> why it was left out."""
    return {problem.file: problem.what for problem in dataset.report.skipped}


def mended(dataset: Dataset) -> list[str]:
    return [problem.what for problem in dataset.report.repaired]
