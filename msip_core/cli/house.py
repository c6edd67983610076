"""`doctor`, `demo` and `methods`: is this computer ready, the whole way once, what there is."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from msip_core.catalog import FAMILIES
from msip_core.cli.console import say, table
from msip_core.cli.foreground import in_foreground
from msip_core.cli.targets import folder_target
from msip_core.cli.verbs import Answer, Session
from msip_core.config import PruneConfig, TrainConfig
from msip_core.errors import WorkError
from msip_core.runs.service import RunService
from msip_core.views.wording import duration

MARKS = {"ok": "ok  ", "note": "note", "problem": "MEND"}


def doctor(
    session: Session,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Build the index anew, settle and take in runs, sweep what crashes left, and "
            "compare models and datasets with their checksums.",
        ),
    ] = False,
) -> Answer:
    """Device, versions, free memory and disk, and whether each optional part is there."""
    from msip_core.doctor import Health, examine
    from msip_core.repair import repair as repair_workspace

    workspace = session.isolated_workspace()
    mended = repair_workspace(workspace) if repair else ()
    health = Health(findings=(*examine(workspace).findings, *mended))
    lines = [f"{MARKS[f.level]}  {f.what:24} {f.found}" for f in health.findings]
    lines.append("Ready." if health.ready else "Not ready: mend the lines marked MEND.")
    return Answer(
        {"ready": health.ready, **health.model_dump(mode="json")},
        "\n".join(lines),
        exit_code=0 if health.ready else 1,
    )


def serve(session: Session) -> Answer:
    """Work on the queue of the workspace without a browser, until Ctrl-C."""
    from msip_core.serving import start_serving

    workspace = session.isolated_workspace()
    supervisor = start_serving(workspace)
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    say(f"Working on the queue of {workspace.root}. Ctrl-C ends this; runs go on by themselves.")
    in_charge = True
    while not asked.wait(1.0):
        if in_charge != supervisor.is_in_charge:
            in_charge = not in_charge
            say(
                "This command is in charge of the queue now."
                if in_charge
                else "Another server or command is in charge of the queue: waiting for it to end."
            )
    supervisor.close()
    return Answer({"workspace": str(workspace.root)}, "Ended.")


def demo(
    session: Session,
    out: Annotated[
        Path | None, typer.Option(help="Where the report goes.", show_default="DIR/demo")
    ] = None,
) -> Answer:
    """The whole way on the drawn example, on a CPU in under 3 minutes."""
    from msip_core.cli.demo import run_demo

    workspace = session.isolated_workspace()
    target = folder_target(out or workspace.root / "demo")

    def work(config: TrainConfig | PruneConfig) -> str:
        run_id = RunService(workspace).submit(config)
        answer = in_foreground(workspace, run_id)
        if answer.exit_code:
            raise WorkError(
                "The demo stopped: {splitlines}", splitlines=answer.text.splitlines()[-1]
            )
        return run_id

    result = run_demo(workspace, target, work, say)
    text = "\n".join(
        [*result.sentences, f"Took {duration(result.seconds)}. Report: {result.report}"]
    )
    return Answer(result.model_dump(mode="json"), text)


def methods(session: Session) -> Answer:
    """Every criterion, allocation and explainer by name."""
    entries = [entry for family in FAMILIES.values() for entry in family.values()]
    document: dict[str, object] = {
        str(family): [
            {"name": e.name, "label": e.label, "description": e.description, "paper": e.paper}
            for e in members.values()
        ]
        for family, members in FAMILIES.items()
    }
    rows = [(e.family, e.name, e.description, e.paper) for e in entries]
    return Answer(document, table(("kind", "name", "what it does", "source"), rows))


VERBS = (doctor, serve, demo, methods)
