"""The story of one run on disk: events.jsonl, one JSON object a line, only ever appended to.

Worker, supervisor and pages write to the same file, so each append holds a file lock; `seq`
counts without gaps. The state of a run is the last `state` line: `transition` is the one
compare-and-set write, and it works the same whether or not a server is alive.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from filelock import BaseFileLock, FileLock
from pydantic import ValidationError

from msip_core.errors import IllegalTransitionError, NotFoundError
from msip_core.events import Record, parse_record
from msip_core.messages import restored, stored
from msip_core.runs.state import TRANSITIONS, RunState, check_transition
from msip_core.runs.tail import end_of_lines, newest_first
from msip_core.workspace import deleted_meanwhile

logger = logging.getLogger(__name__)

FILE_NAME = "events.jsonl"
# A power cut may cost the last epoch's line, never the end of a stage or a change of state.
SYNCED = frozenset({"state", "stage", "baseline", "iteration", "final", "counted", "memory"})
# The longest record (an iteration, with all its layers) takes some hundred kilobytes.
LINE_LIMIT = 4 << 20

Event = dict[str, Any]
# In events that a worker wrote on another computer: the seq that they have there.
THERE = "there"


class Line(NamedTuple):
    """One line of a history as it stands in the file; `event` is None where none can be read of
    it, `end` the offset behind it."""

    text: bytes
    event: Event | None
    end: int

    @property
    def is_damaged(self) -> bool:
        """Torn by a power cut, or not ours."""
        return self.event is None and bool(self.text.strip())


class EventLog:
    """Append to and read from the history of one run.

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

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else writes meanwhile.

        Raises:
            NotFoundError: the run was deleted. The lock makes its folder anew: that goes again.
        """
        folder = self.path.parent
        try:
            begun, lock = self.path.exists(), Path(self._lock.lock_file)
            # A lock alone in its folder is that of somebody else who came too late.
            late = not begun and os.listdir(folder) == [lock.name]
            with self._lock:
                if not late and (self.path.exists() or not begun):
                    yield
                    return
                with suppress(OSError):  # others are at it too
                    lock.unlink()
                    folder.rmdir()
        # Gone between two looks; or made anew by the locks of several at once.
        except (FileNotFoundError, IsADirectoryError, FileExistsError):
            if self.path.exists():
                raise
        raise deleted_meanwhile(folder.name)

    def emit(self, record: Record) -> int:
        """Append one record of msip_core.events and return its seq."""
        return self.append(record.model_dump(mode="json"))

    def append(self, value: Event) -> int:
        """Append one object with a `kind`; `seq` and `time` (seconds since 1970) are added."""
        with self.alone():
            return self._append(value)

    def take_in(self, events: Sequence[Event], after: int) -> None:
        """Append what a worker wrote into its own history on another computer, each event once.

        A change of state is taken as one of now: left out where this history does not allow it any
        more, since a person asked for something else meanwhile, and what was asked for is done.

        Args:
            events: as read there, with the seq of there.
            after: seq of the last event that the other history was begun with.
        """
        with self.alone():
            told = (e for e in self._backwards(f'"{THERE}"'.encode()) if type(e.get(THERE)) is int)
            known = next(told, None)
            seen = max(after, int(known[THERE]) if known else 0)
            state = self.state()
            taken: list[Event] = []
            for event in events:
                if event["seq"] <= seen:
                    continue
                value = {**event, THERE: event["seq"]}
                del value["seq"]
                if event["kind"] == "state":
                    target = _as_here(RunState(event["state"]), state)
                    if target is None:
                        continue
                    value |= {"state": target.value, "before": state.value}
                    state = target
                taken.append(value)
            if taken:
                self._append(*taken)

    def read(self) -> list[Event]:
        """All whole events, oldest first."""
        return self.read_from(0)[0]

    def read_from(self, offset: int) -> tuple[list[Event], int]:
        """Whole events behind a byte offset, and the offset to go on from.

        Lines that are damaged are left out; the index counts them.
        """
        events = []
        for line in self.lines(offset):
            offset = line.end
            if line.event:
                events.append(line.event)
        return events, offset

    def lines(self, offset: int = 0) -> Iterator[Line]:
        """Whole lines behind a byte offset, one by one: years of a history may be a large file."""
        damaged = 0
        with self._opened() as file:
            file.seek(offset)
            for text, end in _whole_lines(file):
                line = Line(text, parse_line(text), end)
                damaged += line.is_damaged
                yield line
        if damaged:
            logger.warning("%s: damaged lines were left out: %d", self.path, damaged)

    def last_seq(self) -> int:
        """seq of the newest event; 0 where there is none."""
        event = next(self._backwards(), None)
        return int(event["seq"]) if event else 0

    def size(self) -> int:
        """Bytes in the file; 0 where there is none."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def last(self, kind: str, where: Callable[[Event], object] = lambda _: True) -> Event | None:
        """The newest event of one kind (that is so), found from the end of the file."""
        found = self._backwards(f'"{kind}"'.encode())
        return next((one for one in found if one["kind"] == kind and where(one)), None)

    def state(self) -> RunState:
        """Where the run is now."""
        event = self._newest_state()
        if event is None:
            raise NotFoundError("{path} holds no state: this is not a run folder.", path=self.path)
        return RunState(event["state"])

    def device(self) -> str | None:
        """The device that the run was last given; None before its first start."""
        event = self.last("state", lambda one: one.get("device"))
        return None if event is None else str(event["device"])

    def node(self) -> str | None:
        """The computer that the run was last given; None where it is the server's own."""
        event = self.last("state", lambda one: one.get("device"))
        return None if event is None else event.get("node")

    def was_given_back(self) -> bool:
        """A computer that was lost has given the run back once already (`give_back`)."""
        return self.last("state", lambda one: one.get("given_back")) is not None

    def transition(
        self,
        target: RunState,
        *,
        expected: Collection[RunState] | None = None,
        reason: str | None = None,
        exit_code: int | None = None,
        device: str | None = None,
        node: str | None = None,
    ) -> RunState:
        """Change the state if it is still one of `expected` (None: any that may).

        Args:
            reason: one sentence for a person: why the run failed or was interrupted.
            exit_code: of the error behind it (1 the work failed, 2 the input was wrong).
            device: that the run is given from now on, written only where one is.
            node: the other computer whose device that is.

        Returns:
            The state before.

        Raises:
            IllegalTransitionError: somebody else changed the state first, or the table forbids it.
        """
        with self.alone():
            current = self.state()
            if expected is not None and current not in expected:
                raise IllegalTransitionError(
                    "The run is {current} by now, so it cannot become {target}.",
                    current=current,
                    target=target,
                )
            check_transition(current, target)
            self._append(
                {
                    "kind": "state",
                    "state": target.value,
                    "before": current.value,
                    "reason": reason,
                    "exit_code": exit_code,
                    **({} if device is None else {"device": device}),
                    **({} if node is None else {"node": node}),
                }
            )
            return current

    def give_back(self, reason: str, told: str) -> None:
        """A run whose computer was lost is interrupted and queued again, in one write: nobody
        takes it for a run that rests.

        Args:
            reason: why it is interrupted.
            told: the line of its diary that says what is done now.

        Raises:
            IllegalTransitionError: it is neither running nor asked to pause any more.
        """
        with self.alone():
            current = self.state()
            check_transition(current, RunState.INTERRUPTED)
            lost, again = RunState.INTERRUPTED.value, RunState.QUEUED.value
            self._append(
                {"kind": "state", "state": lost, "before": current.value, "reason": reason,
                 "exit_code": None},
                {"kind": "milestone", "message": told, "level": "warning"},
                {"kind": "state", "state": again, "before": lost, "reason": None,
                 "exit_code": None, "given_back": True},
            )  # fmt: skip

    def restart(self, reason: str) -> None:
        """Write a first state, `interrupted`, into a history that holds none (it was lost)."""
        with self.alone():
            if self.last("state") is None:
                state = {"state": RunState.INTERRUPTED.value, "before": None, "reason": reason}
                self._append({"kind": "state", **state, "exit_code": None})

    def _append(self, *values: Event) -> int:
        """Append in one write; returns the last seq."""
        end = self._heal()
        seq = self._known_seq if end == self._known_end else self.last_seq()
        lines = bytearray()
        for value in values:
            seq += 1
            event = {"seq": seq, "time": round(time.time(), 3), **value}
            lines += (
                json.dumps(stored(event), ensure_ascii=False, separators=(",", ":")).encode()
                + b"\n"
            )
        if self.path.exists() and not self.path.is_file():  # who opens a pipe waits for ever
            raise IsADirectoryError(errno.EISDIR, "it is no plain file", str(self.path))
        with self.path.open("ab") as file:
            file.write(lines)
            file.flush()
            if any(value["kind"] in SYNCED for value in values):
                os.fsync(file.fileno())
        self._known_end, self._known_seq = end + len(lines), seq
        return seq

    def _heal(self) -> int:
        """Cut a half-written last line off and return the file's size."""
        size = self.size()
        if size in (self._known_end, 0):
            return size
        with self.path.open("r+b") as file:
            keep = end_of_lines(file)
            if keep < size:
                logger.warning("%s ended in half a line; it was cut off", self.path)
                file.truncate(keep)
        return keep

    def _opened(self) -> BinaryIO:
        """The history; an empty one where there is no plain file, or none any more."""
        try:
            return self.path.open("rb") if self.path.is_file() else BytesIO()
        except FileNotFoundError:
            return BytesIO()

    def _backwards(self, holding: bytes = b"") -> Iterator[Event]:
        """Whole events from the newest to the oldest, reading no more than is asked for.

        Args:
            holding: bytes that each of them holds; others are not even parsed.
        """
        with self._opened() as file:
            for _, line in newest_first(file, end_of_lines(file), LINE_LIMIT, holding=holding):
                if event := parse_line(line):
                    yield event

    def _newest_state(self) -> Event | None:
        """The last `state` line. Once found, it is looked for only among what was added: a run may
        go on for a year without a change, and is asked for its state twice a second."""
        with self._opened() as file:
            known = _states.get(self.path)
            if known is not None:
                file.seek(known.at)
                if file.read(len(known.line)) != known.line:  # another file took its name
                    known = None
            end = end_of_lines(file)
            down_to = known.seen if known is not None and known.seen <= end else 0
            for at, line in newest_first(
                file, end, LINE_LIMIT, holding=b'"state"', down_to=down_to
            ):
                event = parse_line(line)
                if event and event["kind"] == "state":
                    known = _Seen(at, line, event, end)
                    break
            else:
                if known is None or not down_to:
                    return None
        _states[self.path] = known._replace(seen=end)
        return dict(known.event)


