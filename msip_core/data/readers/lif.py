"""LIF of Leica through liffile: every image of the project is a scene."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from msip_core.data.enhance import Raw
from msip_core.data.readers.base import Scene, image_of, micrometres
from msip_core.errors import DatasetError
from msip_core.messages import msg

_SPECTRAL = ("λ", "Λ")  # emission and excitation: as channels, named by wavelength
_WELL = re.compile(r"(?:^|[/ _])([A-P])[/ _]?(0?[1-9]|1\d|2[0-4])(?=$|[/ _])")
_HELD = 2**28  # bytes of an image whose planes do not lie one after the other


class LifFile:
    """See `base.Reader`. Sections along z (XZ) are no pictures of a field and are left out."""

    def __init__(self, path: Path) -> None:
        import liffile

        self._file = liffile.LifFile(path)
        self.scenes: list[Scene] = []
        self.left_out: list[str] = []
        self._images: list[Any] = []
        for image in self._file.images:
            sizes = dict(image.sizes)
            if not {"X", "Y"} <= set(sizes):
                axes = "".join(image.dims)
                self.left_out.append(
                    msg(
                        "'{name}' is no picture of a field (axes {axes})",
                        name=image.name,
                        axes=axes,
                    )
                )
                continue
            self._images.append(image)
            self.scenes.append(_scene(image, sizes))

    def plane(self, scene: int, channel: int, z: int, time: int) -> Raw:
        image = self._images[scene]
        sizes = dict(image.sizes)
        wave = next((axis for axis in _SPECTRAL if axis in sizes), None)
        colours = sizes.get("C", 1)
        at = {"Z": z, "T": time, "C": channel % colours}
        if wave:
            at[wave] = channel // colours
        index = {axis: at.get(axis, 0) for axis in image.dims if axis not in "YXS"}
        inner = tuple(axis for axis in image.dims if axis != "S")[-2:]
        if inner == ("Y", "X"):
            return image_of(image.frame(**index))
        if image.nbytes > _HELD:
            raise DatasetError(
                "'{name}' does not hold its planes as pictures: export it", name=image.name
            )
        whole = np.asarray(image.asarray())
        order = [axis for axis in image.dims if axis in "YXS"]
        part = whole[tuple(index.get(axis, slice(None)) for axis in image.dims)]
        return image_of(part.transpose([order.index(axis) for axis in "YXS" if axis in order]))

    def close(self) -> None:
        self._file.close()


def _scene(image: Any, sizes: dict[str, int]) -> Scene:
    wave = next((axis for axis in _SPECTRAL if axis in sizes), None)
    names = _channel_names(image, sizes.get("C", 1))
    if wave:
        waves = [f"{float(length) * 1e9:.0f} nm" for length in image.coords[wave]]
        names = tuple(f"{name} {w}".strip() for w in waves for name in names)
    known = {"X", "Y", "Z", "T", "C", "S", wave}
    others = [axis for axis, length in sizes.items() if axis not in known and length > 1]
    place = str(image.path).partition("/")[2] or image.name
    well = _WELL.search(place)
    return Scene(
        name=place,
        width=sizes["X"],
        height=sizes["Y"],
        z=sizes.get("Z", 1),
        times=sizes.get("T", 1),
        channels=names,
        pixel_size_um=_pixel_size(image),
        well=f"{well[1]}{int(well[2]):02d}" if well else None,
        notes=tuple(
            msg("first of {sizes} along axis {axis}", sizes=sizes[axis], axis=axis)
            for axis in others
        ),
    )


def _pixel_size(image: Any) -> float | None:
    xs = image.coords.get("X")
    return micrometres(abs(float(xs[1]) - float(xs[0]))) if xs is not None and len(xs) > 1 else None


def _channel_names(image: Any, count: int) -> tuple[str, ...]:
    """Dye or light of each channel, as LAS X writes them; "" where it does not say."""
    found = []
    for channel in image.xml_element.iterfind(".//ChannelDescription"):
        told = {
            str(p.findtext("Key") or p.get("Key")): str(p.findtext("Value") or p.get("Value") or "")
            for p in channel.iterfind(".//ChannelProperty")
        }
        words = (told.get("DyeName"), told.get("ContrastingMethodName"), channel.get("LUTName"))
        found.append(next((word for word in words if word), ""))
    return tuple(found) if len(found) == count else ("",) * count
