"""The process that times models on the processor, one after the other, while no run is in the way.

`python -m msip_core.runs.timing ROOT`. Started by whoever saw a run end (`msip_core.runs.aside`);
it takes what `msip_core.speeds` lists, ends when nothing is left or a run begins on the processor,
and needs nobody to watch it. One at a time in a workspace.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout

from msip_core import speeds
from msip_core.errors import WorkError
from msip_core.leaving import leave
from msip_core.messages import msg
from msip_core.processors import Sample, processor_name
from msip_core.questions.contents import sha256_of
from msip_core.runs.aside import LOG_NAME, is_in_the_way
from msip_core.runs.failures import explain_failure
from msip_core.runs.threads import take_threads
from msip_core.speeds import Speed, Wanted
from msip_core.ways import Way
from msip_core.workspace import Workspace

logger = logging.getLogger("msip_core.timing")

LOCK = "timing.lock"
_ROUNDS = 20  # of each model, beside those that warm up
_PATIENCE = 120.0  # seconds for one model and the one beside it
_ATTEMPTS = 2  # a computer may be switched off once in the middle; a crash comes again


def main() -> int:
    """Measure what is wanted; the exit code is 0 also where a model could not be measured: what
    went wrong stands with it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    workspace = Workspace.open(sys.argv[1])
    workspace.isolate_libraries()
    try:
        with FileLock(workspace.cache / LOCK, timeout=0):
            _measure_all(workspace)
    except Timeout:
        logger.info("Another process already measures in %s", workspace.root)
    return 0


def _measure_all(workspace: Workspace) -> None:
    threads: int | None = None
    while (orders := speeds.wanted(workspace)) and not is_in_the_way(workspace):
        if threads is None:  # decided before torch is imported
            threads = take_threads("cpu", Sample().look(), workspace)
        measure(workspace, orders[0], threads)


def measure(workspace: Workspace, order: Wanted, threads: int) -> None:
    """Measure one model and take it off the list, whatever happens on the way."""
    key = _key(workspace, order)
    known = speeds.read_speed(workspace, order.model_id)
    if known is not None and known.key == key and known.ms is not None:
        speeds.write_speed(workspace, order.model_id, known)
        return
    speed = Speed(key=key, imgsz=order.imgsz, threads=threads, processor=processor_name(),
                  made=time.strftime("%Y-%m-%dT%H:%M:%S"))  # fmt: skip
    if order.attempts >= _ATTEMPTS:
        found: dict[str, object] = {
            "problem": msg("The measurement was begun twice, and both times its process died.")
        }
    else:
        speeds.ask_for_speed(
            workspace, order.model_id, order.imgsz, order.beside, attempts=order.attempts + 1
        )
        found = _attempt(workspace, order)
    speeds.write_speed(workspace, order.model_id, speed.model_copy(update=found))


def _attempt(workspace: Workspace, order: Wanted) -> dict[str, object]:
    try:
        return _timed(workspace, order)
    # One model that cannot be measured must not keep the others from it.
    except Exception as error:
        logger.error("The model %s could not be measured", order.model_id, exc_info=error)
        reason = explain_failure(error, log=str(workspace.cache / LOG_NAME))
        return {"problem": reason.message}


def _timed(workspace: Workspace, order: Wanted) -> dict[str, object]:
    """Medians in milliseconds; the model and the one beside it run in turn."""
    from msip_core.detector.checkpoints import load_model
    from msip_core.detector.latency import measure_latency

    until = time.monotonic() + _PATIENCE

    def tick(_: float) -> None:
        if time.monotonic() > until:
            raise WorkError(
                "The measurement took more than {patience:.0f} s and was ended.", patience=_PATIENCE
            )

    models = {name: load_model(file) for name, file in _files(workspace, order).items()}
    found = measure_latency(models, order.imgsz, [Way(format="pytorch")], runs=_ROUNDS, tick=tick)
    return {one.name: round(one.median_ms, 3) for one in found}


def _files(workspace: Workspace, order: Wanted) -> dict[str, Path]:
    """Weights by the name that their milliseconds get."""
    files = {"ms": workspace.model_dir(order.model_id) / "model.pt"}
    if order.beside and Path(order.beside).is_file():
        files["beside_ms"] = Path(order.beside)
    return files


def _key(workspace: Workspace, order: Wanted) -> str:
    """What is measured, by content, and on what."""
    parts = [str(order.imgsz), processor_name(), *map(sha256_of, _files(workspace, order).values())]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:40]


if __name__ == "__main__":
    leave(main())
