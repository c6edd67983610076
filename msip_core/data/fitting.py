"""Labels brought onto their image: corners as the label file has them -> pixels as stored.

A label file may speak of another size of the picture (it was shrunk after labelling), of the
sensor's orientation (the camera's tag turns the picture upright, and that is how it is stored
here), or of fractions. What is certain is converted and said; what is not leaves the image out.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from msip_core.boxes import iou_matrix
from msip_core.data.labels import ImageLabels, LabelledObject
from msip_core.data.micrographs import is_tiff, reader_of
from msip_core.errors import DatasetError
from msip_core.messages import msg

Points = NDArray[np.float64]
Move = Callable[[Points], Points]

# Boxes that are drawn by hand reach a little over the border.
_SLACK_PIXELS = 2.0
_SLACK_SHARE = 0.02
_FARTHEST = 1e9  # pixels
# Single boxes outside are slips, and are named; more of them belong to another picture.
_MOST_OUTSIDE = 0.2
# Boxes of one class that overlap so far are one object to two label files.
_SAME_OBJECT = 0.5
_AT_ONCE = 512


def fit_labels(labels: ImageLabels, width: int, height: int, orientation: int = 1) -> ImageLabels:
    """The labels of one image in pixels of the stored image.

    Args:
        labels: as a reader gives them, in the units that they state.
        width, height: of the stored image, which is upright.
        orientation: the camera's tag (EXIF) of the original, 1 to 8.

    Raises:
        DatasetError: labels and image do not belong together, or it is not sure how.
    """
    if not labels.objects:
        return labels
    labels = replace(labels, objects=[_moved(obj, _within_reach) for obj in labels.objects])
    _check_files(labels.objects)
    if labels.unit == "fractions":
        _check_order(labels.objects, width, height)
        move, note = _scale(width, height), _turned_note(orientation)
    elif labels.unit == "yolo_pixels":
        move, note = _yolo_pixels(labels, width, height)
    else:
        labels, move, note = _from_pixels(labels, width, height, orientation)
    objects = [_moved(obj, move) for obj in labels.objects]
    _check_inside(objects, width, height)
    notes = [*labels.notes, *([note] if note else [])]
    return replace(labels, objects=objects, notes=notes, unit="pixels", picture=(width, height))


def orientation_of(source: bytes | Path) -> int:
    """The camera's tag of a JPEG or PNG, 1 (upright) to 8; 1 if there is none."""
    head, file = _head(source)
    reader = reader_of(head)
    if reader is None:
        return 1
    try:
        with reader(file) as image:
            value = image.getexif().get(0x0112, 1)
    # What Pillow raises on damaged files; the image itself was read, only its tags are odd.
    except (OSError, SyntaxError, ValueError, LookupError, TypeError):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _head(source: bytes | Path) -> tuple[bytes, io.BytesIO | Path]:
    """The first bytes of a file, and it as its reader takes it."""
    if isinstance(source, bytes):
        return source[:8], io.BytesIO(source)
    with source.open("rb") as file:
        return file.read(8), source


def check_upright(source: bytes | Path) -> None:
    """Programs differ in whether they turn a TIFF by its tag, so its labels may be for either.

    Raises:
        DatasetError: the image is a TIFF that its tag turns.
    """
    head, file = _head(source)
    if not is_tiff(head):
        return
    try:
        with tifffile.TiffFile(file) as tiff:
            tag = tiff.pages.first.tags.get(274)
    # What tifffile raises on damaged files; the image itself was read, only its tags are odd.
    except (tifffile.TiffFileError, OSError, ValueError, LookupError, TypeError, struct.error):
        return
    if tag is not None and tag.value in range(2, 9):
        raise _unsure_turn()


def same_shape(stated: tuple[float, float], width: float, height: float) -> bool:
    """Whether a picture of the stated size, shrunk or enlarged, has this width and height.

    The sides of a resized picture are rounded, so each may be off by one.
    """
    other_width, other_height = stated
    across, along = width / other_width, height / other_height
    return abs(other_height * across - height) <= max(1.0, across) or abs(
        other_width * along - width
    ) <= max(1.0, along)


# --- pixels -------------------------------------------------------------------


def _from_pixels(
    labels: ImageLabels, width: int, height: int, orientation: int
) -> tuple[ImageLabels, Move, str | None]:
    """Corners in pixels of the picture that the labels state, or fractions in their place."""
    small = [_is_fraction(obj) for obj in labels.objects]
    if any(small) and any(obj.xyxy == (0, 0, 1, 1) for obj in labels.objects):
        raise DatasetError(
            "a box from 0, 0 to 1, 1 is one pixel or the whole image: left out, since it is not "
            "sure which is meant"
        )
    if all(small):
        note = msg("corners between 0 and 1 were taken as fractions of the image")
        return labels, _scale(width, height), note
    if any(small):
        raise DatasetError(
            "{small} of its {n} boxes are fractions of the image and the others "
            "pixels: left out, since it is not sure which are meant; write them all in pixels",
            small=sum(small),
            n=len(small),
        )
    if labels.one_based:
        labels = replace(labels, objects=[_zero_based(obj) for obj in labels.objects])
    stated = labels.picture
    if stated is None:
        return labels, *_without_size(labels, width, height, orientation)
    return labels, *_with_size(stated, width, height, orientation)


