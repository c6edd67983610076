"""What the command line writes: results on stdout, progress on stderr, and nothing else."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field

SHOWN = 20  # names in the text of an answer; its document has all


def say(text: str) -> None:
    """Write one line of progress to stderr; the work goes on where nobody reads it any more."""
    with suppress(BrokenPipeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


@contextmanager
def clean_stdout() -> Iterator[None]:
    """Send all that libraries print to stderr, so that stdout holds the answer alone.

    Redirects the file descriptor too: native code (OpenVINO) and child processes write there.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@dataclass(slots=True)
class ProgressLines:
    """A progress callback `(done, message)` that writes a line now and then, not at every call.

    Attributes:
        every_seconds: shortest time between two lines with the same message.
    """

    every_seconds: float = 3.0
    _message: str = field(default="", init=False)
    _last: float = field(default=float("-inf"), init=False)

    def __call__(self, done: float, message: str) -> None:
        now = time.monotonic()
        finished = done >= 1 and self._message != message
        if finished or now - self._last >= self.every_seconds:
            say(f"{done:4.0%}  {message}")
            self._message, self._last = message, now


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns of text, numbers to the right; the header alone says that there is nothing."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    right = [
        bool(rows) and all(isinstance(row[i], int | float | None) for row in rows)
        for i in range(len(header))
    ]

    def line(values: Sequence[str]) -> str:
        parts = [
            v.rjust(w) if to_right else v.ljust(w) for v, w, to_right in zip(values, widths, right)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(header), line(["-" * w for w in widths]), *map(line, cells)])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
