"""What went wrong, in one sentence that a person can act on; the traceback goes to log.txt."""

from __future__ import annotations

import errno

from msip_core.config import RunBase
from msip_core.errors import DiskFullError, MsipError, OutOfMemoryError, WorkError
from msip_core.messages import msg
from msip_core.workspace import DISK_FAULTS

_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def explain_failure(
    error: BaseException, config: RunBase | None = None, *, log: str = "log.txt"
) -> MsipError:
    """The error of our own tree that stands for any error; ours pass through.

    `config` lets an out-of-memory sentence name the batch that did not fit; `log` is the file
    that holds the traceback.
    """
    if isinstance(error, MsipError):
        return error
    if _is_out_of_memory(error):
        return OutOfMemoryError(_memory_sentence(config))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            "The disk that holds the workspace is full. Make room there and try again: a run "
            "goes on from its last finished step."
        )
    if isinstance(error, OSError) and error.errno in (errno.EROFS, *DISK_FAULTS):
        return DiskFullError(
            "The disk that holds the workspace does not work as it should ({why}). Mend that "
            "and try again: a run goes on from its last finished step.",
            why=error.strerror,
        )
    if isinstance(error, FileNotFoundError):
        gone = error.filename if error.filename is not None else error
        return WorkError(
            "A file that the run needs is gone ({gone}): it was moved or deleted meanwhile. Put "
            "it back and resume the run.",
            gone=gone,
        )
    what = f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]
    return WorkError(
        "Something went wrong in the program ({what}). The details are in {log}.",
        what=what,
        log=log,
    )


def _is_out_of_memory(error: BaseException) -> bool:
    # torch.OutOfMemoryError by name: this module must not import torch. On the CPU torch raises
    # a plain RuntimeError that only its words tell apart.
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"}:
        return True
    return "RuntimeError" in names and any(w in str(error).lower() for w in _MEMORY_WORDS)


def _memory_sentence(config: RunBase | None) -> str:
    if config is None:
        return msg("The memory was too small for this work: close other programs, or ask for less.")
    sentence = msg(
        "A batch of {batch} at {imgsz} px did not fit into the memory.",
        batch=config.batch,
        imgsz=config.imgsz,
    )
    if config.batch > 1:
        return msg(
            "{sentence} Repeat the run with a batch of {batch}.",
            sentence=sentence,
            batch=config.batch // 2,
        )
    return msg("{sentence} Repeat the run with a smaller image size.", sentence=sentence)