def _with_size(
    stated: tuple[float, float], width: int, height: int, orientation: int
) -> tuple[Move, str | None]:
    """Labels that say how large their picture is: turned or scaled from there."""
    sizes = {"size": _size(stated), "own": _size((width, height))}
    if orientation != 1:
        turned = orientation >= 5 and same_shape(stated, height, width)
        upright = orientation >= 5 and same_shape(stated, width, height)
        if turned and not upright:
            turn = _turn(orientation, height, width)
            scale = _scale(height / stated[0], width / stated[1])
            note = msg(
                "boxes turned into the upright image: they are for {size} pixels of the "
                "sensor, and the camera's tag turns the image to {own}",
                **sizes,
            )
            return lambda points: turn(scale(points)), note
        if orientation < 5 or turned:
            raise _unsure_turn()
    if max(abs(stated[0] - width), abs(stated[1] - height)) < 0.5:
        return _same, None
    if same_shape(stated, width, height):
        note = msg("boxes scaled from {size} to {own} pixels", **sizes)
        return _scale(width / stated[0], height / stated[1]), note
    raise DatasetError(
        "its labels are for an image of {size} pixels, and it has "
        "{own}: left out; export the labels of this very image",
        **sizes,
    )


def _without_size(
    labels: ImageLabels, width: int, height: int, orientation: int
) -> tuple[Move, str | None]:
    """Labels that do not say how large their picture is: as they are, if all boxes fit."""
    fits = _all_inside(labels.objects, width, height)
    if orientation == 1 and fits:
        return _same, None
    if orientation >= 5 and width != height:
        fits_sensor = _all_inside(labels.objects, height, width)
        if fits and not fits_sensor:
            return _same, None
        if fits_sensor and not fits:
            note = msg("boxes turned into the upright image: they fit the sensor's only")
            return _turn(orientation, height, width), note
    if orientation != 1 and fits:
        raise _unsure_turn()
    reach = np.array([obj.xyxy for obj in labels.objects], dtype=np.float64)
    raise DatasetError(
        "its boxes reach from {low:.0f} to {right:.0f}, {bottom:.0f}, and the image has {size} "
        "pixels: left out, since the labels do not say for which size they are",
        low=reach.min(),
        right=reach[:, 2].max(),
        bottom=reach[:, 3].max(),
        size=_size((width, height)),
    )


def _unsure_turn() -> DatasetError:
    return DatasetError(
        "the camera's tag turns it, and its labels do not say whether they are for the turned "
        "image: export the image upright, without the camera's tag, and label that"
    )


def _zero_based(obj: LabelledObject) -> LabelledObject:
    """Pascal VOC counts pixels from 1, and both corners are inside: the lower ones shift."""
    x1, y1, x2, y2 = obj.xyxy
    outline = None if obj.outline is None else obj.outline - 1
    return replace(obj, xyxy=(x1 - 1, y1 - 1, x2, y2), outline=outline)


def _is_fraction(obj: LabelledObject) -> bool:
    """Whether these can be no pixels: all corners lie within the first pixel."""
    x1, y1, x2, y2 = obj.xyxy
    return min(x1, y1) >= 0 and max(x2, y2) <= 1 and x2 > x1 and y2 > y1


def _yolo_pixels(labels: ImageLabels, width: int, height: int) -> tuple[Move, str | None]:
    """YOLO lines with pixels where fractions belong.

    Programs that write pixels there write other orders of the four numbers too. YOLO's own (centre
    and size) is certain only if corner and size, or two corners, could not be inside the image.
    """
    boxes = np.array([obj.xyxy for obj in labels.objects if obj.outline is None]).reshape(-1, 4)
    note = msg("numbers above 1 were taken as pixels")
    if not _all_inside(labels.objects, width, height):
        raise DatasetError(
            "coordinates are not fractions of the image, and as pixels they lie outside: left out"
        )
    if len(boxes) == 0:
        return _same, note
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + size / 2
    limit = np.array([width, height]) + _slack(width, height)
    corner_and_size = bool((centre + size <= limit).all())
    two_corners = bool((size > centre).all() and (size <= limit).all())
    if corner_and_size or two_corners:
        raise DatasetError(
            "coordinates are not fractions of the image, and as pixels they may be centre and size "
            "or corners: left out; write them as YOLO's fractions (class, centre x and y, width, "
            "height)"
        )
    return _same, note


# --- moving -------------------------------------------------------------------


def _within_reach(points: Points) -> Points:
    """Corners of any size as such that can be calculated with; they stay outside the image."""
    return np.clip(points, -_FARTHEST, _FARTHEST)


