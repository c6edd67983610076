"""A run whose GPU had too little memory: it waits for a GPU of its own, or works in smaller parts.

Beside other runs of ours it waits until it has a GPU to itself. Alone, it starts again with each
batch in twice as many parts, whose gradients are added: the optimizer's steps stay the same, batch
norm sees fewer images at a time. A fit goes on from its last epoch. What was too little once stays
so: later starts of the run, a person's too, begin as the last one ended.

At most one wait and three halvings; then the run fails and says what to change.
"""

from __future__ import annotations

import logging
import os
import sys

from msip_core.config import AnyRun, CountConfig, PruneConfig
from msip_core.errors import IllegalTransitionError
from msip_core.events import MemoryRecord, MilestoneRecord
from msip_core.gpus import only
from msip_core.messages import msg
from msip_core.runs.context import WorkerContext
from msip_core.runs.events_log import EventLog
from msip_core.runs.gpu_memory import CUDA_GB, remember
from msip_core.runs.slots import is_gpu
from msip_core.runs.state import WITH_WORKER, RunState

logger = logging.getLogger(__name__)

# In the environment of a worker on another computer that was given a part of a GPU.
SHARED_GPU = "MSIP_SHARED_GPU"
_MOST_PARTS = 8  # of what was asked for


def shortage(log: EventLog) -> MemoryRecord | None:
    """What the run said when memory was too little last; None where it never was."""
    event = log.last("memory", lambda one: one.get("fits") is False)
    return None if event is None else MemoryRecord.model_validate(event)


def settled_in(
    config: AnyRun, device: str, short: MemoryRecord | None
) -> tuple[AnyRun, dict[str, str]]:
    """The config as the worker follows it on the device that it was given, and what its
    environment must say before CUDA is begun."""
    environment = only(device) if is_gpu(device) else {}
    changes: dict[str, object] = {}
    if device == "cpu":
        changes["device"] = "cpu"
    elif environment and config.device.strip().lower() != "auto":
        changes["device"] = "cuda:0"  # the one that is left to be seen
    if environment and isinstance(config, PruneConfig) and config.latency_device != "cpu":
        changes["latency_device"] = "auto"  # that one too
    if short is not None and short.parts > config.parts:
        changes["parts"] = short.parts
        if isinstance(config, PruneConfig):
            least = max(1, config.calibration.micro_batch * config.parts // short.parts)
            changes["calibration"] = config.calibration.model_copy(update={"micro_batch": least})
    return config.model_copy(update=changes), environment


def start_again(context: WorkerContext, asked: AnyRun, parts: int, device: str) -> bool:
    """After too little memory: put the run into the queue again, or let it rest where a person
    asked for that meanwhile; False if it has to fail.

    Args:
        parts: of a batch, as the worker worked.
    """
    if not is_gpu(device):
        return False
    before = shortage(context.log)
    others = _beside(context, device)
    if others and not (before and before.alone):
        waits = msg("another run") if others == 1 else msg("{others} other runs", others=others)
        sentence = msg(
            "The memory of {device} was too small beside {waits}: this run waits for a GPU of its "
            "own, and starts again by itself.",
            device=device,
            waits=waits,
        )
    else:
        more = _more_parts(asked.batch, parts)
        if more == parts or more > _MOST_PARTS * asked.parts:
            return False
        parts = more
        sentence = _in_parts(asked, parts, device)
    record = MemoryRecord(device=device, peak_gb=peak_gb(), fits=False, parts=parts, alone=True)
    context.log.emit(record)
    context.emit(MilestoneRecord(message=sentence, level="warning"))
    logger.warning("%s", sentence)
    try:
        context.log.transition(RunState.QUEUED, expected=[RunState.RUNNING])
    except IllegalTransitionError:  # a person asked to pause or cancel it meanwhile
        asked_for = context.log.state()
        rests = RunState.PAUSED if asked_for is RunState.PAUSING else RunState.CANCELLED
        context.log.transition(rests, expected=[asked_for])
    return True


def _in_parts(asked: AnyRun, parts: int, device: str) -> str:
    if isinstance(asked, CountConfig):
        return msg(
            "The memory of {device} was too small: the count goes on with {batch} images at once.",
            device=device,
            batch=asked.batch // parts,
        )
    return msg(
        "The memory of {device} was too small: the run starts again with each batch of "
        "{batch} images in {parts} parts of {batch2}, whose gradients "
        "are added, so that the steps of the optimizer stay the same.",
        device=device,
        batch=asked.batch,
        parts=parts,
        batch2=asked.batch // parts,
    )


def tell_memory(context: WorkerContext, asked: AnyRun, parts: int, device: str) -> None:
    """At the end of a run: what it took of its GPU, for the next run of its kind."""
    peak = peak_gb()
    if peak is None or not is_gpu(device):
        return
    context.log.emit(MemoryRecord(device=device, peak_gb=peak, parts=parts))
    remember(asked, context.workspace, parts, peak)


def peak_gb() -> float | None:
    """The most memory of its GPU that this process held, in GB; None where it used none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return float(torch.cuda.max_memory_reserved()) / 1e9 + CUDA_GB


def _more_parts(batch: int, parts: int) -> int:
    """The smallest number of equal parts that is at least twice as many; the same if none is."""
    return next((n for n in range(2 * parts, batch + 1) if batch % n == 0), parts)


def _beside(context: WorkerContext, device: str) -> int:
    """How many other runs have a worker on the device now."""
    if os.environ.get(SHARED_GPU):
        return 1  # at least: only the cluster knows the others
    from msip_core.runs.store import RunStore  # takes time to import, and few runs need it

    slots = RunStore(context.workspace).slots(WITH_WORKER)
    return sum(slot == device and run != context.run_id for run, slot in slots.items())
