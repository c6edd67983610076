"""OME-Zarr (NGFF 0.4 and 0.5) through zarr: images, plates and files of several series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msip_core.data.enhance import Raw
from msip_core.data.readers.base import Scene, image_of
from msip_core.data.wells import plain_well
from msip_core.errors import DatasetError
from msip_core.messages import msg

_UNITS = {"micrometer": 1.0, "micrometre": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "µm": 1.0}
_MOST = 100_000  # fields of a plate


class OmeZarr:
    """See `base.Reader`. Of the levels of a pyramid the finest is read."""

    def __init__(self, path: Path) -> None:
        import zarr

        self._root = zarr.open_group(str(path), mode="r")
        self.left_out: list[str] = []
        self.scenes: list[Scene] = []
        self._arrays: list[tuple[Any, list[str]]] = []
        told = _ome(self._root)
        if "plate" in told:
            self._plate(told["plate"])
        elif "multiscales" in told:
            self._image(self._root, {})
        else:
            for name, group in sorted(self._root.groups(), key=lambda pair: _numeric(pair[0])):
                if "multiscales" in _ome(group):
                    self._image(group, {"name": name})
        if not self.scenes:
            raise DatasetError("holds no image that follows OME-NGFF")

    def _plate(self, plate: dict[str, Any]) -> None:
        name = str(plate.get("name") or "") or None
        for well in plate.get("wells", [])[:_MOST]:
            path = str(well["path"])
            row, column = path.split("/")[:2]
            at = plain_well(
                well.get("rowIndex", ord(row[:1].upper()) - 65),
                well.get("columnIndex", int(column) - 1),
            )
            for number, field in enumerate(_ome(self._root[path])["well"]["images"], 1):
                group = self._root[f"{path}/{field['path']}"]
                self._image(group, {"well": at, "plate": name, "field": number})

    def _image(self, group: Any, place: dict[str, Any]) -> None:
        told = _ome(group)
        scales = told["multiscales"][0]
        level = scales["datasets"][0]
        array = group[level["path"]]
        axes = scales.get("axes") or list("tczyx")[-array.ndim :]
        names = [str(a["name"] if isinstance(a, dict) else a).lower() for a in axes]
        sizes = dict(zip(names, array.shape))
        if "x" not in sizes or "y" not in sizes or len(names) != array.ndim:
            self.left_out.append(msg("an image with the axes {names}", names="".join(names)))
            return
        labels = [str(c.get("label") or "") for c in told.get("omero", {}).get("channels", [])]
        count = sizes.get("c", 1)
        place = {"name": str(scales.get("name") or ""), **place}
        self._arrays.append((array, names))
        self.scenes.append(
            Scene(
                width=sizes["x"],
                height=sizes["y"],
                z=sizes.get("z", 1),
                times=sizes.get("t", 1),
                channels=tuple(labels) if len(labels) == count else ("",) * count,
                pixel_size_um=_pixel_size(scales, level, axes, names.index("x")),
                **place,
            )
        )

    def plane(self, scene: int, channel: int, z: int, time: int) -> Raw:
        array, names = self._arrays[scene]
        at = {"c": channel, "z": z, "t": time}
        index = tuple(slice(None) if name in "yx" else at.get(name, 0) for name in names)
        pixels = array[index]
        return image_of(pixels if names.index("y") < names.index("x") else pixels.T)

    def close(self) -> None:
        self._root.store.close()


def _ome(group: Any) -> dict[str, Any]:
    attributes = dict(group.attrs)
    return attributes.get("ome", attributes)  # 0.5 puts everything below "ome"


def _pixel_size(
    scales: dict[str, Any], level: dict[str, Any], axes: list[Any], x: int
) -> float | None:
    unit = axes[x].get("unit", "") if isinstance(axes[x], dict) else ""
    factor = _UNITS.get(str(unit).lower())
    size = factor
    for change in (
        *level.get("coordinateTransformations", []),
        *scales.get("coordinateTransformations", []),
    ):
        if size is not None and change.get("type") == "scale":
            size *= float(change["scale"][x])
    return size if size and 1e-4 < size < 1e4 else None


def _numeric(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (10**9, text)
