"""The last lines of a log, without reading all of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 16
_MOST = 1 << 20  # bytes that are shown of a log, where a line has no end


def last_lines(path: Path, lines: int) -> str:
    """Up to `lines` last lines; "" where there is no file. Progress bars that redraw one line
    (carriage return) are shown as they stood last."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            data = b""
            while end > 0 and data.count(b"\n") <= lines and len(data) < _MOST:
                start = max(0, end - _BLOCK)
                file.seek(start)
                data = file.read(end - start) + data
                end = start
    except FileNotFoundError:
        return ""
    text = data.decode("utf-8", "replace").removesuffix("\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text[-lines:])


def end_of_lines(file: BinaryIO) -> int:
    """The offset behind the last line that has its end; what follows is being written."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def newest_first(
    file: BinaryIO, end: int, limit: int, *, holding: bytes = b"", down_to: int = 0
) -> Iterator[tuple[int, bytes]]:
    """Lines from the last to the first, each with its offset, reading no more than is asked for.

    Args:
        end, down_to: offsets of beginnings of lines.
        limit: longer lines are left out.
        holding: bytes without which a line is left out, at a hundredth of the cost of a look.
    """
    rest, too_long = b"", False
    while end > down_to:
        start = max(down_to, end - _BLOCK)
        file.seek(start)
        block = file.read(end - start) + rest
        at = start + len(block)
        # One that holds it nowhere need not be taken apart: what its first line continues is all.
        lines = block.split(b"\n", -1 if holding in block else 1)
        rest = lines.pop(0) if start > down_to else b""
        if too_long and lines:  # its beginning: the end of it was thrown away before
            at -= len(lines.pop()) + 1
            too_long = False
        for line in reversed(lines):
            at -= len(line)
            if 0 < len(line) <= limit and holding in line:
                yield at, line
            at -= 1
        if len(rest) > limit or too_long:
            rest, too_long = b"", True
        end = start
