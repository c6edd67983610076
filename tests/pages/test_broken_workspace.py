"""A workspace that was damaged from outside: every page opens and says what is wrong in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest

from msip_core.studies.library import PLAN_FILE, STUDY_FILE, create
from msip_core.workspace import Workspace
from tests.pages import lab_samples, plate_samples
from tests.pages.conftest import PAGES, Open, no_crash
from tests.studies.conftest import make_plan

Damage = Callable[[Workspace, str], None]


def _images_gone(workspace: Workspace, run_id: str) -> None:
    shutil.rmtree(workspace.dataset_dir("example") / "images")


def _labels_gone(workspace: Workspace, run_id: str) -> None:
    shutil.rmtree(workspace.dataset_dir("example") / "labels")


def _dataset_gone(workspace: Workspace, run_id: str) -> None:
    shutil.rmtree(workspace.dataset_dir("example"))


def _dataset_json_gone(workspace: Workspace, run_id: str) -> None:
    (workspace.dataset_dir("example") / "dataset.json").unlink()


def _weights_gone(workspace: Workspace, run_id: str) -> None:
    for path in workspace.models.glob("*/model.pt"):
        path.unlink()


def _models_gone(workspace: Workspace, run_id: str) -> None:
    shutil.rmtree(workspace.models)
    workspace.models.mkdir()


def _card_damaged(workspace: Workspace, run_id: str) -> None:
    (workspace.model_dir(lab_samples.BASELINE) / "model.json").write_text("{", encoding="utf-8")


def _config_damaged(workspace: Workspace, run_id: str) -> None:
    (workspace.run_dir(run_id) / "config.json").write_text("{}", encoding="utf-8")


def _config_gone(workspace: Workspace, run_id: str) -> None:
    (workspace.run_dir(run_id) / "config.json").unlink()


def _events_gone(workspace: Workspace, run_id: str) -> None:
    (workspace.run_dir(run_id) / "events.jsonl").unlink()


def _events_damaged(workspace: Workspace, run_id: str) -> None:
    path = workspace.run_dir(run_id) / "events.jsonl"
    with path.open("a", encoding="utf-8") as out:
        out.write('[1, 2]\n"text"\nnot json\n{"kind": "iteration"}\n{"kind": "baseline"}\n')


def _state_unknown(workspace: Workspace, run_id: str) -> None:
    path = workspace.run_dir(run_id) / "events.jsonl"
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps({"kind": "state", "state": "dancing", "time": 1.0}) + "\n")


def _run_gone(workspace: Workspace, run_id: str) -> None:
    shutil.rmtree(workspace.run_dir(run_id))


def _in_place(*documents: str, by: bytes | None = b"{") -> Callable[[Workspace, str], None]:
    """These files hold something else, or (None) are folders; "RUN" stands for the run."""

    def damage(workspace: Workspace, run_id: str) -> None:
        for name in documents:
            path = workspace.root / name.replace("RUN", run_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.mkdir() if by is None else path.write_bytes(by)

    return damage


def _beside_a_run(workspace: Workspace, run_id: str) -> None:
    _in_place(
        "runs/RUN/provenance.json", "runs/RUN/model/check.json", "runs/RUN/final.json",
        "runs/RUN/search/sensitivity.json", "models/pruned-1/speed.json",
    )(workspace, run_id)  # fmt: skip


def _of_a_dataset(workspace: Workspace, run_id: str) -> None:
    root = workspace.dataset_dir("example")
    for path in [*root.glob("masks/*.json"), *root.glob("splits/*"), *root.glob("labels/*")]:
        path.write_bytes(bytes(20))
    _in_place(
        "datasets/example/versions/2/version.json", "datasets/example/versions/drafts/x.json",
    )(workspace, run_id)  # fmt: skip


def _of_a_count(workspace: Workspace, run_id: str) -> None:
    for name in ("count.json", "plan.json", "counts/model/images.jsonl"):
        run = plate_samples.count_run(workspace, name=f"Count with a damaged {name[:5]}")
        _in_place(f"runs/RUN/{name}", by=b"[1]\n")(workspace, run)


def _of_studies(workspace: Workspace, run_id: str) -> None:
    for name in (STUDY_FILE, PLAN_FILE):
        study = create(workspace, make_plan(seeds=[0]))
        _in_place(f"studies/RUN/{name}")(workspace, study.id)


def _folders_for_files(workspace: Workspace, run_id: str) -> None:
    _in_place(
        "datasets/example/summary.json", "datasets/example/.title", "models/pruned-1/speed.json",
        "models/pruned-1/model.json", "runs/RUN/provenance.json", "runs/RUN/log.txt",
        "datasets/example/versions/drafts/x.json", by=None,
    )(workspace, run_id)  # fmt: skip


DAMAGES: list[Damage] = [
    _images_gone, _labels_gone, _dataset_gone, _dataset_json_gone, _weights_gone, _models_gone,
    _card_damaged, _config_damaged, _config_gone, _events_gone, _events_damaged, _state_unknown,
    _run_gone, _beside_a_run, _of_a_dataset, _of_a_count, _of_studies, _folders_for_files,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__.strip("_"))
def test_every_page_opens_and_speaks_in_words(
    full: str, workspace: Workspace, open_page: Open, damage: Damage
) -> None:
    damage(workspace, full)
    crashed = []
    for page in PAGES:
        test = open_page(page)
        try:
            no_crash(test)
        except AssertionError:
            said = [item.value for item in (*test.exception, *test.error)]
            crashed.append(f"{page}: {said}")

    assert crashed == []


def test_runs_that_cannot_be_read_are_named_on_their_page(
    full: str, workspace: Workspace, open_page: Open
) -> None:
    for name, text in (("prune-cut", '{"kind": "pr'), ("prune-foreign", '{"kind": "melt"}')):
        shutil.copytree(workspace.run_dir(full), workspace.runs / name)
        (workspace.runs / name / "config.json").write_text(text, encoding="utf-8")

    test = open_page("runs")

    no_crash(test)
    cut, foreign = (item.value for item in test.warning)
    assert cut.startswith("prune-cut: ")
    assert "damaged" in cut
    assert foreign.startswith("prune-foreign: ")
