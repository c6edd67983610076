"""Micrographs of every kind, cut, flipped and with headers that lie, beside six good ones."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.campaign import mutate, sources
from tests.campaign.case import Case
from tests.campaign.sources import GOOD, SIDE

_TAGS = {"width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262,
         "strip offset": 273, "samples": 277, "rows per strip": 278, "strip bytes": 279,
         "x resolution": 282, "planar": 284, "sample format": 339}  # fmt: skip
_VALUES = (0, 1, 7, 64, 9999, 60000, 65535, 2**31, 2**32 - 1)


def cases(count: int) -> Iterator[Case]:
    for name, data in sources.pictures().items():
        yield _case(f"{name}, whole", name, lambda chance, d=data: d)
        for share in (0.02, 0.3, 0.7, 0.98):
            piece = data[: int(len(data) * share)]
            yield _case(f"{name} cut at {share:.0%}", name, lambda chance, d=piece: d)
    for tag, number in _TAGS.items():
        for value in _VALUES:
            yield _case(f"TIFF with {tag} {value}", "t.tif", _tag(number, value))
    for width, height in ((2**31 - 1, 2**31 - 1), (60000, 60000), (9999, 9999), (0, 0), (1, 1)):
        yield _case(f"PNG of {width}x{height}", "q.png", lambda c, w=width, h=height: _png(w, h))
    for name, data in _strange().items():
        yield _case(name, name.split(": ")[0], lambda chance, d=data: d)
    pictures = list(sources.pictures().items())
    for number in range(count):
        name, data = pictures[number % len(pictures)]
        yield _case(f"{name}, mutant {number}", name, lambda c, d=data: mutate.bytes_(d, c))


def _case(what: str, name: str, data: Callable[[random.Random], bytes]) -> Case:
    def make(place: Path, chance: random.Random) -> list[str]:
        stem = name.split(".", maxsplit=1)[0]
        files = {
            **sources.yolo(),
            f"images/{name}": data(chance),
            f"labels/{stem}.txt": b"0 .5 .5 .4 .4\n",
        }
        return ["data", "import", str(sources.write(place, files)), "--name", "hostile"]

    return Case("images", what, make, GOOD)


def _tag(number: int, value: int) -> Callable[[random.Random], bytes]:
    """A little-endian TIFF with one field of its directory replaced."""

    def make(chance: random.Random) -> bytes:
        data = bytearray(sources.pictures()["d.tif"])
        start = struct.unpack_from("<I", data, 4)[0]
        for entry in range(struct.unpack_from("<H", data, start)[0]):
            place = start + 2 + 12 * entry
            if struct.unpack_from("<H", data, place)[0] == number:
                struct.pack_into("<HII", data, place + 2, 4, 1, value)
        return bytes(data)

    return make


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def _strange() -> dict[str, bytes]:
    picture = sources.pictures()
    values = np.resize(np.array([np.nan, np.inf, -np.inf, 1e38], np.float32), (SIDE, SIDE))
    found = {
        "q.png: text": b"hello",
        "q.png: empty": b"",
        "q.tif: a PDF": b"%PDF-1.4",
        "q.png: a TIFF": picture["d.tif"],
        "q.tif: a JPEG": picture["b.jpg"],
        "q.jpg: a PNG": picture["a.png"],
        "q.tif: no numbers": sources._tiff(values),
        "q.png: SVG": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        "q.tif: complex": sources._tiff(np.ones((SIDE, SIDE), np.complex64)),
        "q.tif: float64": sources._tiff(np.full((SIDE, SIDE), 1e300)),
        "q.tif: seven axes": sources._tiff(np.zeros((2, 2, 2, 2, 2, 32, 32), np.uint8)),
        "q.tif: one pixel": sources._tiff(np.zeros((1, 1), np.uint8)),
        "q.tif: a long strip": sources._tiff(np.zeros((2, 20000), np.uint8)),
    }
    for unit, resolution in (("none", (0, 0)), ("cm", (1, 0))):
        data = bytearray(sources._tiff(sources.pixels(3)[..., 0], resolution=(300, 300)))
        place = data.find(struct.pack("<II", 300, 1))
        struct.pack_into("<II", data, place, *resolution)
        found[f"q.tif: a resolution of {resolution} per {unit}"] = bytes(data)
    xml = "<OME xmlns='http://www.openmicroscopy.org/Schemas/OME/2016-06'>{}</OME>"
    for what in ("", "<Image/>", "<Image ID='a'><Pixels SizeX='-1' SizeY='x'/></Image>", "<" * 9999,
                 '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]>'):  # fmt: skip
        text = xml.format(what) if not what.startswith("<!") else what + xml.format("&a;" * 999)
        data = sources._tiff(sources.pixels(4)[..., 0], description=text.encode(), metadata=None)
        found[f"q.ome.tif: OME-XML {what[:30]!r}"] = data
    return found
