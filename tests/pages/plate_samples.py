"""A finished count in a workspace, as its worker leaves it, without a detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from msip_core.config import CountConfig
from msip_core.data.object_sizes import SeenImage
from msip_core.data.stacks import told as level_told
from msip_core.data.tiling import choose_tiling
from msip_core.messages import joined, msg
from msip_core.plates import making
from msip_core.plates.folder import Facts, ModelFacts, write_facts
from msip_core.plates.journal import Journal
from msip_core.plates.rows import ImageRow, Role
from msip_core.runs.events_log import EventLog
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.workspace import Workspace
from tests.pages import lab_samples
from tests.plates.made_up import CLASSES, image, objects_of

WELLS = msg(
    "Taken for wells: {shown}. If these are none, give a group pattern.",
    shown="A01, A02, A03, …, D06",
)
SHEET = "well;condition;dose;unit\n" + "".join(
    f"{row}{column};{'control' if column == 1 else 'CHIR'};{0 if column == 1 else 2.0**column};µM\n"
    for row in "ABCD"
    for column in range(1, 7)
)


def plate(*, less: int = 0) -> list[ImageRow]:
    """4 x 6 wells of three fields; the share of crypts rises with the column. The last well has
    failed, the one before it is blank, the one before that without an object."""
    rows = [
        image(f"{row}{column:02d}", field, max(0, column + field % 2 - less), 9 - column)
        for row in "ABCD"
        for column in range(1, 7)
        for field in (1, 2, 3)
    ][:-9]
    said = joined("; ", [msg("{n} files of one field", n=3), level_told("sharpest", 1, ["0", "1"])])
    cut = choose_tiling(512, None, None, 128, SeenImage(1024, 1024, 128, None))
    assert cut is not None
    words = cut.words(1024, 1024)
    rows[0] = replace(rows[0], chosen=said, note=making._FULL, tiles=words)
    rows += [image("D04", field, 0, 0) for field in (1, 2, 3)]
    rows += [image("D05", field, 0, 0, state="empty") for field in (1, 2, 3)]
    return rows + [image("D06", field, 0, 0, state="failed") for field in (1, 2, 3)]


def count_run(
    workspace: Workspace, *, state: RunState = RunState.COMPLETED, baseline: bool = False,
    counted: int | None = None, classes: Sequence[str] = CLASSES, name: str = "Count of plate",
    dataset: str = "",
) -> str:  # fmt: skip
    """A count of a drawn plate; its id."""
    source = workspace.root / "plate"
    source.mkdir(exist_ok=True)
    (source / "A01_f1.png").write_bytes(b"not read here")
    config = CountConfig(
        name=name,
        source=None if dataset else source,
        dataset=dataset,
        model=lab_samples.LIGHTER,
        device="cpu",
        baseline=lab_samples.BASELINE if baseline else None,
    )
    service = RunService(workspace)
    run_id = service.submit(config)
    run_dir, log = service.run_dir(run_id), EventLog(service.run_dir(run_id))
    log.transition(RunState.RUNNING)
    roles: list[Role] = ["model", "baseline"] if baseline else ["model"]
    models = {
        role: ModelFacts(
            model=f"{role}-1", name=f"Example {role}", classes=tuple(classes), imgsz=128
        )
        for role in roles
    }
    rows = plate()
    total = len(rows)
    write_facts(run_dir, Facts(source="plate", wells=WELLS, total=total, models=models))
    journal = Journal(run_dir, roles)
    for role in roles:
        for row in plate(less=1 if role == "baseline" else 0)[:counted]:
            journal.append(role, row, objects_of(row))
    journal.commit()
    if state is not RunState.RUNNING:
        log.transition(state, reason="The disk is full." if state is RunState.FAILED else None)
    return run_id
