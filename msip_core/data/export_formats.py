"""Label formats that are written: from images with their objects to the texts of a zip.

Corners are pixels from the upper left, lower corners inside, upper ones outside, but in Pascal VOC.
A score is written where the objects are predictions. CVAT, Label Studio and QuPath draw an object
either as a box or as an outline: it is an outline where that fills its box, with the box beside it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree as Xml

import numpy as np
import yaml
from numpy.typing import NDArray

from msip_core.boxes import Box, iou_matrix
from msip_core.data.label_files import box_line, masks_text
from msip_core.data.labels_yolo import DRAWN
from msip_core.data.manifest import SPLITS, SplitName
from msip_core.data.outline_boxes import fills, ring_area
from msip_core.spreadsheet import write_rows

Points = NDArray[np.float64]
Texts = Iterator[tuple[str, str]]
Json = dict[str, Any]
_DIGITS = 4  # of a pixel


@dataclass(frozen=True, slots=True)
class ExportedObject:
    """One object: class, corners and outline in pixels, crypts where known, score if predicted."""

    name: str
    xyxy: tuple[float, float, float, float]
    outline: Points | None = None
    crypts: tuple[Points, ...] | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """One image; `file` is its path in the zip, which starts with images/<part>/."""

    file: str
    width: int
    height: int
    split: SplitName
    objects: Sequence[ExportedObject]
    pixel_size_um: float | None

    @property
    def short(self) -> str:
        """The path below images/."""
        return self.file.partition("/")[2]

    def beside(self, folder: str, suffix: str) -> str:
        """The same path under another folder, with another suffix."""
        return f"{folder}/{self.short.removesuffix(PurePosixPath(self.short).suffix)}{suffix}"


class ExportedSet(NamedTuple):
    """What holds for all images; `model` is the one whose predictions these are."""

    name: str
    classes: tuple[str, ...]
    drawn: bool
    model: str | None


@dataclass
class Counts:
    """What was written."""

    boxes: int = 0
    outlines: int = 0
    without_outline: int = 0

    def add(self, obj: ExportedObject, outline: Points | None) -> None:
        self.boxes += 1
        self.outlines += outline is not None
        self.without_outline += obj.outline is not None and outline is None


def _r(value: float) -> float:
    return round(float(value), _DIGITS)


def _points(outline: Points) -> list[list[float]]:
    return [[_r(x), _r(y)] for x, y in outline]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def _xml(root: Xml.Element) -> str:
    Xml.indent(root, " ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{Xml.tostring(root, encoding="unicode")}\n'


def _leaf(parent: Xml.Element, tag: str, text: object, **attributes: str) -> None:
    Xml.SubElement(parent, tag, attributes).text = str(text)


def _drawn(obj: ExportedObject) -> Points | None:
    """The outline, where it can stand for the box too."""
    return obj.outline if obj.outline is not None and fills(obj.outline, obj.xyxy) else None


# --- YOLO ---------------------------------------------------------------------


def yolo(whole: ExportedSet, images: Iterable[ExportedImage], counts: Counts) -> Texts:
    """Ultralytics' folders, with outlines and crypts as the lab's own masks/*.json."""
    numbers = {name: number for number, name in enumerate(whole.classes)}
    splits: set[str] = set()
    for image in images:
        splits.add(image.split)
        lines = []
        for obj in image.objects:
            x1, y1, x2, y2 = obj.xyxy
            box = Box(cls=numbers[obj.name], x1=x1, y1=y1, x2=x2, y2=y2)
            score = "" if obj.score is None else f" {obj.score:.6f}"
            lines.append(f"{box_line(box, image.width, image.height).rstrip()}{score}\n")
            counts.add(obj, obj.outline)
        yield image.beside("labels", ".txt"), "".join(lines)
        if any(obj.outline is not None for obj in image.objects):
            outlines = [obj.outline for obj in image.objects]
            text = masks_text(outlines, [obj.crypts for obj in image.objects], _DIGITS)
            yield image.beside("masks", ".json"), f"{text}\n"
    config: Json = {split: f"images/{split}" for split in SPLITS if split in splits}
    if "train" in config:
        config.setdefault("val", config["train"])  # Ultralytics asks for both
    config["names"] = dict(enumerate(whole.classes))
    if whole.drawn:
        config["origin"] = DRAWN
    yield "data.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


# --- COCO ---------------------------------------------------------------------


def coco(whole: ExportedSet, images: Iterable[ExportedImage], counts: Counts) -> Texts:
    """One file a part; `file_name` is the path below images/."""
    numbers = {name: number for number, name in enumerate(whole.classes, 1)}
    parts: defaultdict[str, tuple[list[Json], list[Json]]] = defaultdict(lambda: ([], []))
    for number, image in enumerate(images, 1):
        listed, annotations = parts[image.split]
        entry: Json = {
            "id": number,
            "file_name": image.short,
            "width": image.width,
            "height": image.height,
        }
        if image.pixel_size_um:
            entry["pixel_size_um"] = image.pixel_size_um
        listed.append(entry)
        for obj in image.objects:
            annotation = _coco_object(obj, counts)
            annotation |= {"id": counts.boxes, "image_id": number}
            annotation["category_id"] = numbers[obj.name]
            annotations.append(annotation)
    description = f"{whole.name}{f', {DRAWN}' if whole.drawn else ''}"
    for split, (listed, annotations) in parts.items():
        value = {
            "info": {"description": description},
            "licenses": [],
            "images": listed,
            "annotations": annotations,
            "categories": [
                {"id": number, "name": name, "supercategory": "object"}
                for name, number in numbers.items()
            ],
        }
        yield f"annotations/instances_{split}.json", _json(value)


def _coco_object(obj: ExportedObject, counts: Counts) -> Json:
    """An outline somewhere else than its box is left out: COCO takes both for one place."""
    x1, y1, x2, y2 = obj.xyxy
    outline = obj.outline
    if outline is not None:
        span = np.array([*outline.min(axis=0), *outline.max(axis=0)])
        same = iou_matrix(np.array(obj.xyxy, dtype=np.float64), span)[0, 0] >= 0.5
        outline = outline if same else None
    counts.add(obj, outline)
    area = (x2 - x1) * (y2 - y1) if outline is None else ring_area(outline)
    found: Json = {
        "bbox": [_r(x1), _r(y1), _r(x2 - x1), _r(y2 - y1)],
        "area": _r(area),
        "iscrowd": 0,
        "segmentation": []
        if outline is None
        else [[v for point in _points(outline) for v in point]],
    }
    if obj.score is not None:
        found["score"] = round(obj.score, 6)
    return found


# --- Pascal VOC -----------------------------------------------------------------


def voc(whole: ExportedSet, images: Iterable[ExportedImage], counts: Counts) -> Texts:
    """One xml an image, pixels counted from 1; ImageSets/Main lists the parts."""
    parts: defaultdict[str, list[str]] = defaultdict(list)
    for image in images:
        parts[image.split].append(image.beside("", "").removeprefix("/"))
        root = Xml.Element("annotation")
        _leaf(root, "folder", PurePosixPath(image.file).parent.as_posix())
        _leaf(root, "filename", PurePosixPath(image.file).name)
        size = Xml.SubElement(root, "size")
        for side, pixels in (("width", image.width), ("height", image.height), ("depth", 3)):
            _leaf(size, side, pixels)
        for obj in image.objects:
            _voc_object(root, obj)
            counts.add(obj, obj.outline)
        yield image.beside("Annotations", ".xml"), _xml(root)
    for split, names in parts.items():
        yield f"ImageSets/Main/{split}.txt", "".join(f"{name}\n" for name in names)


def _voc_object(root: Xml.Element, obj: ExportedObject) -> None:
    found = Xml.SubElement(root, "object")
    _leaf(found, "name", obj.name)
    if obj.score is not None:
        _leaf(found, "score", f"{obj.score:.6f}")
    for tag in ("truncated", "difficult"):
        _leaf(found, tag, 0)
    box = Xml.SubElement(found, "bndbox")
    x1, y1, x2, y2 = obj.xyxy
    for tag, value in (("xmin", x1 + 1), ("ymin", y1 + 1), ("xmax", x2), ("ymax", y2)):
        _leaf(box, tag, f"{value:.4f}".rstrip("0").rstrip("."))
    if obj.outline is not None:
        polygon = Xml.SubElement(found, "polygon")
        for number, (x, y) in enumerate(_points(obj.outline + 1), 1):
            _leaf(polygon, f"x{number}", x)
            _leaf(polygon, f"y{number}", y)


# --- CVAT ---------------------------------------------------------------------


def cvat(whole: ExportedSet, images: Iterable[ExportedImage], counts: Counts) -> Texts:
    """ "CVAT for images 1.1"; score and box are attributes, which CVAT skips if it has none."""
    root = Xml.Element("annotations")
    _leaf(root, "version", "1.1")
    labels = Xml.SubElement(Xml.SubElement(Xml.SubElement(root, "meta"), "task"), "labels")
    for name in whole.classes:
        _leaf(Xml.SubElement(labels, "label"), "name", name)
    for number, image in enumerate(images):
        element = Xml.SubElement(
            root, "image", id=str(number), name=image.short, subset=image.split,
            width=str(image.width), height=str(image.height),
        )  # fmt: skip
        for obj in image.objects:
            counts.add(obj, _cvat_object(element, obj))
    yield "annotations.xml", _xml(root)


def _cvat_object(parent: Xml.Element, obj: ExportedObject) -> Points | None:
    outline = _drawn(obj)
    corners = [f"{v:.4f}" for v in obj.xyxy]
    common = {
        "label": obj.name,
        "source": "manual" if obj.score is None else "auto",
        "occluded": "0",
        "z_order": "0",
    }
    if outline is None:
        places = dict(zip(("xtl", "ytl", "xbr", "ybr"), corners))
        shape = Xml.SubElement(parent, "box", common | places)
    else:
        points = ";".join(f"{x},{y}" for x, y in _points(outline))
        shape = Xml.SubElement(parent, "polygon", common | {"points": points})
        _leaf(shape, "attribute", ",".join(corners), name="box")
    if obj.score is not None:
        _leaf(shape, "attribute", f"{obj.score:.6f}", name="score")
    return outline


# --- Label Studio -----------------------------------------------------------------


def label_studio(whole: ExportedSet, images: Iterable[ExportedImage], counts: Counts) -> Texts:
    """Tasks over local files, with the project's labelling interface; positions are percents."""
    tasks = []
    for image in images:
        results = [_studio_result(image, obj, n, counts) for n, obj in enumerate(image.objects)]
        data: Json = {"image": f"/data/local-files/?d={quote(image.file)}", "part": image.split}
        if image.pixel_size_um:
            data["pixel_size_um"] = image.pixel_size_um
        if whole.model is None:
            tasks.append({"data": data, "annotations": [{"result": results}]})
        else:
            scores = [obj.score or 0.0 for obj in image.objects]
            predicted = {
                "model_version": whole.model,
                "result": results,
                "score": round(float(np.mean(scores)), 6) if scores else 0.0,
            }
            tasks.append({"data": data, "predictions": [predicted]})
    yield "tasks.json", _json(tasks)
    view = Xml.Element("View")
    Xml.SubElement(view, "Image", name="image", value="$image")
    for tag, name in (("RectangleLabels", "box"), ("PolygonLabels", "outline")):
        labels = Xml.SubElement(view, tag, name=name, toName="image")
        for label in whole.classes:
            Xml.SubElement(labels, "Label", value=label)
    yield "labelling_interface.xml", _xml(view)


def _studio_result(image: ExportedImage, obj: ExportedObject, n: int, counts: Counts) -> Json:
    outline = _drawn(obj)
    counts.add(obj, outline)
    across, along = 100 / image.width, 100 / image.height
    x1, y1, x2, y2 = obj.xyxy
    result: Json = {"id": f"o{n + 1}", "to_name": "image", "original_width": image.width,
                    "original_height": image.height, "image_rotation": 0}  # fmt: skip
    if outline is None:
        value = {
            "x": x1 * across,
            "y": y1 * along,
            "width": (x2 - x1) * across,
            "height": (y2 - y1) * along,
        }
        result |= {"type": "rectanglelabels", "from_name": "box"}
        result["value"] = {key: round(v, 8) for key, v in value.items()}
        result["value"] |= {"rotation": 0, "rectanglelabels": [obj.name]}
    else:
        points = [[round(x * across, 8), round(y * along, 8)] for x, y in outline.tolist()]
        result |= {"type": "polygonlabels", "from_name": "outline"}
        result["value"] = {"points": points, "closed": True, "polygonlabels": [obj.name]}
        sides = (across, along) * 2
        result["meta"] = {"box": [round(v * side, 8) for v, side in zip(obj.xyxy, sides)]}
    if obj.score is not None:
        result["score"] = round(obj.score, 6)
    return result


# --- QuPath ---------------------------------------------------------------------


def geojson(whole: ExportedSet, images: Iterable[ExportedImage], counts: Counts) -> Texts:
    """One FeatureCollection an image, as QuPath imports it; `bbox` is GeoJSON's own."""
    for image in images:
        features = [_feature(obj, counts) for obj in image.objects]
        value: Json = {"type": "FeatureCollection", "features": features}
        if image.pixel_size_um:
            value["pixel_size_um"] = image.pixel_size_um
        yield image.beside("annotations", ".geojson"), _json(value)


def _feature(obj: ExportedObject, counts: Counts) -> Json:
    outline = _drawn(obj)
    counts.add(obj, outline)
    x1, y1, x2, y2 = (_r(v) for v in obj.xyxy)
    ring = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]] if outline is None else _points(outline)
    properties: Json = {"objectType": "annotation", "classification": {"name": obj.name}}
    if obj.score is not None:
        properties["measurements"] = {"score": round(obj.score, 6)}
    return {
        "type": "Feature",
        "bbox": [x1, y1, x2, y2],
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": properties,
    }


# --- CSV ----------------------------------------------------------------------


def table(whole: ExportedSet, images: Iterable[ExportedImage], counts: Counts) -> Texts:
    """One row a box; an image without boxes has a row without numbers."""
    columns = ["filename", "class", "xmin", "ymin", "xmax", "ymax", "image_width", "image_height",
               "pixel_size_um", "part", *(["score"] if whole.model else [])]  # fmt: skip
    rows: list[Json] = []
    for image in images:
        common: Json = {
            "filename": image.file,
            "image_width": image.width,
            "image_height": image.height,
            "pixel_size_um": image.pixel_size_um,
            "part": image.split,
        }
        for obj in image.objects:
            counts.add(obj, None)
            corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), (_r(v) for v in obj.xyxy)))
            more = {} if obj.score is None else {"score": round(obj.score, 6)}
            rows.append({**common, "class": obj.name, **corners, **more})
        if not image.objects:
            rows.append(common)
    yield "boxes.csv", write_rows(columns, rows)


@dataclass(frozen=True, slots=True)
class LabelFormat:
    """A format by its name for people."""

    title: str
    write: Callable[[ExportedSet, Iterable[ExportedImage], Counts], Texts] = field(repr=False)


FORMATS = MappingProxyType(
    {
        "yolo": LabelFormat("YOLO", yolo),
        "coco": LabelFormat("COCO", coco),
        "voc": LabelFormat("Pascal VOC", voc),
        "cvat": LabelFormat("CVAT XML", cvat),
        "label-studio": LabelFormat("Label Studio", label_studio),
        "geojson": LabelFormat("QuPath GeoJSON", geojson),
        "csv": LabelFormat("CSV", table),
    }
)
