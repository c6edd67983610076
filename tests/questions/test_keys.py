"""Under which key an answer is kept: all that decides it, and the content of the files it names."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest

from msip_core import questions as room
from msip_core.boxes import Box, Detection
from msip_core.config import PRUNE_PRESETS, ImportConfig, PruneConfig
from msip_core.data import questions as data
from msip_core.events import Record
from msip_core.questions import detecting, looking
from msip_core.questions.base import Question, form_of, name_of, question_from
from msip_core.questions.detecting import Compare, Predict
from msip_core.questions.looking import BoundaryScores, GradCam, HeatMap, Shap, TimeShap
from msip_core.questions.planning import Effort, Estimate, Preview
from msip_core.questions.sources import (
    DatasetImage,
    ImageFile,
    RunStep,
    SavedModel,
    WeightsFile,
    model_named,
)
from msip_core.workspace import Workspace, write_json

MODEL = SavedModel(model="m")
IMAGE = DatasetImage(dataset="drawn", image="a")
CONFIG = PruneConfig(dataset="drawn", model="m")


def _all_questions() -> set[type[Question[Any]]]:
    files = [f"msip_core.questions.{one.name}" for one in pkgutil.iter_modules(room.__path__)]
    return {
        kind
        for file in map(importlib.import_module, [*files, data.__name__])
        for kind in vars(file).values()
        if isinstance(kind, type) and issubclass(kind, Question) and hasattr(kind, "answered_by")
    }


def test_every_question_names_a_function_that_is_there() -> None:
    assert {GradCam, Compare, Preview, data.Import} < _all_questions()
    for kind in _all_questions():
        module, _, function = kind.answered_by.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), kind


def test_every_answer_is_a_record_of_a_class_of_its_own_question() -> None:
    assert GradCam.answer_type() is HeatMap
    assert Estimate.answer_type() is Effort
    assert all(issubclass(kind.answer_type(), Record) for kind in _all_questions())


@pytest.mark.parametrize(
    "question",
    [
        Predict(model=MODEL, images=(IMAGE,)),
        Compare(baseline=MODEL, pruned=RunStep(run="r", iteration=2), dataset="drawn"),
        GradCam(model=MODEL, image=IMAGE),
        Preview.of(CONFIG),
        data.Inspect(path=Path("/somewhere")),
    ],
)
def test_a_question_is_the_same_in_another_process(
    workspace: Workspace, question: Question[Any]
) -> None:
    again = question_from(name_of(question), question.model_dump(mode="json"))

    assert again == question
    assert again.key(workspace) == question.key(workspace)


def test_what_decides_the_answer_is_in_the_key_and_the_kind_of_question_too(
    workspace: Workspace,
) -> None:
    questions: list[Question[Any]] = [
        GradCam(model=MODEL, image=IMAGE),
        GradCam(model=MODEL, image=IMAGE, layers=("P3",)),
        GradCam(model=MODEL, image=IMAGE, device="cuda:0"),
        GradCam(model=RunStep(run="m"), image=IMAGE),
        Shap(model=MODEL, image=IMAGE),
        TimeShap(model=MODEL, image=IMAGE),
    ]
    keys = [question.key(workspace) for question in questions]

    assert len(set(keys)) == len(keys)
    said = GradCam(model=MODEL, image=IMAGE, method="gradcam")  # what it is by default
    assert said.key(workspace) == keys[0]


def test_of_a_detection_only_its_box_is_asked(workspace: Workspace) -> None:
    found = Detection(cls=1, x1=1.0, y1=2.0, x2=3.0, y2=4.0, score=0.9, number=3)
    asked = [
        GradCam(model=MODEL, image=IMAGE, box=box)
        for box in (found, Box(cls=1, x1=1.0, y1=2.0, x2=3.0, y2=4.0))
    ]

    assert asked[0].key(workspace) == asked[1].key(workspace)


def test_a_changed_file_is_a_new_question(workspace: Workspace) -> None:
    dataset = workspace.dataset_dir("drawn") / "dataset.json"
    write_json(dataset, {"n": 1})
    image, weights = workspace.root / "a.png", workspace.root / "w.pt"
    image.write_bytes(b"1")
    weights.write_bytes(b"1")
    source = ImportConfig(source=workspace.uploads, name="new")
    questions: list[Question[Any]] = [
        GradCam(model=MODEL, image=ImageFile(path=image)),
        Predict(model=WeightsFile(weights=weights), images=()),
        Predict(model=MODEL, images=(IMAGE, IMAGE)),
        Compare(baseline=MODEL, pruned=MODEL, dataset="drawn"),
        looking.Boundary(model=MODEL, dataset="drawn"),
        Shap(model=RunStep(run="r", iteration=2), image=ImageFile(path=workspace.root / "no.png")),
        Preview.of(CONFIG),
        Estimate.of(CONFIG),
        detecting.Upload(path=weights),
        detecting.Export(model=WeightsFile(weights=weights), format="onnx"),
        data.Inspect(path=workspace.uploads),
        data.Import(config=source),
    ]
    before = [q.key(workspace) for q in questions]
    assert before == [q.key(workspace) for q in questions]

    write_json(dataset, {"n": 22})
    for file in (image, weights):
        file.write_bytes(b"22")
    step = workspace.run_dir("r") / "iterations" / "2" / "model.pt"
    step.parent.mkdir(parents=True)
    step.write_bytes(b"w")
    (workspace.uploads / "new").mkdir()

    after = [q.key(workspace) for q in questions]
    assert not set(before) & set(after)


def test_of_a_model_the_file_that_is_worked_with_counts(workspace: Workspace) -> None:
    folder = workspace.model_dir("m")
    folder.mkdir()
    (folder / "model.pt").write_bytes(b"stock")
    first = Predict(model=MODEL, images=()).key(workspace)
    (folder / "work.pt").write_bytes(b"ours")
    second = Predict(model=MODEL, images=()).key(workspace)
    (folder / "model.pt").write_bytes(b"another")

    assert first != second
    assert Predict(model=MODEL, images=()).key(workspace) == second


def test_a_step_without_a_copy_of_its_own_counts_as_the_model_that_it_began_or_ended_with(
    workspace: Workspace,
) -> None:
    write_json(workspace.run_dir("r") / "config.json", {"model": "m"})
    folder = workspace.model_dir("m")
    write_json(folder / "model.json", {
        "id": "m", "name": "m", "kind": "baseline", "architecture": "yolov8n", "classes": ["a"],
        "imgsz": 64, "cost": {"macs": 1, "params": 1, "size_mb": 1.0, "imgsz": 64},
    })  # fmt: skip
    (folder / "model.pt").write_bytes(b"w")
    begun = Predict(model=RunStep(run="r"), images=())

    assert list(begun.files(workspace)) == [folder / "model.pt"]
    first = begun.key(workspace)
    (folder / "model.pt").write_bytes(b"another")
    assert begun.key(workspace) != first


def test_a_model_is_named_by_its_id_or_by_its_file() -> None:
    assert model_named("yolo") == SavedModel(model="yolo")
    named = model_named("/a/b.pt")
    assert isinstance(named, WeightsFile)
    assert (named.name, str(named.weights)) == ("/a/b.pt", "/a/b.pt")


def test_only_what_decides_the_cut_makes_it_another_preview() -> None:
    slower = CONFIG.model_copy(update={"name": "other", "batch": 4})

    assert Preview.of(slower) == Preview.of(CONFIG)
    assert Estimate.of(slower) != Estimate.of(CONFIG)  # the batch decides the time
    assert Preview.of(CONFIG.model_copy(update={"seed": 7})) != Preview.of(CONFIG)
    assert Estimate.of(CONFIG.model_copy(update={"seed": 7})) == Estimate.of(CONFIG)


@pytest.mark.parametrize("preset", PRUNE_PRESETS)
def test_the_time_is_that_of_the_epochs_and_repairs_that_were_asked_for(preset: str) -> None:
    """Training after the last cut alone is not estimated as training after every cut."""
    config = PruneConfig(dataset="d", model="m", **PRUNE_PRESETS[preset], repair="none")

    asked = Estimate.of(config).config

    assert asked.finetune_epochs == config.finetune_epochs
    assert asked.repair == "none"


def test_weights_that_are_thresholded_when_they_are_copied_make_another_preview() -> None:
    moved = CONFIG.model_copy(update={"prox": 0.01, "tiles": "never"})

    assert Preview.of(moved).config.prox == 0.01
    assert Preview.of(moved).config.tiles == "never"


def test_an_answer_is_read_as_it_was_written(tmp_path: Path) -> None:
    scores = BoundaryScores(
        ber=None, enrichment=1.5, energy_in_box=0.25, hit=True, contour="box", band_px=4.0
    )
    form = form_of(BoundaryScores)

    form.write(tmp_path, scores)

    assert form.read(tmp_path) == scores


def test_a_damaged_answer_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"seconds": "soon"}')

    with pytest.raises(ValueError, match="seconds"):
        form_of(Effort).read(tmp_path)
