"""What the command line begins before it has understood its words: the worker of `train`,
`prune` and `plate` loads torch while the words are read, files looked at and the run is queued."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msip_core.errors import MsipError
from msip_core.runs.executors import LocalExecutor
from msip_core.runs.settling import is_supervised
from msip_core.runs.spare import may_wait
from msip_core.settings import get_settings
from msip_core.workspace import Workspace

_begun: dict[Path, LocalExecutor] = {}  # by workspace


def begin(words: Sequence[str]) -> None:
    """Make a worker ready if these words will need one here. Says nothing: if something is wrong,
    the verb says it. What is begun and not used ends with this process."""
    if not set(words[:1]) & {"train", "prune", "plate"} or {"--help", "--detach"} & set(words):
        return
    try:
        root = workspace_of(words) or get_settings().workspace
        if not (root.expanduser() / "datasets").is_dir():
            return
        workspace = Workspace.open(root)
        if may_wait() and workspace.is_writable and not is_supervised(workspace):
            workspace.isolate_libraries()
            _begun[workspace.root] = executor = LocalExecutor()
            executor.prepare(workspace, wanted=1)
    except (MsipError, OSError, ValueError, RuntimeError):
        return


@contextmanager
def worker_ready(workspace: Workspace, *, begin_now: bool) -> Iterator[LocalExecutor | None]:
    """An executor that has a process ready for the first run; None where there is none.

    Args:
        begin_now: start one if that was not done: there is work to do here before the run.
    """
    executor = _begun.pop(workspace.root, None)
    if executor is None and begin_now and may_wait() and not is_supervised(workspace):
        executor = LocalExecutor()
        executor.prepare(workspace, wanted=1)
    try:
        yield executor
    finally:
        if executor is not None:
            executor.prepare(workspace, wanted=0)


def workspace_of(words: Sequence[str]) -> Path | None:
    """The folder that `--workspace` names."""
    for place, word in enumerate(words):
        if word == "--workspace" and place + 1 < len(words):
            return Path(words[place + 1])
        if word.startswith("--workspace="):
            return Path(word.partition("=")[2])
    return None
