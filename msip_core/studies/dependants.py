"""What hangs on a dataset, model, run or study, told before it is deleted; what works stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msip_core.config import TrainConfig
from msip_core.data.writing import delete_dataset, folder_of
from msip_core.errors import InputError, MsipError
from msip_core.messages import msg
from msip_core.models import ModelCard, delete_model, list_models
from msip_core.runs.service import RunService
from msip_core.runs.state import ALIVE
from msip_core.runs.store import RunRow
from msip_core.studies.library import list_studies, open_study, plan_of, set_paused
from msip_core.studies.plan import StudyPlan
from msip_core.workspace import Workspace, clear_away, study_of, taken_away

_MOST = 1_000_000  # runs


class Dependants(NamedTuple):
    """Ids of what names a thing; `working` are runs that wait for it or work on it."""

    runs: tuple[str, ...]
    working: tuple[str, ...]
    models: tuple[str, ...]
    studies: tuple[str, ...]


def dependants_of(workspace: Workspace, dataset: str) -> Dependants:
    """What names this dataset, damaged or not; NotFoundError where there is none."""
    folder_of(workspace, dataset)
    return _found(
        workspace,
        run=lambda row: row.config.dataset == dataset,
        card=lambda card: card.dataset == dataset,
        plan=lambda plan: plan.dataset == dataset,
    )


def dependants_of_model(workspace: Workspace, model: str) -> Dependants:
    """What began with this model, was pruned from it, or made it."""

    def begins(row: RunRow) -> bool:
        config = row.config
        source = config.weights if isinstance(config, TrainConfig) else config.model
        return model in (source, row.model_id)

    return _found(
        workspace,
        run=begins,
        card=lambda card: card.baseline_id == model,
        plan=lambda plan: plan.baseline.model == model,
    )


def dependants_of_run(workspace: Workspace, run: str) -> Dependants:
    """What this run has made, and the study that it belongs to."""
    study, service = study_of(run), RunService(workspace)
    busy = service.get(run).state in ALIVE
    made = (card.id for card in list_models(workspace) if card.origin.get("run_id") == run)
    return Dependants(
        runs=(),
        working=(run,) if busy else (),
        models=tuple(made),
        studies=(study,) if study else (),
    )


def dependants_of_study(workspace: Workspace, study: str) -> Dependants:
    """The runs of a study and the models that they made."""
    return _found(
        workspace,
        run=lambda row: study_of(row.id) == study,
        card=lambda card: study_of(str(card.origin.get("run_id") or "")) == study,
        plan=lambda plan: False,
    )


def delete_unused(workspace: Workspace, dataset: str) -> Dependants:
    """Delete a dataset that no run waits for or works on; runs, models and studies stay.

    Returns:
        What named it.

    Raises:
        NotFoundError: there is none of that name.
        InputError: a run uses it.
    """
    found = dependants_of(workspace, dataset)
    _check_unused(msg("dataset"), dataset, found)
    delete_dataset(workspace, dataset)
    return found


def delete_unused_model(workspace: Workspace, model: str) -> Dependants:
    """Delete a model that no run waits for or works on; what came of it stays.

    Raises:
        NotFoundError: there is none of that id.
        InputError: a run uses it.
    """
    found = dependants_of_model(workspace, model)
    _check_unused(msg("model"), model, found)
    delete_model(workspace, model)
    return found


def _check_unused(what: str, name: str, found: Dependants) -> None:
    if found.working:
        raise InputError(
            "The {what} '{name}' is used by {working}: wait until that is over or cancel it, then "
            "delete the {what}.",
            what=what,
            name=name,
            working=", ".join(found.working),
        )


def delete_run(workspace: Workspace, run: str) -> None:
    """Delete a run that is over. The study that asked for it is paused first: it would ask again.

    Raises:
        IllegalTransitionError: it still runs.
    """
    study, service = study_of(run), RunService(workspace)
    if study not in {one.id for one in list_studies(workspace)}:
        service.delete(run)
        return
    before = open_study(workspace, study).paused
    set_paused(workspace, study, True)
    try:
        service.delete(run)
    except MsipError:
        set_paused(workspace, study, before)
        raise


def delete_study(workspace: Workspace, study: str) -> None:
    """Delete the plan and the table of a study; its runs and their models stay.

    Raises:
        NotFoundError: there is none of that id.
        InputError: a run of it waits or works.
    """
    before = open_study(workspace, study).paused
    set_paused(workspace, study, True)  # nothing is started while we look
    if working := dependants_of_study(workspace, study).working:
        set_paused(workspace, study, before)
        raise InputError(
            "Runs of the study '{study}' wait or work ({working}): cancel it first, then delete "
            "it.",
            study=study,
            working=", ".join(working),
        )
    clear_away(taken_away(workspace.study_dir(study)))


def _found(
    workspace: Workspace,
    *,
    run: Callable[[RunRow], bool],
    card: Callable[[ModelCard], bool],
    plan: Callable[[StudyPlan], bool],
) -> Dependants:
    rows = [row for row in RunService(workspace).list(limit=_MOST) if run(row)]
    studies = (one.id for one in list_studies(workspace) if plan(plan_of(workspace, one.id)))
    return Dependants(
        runs=tuple(row.id for row in rows),
        working=tuple(row.id for row in rows if row.state in ALIVE),
        models=tuple(one.id for one in list_models(workspace) if card(one)),
        studies=tuple(studies),
    )
