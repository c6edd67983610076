"""The last lines of a log, without reading all of it."""

from __future__ import annotations

import os
from pathlib import Path

_BLOCK = 1 << 16


def last_lines(path: Path, lines: int) -> str:
    """Up to `lines` last lines; "" where there is no file. Progress bars that redraw one line
    (carriage return) are shown as they stood last."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            data = b""
            while end > 0 and data.count(b"\n") <= lines:
                start = max(0, end - _BLOCK)
                file.seek(start)
                data = file.read(end - start) + data
                end = start
    except FileNotFoundError:
        return ""
    text = data.decode("utf-8", "replace").removesuffix("\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text[-lines:])
