"""`plate`: what a model counts on a plate, well by well, as a run of the queue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from msip_core.bounded import real_place
from msip_core.cli.early import worker_ready
from msip_core.cli.foreground import hand_over, in_foreground
from msip_core.cli.plate_options import (
    Files,
    LabelFiles,
    Looking,
    Results,
    count_config,
    named_model,
)
from msip_core.cli.targets import folder_target
from msip_core.cli.verbs import Answer, Session
from msip_core.errors import ConfigError
from msip_core.plates import folder
from msip_core.plates.outcome import keep_sheet
from msip_core.plates.sheet import read_sheet
from msip_core.runs.service import RunService
from msip_core.workspace import Workspace


def plate(
    session: Session,
    *,
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, zip or file of micrographs, a dataset of the workspace, or the id of a "
            "count that was made before."
        ),
    ],
    model: Annotated[
        str | None, typer.Option(help="A model of the workspace, a .pt file, or RUN/STEP.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="A second model that counts the same images.")
    ] = None,
    looking: Looking,
    files: Files,
    results: Results,
    label_files: LabelFiles,
    name: Annotated[str | None, typer.Option(help="What the count is called on the pages.")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Queue it for the app and return at once.")
    ] = False,
) -> Answer:
    """Count a plate: a row an object, an image and a well, in the background like a run."""
    from msip_core.cli.plate_tables import tell  # draws: `--help` does without

    if results.out is not None:
        folder_target(results.out)
    workspace = session.isolated_workspace()
    sheet = _readable(results.sample_sheet)
    if model is None:
        run_id = _known(workspace, source, sheet)
        return tell(workspace, run_id, results, label_files)
    if detach and (results.out is not None or label_files.labels):
        raise ConfigError(
            "A count that is handed over writes no tables yet: leave --out and --labels out, and "
            "give its id to 'plate' when it is done."
        )
    asked = {
        "model": named_model(workspace, model),
        "baseline": None if baseline is None else named_model(workspace, baseline),
        "name": name or "",
        "sample_sheet": None if sheet is None else str(sheet),
    }
    run_id = RunService(workspace).submit(count_config(workspace, source, asked, (looking, files)))
    if detach:
        return hand_over(workspace, run_id)
    with worker_ready(workspace, begin_now=False) as executor:
        answer = in_foreground(workspace, run_id, executor=executor)
    return answer if answer.exit_code else tell(workspace, run_id, results, label_files)


def _readable(sheet: Path | None) -> Path | None:
    """A sample sheet that was read once: what is wrong with it is said before the work."""
    if sheet is None:
        return None
    sheet = real_place(sheet)
    read_sheet(sheet)
    return sheet


def _known(workspace: Workspace, run_id: str, sheet: Path | None) -> str:
    """A count that was made before, from now on with this sample sheet."""
    if run_id not in {place.name for place in workspace.runs.iterdir()}:
        raise ConfigError("Say with --model what counts on {run_id}.", run_id=run_id)
    folder.read_config(workspace.run_dir(run_id))
    if sheet is not None:
        keep_sheet(workspace.run_dir(run_id), sheet.read_bytes(), sheet.name)
    return run_id


VERBS = (plate,)