def _same(points: Points) -> Points:
    return points


def _scale(across: float, along: float) -> Move:
    return lambda points: points * np.array([across, along])


def _turn(orientation: int, width: float, height: float) -> Move:
    """Points of the sensor's picture (width x height) -> points of the upright one."""
    flip_x, flip_y = orientation in (2, 3, 7, 8), orientation in (3, 4, 6, 7)

    def move(points: Points) -> Points:
        x = width - points[:, 0] if flip_x else points[:, 0]
        y = height - points[:, 1] if flip_y else points[:, 1]
        return np.stack([y, x] if orientation >= 5 else [x, y], axis=1)

    return move


def _moved(obj: LabelledObject, move: Move) -> LabelledObject:
    if move is _same:
        return obj
    corners = move(np.array(obj.xyxy, dtype=np.float64).reshape(2, 2))
    (x1, y1), (x2, y2) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    outline = None if obj.outline is None else move(obj.outline)
    crypts = None if obj.crypts is None else tuple(move(points) for points in obj.crypts)
    return replace(obj, xyxy=(x1, y1, x2, y2), outline=outline, crypts=crypts)


# --- checks -------------------------------------------------------------------


def _check_inside(objects: list[LabelledObject], width: int, height: int) -> None:
    """Boxes that lie mostly outside are of another picture; clipping would make slivers of them."""
    outside = sum(_share_inside(obj, width, height) < 0.5 for obj in objects)
    if outside > _MOST_OUTSIDE * len(objects):
        raise DatasetError(
            "{outside} of its {n} boxes lie mostly outside the image "
            "({size} pixels): left out; check that these labels belong to it",
            outside=outside,
            n=len(objects),
            size=_size((width, height)),
        )


def _check_files(objects: list[LabelledObject]) -> None:
    """Two label files may mark objects of two kinds in one image, but not one object twice: then
    one of them is an older version, or another person's."""
    files = list(dict.fromkeys(obj.file for obj in objects))
    if len(files) < 2:
        return
    boxes = np.array([obj.xyxy for obj in objects], dtype=np.float64)
    for start in range(0, len(boxes), _AT_ONCE):
        iou = iou_matrix(boxes[start : start + _AT_ONCE], boxes)
        # A box that is exactly the same is a copy, and is left out once.
        for i, j in np.argwhere((iou >= _SAME_OBJECT) & (iou < 1 - 1e-6)).tolist():
            one, other = objects[start + i], objects[j]
            if one.file != other.file and one.name == other.name:
                raise DatasetError(
                    "{one} and {other} mark an object of it in two ways (at {x:.0f}, {y:.0f}): "
                    "left out, since it is not sure which is right; keep one of these files",
                    one=one.file,
                    other=other.file,
                    x=one.xyxy[0],
                    y=one.xyxy[1],
                )


def _check_order(objects: list[LabelledObject], width: int, height: int) -> None:
    """Fractions that may be two corners, where YOLO has centre and size.

    As centre and size one of them reaches outside, and as corners all of them would be boxes.
    """
    boxes = np.array([obj.xyxy for obj in objects if obj.outline is None]).reshape(-1, 4)
    if not len(boxes):
        return
    size, centre = boxes[:, 2:] - boxes[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2
    slack = _slack(width, height) / np.array([width, height])
    reaches = (boxes[:, :2] < -slack).any() or (boxes[:, 2:] > 1 + slack).any()
    if reaches and bool((size > centre).all() and (size <= 1).all() and (centre >= 0).all()):
        raise DatasetError(
            "its boxes reach outside as centre and size (YOLO), and would all be inside as two "
            "corners: left out, since it is not sure which are meant"
        )


def _share_inside(obj: LabelledObject, width: float, height: float) -> float:
    x1, y1, x2, y2 = obj.xyxy
    area = (x2 - x1) * (y2 - y1)
    if area <= 0:
        return 1.0  # no box at all; named as such later
    inside = max(0.0, min(x2, width) - max(x1, 0)) * max(0.0, min(y2, height) - max(y1, 0))
    return inside / area


def _all_inside(objects: list[LabelledObject], width: float, height: float) -> bool:
    boxes = np.array([obj.xyxy for obj in objects], dtype=np.float64).reshape(-1, 4)
    slack = _slack(width, height)
    limit = np.array([width, height]) + slack
    return bool((boxes[:, :2] >= -slack).all() and (boxes[:, 2:] <= limit).all())


def _slack(width: float, height: float) -> Points:
    return np.maximum(_SLACK_PIXELS, _SLACK_SHARE * np.array([width, height]))


def _size(size: tuple[float, float]) -> str:
    return f"{size[0]:g} × {size[1]:g}"


def _turned_note(orientation: int) -> str | None:
    if orientation == 1:
        return None
    return msg(
        "the camera's tag turns it; fractions were taken of the upright image, as Ultralytics does"
    )
