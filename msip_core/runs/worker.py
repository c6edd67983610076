"""The worker: one process, one run. `python -m msip_core.runs.worker RUN_DIR --workspace ROOT`.

It may end in six ways, each written to the run's story before the process ends: completed,
paused, cancelled, interrupted (the system asked for it), failed, queued again (its GPU had too
little memory). A seventh way leaves no word: it is killed; then the supervisor says `interrupted`
for it.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple, NoReturn

from filelock import FileLock, Timeout

from msip_core.config import AnyRun, parse_kept_config
from msip_core.errors import MsipError, OutOfMemoryError, Stopped
from msip_core.events import MilestoneRecord, Stage, StageRecord
from msip_core.gpus import cuda_has_begun
from msip_core.leaving import leave
from msip_core.messages import Message, msg
from msip_core.processors import Sample
from msip_core.runs.context import Heart, WorkerContext
from msip_core.runs.events_log import EventLog
from msip_core.runs.executors import WORKER_FILE, WORKER_MODULE
from msip_core.runs.failures import explain_failure
from msip_core.runs.inputs import check_disk
from msip_core.runs.processes import ProcessIdentity
from msip_core.runs.provenance import record_provenance
from msip_core.runs.settling import WORKER_LOCK
from msip_core.runs.slots import slot_of
from msip_core.runs.state import RunState
from msip_core.runs.threads import take_threads
from msip_core.runs.tight_memory import settled_in, shortage, start_again, tell_memory
from msip_core.workspace import Workspace

logger = logging.getLogger("msip_core.worker")


class Work(NamedTuple):
    """Import strings: `run(config, context)` does the work, `check(context)` proves that what it
    saved can be used, `measure(config, model id, context)` tells a study about it, and
    `ahead(context)` is called shortly before the work ends, to get ready for the check."""

    run: str
    check: str
    measure: str = "msip_core.studies.measuring:run"
    ahead: str = ""


_CHECK = "msip_core.runs.verify:check_saved_model"
_AHEAD = "msip_core.runs.verify:prepare"
WORK: dict[str, Work] = {
    "train": Work("msip_core.detector.run:run", _CHECK, ahead=_AHEAD),
    "prune": Work("msip_core.pruning.loop:run", _CHECK, ahead=_AHEAD),
    "count": Work("msip_core.plates.counting:run", "msip_core.plates.folder:check"),
}

# How long a new worker waits for an old one of the same run to leave.
_PREDECESSOR_WAIT = 60.0


def main(arguments: list[str] | None = None) -> int:
    """Run one run to its end; the exit code is 0 unless it failed."""
    options = _parser().parse_args(arguments)
    options.arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if options.leash:
        threading.Thread(target=_die_with_keeper, name="leash", daemon=True).start()
    run_dir = options.run_dir.resolve()
    workspace = Workspace.open(options.workspace)
    workspace.isolate_libraries()
    try:
        # Two workers of one run would tear its files; this lock ends with the process.
        with FileLock(run_dir / WORKER_LOCK, timeout=_PREDECESSOR_WAIT):
            if not EventLog(run_dir).state().has_worker:
                # Given up as dead before it was there; whoever resumes it starts another one.
                logger.error("Nobody waits for this worker any more: %s", run_dir)
                return 1
            if identity := ProcessIdentity.of(os.getpid()):
                identity.write(run_dir / WORKER_FILE)
            with Heart(run_dir):
                return _live(WorkerContext(run_dir, workspace), options)
    except Timeout:
        logger.error("Another worker already works on %s", run_dir)
        return 1


def _die_with_keeper() -> None:
    """On another computer: who keeps us holds the other end of stdin. When it is gone, nothing of
    this work would reach anybody, and its device is given to others."""
    while os.read(0, 1):
        pass
    logger.error("The keeper of this worker is gone: ending")
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _live(context: WorkerContext, options: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, lambda *_: context.terminate())
    config: AnyRun | None = None
    device, parts = "cpu", 1
    try:
        config = asked = read_config(context.run_dir)
        device = context.log.device() or slot_of(asked.device)
        config, environment = settled_in(asked, device, shortage(context.log))
        if environment and "torch" in sys.modules and cuda_has_begun():
            _start_cold(options.arguments)
        os.environ.update(environment)  # before CUDA is begun: it reads these once
        parts = config.parts
        with _threads_taken(device, context.workspace):
            _prepare(asked, context)
        _work(config, context, _chosen_work(config, options))
        tell_memory(context, asked, parts, device)
    except Stopped as stop:
        _stopped(context, stop)
    # The one place that catches everything: a run that failed must always say so.
    except BaseException as error:
        logger.error("The run failed", exc_info=error)
        reason = explain_failure(error, config)
        short = config is not None and isinstance(reason, OutOfMemoryError)
        if short and start_again(context, asked, parts, device):
            return 0
        context.log.transition(RunState.FAILED, reason=reason.message, exit_code=reason.exit_code)
        return reason.exit_code
    else:
        context.log.transition(RunState.COMPLETED)
    return 0


def _start_cold(arguments: Sequence[str]) -> NoReturn:
    """Begin anew in the same process: one that was started ahead has touched the GPUs already."""
    logger.warning("The process that was ready cannot choose its GPU any more: it starts anew.")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", WORKER_MODULE, *arguments])


@contextmanager
def _threads_taken(device: str, workspace: Workspace) -> Iterator[None]:
    """See what of the processor is free while the block runs, then take threads accordingly."""
    sample = Sample()
    yield
    threads = take_threads(device, sample.look(), workspace)
    logger.info("Device %s, processor threads: %d", device, threads)


def _prepare(config: AnyRun, context: WorkerContext) -> None:
    context.check_stop()
    context.emit(StageRecord(stage=Stage.PREPARING))
    check_disk(context.workspace)
    for change in record_provenance(context.run_dir, config, context.workspace):
        context.emit(MilestoneRecord(message=change, level="warning"))


def _work(config: AnyRun, context: WorkerContext, work: Work) -> None:
    if not _was_measuring(context):
        if work.ahead:
            context.near_end = partial(resolve_name(work.ahead), context)
        resolve_name(work.run)(config, context)
        context.emit(StageRecord(stage=Stage.SAVING))
        resolve_name(work.check)(context)
    if config.measure is not None:
        context.emit(StageRecord(stage=Stage.MEASURING))
        resolve_name(work.measure)(config, _model_id(context), context)


def _was_measuring(context: WorkerContext) -> bool:
    """The model is saved and checked already: a run that is resumed here trains nothing again."""
    measuring = Stage.MEASURING.value
    return context.log.last("stage", lambda one: one["stage"] == measuring) is not None


def _model_id(context: WorkerContext) -> str:
    """The model that the work has just saved."""
    final = context.log.last("final")
    assert final is not None
    return str(final["model_id"])


def _stopped(context: WorkerContext, stop: Stopped) -> None:
    """Leave in the way that the state asks for: the last click counts, not the one we read."""
    state = context.log.state()
    if state is RunState.CANCELLING:
        context.log.transition(RunState.CANCELLED)
    elif state is RunState.PAUSING:
        context.log.transition(RunState.PAUSED)
    else:
        reason = (
            msg("The computer asked the worker to stop (shutdown or SIGTERM).")
            if stop.request == "interrupt"
            else msg(
                "The worker was asked to {request}, but nobody said so in the run's story.",
                request=Message(stop.request),
            )
        )
        context.log.transition(RunState.INTERRUPTED, reason=reason)


def read_config(run_dir: Path) -> AnyRun:
    """The checked config of a run folder."""
    return parse_kept_config((run_dir / "config.json").read_bytes())


def _chosen_work(config: AnyRun, options: argparse.Namespace) -> Work:
    known = WORK[config.kind]
    return Work(
        options.work or known.run,
        options.check or known.check,
        options.measure or known.measure,
        "" if options.check else known.ahead,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="msip_core.runs.worker", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--leash", action="store_true", help="end when stdin is closed")
    parser.add_argument("--work", help="module:function that does the work instead of ours")
    parser.add_argument("--check", help="module:function that checks what was saved")
    parser.add_argument("--measure", help="module:function that measures for a study")
    return parser


def run_and_tell(arguments: list[str] | None = None) -> int:
    """`main`, for a process that has nobody to raise an error to."""
    try:
        return main(arguments)
    except MsipError as problem:
        logger.error("%s", problem.message)
        return problem.exit_code


if __name__ == "__main__":
    leave(run_and_tell())
