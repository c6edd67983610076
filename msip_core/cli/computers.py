"""`computers`: which computers runs may go to, and what runs where."""

from __future__ import annotations

from dataclasses import asdict

from msip_core.cli.console import table
from msip_core.cli.verbs import Answer, Session
from msip_core.computers import Computers, commands_here, commands_there
from msip_core.runs.computers import find_computers
from msip_core.runs.engines import chosen_executor
from msip_core.runs.far.executor import FarExecutor
from msip_core.runs.service import RunService
from msip_core.views.computers import computers_info, places_info
from msip_core.views.wording import percent

_PATIENCE = 10.0  # seconds, for computers that were asked just now


def computers(session: Session) -> Answer:
    """The computers that runs may go to, their GPUs, what runs where, and how to add one."""
    workspace = session.workspace
    executor = chosen_executor(workspace)
    try:
        found = find_computers(RunService(workspace), executor, patience=_PATIENCE)
    finally:
        if isinstance(executor, FarExecutor):
            executor.cluster.leave()
    # As in every answer, exit code 1 where what was asked for could not be had.
    return Answer(asdict(found), _text(found), exit_code=0 if found.trouble is None else 1)


def _text(found: Computers) -> str:
    rows = [
        (r["computer"], f"{r['free_cores']:g} / {r['cores']:g}",
         f"{r['free_memory_gb']:g} / {r['memory_gb']:g}", r["gpus"] or "-", r["runs"], r["note"])
        for r in computers_info(found)
    ]  # fmt: skip
    header = ("computer", "cores free", "GB free", "GPUs (free / all)", "runs", "note")
    lines = [table(header, rows)] if rows else []
    places = [
        (r["id"], r["run"], r["computer"], r["device"], r["state"], percent(r["done"]))
        for r in places_info(found)
    ]
    if places:
        lines += ["", table(("id", "run", "computer", "device", "state", "done"), places)]
    if found.trouble:
        lines.append(found.trouble)
    if found.waiting:
        lines.append(f"Waiting in the queue: {found.waiting}")
    if not found.others:
        lines += ["", "To add a computer, on this one:", "", commands_here(), "",
                  "and on each other one, in its own folder of MSIP Lab:", "",
                  commands_there(found.address)]  # fmt: skip
    return "\n".join(lines)


VERBS = (computers,)
