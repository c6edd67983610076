"""Models: cards, training, weights from elsewhere."""

from __future__ import annotations

import json
import shutil

import pytest

from msip_core.config import TRAIN_PRESETS, TrainConfig
from msip_core.data.writing import rename_dataset
from msip_core.models import list_models
from msip_core.questions.detecting import Upload
from msip_core.run_base import MAX_SEED
from msip_core.runs.service import RunService
from msip_core.speeds import Speed, ask_for_speed, write_speed
from msip_core.workspace import Workspace
from tests.pages.conftest import Open, no_crash, words
from tests.pages.fake_compute import FakeCompute
from tests.pages.lab_samples import draw_dataset


def test_all_models_are_listed_with_their_numbers(full: str, open_page: Open) -> None:
    test = open_page("models", model="pruned-1")

    table = test.dataframe[0].value
    assert set(table["Model"]) == {"Example baseline", "Example, a third"}
    assert {m.value for m in test.metric} >= {"1.35 G", "33.3 %", "900 k"}
    assert test.dataframe[0].proto.placeholder == "—"  # not "None", for what was not measured


def test_a_model_names_its_dataset_by_the_title_that_it_has_now(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    rename_dataset(workspace, "example", "Plates of May")
    test = open_page("models", model="baseline-1")

    assert set(test.dataframe[0].value["Dataset"]) == {"Plates of May"}
    assert "dataset Plates of May, made" in words(test)


def test_a_card_is_filled_in_when_its_time_was_measured(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    ask_for_speed(workspace, "pruned-1", 640)
    assert "being measured" in {m.value for m in open_page("models", model="pruned-1").metric}

    found = Speed(key="k", imgsz=640, ms=41.3, processor="A processor")
    write_speed(workspace, "pruned-1", found)
    assert "41.3 ms" in {m.value for m in open_page("models", model="pruned-1").metric}

    failed = found.model_copy(update={"ms": None, "problem": "The process died."})
    write_speed(workspace, "pruned-1", failed)
    test = open_page("models", model="pruned-1")
    no_crash(test)
    assert any(m.value == "not measured" and "The process died" in m.label for m in test.metric)


def test_training_starts_with_what_was_set(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = open_page("models", view="train")
    test.radio("train:preset").set_value("standard").run()
    test.number_input("train:epochs:standard").set_value(7).run()
    test.selectbox("train:weights").select("yolov8s.yaml").run()
    next(b for b in test.button if b.label == "Start training").click()
    test.run()

    no_crash(test)
    config = RunService(workspace).list(limit=1)[0].config
    assert isinstance(config, TrainConfig)
    assert config.weights == "yolov8s.yaml"
    assert config.recipe == TRAIN_PRESETS["standard"]["recipe"].model_copy(update={"epochs": 7})
    assert test.title[0].value == "Runs"


def test_weights_from_elsewhere_become_a_model(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = open_page("models", view="upload")
    test.file_uploader[0].upload("mine.pt", b"weights", "application/octet-stream").run()
    next(b for b in test.button if b.label == "Check and add").click()
    test.run()

    assert "uploaded-1" in [card.id for card in list_models(workspace)]
    assert test.query_params["model"] == "uploaded-1"


def test_a_name_that_is_typed_and_added_at_once_is_the_one_that_counts(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("models", view="upload")
    test.file_uploader[0].upload("mine.pt", b"weights", "application/octet-stream").run()
    next(field for field in test.text_input if field.label == "Name").input("plate detector")
    next(b for b in test.button if b.label == "Check and add").click()
    test.run()

    assert [question.name for question in compute.asked_of(Upload)] == ["plate detector"]


def test_weights_that_want_to_run_code_are_refused_by_name(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.fail[Upload] = "This file wants to run code (posix.system). Refused."

    test = open_page("models", view="upload")
    test.file_uploader[0].upload("bad.pt", b"evil", "application/octet-stream").run()
    next(b for b in test.button if b.label == "Check and add").click()
    test.run()

    assert "wants to run code (posix.system)" in test.error[0].value


def test_another_network_or_task_is_named(full: str, open_page: Open, compute: FakeCompute) -> None:
    compute.fail[Upload] = "This is a yolo11n segment model; MSIP Lab prunes YOLOv8 detectors."

    test = open_page("models", view="upload")
    test.file_uploader[0].upload("seg.pt", b"weights", "application/octet-stream").run()
    next(b for b in test.button if b.label == "Check and add").click()
    test.run()

    assert "yolo11n segment model" in test.error[0].value.replace("\\", "")


def test_a_dataset_that_is_not_ready_says_what_it_lacks(
    workspace: Workspace, open_page: Open
) -> None:
    draw_dataset(workspace)
    path = workspace.dataset_dir("example") / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**summary, "ready": False, "missing": "No image has a box."}))

    test = open_page("models", view="train")

    assert "**example**: No image has a box." in words(test)


def test_a_full_disk_is_said_before_a_training(
    full: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=200_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    test = open_page("models", view="train")

    assert "A run needs at least 1.0 GB of free disk, and there are 0.2 GB" in test.error[0].value
    assert "Start training" not in [b.label for b in test.button]


def test_a_device_that_this_computer_lacks_is_said_before_the_start(
    full: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.kit.run_fields.gpu_count", lambda: 1)
    test = open_page("models", view="train")
    device = test.selectbox("train:device")
    assert device.options[1:3] == ["cpu", "cuda:0"]
    device.options.append("cuda:7")  # typed: AppTest knows no other way
    device.set_value("cuda:7").run()

    no_crash(test)
    said = test.error[0].value.replace("\\", "")
    assert said.startswith("There is no device 'cuda:7' on this computer; there is: cpu, cuda:0")
    assert "Start training" not in [b.label for b in test.button]


def test_a_name_of_blanks_is_none_and_a_seed_ends_where_runs_end(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = open_page("models", view="train")
    assert test.number_input("train:seed").max == MAX_SEED
    next(field for field in test.text_input if field.label == "Name of the run").set_value("  ")
    next(b for b in test.button if b.label == "Start training").click().run()

    no_crash(test)
    assert RunService(workspace).list(limit=1)[0].name == "Baseline on example"
