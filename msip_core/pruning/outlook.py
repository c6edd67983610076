"""What a goal in multiply-adds or parameters does to milliseconds on a GPU, said before the run.

Early layers of a GPU wait for their maps and late ones for being started: a third of the
multiply-adds took 78 % of the time in fp32 and 86 % in fp16 (YOLOv8s on an H200, batch 32). The
answer adds up single layers that were timed there: a table of an earlier run, or one that is made
in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import torch

from msip_core.config import PruneConfig
from msip_core.detector.engines import engine_for
from msip_core.detector.layer_times import LayerTimes, Timer
from msip_core.groups.budget import Budget, Widths
from msip_core.messages import msg
from msip_core.pruning.latency_goal import known_meter
from msip_core.questions.planning import Outlook
from msip_core.ways import busy_way
from msip_core.workspace import Workspace

CHEAP = 20.0  # seconds that a table may take which nobody asked for


def outlook(
    config: PruneConfig, workspace: Workspace, device: str, whole: Budget,
    cut: Callable[[], tuple[Budget, Widths]], *,
    tick: Callable[[float], None] = lambda _: None, timer: Timer | None = None,
) -> Outlook | None:  # fmt: skip
    """What to say of this run; None where its goal is milliseconds, or it runs on no GPU.

    Args:
        device: where the run runs.
        cut: the network after the cut: its budget, and what each of its groups keeps.
        timer: times layers; another one in tests.
    """
    if config.goal[0] == "latency" or not device.startswith("cuda"):
        return None
    way = busy_way(device)
    meter = known_meter(way, whole, workspace.cache)
    if meter is None and (timer is not None or engine_for(way).missing() is None):
        times = LayerTimes(workspace.cache, way, timer)
        # A GPU that runs have filled has no room for what nobody asked for.
        with suppress(torch.OutOfMemoryError):
            if times.measure(whole.geometries().values(), tick, within=CHEAP):
                meter = known_meter(way, whole, workspace.cache)
    named = replace(way, hardware=engine_for(way).hardware)
    if meter is None:
        return Outlook(way=named)
    rest, widths = cut()
    return Outlook(
        way=named, before_ms=float(meter(whole, whole.widths)), after_ms=float(meter(rest, widths))
    )


def outlook_sentence(found: Outlook | None) -> str:
    """The same in words, "" where there is nothing to say."""
    if found is None:
        return ""
    text = msg("On a GPU multiply-adds predict little of the time")
    advice = msg(
        "--keep-latency or --speed-up with --latency-device auto asks for milliseconds there."
    )
    if found.share is None:
        return msg("{text}. {advice}", text=text, advice=advice)
    return msg(
        "{text}: single layers, timed on {hardware} (fp16, "
        "{batch} images at a time), add up to {before_ms:.3g} ms an image before "
        "and {after_ms:.3g} ms after this cut, {share:.0%}. {advice}",
        text=text,
        hardware=found.way.hardware or found.way.device,
        batch=found.way.batch,
        before_ms=found.before_ms,
        after_ms=found.after_ms,
        share=found.share,
        advice=advice,
    )