class _Seen(NamedTuple):
    """The newest `state` line of a history when it was last looked through, up to `seen`."""

    at: int
    line: bytes
    event: Event
    seen: int


_states: dict[Path, _Seen] = {}


def _as_here(target: RunState, current: RunState) -> RunState | None:
    """What a change of state that was written elsewhere means here; None for nothing."""
    if target.has_worker:
        return None  # told there by us
    if target is RunState.QUEUED and current is not RunState.RUNNING:
        # It would start again (its memory was too little), but a person asked for a rest.
        target = RunState.PAUSED if current is RunState.PAUSING else RunState.CANCELLED
    return target if target in TRANSITIONS[current] else None


def _whole_lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Each line that has its end, and the offset behind it; "?" stands for one beyond the limit."""
    while line := file.readline(LINE_LIMIT):
        too_long = False
        while not line.endswith(b"\n") and len(line) == LINE_LIMIT:
            too_long = True
            if not (line := file.readline(LINE_LIMIT)):
                return
        if not line.endswith(b"\n"):
            return
        yield (b"?" if too_long else line), file.tell()


def parse_line(line: bytes) -> Event | None:
    """The event of one line, or None where it is none that a reader can rely on.

    A power cut leaves blocks of zeros, a person's editor or another program whatever it likes:
    the lines around such a one are still good.
    """
    if not line.strip() or len(line) > LINE_LIMIT:
        return None
    try:
        event = restored(json.loads(line, parse_int=_whole))
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and _is_whole(event) else None


def _whole(digits: str) -> int:
    """A whole number that the index can hold."""
    if abs(number := int(digits)) >= 2**63:
        raise ValueError(digits)
    return number


def _is_whole(event: Event) -> bool:
    """It has its number, time and kind, and all that its kind promises."""
    seq, when, kind = event.get("seq"), event.get("time"), event.get("kind")
    if type(seq) is not int or seq < 1 or not isinstance(kind, str):
        return False
    if not isinstance(when, int | float) or isinstance(when, bool) or not math.isfinite(when):
        return False
    if kind == "state":
        return _is_state(event)
    if kind == "renamed":
        return isinstance(event.get("name"), str)
    try:
        parse_record(event)
    except ValidationError:
        return False
    return True


def _is_state(event: Event) -> bool:
    code, reason = event.get("exit_code"), event.get("reason")
    return (
        event.get("state") in list(RunState)
        and (code is None or type(code) is int)
        and (reason is None or isinstance(reason, str))
        and isinstance(event.get("device", ""), str)
        and isinstance(event.get("node", ""), str)
    )
