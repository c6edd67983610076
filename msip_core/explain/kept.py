"""Explanations that several questions share, kept by the content they were made from.

The Runs page asks for attention at one step after the other; the baseline's half of the answer is
the same each time and is made once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msip_core
from msip_core.answers import meant
from msip_core.workspace import Workspace, write_json

RESULT = "result.json"


def kept(
    workspace: Workspace,
    kind: str,
    question: dict[str, Any],
    files: tuple[Path, ...],
    *,
    make: Callable[[Path], dict[str, Any]],
    out: Path,
) -> dict[str, Any]:
    """The answer to a question, with its files in `out`; made only if it is not in the cache.

    Args:
        kind: "gradcam", "shap".
        question: JSON values that decide the answer.
        files: weights and image it is made from; they count with size and time of change.
        make: writes files into the folder it is given and returns the JSON answer.
    """
    key = answer_key(kind, question, files)
    folder = workspace.cache / f"explain-{key}"
    if not (folder / RESULT).is_file():
        # Named so that the cache's own cleaning knows whose draft it is.
        draft = workspace.cache / f".explain-{key}.{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            write_json(draft / RESULT, make(draft))
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    os.utime(folder / RESULT)  # what is looked at is the last to be cleared away
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns(RESULT), dirs_exist_ok=True)
    answer: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return answer


def answer_key(kind: str, question: dict[str, Any], files: tuple[Path, ...]) -> str:
    """sha256 over program version, kind, question and the state of the files, 40 digits."""
    states = [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    parts = [msip_core.__version__, meant(kind), question, states]
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:40]
