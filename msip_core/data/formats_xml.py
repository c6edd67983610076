"""CVAT's XML: "CVAT for images" and "CVAT for video"."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from msip_core.data.labels import LabelledObject
from msip_core.data.labels_records import (
    Parser,
    Record,
    around_turned,
    boxed,
    ellipse,
    labels_of,
    not_an_object,
    polygon,
    rectangle,
)
from msip_core.messages import msg

_TAGS = ("tag",)  # of the whole image: no shape


def cvat(root: Any) -> list[Record] | None:
    """`<annotations><image name width height><box|polygon|ellipse|mask …/></image>…`"""
    if not isinstance(root, ElementTree.Element) or root.tag != "annotations":
        return None
    images = root.findall("image")
    if not images:
        return _video(root) if root.find("track") is not None else None
    return [
        Record(
            [image.get("name", "")],
            labels_of(
                [shape for shape in image if shape.tag not in _TAGS],
                _shape,
                (image.get("width"), image.get("height")),
                lambda shape: shape.get("group_id"),
                {**image.attrib, "tags": [tag.get("label", "") for tag in image.iterfind("tag")]},
            ),
        )
        for image in images
    ]


def _video(root: ElementTree.Element) -> list[Record]:
    """`<track label><box frame …/></track>…`; CVAT calls the images of frames frame_000000.

    A frame between two shapes of a track that has none of its own is where the box moves along.
    """
    tracks = [
        {int(shape.attrib["frame"]): shape for shape in track if shape.get("frame")}
        for track in root.findall("track")
    ]
    labels = [track.get("label") for track in root.findall("track")]
    frames = sorted({frame for track in tracks for frame in track})
    size = root.find(".//original_size")
    picture = None if size is None else (size.findtext("width"), size.findtext("height"))
    records = []
    for frame in frames:
        shapes = []
        for label, track in zip(labels, tracks):
            shape = track[frame] if frame in track else _between(track, frame)
            if shape is not None and shape.get("outside") != "1":
                shape.set("label", label or "")
                shapes.append(shape)
        records.append(Record([f"frame_{frame:06d}"], labels_of(shapes, _shape, picture)))
    return records


def _between(track: dict[int, ElementTree.Element], frame: int) -> ElementTree.Element | None:
    """The box of a track at a frame that is not written down; None if the track is not there."""
    before = max((f for f in track if f < frame), default=None)
    after = min((f for f in track if f > frame), default=None)
    if before is None or after is None or track[before].get("outside") == "1":
        return None
    first, last = track[before], track[after]
    if last.get("outside") == "1":
        return first
    if {first.tag, last.tag} != {"box"}:
        raise ValueError(
            msg("a track of {tag}s has no shape at frame {frame}", tag=first.tag, frame=frame)
        )
    share = (frame - before) / (after - before)
    found = ElementTree.Element("box")
    for key in ("xtl", "ytl", "xbr", "ybr", "rotation"):
        start, end = float(first.get(key, 0)), float(last.get(key, 0))
        found.set(key, str(start + share * (end - start)))
    return found


def _shape(element: ElementTree.Element) -> LabelledObject:
    label = element.get("label")
    if element.tag == "box":
        corners = [float(element.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr")]
        degrees = float(element.get("rotation", 0))
        return rectangle(label, around_turned(corners, degrees) if degrees else corners)
    if element.tag == "polygon":
        found = polygon(label, [p.split(",") for p in element.attrib["points"].split(";")])
        beside = next((a.text for a in element.findall("attribute") if a.get("name") == "box"), "")
        return boxed(found, (beside or "").split(","))
    if element.tag == "ellipse":
        value = {key: float(element.attrib[key]) for key in ("cx", "cy", "rx", "ry")}
        degrees = float(element.get("rotation", 0))
        return ellipse(label, (value["cx"], value["cy"]), (value["rx"], value["ry"]), degrees)
    if element.tag == "mask":
        left, top = float(element.attrib["left"]), float(element.attrib["top"])
        width, height = float(element.attrib["width"]), float(element.attrib["height"])
        return rectangle(label, (left, top, left + width, top + height))
    raise not_an_object(element.tag)


PARSERS: tuple[tuple[str, Parser], ...] = (("CVAT XML", cvat),)
