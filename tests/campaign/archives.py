"""Zips and folders: odd names, methods, sizes, damage, depth."""

from __future__ import annotations

import io
import os
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.campaign import mutate, sources
from tests.campaign.case import Case
from tests.campaign.sources import GOOD

_NAMES = (
    "../../CANARY", "../../../../../../tmp/CANARY", "/tmp/CANARY.png", "C:\\evil.png", "..\\x.png",
    "images/../../x.png", "\\\\srv\\share\\a.png", ".", "./", "..", "/", "//", "", " ", "images/.",
    "images/./q.png", "images//q.png", "./images/q.png", "a:b.png", "images/" + "x" * 300 + ".png",
    "d/" * 1500 + "q.png", "images/new\nline.png", "images/esc\x1b[2J.png", "images/\u202egnp.png",
    "images/😀.png", "images/e\u0301.png", "con.png", "images/q.png ", "images/=cmd|'/c'!A1.png",
    "images/<img src=x onerror=alert(1)>.png", "nul\0.png", "images/p0.png\0.exe", "~/x.png",
    "$HOME/x.png", "%2e%2e/x.png", "images/![x](http:⁄⁄127.0.0.1).png", "images/\ufeffq.png",
)  # fmt: skip
_BOMBS = {"images/b.png": 300, "labels/b.txt": 200, "a.csv": 200, "a.json": 200, "a.xml": 200,
          "data.yaml": 80, "classes.txt": 200}  # fmt: skip
_METHODS = {"stored": 0, "deflated": 8, "bzip2": 12, "lzma": 14}
# Places of fields in an entry of a zip's directory (APPNOTE 4.3.12).
_FIELDS = {"needs": (6, "<H"), "flags": (8, "<H"), "method": (10, "<H"), "packed": (20, "<I"),
           "size": (24, "<I"), "name length": (28, "<H"), "offset": (42, "<I")}  # fmt: skip


def cases(count: int) -> Iterator[Case]:
    for name in _NAMES:
        yield _case(f"an entry called {name!r:.50}", _extra_entry(name), keeps=GOOD)
    for method in _METHODS:
        yield _case(f"packed by {method}", _packed(method), keeps=GOOD)
        for victim in ("images/p0.png", "labels/p0.txt", "data.yaml"):
            # Whoever loses data.yaml keeps every image: classes then have numbers for names.
            keeps = GOOD - 1 if victim != "data.yaml" else None
            yield _case(f"{victim} damaged, {method}", _damaged(method, victim), keeps=keeps)
    for field, values in _header_values().items():
        for value in values:
            yield _case(f"{field} of an entry is {value}", _header(field, value))
    yield _case("1500 folders deep", lambda chance: b"", folder=_deep)
    yield _case("links, loops and pipes", lambda chance: b"", keeps=GOOD, folder=_links)
    yield _case("a name that is no UTF-8", lambda chance: b"", keeps=GOOD, folder=_not_utf8)
    for name, size in _BOMBS.items():
        for fill in (b"\n", b"0 .5 .5 .1 .1\n", b"[[[["):
            yield _case(f"{size} MB of {fill!r} as {name}", _bomb(name, size, fill))
    for number in range(count):
        yield _case(f"mutant {number}", lambda chance: mutate.bytes_(_good("deflated"), chance))


def _case(
    name: str,
    data: Callable[[random.Random], bytes],
    *,
    keeps: int | None = None,
    folder: Callable[[Path], Path] | None = None,
) -> Case:
    def make(place: Path, chance: random.Random) -> list[str]:
        if folder:
            return ["data", "import", str(folder(place)), "--name", "hostile"]
        (place / "in.zip").write_bytes(data(chance))
        return ["data", "import", str(place / "in.zip"), "--name", "hostile"]

    return Case("folders and zips", name, make, keeps)


def _good(method: str) -> bytes:
    return sources.zipped(sources.yolo(), _METHODS[method])


def _packed(method: str) -> Callable[[random.Random], bytes]:
    return lambda chance: _good(method)


def _extra_entry(name: str) -> Callable[[random.Random], bytes]:
    def make(chance: random.Random) -> bytes:
        data = io.BytesIO(_good("deflated"))
        entry = zipfile.ZipInfo("x")
        entry.filename = name
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(data, "a") as archive:
            archive.writestr(entry, sources.png(77))
        return data.getvalue()

    return make


def _damaged(method: str, victim: str) -> Callable[[random.Random], bytes]:
    def make(chance: random.Random) -> bytes:
        data = bytearray(_good(method))
        start = data.find(victim.encode()) + len(victim) + 2
        for place in range(start, start + 8):
            data[place] ^= 0xFF
        return bytes(data)

    return make


def _header_values() -> dict[str, tuple[int, ...]]:
    words, longs = (
        (0, 1, 9, 63, 93, 99, 255, 1234, 65535),
        (0, 5, 2**20, 2**31, 2**32 - 2, 2**32 - 1),
    )
    return {field: words if how == "<H" else longs for field, (_, how) in _FIELDS.items()}


def _header(field: str, value: int) -> Callable[[random.Random], bytes]:
    def make(chance: random.Random) -> bytes:
        data = bytearray(_good("deflated"))
        offset, how = _FIELDS[field]
        struct.pack_into(how, data, data.find(b"PK\x01\x02") + offset, value)
        return bytes(data)

    return make


def _bomb(name: str, megabytes: int, fill: bytes) -> Callable[[random.Random], bytes]:
    def make(chance: random.Random) -> bytes:
        data = io.BytesIO(_good("deflated"))
        chunk = (fill * (2**20 // len(fill) + 1))[: 2**20]
        with (
            warnings.catch_warnings(action="ignore"),
            zipfile.ZipFile(data, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open(name, "w", force_zip64=True) as entry,
        ):
            for _ in range(megabytes):
                entry.write(chunk)
        return data.getvalue()

    return make


def _deep(place: Path) -> Path:
    folder = sources.write(place, sources.yolo())
    here = os.open(folder, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    return folder


def _links(place: Path) -> Path:
    folder = sources.write(place, sources.yolo())
    (folder / "images/l.png").symlink_to("/etc/passwd")
    (folder / "loop").symlink_to(folder)
    (folder / "x.txt").symlink_to("/nowhere")
    os.mkfifo(folder / "images/f.png")
    return folder


def _not_utf8(place: Path) -> Path:
    folder = sources.write(place, sources.yolo())
    (Path(os.fsdecode(os.fsencode(folder) + b"/images/\xff\xfe.png"))).write_bytes(sources.png(77))
    return folder
