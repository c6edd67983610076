"""`runs …`: what the Runs page does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from msip_core.cli.console import table
from msip_core.cli.deleting import Yes, delete_for_good
from msip_core.cli.foreground import (
    UNSUPERVISED,
    Detach,
    describe,
    follow,
    hand_over,
    in_foreground,
    records_so_far,
)
from msip_core.cli.targets import file_target
from msip_core.cli.verbs import Answer, Session, verb
from msip_core.errors import InputError
from msip_core.runs.service import RunService
from msip_core.runs.state import Action, RunState
from msip_core.views.wording import duration, percent, plural
from msip_core.workspace import check_name

app = typer.Typer(name="runs", help="The queue and its runs.", no_args_is_help=True)

Run = Annotated[str, typer.Argument(metavar="ID")]


@verb(app, "list")
def list_(
    session: Session,
    state: Annotated[
        list[RunState] | None, typer.Option(help="Only these; may be repeated.")
    ] = None,
    kind: Annotated[
        Literal["train", "prune", "count"] | None, typer.Option(help="Only runs of this kind.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    offset: Annotated[int, typer.Option(min=0)] = 0,
) -> Answer:
    """Runs, newest first."""
    service = RunService(session.workspace)
    found = service.list(limit=limit, offset=offset, states=state or None, kind=kind)
    rows = [
        (r.id, r.name, r.kind, r.state.value, percent(r.done), _left(r.seconds_left), r.stage)
        for r in found
    ]
    documents = [
        {
            "id": r.id, "name": r.name, "kind": r.kind, "state": r.state.value, "stage": r.stage,
            "done": r.done, "seconds_left": r.seconds_left, "created": r.created, "error": r.error,
        }
        for r in found
    ]  # fmt: skip
    text = table(("id", "name", "kind", "state", "done", "left", "stage"), rows)
    notes = [f"Left out: {s}" for s in service.left_out()]
    queued = sum(r.state is RunState.QUEUED for r in found)
    if queued and not service.is_supervised():
        notes.append(f"{plural(queued, 'queued run')} {UNSUPERVISED}")
    document = {"runs": documents, **({"notes": notes} if notes else {})}
    return Answer(document, "\n".join([text, *notes]))


@verb(app, "show")
def show(session: Session, run: Run) -> Answer:
    """One run: config, baseline, iterations, result, files."""
    return describe(session.workspace, run)


@verb(app, "follow")
def follow_(session: Session, run: Run) -> Answer:
    """Tell the history of a run as it goes; Ctrl-C stops the telling, not the run."""
    return follow(session.workspace, run)


@verb(app, "pause")
def pause(session: Session, run: Run) -> Answer:
    """Finish the step, keep everything, give the device free."""
    return _act(session, run, Action.PAUSE)


@verb(app, "resume")
def resume(session: Session, run: Run, detach: Detach = False) -> Answer:
    """Go on where a paused, interrupted or failed run stopped."""
    workspace = session.isolated_workspace()
    service = RunService(workspace)
    told = records_so_far(service, run)
    service.act(run, Action.RESUME)
    return hand_over(workspace, run) if detach else in_foreground(workspace, run, told=told)


@verb(app, "cancel")
def cancel(session: Session, run: Run) -> Answer:
    """Stop for good; what was finished stays."""
    return _act(session, run, Action.CANCEL)


@verb(app, "rename")
def rename(session: Session, run: Run, title: str) -> Answer:
    """Call a run otherwise; its id and settings stay."""
    name = RunService(session.workspace).rename(run, title)
    return Answer({"id": run, "name": name}, f"{run} is called '{name}'.")


@verb(app, "delete")
def delete(session: Session, run: Run, yes: Yes = False) -> Answer:
    """Remove a run that is over, with all its steps; models that it made stay.

    A study that asked for it is paused: resuming it makes the run again.
    """
    from msip_core.studies.dependants import delete_run, dependants_of_run

    workspace = session.workspace
    return delete_for_good(
        "run", run, dependants_of_run(workspace, run), lambda: delete_run(workspace, run), yes=yes
    )


@verb(app, "export")
def export(
    session: Session,
    run: Run,
    out: Annotated[Path | None, typer.Option(help="The zip file.", show_default="<ID>.zip")] = None,
) -> Answer:
    """One zip with everything needed to repeat the run."""
    target = file_target(out or Path(f"{check_name(run, 'run')}.zip"), ".zip")
    path = RunService(session.workspace).export(run, target)
    return Answer({"id": run, "path": str(path)}, str(path))


@verb(app, "reindex")
def reindex(session: Session) -> Answer:
    """Rebuild the index from the run folders."""
    workspace = session.workspace
    if not workspace.is_writable:
        raise InputError(
            "{root} cannot be written, so its index cannot be built there; runs can be "
            "looked at all the same.",
            root=workspace.root,
        )
    found = RunService.rebuild_index(workspace)
    lines = [
        f"{plural(found.runs, 'run')} in the index.",
        *(f"Left out: {s}" for s in found.skipped),
    ]
    if found.moved_to:
        lines.append(f"The old index was broken: it lies in {found.moved_to}.")
    document = {"runs": found.runs, "skipped": list(found.skipped), "moved_to": found.moved_to}
    return Answer(document, "\n".join(lines))


def _act(session: Session, run: str, action: Action) -> Answer:
    service = RunService(session.workspace)
    service.act(run, action)
    state = service.get(run).state.value
    return Answer({"id": run, "state": state}, f"{run} is {state}.")


def _left(seconds: float | None) -> str | None:
    return None if seconds is None else duration(seconds)
