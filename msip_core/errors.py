"""The one error tree. Every message is a sentence that a biologist can act on:
what is wrong, in which file, and what to do.

    MsipError                    exit code 1: the work failed
    ├── InputError               exit code 2: what was given is wrong
    │   ├── ConfigError          a setting is out of range, or settings contradict each other
    │   ├── DatasetError         images, labels or splits
    │   ├── CheckpointError      a weights file
    │   │   ├── UnsafeCheckpointError   it wants to run code
    │   │   └── WrongModelError         not YOLOv8, or not a detector
    │   ├── NotFoundError        no such dataset, model, run, image
    │   └── IllegalTransitionError      the run cannot go from this state to that one
    ├── WorkError                the work itself could not go on
    │   ├── OutOfMemoryError
    │   ├── DiskFullError
    │   └── GoalUnreachableError        caps stop the pruning before the MACs goal
    └── Stopped                  a person asked for it: pause or cancel (not a failure)
"""

from __future__ import annotations

from msip_core.messages import Message, message_of, msg


class MsipError(Exception):
    """Base of every error that the product raises on purpose.

        raise DatasetError("{file} is empty: copy it again.", file=name)

    Its `message` keeps template and values, for readers of another language.
    """

    exit_code = 1

    def __init__(self, message: str, /, **values: object) -> None:
        self.message = Message(message, values)
        super().__init__(self.message)


class InputError(MsipError):
    """What a person gave is wrong; nothing was changed."""

    exit_code = 2


class ConfigError(InputError):
    """A setting is out of range, or two settings contradict each other."""


class DatasetError(InputError):
    """Images, labels, classes or splits cannot be used as they are."""


class CheckpointError(InputError):
    """A weights file cannot be used."""


class UnsafeCheckpointError(CheckpointError):
    """A weights file asks for classes outside the allow-list: loading it could run code."""


class WrongModelError(CheckpointError):
    """A weights file holds something other than a YOLOv8 detector."""


class NotFoundError(InputError):
    """A dataset, model, run or image of that name does not exist."""


class IllegalTransitionError(InputError):
    """A run cannot go from its present state to the one asked for."""


class WorkError(MsipError):
    """The work could not go on."""


class OutOfMemoryError(WorkError):
    """The device has too little memory for this batch."""


class DiskFullError(WorkError):
    """Too little room on the disk that holds the workspace."""


class GoalUnreachableError(WorkError):
    """Per-layer caps stop the pruning before the MACs goal is reached."""


class Stopped(MsipError):
    """Raised at a safe point after a person asked to pause or cancel.

    Attributes:
        request: "pause" or "cancel".
    """

    def __init__(self, request: str) -> None:
        super().__init__(msg("Stopped on request: {request}.", request=request))
        self.request = request


def first_line(error: BaseException) -> str:
    """What an error says: our own whole, a library's in one line of at most 200 characters; else
    its kind."""
    if (own := message_of(error)).values:
        return own
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
