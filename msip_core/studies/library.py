"""Studies of the workspace: their folders, their plans, and what a person asked of them.

studies/<id>/plan.yaml     the protocol (rows may be added, nothing else changes)
            /study.json    id, when it was made, paused or not
            /table.csv ... what it has found so far
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from msip_core.data.dataset import ensure_ready, open_dataset
from msip_core.documents import facts_in, read_record
from msip_core.errors import ConfigError, DatasetError, MsipError, NotFoundError
from msip_core.events import Record
from msip_core.label_versions import newest_version
from msip_core.messages import msg
from msip_core.models import ModelCard, open_card
from msip_core.studies.plan import (
    HONEST,
    Row,
    StudyPlan,
    is_pretrained,
    parse_plan,
    read_plan,
    write_plan,
)
from msip_core.studies.presets import PRESETS, Size, next_smaller, preset_plan
from msip_core.workspace import (
    STUDY,
    Workspace,
    folders_in,
    new_id,
    whole_folder,
    write_json,
    write_text,
)

PLAN_FILE, STUDY_FILE = "plan.yaml", "study.json"


class Study(Record):
    """One study. `paused`: a person asked that nothing more is started."""

    id: str
    name: str
    created: float
    paused: bool = False


def create(workspace: Workspace, plan: StudyPlan) -> Study:
    """Check everything that can be checked now, and keep the plan.

    Raises:
        DatasetError, ConfigError, NotFoundError: dataset, model or row cannot be used.
    """
    check_plan(workspace, plan)
    if plan.dataset_version is None:
        newest = newest_version(workspace.dataset_dir(plan.dataset))
        plan = plan.model_copy(update={"dataset_version": newest})
    study = Study(id=new_id(STUDY), name=plan.name, created=time.time())
    with whole_folder(workspace.study_dir(study.id)) as folder:
        write_text(folder / PLAN_FILE, write_plan(plan))
        write_json(folder / STUDY_FILE, study.model_dump(mode="json"))
    return study


def plan_here(
    workspace: Workspace, name: str, size: Size, dataset: str, *, model: str | None = None,
    **changes: Any,
) -> StudyPlan:  # fmt: skip
    """A preset's plan for this workspace: a brought baseline gives image size and what is below it.

    Raises:
        ConfigError, NotFoundError: no such preset, size or model.
    """
    if model is not None:
        card = open_card(workspace, model)
        _check_architecture(name, card)
        pretrained = _pretrained(workspace, card)
        own = {
            "imgsz": card.imgsz,
            "smaller": next_smaller(card.architecture, of=_weights_of(workspace, card)),
            "pretrained": pretrained,
        }
        changes = own | {key: value for key, value in changes.items() if value is not None}
    return preset_plan(name, size, dataset, model=model, **changes)


def _check_architecture(name: str, card: ModelCard) -> None:
    """Refuse a baseline of another kind than the system is about."""
    about = PRESETS[name].weights if name in PRESETS else ""
    kind = Path(about).stem.partition("-")[2]
    if kind not in card.architecture:
        raise ConfigError(
            "The study '{name}' is about a {kind} YOLOv8, and model '{id}' is "
            "{architecture}: leave the model out, and one is trained first.",
            name=name,
            kind=kind,
            id=card.id,
            architecture=card.architecture,
        )


def _weights_of(workspace: Workspace, card: ModelCard) -> str | None:
    """What a model of the workspace was trained from; None where no run tells."""
    run_dir = workspace.run_dir(str(card.origin.get("run_id") or "none"))
    weights = facts_in(run_dir / "config.json").get("weights")
    return None if weights is None else str(weights)


def _pretrained(workspace: Workspace, card: ModelCard) -> bool | None:
    """Whether it began from pretrained weights, followed back through models of the workspace."""
    seen: set[str] = set()
    while (weights := _weights_of(workspace, card)) is not None:
        if weights.endswith((".pt", ".yaml", ".yml")) or card.id in seen:
            return is_pretrained(weights)
        seen.add(card.id)
        card = open_card(workspace, weights)
    return None


def check_plan(workspace: Workspace, plan: StudyPlan) -> None:
    """Raise unless the plan's datasets, models and rows are all there and go together."""
    plan.check()
    dataset = ensure_ready(open_dataset(workspace, plan.dataset, plan.dataset_version))
    if not dataset.split("test"):
        raise DatasetError(
            "Dataset '{name}' has no test images, and a study reports on nothing else.",
            name=dataset.name,
        )
    for name in plan.measure.datasets:
        other = open_dataset(workspace, name)
        if [c.lower() for c in other.classes] != [c.lower() for c in dataset.classes]:
            raise DatasetError(
                "Dataset '{name}' has the classes {classes}, and '{other}' has {others}: "
                "import it again with its classes mapped to these.",
                name=name,
                classes=", ".join(other.classes),
                other=dataset.name,
                others=", ".join(dataset.classes),
            )
        if not other.split("test"):
            raise DatasetError("Dataset '{name}' has no test images to test on.", name=name)
    if plan.baseline.model is not None:
        open_card(workspace, plan.baseline.model)


