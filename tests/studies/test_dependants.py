"""Deleting a dataset: what hangs on it is told first, and a run that works on it keeps it."""

from __future__ import annotations

import pytest

from msip_core.data.dataset import list_datasets, open_dataset
from msip_core.data.writing import rename_dataset, set_pixel_size
from msip_core.errors import IllegalTransitionError, InputError, NotFoundError
from msip_core.models import rename_model
from msip_core.questions.detecting import Predict
from msip_core.questions.sources import DatasetImage, SavedModel
from msip_core.runs.events_log import EventLog
from msip_core.runs.far.parcels import parcels_of
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.studies import engine, library
from msip_core.studies.dependants import (
    delete_study,
    delete_unused,
    delete_unused_model,
    dependants_of,
    dependants_of_model,
    dependants_of_run,
)
from msip_core.workspace import Workspace
from tests.pages.lab_samples import BASELINE, LIGHTER, fill


@pytest.fixture
def run(workspace: Workspace) -> str:
    """The finished pruning run of a workspace with the dataset "example"."""
    return fill(workspace)


def test_runs_models_and_studies_that_name_it_are_told(workspace: Workspace, run: str) -> None:
    plan = library.plan_here(workspace, "table-3-1", "smoke", "example")
    study = library.create(workspace, plan)

    found = dependants_of(workspace, "example")

    assert run in found.runs
    assert len(found.runs) == RunService(workspace).count()
    assert set(found.models) == {path.name for path in workspace.models.iterdir()}
    assert found.studies == (study.id,)
    assert found.working == ()


def test_a_study_whose_run_waits_is_not_deleted_and_goes_on(workspace: Workspace, run: str) -> None:
    plan = library.plan_here(workspace, "table-3-1", "smoke", "example")
    study, service = library.create(workspace, plan).id, RunService(workspace)
    engine.advance(service, study)

    with pytest.raises(InputError, match="cancel it first, then delete it"):
        delete_study(workspace, study)
    assert not library.open_study(workspace, study).paused

    engine.cancel(service, study)
    delete_study(workspace, study)
    assert library.list_studies(workspace) == []
    with pytest.raises(NotFoundError):
        delete_study(workspace, study)


def test_it_goes_and_everything_made_with_it_stays(workspace: Workspace, run: str) -> None:
    told = delete_unused(workspace, "example")

    assert run in told.runs
    assert list(workspace.datasets.iterdir()) == []
    assert RunService(workspace).get(run).state is RunState.COMPLETED
    assert len(list(workspace.models.iterdir())) == 2
    with pytest.raises(NotFoundError, match="There is no dataset 'example'"):
        delete_unused(workspace, "example")


def test_a_run_that_waits_keeps_its_dataset(workspace: Workspace, run: str) -> None:
    service = RunService(workspace)
    waiting = service.submit(service.get(run).config)
    assert EventLog(service.run_dir(waiting)).state() is RunState.QUEUED

    with pytest.raises(InputError, match=f"is used by {waiting}: wait until that is over"):
        delete_unused(workspace, "example")

    assert (workspace.datasets / "example" / "dataset.json").is_file()


def test_a_run_that_waits_keeps_its_model(workspace: Workspace, run: str) -> None:
    service = RunService(workspace)
    waiting = service.submit(service.get(run).config)

    with pytest.raises(InputError, match=f"is used by {waiting}: wait until that is over"):
        delete_unused_model(workspace, BASELINE)
    with pytest.raises(IllegalTransitionError, match="cancel it before you delete it"):
        service.delete(waiting)

    assert dependants_of_run(workspace, waiting).working == (waiting,)
    assert (workspace.model_dir(BASELINE) / "model.json").is_file()


def test_runs_models_and_studies_that_began_with_a_model_are_told(
    workspace: Workspace, run: str
) -> None:
    plan = library.plan_here(workspace, "table-3-1", "smoke", "example", model=BASELINE)
    study = library.create(workspace, plan)

    found = dependants_of_model(workspace, BASELINE)

    assert run in found.runs  # it began with it
    assert len(found.runs) == RunService(workspace).count()  # the other one has made it
    assert found.models == (LIGHTER,)
    assert found.studies == (study.id,)
    assert dependants_of_run(workspace, run).models == (LIGHTER,)


def test_a_new_title_is_kept_when_the_index_is_built_anew_and_by_a_repeated_run(
    workspace: Workspace, run: str
) -> None:
    service = RunService(workspace)
    config = service.get(run).config
    service.rename(run, "Plate 7")
    service.reindex()

    assert service.get(run).name == "Plate 7"
    assert service.get(run).config == config
    assert service.get(service.repeat(run)).name == "Plate 7"
    assert service.get(run).damaged == 0


def test_a_title_changes_nothing_that_was_computed_from_the_images(
    workspace: Workspace, run: str
) -> None:
    image = open_dataset(workspace, "example").images[0]
    asked = DatasetImage(dataset="example", image=image.id)
    question = Predict(model=SavedModel(model=BASELINE), images=(asked,))
    before = question.key(workspace)
    parcel = keys_of(workspace)
    rename_dataset(workspace, "example", "Plate 7")
    rename_model(workspace, BASELINE, "Other")

    assert question.key(workspace) == before
    assert keys_of(workspace)[0] == parcel[0]
    set_pixel_size(workspace, "example", 0.65)
    assert list_datasets(workspace)[0].words == "Plate 7"


def keys_of(workspace: Workspace) -> list[str]:
    """What a run sends to another computer, by content: the dataset first."""
    row = RunService(workspace).list(kind="prune")[0]
    return [parcel.key for parcel in parcels_of(row.config, workspace)[0]]


def test_a_damaged_dataset_can_be_deleted(workspace: Workspace, run: str) -> None:
    for name in ("dataset.json", "summary.json"):
        (workspace.datasets / "example" / name).write_text("{")

    delete_unused(workspace, "example")

    assert list(workspace.datasets.iterdir()) == []
