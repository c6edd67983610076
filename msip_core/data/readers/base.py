"""What a reader of a microscope's file tells, and the planes that it reads one at a time."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np

from msip_core.data.enhance import Raw
from msip_core.errors import DatasetError
from msip_core.events import Record
from msip_core.messages import Telling, Words

MAX_PIXELS = 128_000_000  # of one plane, as `micrographs` reads any other image


class Scene(Record, Telling):
    """One field of view (position, series, scene) of a file.

    Attributes:
        name: as the microscope calls it; "" without one.
        width, height: pixels of a plane.
        z, times: z planes and time points, at least 1.
        channels: their names in order, "" where one has none.
        pixel_size_um: micrometres per pixel, None if the file does not say.
        well, plate, field: such as "B03", "exp 7" and 2 where the file says so.
        notes: what else was decided, such as how tiles were joined.
    """

    name: str = ""
    width: int
    height: int
    z: int = 1
    times: int = 1
    channels: tuple[str, ...] = ("",)
    pixel_size_um: float | None = None
    well: str | None = None
    plate: str | None = None
    field: int | None = None
    notes: tuple[Words, ...] = ()


class Reader(Protocol):
    """An open file. Headers are read at once, pixels only by `plane`.

    Attributes:
        scenes: what can be read.
        left_out: what cannot, and why, one sentence each.
    """

    scenes: list[Scene]
    left_out: list[str]

    def plane(self, scene: int, channel: int, z: int, time: int) -> Raw:
        """(height, width) or (height, width, 3) RGB, as deep as the file. All count from 0."""

    def close(self) -> None: ...


class Kind(NamedTuple):
    """One kind of file.

    Attributes:
        name: for people.
        suffixes: ends of names, lower case.
        module: that must be there, "" if it always is.
        reader: the class that reads a path, by its import string: few sources need one.
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    reader: str


def image_of(pixels: Raw, *, bgr: bool = False) -> Raw:
    """A plane as it comes from a library -> (height, width) or (height, width, 3) RGB.

    Raises:
        DatasetError: complex or other values that are no grey.
    """
    values = np.asarray(pixels)
    if values.ndim == 3 and values.shape[-1] in (1, 2):
        values = values[..., 0]
    elif values.ndim == 3 and bgr:
        values = values[..., 2::-1]
    elif values.ndim == 3:
        values = values[..., :3]
    if values.ndim not in (2, 3) or values.dtype.kind not in "uif":
        raise DatasetError("holds values that are no picture ({dtype})", dtype=values.dtype)
    return np.ascontiguousarray(values)


def micrometres(metres: object) -> float | None:
    """Metres per pixel as a file states them -> micrometres; None if it is no size.

    Files that do not know it state nothing, 0 or 1 (one metre).
    """
    try:
        value = float(str(metres)) * 1e6
    except ValueError:
        return None
    # Nine digits: 1.6e-6 m are 1.6 µm, not 1.5999999999999999.
    return float(f"{value:.9g}") if math.isfinite(value) and 1e-4 < value < 1e4 else None
