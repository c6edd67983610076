"""A small good source of micrographs and labels, in every label format, to be made bad."""

from __future__ import annotations

import io
import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

SIDE = 96
GOOD = 6  # images of the good part
BOXES = ((0, 30, 40, 60, 70), (1, 10, 12, 26, 24))  # class number, corners in pixels
NAMES = ("crypt", "no_crypt")


@cache
def pixels(seed: int) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8, different for every seed."""
    noise = np.random.default_rng(seed).normal(150, 12, (SIDE, SIDE, 3))
    image = np.ascontiguousarray(noise.clip(0, 255).astype(np.uint8))
    for number, x1, y1, x2, y2 in BOXES:
        cv2.ellipse(image, ((x1 + x2) // 2, (y1 + y2) // 2), ((x2 - x1) // 2, (y2 - y1) // 2),
                    0, 0, 360, (60, 60, 60), -1 if number else 2)  # fmt: skip
    return image


@cache
def png(seed: int) -> bytes:
    return bytes(cv2.imencode(".png", pixels(seed))[1].tobytes())


@cache
def pictures() -> dict[str, bytes]:
    """One good file of every kind of image, by a name with the right suffix."""
    grey, deep = pixels(90)[..., 0], pixels(91)[..., 0].astype(np.uint16) * 200
    stack = np.stack([pixels(s)[..., 0] for s in range(5)])
    return {
        "a.png": png(92),
        "b.jpg": _pil("JPEG", 93),
        "c.bmp": _pil("BMP", 94),
        "d.tif": _tiff(grey),
        "e.tif": _tiff(deep, compression="zlib"),
        "f.tif": _tiff(pixels(95), photometric="rgb", compression="lzw"),
        "g.ome.tif": _tiff(stack, metadata={"axes": "ZYX"}, ome=True),
        "h.tif": _tiff(stack, imagej=True, metadata={"axes": "CYX"}),
        "i.tif": _tiff(deep.astype(np.float32)),
        "j.png": _pil("PNG", 96, mode="P"),
        "k.png": bytes(cv2.imencode(".png", deep)[1].tobytes()),
        "l.tif": _tiff(grey > 100, photometric="minisblack"),
    }


def _pil(kind: str, seed: int, mode: str = "RGB") -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels(seed)).convert(mode).save(data, kind)
    return data.getvalue()


def _tiff(values: np.ndarray, **how: Any) -> bytes:
    data = io.BytesIO()
    tifffile.imwrite(data, values, **how)
    return data.getvalue()


def images() -> dict[str, bytes]:
    return {f"images/p{i}.png": png(i) for i in range(GOOD)}


def yolo_lines() -> str:
    return "".join(
        f"{c} {(x1 + x2) / 2 / SIDE:.4f} {(y1 + y2) / 2 / SIDE:.4f} "
        f"{(x2 - x1) / SIDE:.4f} {(y2 - y1) / SIDE:.4f}\n"
        for c, x1, y1, x2, y2 in BOXES
    )


def yolo() -> dict[str, bytes]:
    """Images with YOLO labels: the source that all others are compared with."""
    labels = {f"labels/p{i}.txt": yolo_lines().encode() for i in range(GOOD)}
    return {**images(), **labels, "data.yaml": b"names: [crypt, no_crypt]\n"}


def coco() -> dict[str, Any]:
    return {
        "images": [
            {"id": i, "file_name": f"p{i}.png", "width": SIDE, "height": SIDE} for i in range(GOOD)
        ],
        "categories": [{"id": c, "name": name} for c, name in enumerate(NAMES)],
        "annotations": [
            {"id": 10 * i + c, "image_id": i, "category_id": c, "iscrowd": 0,
             "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1),
             "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]]}
            for i in range(GOOD) for c, x1, y1, x2, y2 in BOXES
        ],
    }  # fmt: skip


def voc(stem: str) -> str:
    objects = "".join(
        f"<object><name>{NAMES[c]}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for c, x1, y1, x2, y2 in BOXES
    )
    return (
        f"<annotation><filename>{stem}.png</filename><size><width>{SIDE}</width>"
        f"<height>{SIDE}</height><depth>3</depth></size>{objects}</annotation>"
    )


def csv() -> str:
    rows = [
        f"p{i}.png,{x1},{y1},{x2},{y2},{NAMES[c]}"
        for i in range(GOOD)
        for c, x1, y1, x2, y2 in BOXES
    ]
    return "\n".join(["filename,xmin,ymin,xmax,ymax,class", *rows]) + "\n"


def labelme(stem: str) -> dict[str, Any]:
    return {
        "version": "5.2.1", "flags": {}, "imagePath": f"{stem}.png", "imageData": None,
        "imageHeight": SIDE, "imageWidth": SIDE,
        "shapes": [
            {"label": NAMES[c], "points": [[x1, y1], [x2, y2]], "group_id": None,
             "shape_type": "rectangle", "flags": {}}
            for c, x1, y1, x2, y2 in BOXES
        ],
    }  # fmt: skip


def cvat() -> str:
    images = "".join(
        f'<image id="{i}" name="p{i}.png" width="{SIDE}" height="{SIDE}">'
        + "".join(
            f'<box label="{NAMES[c]}" occluded="0" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}"/>'
            for c, x1, y1, x2, y2 in BOXES
        )
        + "</image>"
        for i in range(GOOD)
    )
    return f"<annotations><version>1.1</version>{images}</annotations>"


def via() -> dict[str, Any]:
    return {
        f"p{i}.png-1": {
            "filename": f"p{i}.png", "size": -1, "file_attributes": {},
            "regions": [
                {"shape_attributes": {"name": "rect", "x": x1, "y": y1, "width": x2 - x1,
                                      "height": y2 - y1},
                 "region_attributes": {"class": NAMES[c]}}
                for c, x1, y1, x2, y2 in BOXES
            ],
        }
        for i in range(GOOD)
    }  # fmt: skip


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder with the files."""
    for name, data in files.items():
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / "in"


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()
