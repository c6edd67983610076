"""PNG of a field of any size, some rows at a time: neither the image nor its file is in memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from msip_core.data.regions import Field, Pixels
from msip_core.errors import DatasetError

_LEVEL = 1  # of zlib: micrographs are noise, for which more effort gives a hundredth
_GREY, _COLOUR, _UP = 0, 2, 2  # as the format numbers them; "up" is the row minus the one above


def png_of(field: Field) -> Iterator[bytes]:
    """The file, in parts; grey images have one channel, as `encode_png` gives it."""
    grey = all(map(_is_grey, field.bands()))
    yield b"\x89PNG\r\n\x1a\n"
    kind = _GREY if grey else _COLOUR
    yield _chunk(b"IHDR", struct.pack(">IIBBBBB", field.width, field.height, 8, kind, 0, 0, 0))
    packed = zlib.compressobj(_LEVEL)
    above = np.zeros(field.width * (1 if grey else 3), np.uint8)
    for part in field.bands():
        rows = (part[..., 0] if grey else part).reshape(len(part), -1)
        lines = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
        lines[:, 0] = _UP
        lines[0, 1:] = rows[0] - above
        np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
        above = rows[-1].copy()
        if data := packed.compress(lines.data):
            yield _chunk(b"IDAT", data)
    yield _chunk(b"IDAT", packed.flush())
    yield _chunk(b"IEND", b"")


def encode_png(pixels: Pixels) -> bytes:
    """PNG bytes of (height, width, 3) RGB; grey images are stored with one channel."""
    image = pixels[..., 0] if _is_grey(pixels) else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", np.ascontiguousarray(image))
    if not done:
        raise DatasetError("could not be written as PNG")
    return bytes(data.tobytes())


def _is_grey(pixels: Pixels) -> bool:
    first = pixels[..., :1]
    return bool((pixels[..., 1:] == first).all())


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
