"""The way in: words to a verb, its answer to stdout, any error to one sentence and a code.

0  done        1  the work failed        2  the input was wrong        130  stopped by Ctrl-C
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from msip_core.bounded import plain_text
from msip_core.cli.early import workspace_of
from msip_core.cli.verbs import Answer, JsonOption, WorkspaceOption, verb
from msip_core.errors import InputError, MsipError
from msip_core.settings import get_settings
from msip_core.workspace import DISK_FAULTS, without_nan
from msip_core.wrong_settings import explain, reason

PROGRAM = "python -m msip_core"
# What the place that a person named does not allow; other errors of files are faults of ours.
_OF_PLACES = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR,
    errno.ELOOP, errno.EEXIST, errno.EINVAL, errno.ENXIO, *DISK_FAULTS,
)  # fmt: skip
# Module -> its verbs, in the order that `--help` shows: a command loads only the one it needs.
PARTS: dict[str, tuple[str, ...]] = {
    "house": ("doctor", "serve", "demo", "methods"),
    "data": ("data",),
    "work": ("train", "prune"),
    "plate": ("plate",),
    "runs": ("runs",),
    "computers": ("computers",),
    "models": ("models",),
    "studies": ("study",),
    "look": ("predict", "compare", "latency", "export"),
    "explaining": ("explain",),
}


_MOST_LINES = 10
_MOST_SAID = 2000  # characters


def before_the_verb(
    context: typer.Context, json: JsonOption = False, workspace: WorkspaceOption = None
) -> None:
    """MSIP Lab: prune YOLOv8 for organoid micrographs, and see what it looks at."""
    context.obj = workspace


def make_app(parts: Sequence[str] = tuple(PARTS)) -> typer.Typer:
    """The command line, or the parts of it that a command needs."""
    made = typer.Typer(
        name=PROGRAM,
        help="MSIP Lab: prune YOLOv8 for organoid micrographs, and see what it looks at.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    made.callback()(before_the_verb)
    for part in parts:
        add_part(made, part)
    return made


def __getattr__(name: str) -> Any:
    """`app`, the whole command line, is made when somebody asks for it."""
    if name != "app":
        raise AttributeError(name)
    globals()[name] = made = make_app()
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code.

    With `--json` stdout gets exactly one document: the answer, or `{"error": …, "kind": …}`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    command = typer.main.get_command(make_app(parts_for(words[0] if words else None)))
    try:
        _check_words(words)
        answer = command.main(args=words, prog_name=PROGRAM, standalone_mode=False)
        if isinstance(answer, int) and answer:  # as Ctrl-C comes
            raise typer.Abort
    except Exception as error:  # noqa: BLE001 - outermost level: nobody is shown a traceback
        sentence, code = _in_words(error, words)
        sentence = _plain(sentence)
        sys.stderr.write(sentence + "\n")
        failed = {"error": sentence, "kind": type(error).__name__, "exit_code": code}
        return _deliver(failed, code) if as_json else code
    if not isinstance(answer, Answer):  # --help has printed itself
        return 0
    return _deliver(answer.document if as_json else answer.text, answer.exit_code)


def _check_words(words: list[str]) -> None:
    """Refuse what no name, path or setting can hold, before any of them meets it."""
    for word in words:
        try:
            plain_text(word)
        except ValueError as error:
            raise InputError(
                "The word {ascii} cannot be used: {error}.", ascii=ascii(word)[:80], error=error
            ) from error


def _plain(sentence: str) -> str:
    """What is said, without what would steer a terminal, and not by the page."""
    lines = [line for line in sentence.splitlines() if line.strip()][:_MOST_LINES]
    text = "\n".join(
        "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines
    )
    return text if len(text) <= _MOST_SAID else f"{text[:_MOST_SAID]}…"


def _in_words(error: Exception, words: list[str]) -> tuple[str, int]:
    """One sentence for a person, and the exit code."""
    match error:
        case MsipError():
            return error.message, error.exit_code
        case ValidationError():
            return explain(error), 2
        case typer.TyperException():  # words that no verb understands
            said = error.format_message() or "Name a verb; --help lists them."
            if isinstance(error.__cause__, ValidationError):
                said = f"{said.partition(': ')[0]}: {reason(error.__cause__).rstrip('.')}."
            return said, 2
        case typer.Abort():
            return "Stopped.", 130
        case OSError() | MemoryError() if (known := _of_the_computer(error)) is not None:
            return known
    return _unexpected(error, words), 1


def _of_the_computer(error: OSError | MemoryError) -> tuple[str, int] | None:
    """What disk, memory or rights do not allow; None for faults of ours."""
    match error:
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"The disk is full{_at(error)}: delete old runs or files, then try again.", 1
        case OSError() if error.errno in _OF_PLACES:
            do = "Change its rights or choose" if isinstance(error, PermissionError) else "Choose"
            return f"Nothing can be done{_at(error)}: {error.strerror}. {do} another place.", 2
        case MemoryError():
            return "This needs more memory than there is: take smaller images or batches.", 1
    return None


def _deliver(value: Mapping[str, object] | str, code: int) -> int:
    """Print the answer and return the exit code: 1 where it could not be written whole."""
    strict = value if isinstance(value, str) else without_nan(value)
    text = strict if isinstance(strict, str) else json.dumps(strict, indent=2, ensure_ascii=False)
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        # Python would try once more when it ends, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # then nobody reads any more: `… | head`
            sys.stderr.write(f"The answer could not be written: {error.strerror}.\n")
        return 1
    return code


def _unexpected(error: Exception, words: list[str]) -> str:
    """Write what happened to a file of the workspace; return the sentence that names it."""
    report = "".join(traceback.format_exception(error))
    code = "E-" + hashlib.sha256(report.encode()).hexdigest()[:6]
    folder = (workspace_of(words) or get_settings().workspace).expanduser() / "errors"
    name = f"{time.strftime('%y%m%d-%H%M%S')}-{code}.txt"
    text = f"{PROGRAM} {' '.join(words)}\n\n{report}"
    try:
        path = _kept(folder / name, text)
    except OSError:  # the workspace may be what is wrong
        path = _kept(Path(tempfile.gettempdir()) / name, text)
    return (
        f"Something went wrong that should not ({code}: {type(error).__name__}). Your data are "
        f"safe. Please send this file to whoever looks after MSIP Lab: {path.resolve()}"
    )


def _kept(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def _at(error: OSError) -> str:
    return f" at {error.filename}" if error.filename is not None else ""


def parts_for(word: str | None) -> tuple[str, ...]:
    """The modules that a command needs whose first word this is; all, where that is no verb."""
    found = tuple(part for part, verbs in PARTS.items() if word in verbs)
    return found or tuple(PARTS)


def add_part(root: typer.Typer, part: str) -> None:
    """Give the root the verbs of one module: `VERBS`, or a group of them, its `app`."""
    module = import_module(f"msip_core.cli.{part}")
    for function in getattr(module, "VERBS", ()):
        verb(root, function.__name__)(function)
    if hasattr(module, "app"):
        root.add_typer(module.app)
