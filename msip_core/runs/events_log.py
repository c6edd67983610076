"""The story of one run on disk: events.jsonl, one JSON object a line, only ever appended to.

Worker, supervisor and pages write to the same file, so each append holds a file lock; `seq`
counts without gaps. The state of a run is the last `state` line: `transition` is the one
compare-and-set write, and it works the same whether or not a server is alive.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock

from msip_core.errors import IllegalTransitionError, NotFoundError
from msip_core.events import Record
from msip_core.runs.state import RunState, check_transition

logger = logging.getLogger(__name__)

FILE_NAME = "events.jsonl"
# A power cut may cost the last epoch's line, never the end of a stage or a change of state.
SYNCED = frozenset({"state", "stage", "baseline", "iteration", "final"})
_BLOCK = 1 << 16

Event = dict[str, Any]


class EventLog:
    """Append to and read from the story of one run.

    A process that dies while writing leaves half a line at the end. Readers wait for the line
    end; the next writer cuts the half line off.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / FILE_NAME
        self._known_end = -1  # file size after our own last append
        self._known_seq = 0

    @cached_property
    def _lock(self) -> BaseFileLock:
        return FileLock(self.path.with_name(".events.lock"))

    def emit(self, record: Record) -> int:
        """Append one record of msip_core.events and return its seq."""
        return self.append(record.model_dump(mode="json"))

    def append(self, value: Event) -> int:
        """Append one object with a `kind`; `seq` and `time` (seconds since 1970) are added."""
        with self._lock:
            return self._append(value)

    def read(self, after_seq: int = 0) -> list[Event]:
        """All whole events with a seq above `after_seq`, oldest first."""
        return [event for event in self.read_from(0)[0] if event["seq"] > after_seq]

    def read_from(self, offset: int) -> tuple[list[Event], int]:
        """Whole events behind a byte offset, and the offset to go on from."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:
            return [], offset
        whole = data[: data.rfind(b"\n") + 1]
        events = [e for e in (_parse(line, self.path) for line in whole.splitlines()) if e]
        return events, offset + len(whole)

    def size(self) -> int:
        """Bytes in the file; 0 where there is none."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def last(self, kind: str) -> Event | None:
        """The newest event of one kind, found from the end of the file."""
        return next((event for event in self._backwards() if event["kind"] == kind), None)

    def state(self) -> RunState:
        """Where the run is now."""
        event = self.last("state")
        if event is None:
            raise NotFoundError(f"{self.path} holds no state: this is not a run folder.")
        return RunState(event["state"])

    def transition(
        self,
        target: RunState,
        *,
        expected: Collection[RunState] | None = None,
        reason: str | None = None,
        exit_code: int | None = None,
    ) -> RunState:
        """Change the state if it is still one of `expected` (None: any that may).

        Args:
            reason: one sentence for a person: why the run failed or was interrupted.
            exit_code: of the error behind it (1 the work failed, 2 the input was wrong).

        Returns:
            The state before.

        Raises:
            IllegalTransitionError: somebody else changed the state first, or the table forbids it.
        """
        with self._lock:
            current = self.state()
            if expected is not None and current not in expected:
                raise IllegalTransitionError(
                    f"The run is {current} by now, so it cannot become {target}."
                )
            check_transition(current, target)
            self._append(
                {
                    "kind": "state",
                    "state": target.value,
                    "before": current.value,
                    "reason": reason,
                    "exit_code": exit_code,
                }
            )
            return current

    def _append(self, value: Event) -> int:
        end = self._heal()
        seq = (self._known_seq if end == self._known_end else self._last_seq()) + 1
        event = {"seq": seq, "time": round(time.time(), 3), **value}
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            if value["kind"] in SYNCED:
                os.fsync(file.fileno())
        self._known_end, self._known_seq = end + len(line), seq
        return seq

    def _heal(self) -> int:
        """Cut a half-written last line off and return the file's size."""
        size = self.size()
        if size in (self._known_end, 0):
            return size
        with self.path.open("r+b") as file:
            keep = size
            while keep > 0:
                start = max(0, keep - _BLOCK)
                file.seek(start)
                newline = file.read(keep - start).rfind(b"\n")
                if newline >= 0:
                    keep = start + newline + 1
                    break
                keep = start
            if keep < size:
                logger.warning("%s ended in half a line; it was cut off", self.path)
                file.truncate(keep)
        return keep

    def _last_seq(self) -> int:
        event = next(self._backwards(), None)
        return int(event["seq"]) if event else 0

    def _backwards(self) -> Iterator[Event]:
        """Whole events from the newest to the oldest, reading no more than is asked for."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            rest = b""
            first_block = True
            while end > 0:
                start = max(0, end - _BLOCK)
                file.seek(start)
                block = file.read(end - start) + rest
                if first_block:  # what stands behind the last line end is not whole
                    block = block[: block.rfind(b"\n") + 1]
                    first_block = not block
                lines = block.splitlines()
                rest = lines.pop(0) if lines and start > 0 else b""
                for line in reversed(lines):
                    if event := _parse(line, self.path):
                        yield event
                end = start


def _parse(line: bytes, path: Path) -> Event | None:
    if not line.strip():
        return None
    try:
        event: Event = json.loads(line)
        return event if "seq" in event and "kind" in event else None
    except ValueError:
        # A torn block after a power cut: the lines around it are still good.
        logger.warning("%s holds a line that is not JSON; it is left out", path)
        return None
