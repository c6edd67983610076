"""ND2 of Nikon through nd2: positions are scenes, loops of z and time as they were taken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from msip_core.data.enhance import Raw
from msip_core.data.readers.base import Scene, image_of, micrometres
from msip_core.errors import DatasetError
from msip_core.messages import msg

_WELL = re.compile(r"^(?:well)?[ _]?([A-P])(0?[1-9]|1\d|2[0-4])(?![A-Za-z0-9])", re.I)


class Nd2File:
    """See `base.Reader`."""

    def __init__(self, path: Path) -> None:
        import nd2

        self._file = nd2.ND2File(path)
        self.left_out: list[str] = []
        sizes = dict(self._file.sizes)
        if "X" not in sizes or "Y" not in sizes:
            raise DatasetError("holds no pictures (axes {sizes})", sizes="".join(sizes))
        self._channels = sizes.get("C", 1)
        self._frames: dict[tuple[int, int, int], int] = {}
        for number, at in enumerate(self._file.loop_indices):
            self._frames.setdefault((at.get("P", 0), at.get("Z", 0), at.get("T", 0)), number)
        names = _positions(self._file, sizes.get("P", 1))
        size = micrometres(float(self._file.voxel_size().x) * 1e-6)
        others = [axis for axis in sizes if axis not in "TPCZYXS" and sizes[axis] > 1]
        self.scenes = [
            Scene(
                name=name,
                width=sizes["X"],
                height=sizes["Y"],
                z=sizes.get("Z", 1),
                times=sizes.get("T", 1),
                channels=_names(self._file, self._channels),
                pixel_size_um=size,
                well=_well(name),
                notes=tuple(
                    msg("first of {sizes} along axis {axis}", sizes=sizes[axis], axis=axis)
                    for axis in others
                ),
            )
            for name in names
        ]

    def plane(self, scene: int, channel: int, z: int, time: int) -> Raw:
        frame = self._frames.get((scene, z, time), 0 if not self._frames else None)
        if frame is None:
            raise DatasetError("lacks z plane {z} of time point {time}", z=z + 1, time=time + 1)
        pixels = self._file.read_frame(frame)  # (channels, Y, X), and colours last
        if self._channels > 1:
            pixels = pixels[channel]
        elif pixels.ndim > 2 and not self._file.is_rgb:
            pixels = pixels.reshape(pixels.shape[-2:])
        return image_of(pixels)

    def close(self) -> None:
        self._file.close()


def _positions(file: Any, count: int) -> list[str]:
    for loop in file.experiment:
        if loop.type == "XYPosLoop":
            names = [str(point.name or "") for point in loop.parameters.points]
            return names if len(names) == count else [""] * count
    return [""] * count


def _names(file: Any, count: int) -> tuple[str, ...]:
    channels = getattr(file.metadata, "channels", None) or []
    names = tuple(str(c.channel.name or "") for c in channels)
    return names if len(names) == count else ("",) * count


def _well(name: str) -> str | None:
    match = _WELL.match(name)
    return f"{match[1].upper()}{int(match[2]):02d}" if match else None