def open_study(workspace: Workspace, study_id: str) -> Study:
    """One study, or a sentence with what to do."""
    study = read_record(workspace.study_dir(study_id) / STUDY_FILE, Study)
    if study is None:
        raise NotFoundError(
            "There is no study '{study_id}': see 'study list' for what is there.", study_id=study_id
        )
    # Its folder may have been renamed, or copied under another name.
    return study.model_copy(update={"id": study_id})


def plan_of(workspace: Workspace, study_id: str) -> StudyPlan:
    """The plan of a study as it is now; read and checked once per change of the file."""
    open_study(workspace, study_id)
    path = workspace.study_dir(study_id) / PLAN_FILE
    return _read_plan(path, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=64)
def _read_plan(path: Path, changed: int) -> StudyPlan:
    # `changed` makes a file that was written again a new entry.
    plan = read_plan(path)
    # One from before labels could be corrected was about what there was then.
    return plan.model_copy(update={"dataset_version": plan.dataset_version or 1})


def list_studies(workspace: Workspace) -> list[Study]:
    """All studies that can be read, newest first."""
    return read_studies(workspace)[0]


def read_studies(workspace: Workspace) -> tuple[list[Study], list[str]]:
    """All studies that can be read, newest first; why the others cannot, a sentence each."""
    found: list[Study] = []
    left_out: list[str] = []
    for folder in folders_in(workspace.studies):
        try:
            plan_of(workspace, folder.name)
            found.append(open_study(workspace, folder.name))
        except NotFoundError:  # just deleted, or none yet
            continue
        except MsipError as error:
            left_out.append(msg("{name}: {why}", name=folder.name, why=error))
    return sorted(found, key=lambda one: (one.created, one.id), reverse=True), sorted(left_out)


def set_paused(workspace: Workspace, study_id: str, paused: bool) -> None:
    """Write down what a person asked."""
    with lock(workspace, study_id):
        study = open_study(workspace, study_id).model_copy(update={"paused": paused})
        write_json(workspace.study_dir(study_id) / STUDY_FILE, study.model_dump(mode="json"))


def add_row(workspace: Workspace, study_id: str, row: Mapping[str, object] | Row) -> StudyPlan:
    """Extend a study by one row; what is done stays as it is.

    Raises:
        ConfigError: there is such a row, or its settings cannot be used.
    """
    with lock(workspace, study_id):
        values = plan_of(workspace, study_id).model_dump(mode="json")
        added = row.model_dump(mode="json") if isinstance(row, Row) else row
        key = added.get("key")
        if key in values["honest"] or any(known["key"] == key for known in values["rows"]):
            raise ConfigError("The study has a row '{key}' already.", key=key)
        if key not in HONEST:
            more = {"rows": [*values["rows"], added]}
        elif added.get("settings"):
            raise ConfigError(
                "The row '{key}' is made by the study itself and has no settings.", key=key
            )
        else:
            more = {"honest": [*values["honest"], key]}
        return _extend(workspace, study_id, values | more)


def repeat_rows(
    workspace: Workspace, study_id: str, rows: Sequence[str], seeds: Sequence[int]
) -> StudyPlan:
    """Repeat rows of a study with further seeds; a seed that a row has already changes nothing.

    Raises:
        ConfigError: no such row, or one in which a seed changes nothing; no such seed.
    """
    with lock(workspace, study_id):
        plan = plan_of(workspace, study_id)
        more = dict(plan.more_seeds)
        for row in rows:
            new = dict.fromkeys(seed for seed in seeds if seed not in plan.seeds)
            more[row] = tuple(dict.fromkeys((*more.get(row, ()), *new)))
        values = plan.model_dump(mode="json") | {"more_seeds": more}
        return _extend(workspace, study_id, values)


def _extend(workspace: Workspace, study_id: str, values: Mapping[str, object]) -> StudyPlan:
    extended = parse_plan(values)
    write_text(workspace.study_dir(study_id) / PLAN_FILE, write_plan(extended))
    return extended


def changed(workspace: Workspace, study_id: str) -> tuple[int, ...]:
    """Differs once a person has changed the study."""
    folder = workspace.study_dir(study_id)
    return tuple((folder / name).stat().st_mtime_ns for name in (STUDY_FILE, PLAN_FILE))


def lock(workspace: Workspace, study_id: str) -> FileLock:
    """Held by whoever changes the study or starts its runs.

    Raises:
        NotFoundError: there is none, and its lock shall not make a folder for it.
    """
    open_study(workspace, study_id)
    return FileLock(workspace.study_dir(study_id) / ".lock")
