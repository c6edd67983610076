"""`study …`: many runs under one protocol, one table."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from msip_core.bounded import at_home, real_place
from msip_core.changes import read_settings
from msip_core.cli.console import say, table
from msip_core.cli.deleting import Yes, delete_for_good
from msip_core.cli.foreground import PROGRAM, Detach
from msip_core.cli.targets import file_target
from msip_core.cli.verbs import Answer, Session, verb
from msip_core.cli.ways import (
    LatencyBatch,
    LatencyDevice,
    LatencyFormatName,
    LatencyPrecisionName,
    gpu_of,
)
from msip_core.runs.aside import SideTimer
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.runs.supervisor import Supervisor
from msip_core.studies import engine, library
from msip_core.studies.plan import MAX_RUNS, StudyPlan, read_plan, write_plan
from msip_core.studies.presets import PRESETS, SIZES, Size
from msip_core.studies.published import PAPER
from msip_core.studies.table import read_table
from msip_core.studies.tasks import tasks
from msip_core.views.wording import duration, percent, plural
from msip_core.workspace import Workspace, write_text

app = typer.Typer(
    name="study", help="Many runs under one protocol, one table.", no_args_is_help=True
)
_LOOK = 1.0

Id = Annotated[str, typer.Argument(metavar="ID")]


@dataclass(frozen=True, slots=True)
class OfPreset:
    """What may be asked of a preset, by `plan` and by `run`; None leaves it as it is."""

    size: Annotated[Size, typer.Option(help="Of a preset.")] = "smoke"
    data: Annotated[str | None, typer.Option("--data", help="Dataset of the workspace.")] = None
    model: Annotated[
        str | None, typer.Option(help="Baseline of the workspace.", show_default="one is trained")
    ] = None
    weights: Annotated[
        str | None, typer.Option(help="What the baseline starts from: a .pt file or a yaml name.")
    ] = None
    smaller: Annotated[
        str | None, typer.Option(help="What the next smaller model starts from.")
    ] = None
    imgsz: Annotated[int | None, typer.Option("--imgsz", show_default="the size's")] = None
    seeds: Annotated[
        int | None, typer.Option(min=1, max=MAX_RUNS, help="How many.", show_default="the size's")
    ] = None
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda:0, mps.")] = None
    batch: Annotated[int | None, typer.Option(min=1)] = None
    speed_up: Annotated[
        float | None,
        typer.Option(help="The goal as a measured speed-up instead: 2 is twice as fast."),
    ] = None
    latency_device: LatencyDevice = None
    latency_format: LatencyFormatName = None
    latency_precision: LatencyPrecisionName = None
    latency_batch: LatencyBatch = None


@verb(app, "presets")
def presets(session: Session) -> Answer:
    """Studies that can be started by name."""
    rows = [(name, one.title, one.question, len(one.rows)) for name, one in PRESETS.items()]
    document = {
        "presets": [dict(zip(("name", "title", "question", "rows"), row)) for row in rows],
        "sizes": list(SIZES),
    }
    said = table(("name", "title", "question", "rows"), rows)
    return Answer(document, f"{said}\n\n{PAPER}")


@verb(app, "plan")
def plan(
    session: Session,
    *,
    preset: Annotated[str, typer.Argument(help=", ".join(PRESETS))],
    out: Annotated[Path, typer.Option(help="YAML file to write.")],
    asked: OfPreset,
) -> Answer:
    """Write the plan of a preset, to change it before it is run."""
    target = file_target(out, ".yaml", ".yml")
    made = _from_preset(session.workspace, preset, asked)
    write_text(target, write_plan(made))
    return Answer({"plan": str(out)}, f"{out}: {plural(len(tasks(made)), 'run')}.")


@verb(app, "run")
def run(
    session: Session,
    *,
    what: Annotated[
        str, typer.Argument(metavar="PLAN", help=f"A YAML file, or {', '.join(PRESETS)}.")
    ],
    asked: OfPreset,
    detach: Detach = False,
) -> Answer:
    """Start a study and follow it to its table; Ctrl-C pauses it."""
    workspace = session.isolated_workspace()
    if Path(what).suffix in (".yaml", ".yml"):
        made = read_plan(at_home(what))
    else:
        made = _from_preset(workspace, what, asked)
    study = library.create(workspace, made)
    say(f"Study {study.id}: {plural(len(tasks(made)), 'run')}.")
    return _begin(workspace, study.id, detach)


@verb(app, "list")
def list_(session: Session) -> Answer:
    """Studies, newest first."""
    workspace = session.workspace
    service = RunService(workspace)
    found = []
    studies, left_out = library.read_studies(workspace)
    for study in studies:
        now = engine.standing(service, study.id)
        found.append((study.id, study.name, _state(now), percent(now.done)))
    columns = ("id", "name", "state", "done")
    notes = [f"Left out: {why}" for why in left_out]
    document = {"studies": [dict(zip(columns, row)) for row in found]}
    text = "\n".join([table(columns, found), *notes])
    return Answer(document | ({"notes": notes} if notes else {}), text)


@verb(app, "show")
def show(session: Session, study: Id) -> Answer:
    """The table as far as it has come, and what it says."""
    return _answer(session.workspace, study)


@verb(app, "pause")
def pause(session: Session, study: Id) -> Answer:
    """Start nothing more and pause what runs; all that is done is kept."""
    now = engine.pause(RunService(session.workspace), study)
    return Answer(
        {"id": study, "runs": engine.summary(now)},
        f"Paused. Go on with: {PROGRAM} study resume {study}",
    )


@verb(app, "resume")
def resume(session: Session, study: Id, detach: Detach = False) -> Answer:
    """Go on; failed runs are tried once more."""
    workspace = session.isolated_workspace()
    engine.resume(RunService(workspace), study)
    return _begin(workspace, study, detach)


@verb(app, "cancel")
def cancel(session: Session, study: Id) -> Answer:
    """End what runs; rows that are done stay."""
    now = engine.cancel(RunService(session.workspace), study)
    return Answer({"id": study, "runs": engine.summary(now)}, "Cancelled.")


@verb(app, "delete")
def delete(session: Session, study: Id, yes: Yes = False) -> Answer:
    """Remove a plan and its table for good; its runs and their models stay."""
    from msip_core.studies.dependants import delete_study, dependants_of_study

    workspace = session.workspace
    library.open_study(workspace, study)  # that there is none is said before anything is asked
    return delete_for_good(
        "study",
        study,
        dependants_of_study(workspace, study),
        lambda: delete_study(workspace, study),
        yes=yes,
    )


@verb(app, "add")
def add(
    session: Session,
    study: Id,
    *,
    key: Annotated[str, typer.Option(help="Short name of the row.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Of the pruning run; repeatable."),
    ] = None,
    label: Annotated[str | None, typer.Option(show_default="the key")] = None,
    detach: Detach = False,
) -> Answer:
    """Add a row to a study; what is done is not repeated."""
    workspace = session.isolated_workspace()
    row = {"key": key, "label": label or key, "settings": read_settings(settings or ())}
    library.add_row(workspace, study, row)
    engine.resume(RunService(workspace), study)
    return _begin(workspace, study, detach)


@verb(app, "repeat")
def repeat(
    session: Session,
    study: Id,
    *,
    row: Annotated[list[str], typer.Option(help="Key of a row; repeatable.")],
    seed: Annotated[list[int], typer.Option(min=0, help="A further seed; repeatable.")],
    detach: Detach = False,
) -> Answer:
    """Repeat some rows with further seeds; what is done is not repeated."""
    workspace = session.isolated_workspace()
    library.repeat_rows(workspace, study, row, seed)
    engine.resume(RunService(workspace), study)
    return _begin(workspace, study, detach)


def _from_preset(workspace: Workspace, name: str, asked: OfPreset) -> StudyPlan:
    changes = {
        "model": asked.model,
        "imgsz": asked.imgsz,
        "batch": asked.batch,
        "device": asked.device or gpu_of(asked.latency_device),
        "speed_up": asked.speed_up,
        "seeds": tuple(range(asked.seeds)) if asked.seeds else None,
        "latency": {key: value for key in _WAY if (value := getattr(asked, key)) is not None}
        or None,
    }
    given: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    return library.plan_here(
        workspace,
        name,
        asked.size,
        asked.data or "example",
        weights=_file(asked.weights),
        smaller=_file(asked.smaller),
        **given,
    )


_WAY = ("latency_device", "latency_format", "latency_precision", "latency_batch")


def _file(weights: str | None) -> str | None:
    """A file as an absolute path: the worker runs elsewhere."""
    is_file = weights is not None and weights.endswith(".pt")
    return str(real_place(weights)) if weights and is_file else weights


def _begin(workspace: Workspace, study: str, detach: bool) -> Answer:
    if detach:
        text = f"The app carries {study} on. See it with: {PROGRAM} study show {study}"
        return Answer({"id": study}, text)
    return _in_foreground(workspace, study)


def _in_foreground(workspace: Workspace, study: str) -> Answer:
    """Carry the study on until it rests; a server that is up does the runs, else this process."""
    service = RunService(workspace)
    supervisor = Supervisor(workspace, keeps_ready=True).start()
    told: set[str] = set()
    try:
        now = engine.advance(service, study)
        while not (now.is_over or now.paused):
            _tell(now, told)
            time.sleep(_LOOK)
            now = engine.advance(service, study)
        _tell(now, told)
    except KeyboardInterrupt:
        say("Pausing …")
        now = engine.pause(service, study)
        while now.count(RunState.RUNNING, RunState.PAUSING, RunState.CANCELLING):
            time.sleep(_LOOK)
            now = engine.standing(service, study)
    finally:
        supervisor.close()
        # Runs that have said their last word end now, so that no process of theirs outlives us.
        for state in engine.standing(service, study).states:
            if state.is_over:
                supervisor.executor.exit_code(workspace.run_dir(state.run_id))
        SideTimer(workspace).look()  # their milliseconds: nobody waits for them
    return _answer(workspace, study)


def _tell(now: engine.Standing, told: set[str]) -> None:
    """One line for each run that has just ended."""
    for state in now.states:
        if state.is_over and state.row and state.run_id not in told:
            told.add(state.run_id)
            left = f"  ·  about {duration(now.seconds_left)} left" if now.seconds_left else ""
            why = f": {state.row.error}" if state.row.error else ""
            say(f"{state.task.key}: {state.row.state}{why}{left}")


def _answer(workspace: Workspace, study: str) -> Answer:
    # Draws figures: the other verbs need not wait for that.
    from msip_core.studies.outputs import document, markdown, write_outputs
    from msip_core.studies.report import write_report

    found = read_table(workspace, study)
    now, files = found.standing, dict[str, Path]()
    lines = [markdown(found), f"The study is {_state(now)}."]
    try:
        files |= write_outputs(workspace, study, found)
        files["report"] = write_report(workspace, study, found)
        lines += [f"{n}: {p}" for n, p in files.items()]
    except OSError as error:  # somebody else's, or a full disk: it can be looked at
        lines.append(f"Its files were not written to {error.filename}: {error.strerror}.")
    complete = all(line.seeds == line.asked for line in found.lines)
    told = {**document(study, found), "artifacts": {n: str(p) for n, p in files.items()}}
    return Answer(told, "\n".join(lines), exit_code=0 if complete or not now.is_over else 1)


def _state(now: engine.Standing) -> str:
    if now.is_over:
        return "over" if not now.reason else f"over ({now.reason})"
    return "paused" if now.paused else "going on"
