"""CZI of Zeiss, through Zeiss's own libCZI: Zstd and JPEG XR, tiles of a mosaic joined."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msip_core.data.enhance import Raw
from msip_core.data.readers.base import Scene, image_of, micrometres
from msip_core.data.wells import plain_well
from msip_core.errors import DatasetError
from msip_core.messages import mark

_JOINED = mark("tiles joined where the microscope placed them")


class CziFile:
    """See `base.Reader`. Scenes of one file may have different sizes."""

    def __init__(self, path: Path) -> None:
        from pylibCZIrw import czi

        self._file = czi.CziReader(str(path))
        self.left_out: list[str] = []
        document = _dict(_dict(self._file.metadata).get("ImageDocument")).get("Metadata")
        metadata = _dict(document)
        image = _dict(_dict(metadata.get("Information")).get("Image"))
        extents = {axis: end - start for axis, (start, end) in _box(self._file).items()}
        places = self._file.scenes_bounding_rectangle
        self._areas: list[int | None] = sorted(places) or [None]
        told = _scenes(image)
        self._starts = {axis: start for axis, (start, _) in _box(self._file).items()}
        shared = {
            "z": extents.get("Z", 1),
            "times": extents.get("T", 1),
            "channels": _channels(image, extents.get("C", 1)),
            "pixel_size_um": _pixel_size(metadata),
            "notes": (_JOINED,) if _int(image.get("SizeM")) > 1 else (),
        }
        self.scenes = [
            _scene(
                told.get(area) or {},
                (places[area].w, places[area].h)
                if area is not None
                else (extents["X"], extents["Y"]),
                shared,
            )
            for area in self._areas
        ]

    def plane(self, scene: int, channel: int, z: int, time: int) -> Raw:
        at = {"C": channel, "Z": z, "T": time}
        plane = {axis: self._starts.get(axis, 0) + number for axis, number in at.items()}
        pixels = self._file.read(plane=plane, scene=self._areas[scene])
        return image_of(pixels, bgr=True)

    def close(self) -> None:
        self._file.close()


def _box(file: Any) -> dict[str, tuple[int, int]]:
    box = dict(file.total_bounding_box)
    if "X" not in box or "Y" not in box:
        raise DatasetError("holds no image")
    return box


def _scene(told: Mapping[str, object], size: tuple[int, int], shared: Mapping[str, Any]) -> Scene:
    """One scene: `told` is what the metadata say of it, `shared` what is true of all."""
    shape = _dict(told.get("Shape"))
    row, column = _int(shape.get("RowIndex")) - 1, _int(shape.get("ColumnIndex")) - 1
    named = re.fullmatch(r"[A-P]\d{1,2}", str(told.get("ArrayName") or shape.get("@Name") or ""))
    return Scene(
        name=str(told.get("@Name") or ""),
        width=size[0],
        height=size[1],
        well=plain_well(row, column) if named else None,
        **shared,
    )


def _scenes(image: Mapping[str, object]) -> dict[int | None, dict[str, object]]:
    dimensions = _dict(image.get("Dimensions"))
    scenes = _list(_dict(_dict(dimensions.get("S")).get("Scenes")).get("Scene"))
    return {_int(scene.get("@Index")): scene for scene in scenes}


def _channels(image: Mapping[str, object], count: int) -> tuple[str, ...]:
    told = _list(_dict(_dict(image.get("Dimensions")).get("Channels")).get("Channel"))
    names = [" ".join(filter(None, (str(c.get("@Name") or ""), _light(c)))) for c in told]
    return tuple(names) if len(names) == count else ("",) * count


def _light(channel: Mapping[str, object]) -> str:
    """How a channel was lit, where that is transmitted light."""
    lit = f"{channel.get('IlluminationType') or ''} {channel.get('ContrastMethod') or ''}"
    method = str(channel.get("ContrastMethod") or "Brightfield")
    return method if "transmitted" in lit.lower() else ""


def _pixel_size(metadata: Mapping[str, object]) -> float | None:
    items = _list(_dict(_dict(metadata.get("Scaling")).get("Items")).get("Distance"))
    return next((micrometres(i.get("Value")) for i in items if i.get("@Id") == "X"), None)


def _dict(value: Any) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[dict[str, object]]:
    """An element of XML that occurs once comes alone, not as a list of one."""
    return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, dict)]


def _int(value: Any) -> int:
    text = str(value)
    return int(text) if text.isdecimal() and len(text) < 9 else 0
