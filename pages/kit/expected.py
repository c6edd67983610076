"""How long a run is expected to take here: measured once, kept, and brought up to date with what
else the computer does now."""

from __future__ import annotations

from msip_core.questions.planning import Effort
from pages.kit.lab import lab
from pages.kit.machine import find_machine


def seconds_now(effort: Effort) -> float:
    """Seconds of the run, if what else keeps the processor busy now stays as it is."""
    now = find_machine(str(lab().workspace.root)).pace
    return effort.seconds * effort.pace / now if effort.pace and now else effort.seconds
