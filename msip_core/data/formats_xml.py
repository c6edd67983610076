"""CVAT's "CVAT for images" XML."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from msip_core.data.labels import LabelledObject
from msip_core.data.labels_records import (
    Parser,
    Record,
    ellipse,
    labels_of,
    not_an_object,
    polygon,
    rectangle,
    turned,
)

_TAGS = ("tag",)  # of the whole image: no shape


def cvat(root: Any) -> list[Record] | None:
    """`<annotations><image name width height><box|polygon|ellipse|mask …/></image>…`"""
    if not isinstance(root, ElementTree.Element) or root.tag != "annotations":
        return None
    images = root.findall("image")
    if not images:
        if root.find("track") is not None:
            raise ValueError("it is CVAT for video: export 'CVAT for images 1.1' or COCO")
        return None
    return [
        Record(
            [image.get("name", "")],
            labels_of(
                [shape for shape in image if shape.tag not in _TAGS],
                _shape,
                (image.get("width"), image.get("height")),
            ),
        )
        for image in images
    ]


def _shape(element: ElementTree.Element) -> LabelledObject:
    label = element.get("label")
    if element.tag == "box":
        corners = [float(element.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr")]
        degrees = float(element.get("rotation", 0))
        if not degrees:
            return rectangle(label, corners)
        x1, y1, x2, y2 = corners
        points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
        return polygon(label, turned((x1 + x2) / 2, (y1 + y2) / 2, points, degrees))
    if element.tag == "polygon":
        return polygon(label, [p.split(",") for p in element.attrib["points"].split(";")])
    if element.tag == "ellipse":
        value = {key: float(element.attrib[key]) for key in ("cx", "cy", "rx", "ry")}
        return ellipse(label, (value["cx"], value["cy"]), (value["rx"], value["ry"]))
    if element.tag == "mask":
        left, top = float(element.attrib["left"]), float(element.attrib["top"])
        width, height = float(element.attrib["width"]), float(element.attrib["height"])
        return rectangle(label, (left, top, left + width, top + height))
    raise not_an_object(element.tag)


PARSERS: tuple[tuple[str, Parser], ...] = (("CVAT XML", cvat),)
