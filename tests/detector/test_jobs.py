"""Interactive work: what is asked by name comes back as JSON and files."""

from __future__ import annotations

import json
import zipfile

import cv2
import numpy as np
import pytest
from ultralytics import YOLO

from msip_core.boxes import Detection, match_detections
from msip_core.config import PruneConfig
from msip_core.detector.build import register_model
from msip_core.detector.checkpoints import save_stock, save_work
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.jobs import (
    compare_job,
    export_job,
    latency_job,
    predict_job,
    upload_job,
)
from msip_core.detector.prediction import predict
from msip_core.detector.sources import load_source_image, load_source_model
from msip_core.errors import ConfigError, NotFoundError, Stopped
from msip_core.models import open_card
from msip_core.workspace import write_json
from tests.detector.conftest import (
    assert_same_boxes,
    finding_model,
    outputs,
    pruned_model,
    thin_model,
)


@pytest.fixture(scope="module")
def models(shared_workspace, dataset) -> dict[str, str]:
    """A baseline and a pruned model of the workspace."""
    made = {}
    for side, model in (("baseline", finding_model()), ("pruned", pruned_model())):
        card = register_model(
            shared_workspace, model, name=side, kind=side, imgsz=96, dataset=dataset.name,
            recipe=dataset.recipe,
        )  # fmt: skip
        made[f"{side}_model"] = card.id
    return made


@pytest.fixture
def ask(shared_workspace, tmp_path):
    def run(job, params):
        heard: list[float] = []
        result = job(shared_workspace, params, tmp_path, lambda done, _: heard.append(done))
        assert heard[0] == 0.0
        assert all(0 <= done <= 1 for done in heard)
        return json.loads(json.dumps(result))

    return run


def test_predict_answers_for_every_image_in_order(ask, models, dataset):
    records = dataset.images[:2]
    asked = [{"dataset": dataset.name, "image": r.id, "sha256": r.sha256} for r in records]

    said = ask(predict_job, {"model": models["baseline_model"], "images": asked, "conf": 0.3})

    assert [image["id"] for image in said["images"]] == [r.id for r in records]
    found = [Detection.model_validate(d) for d in said["images"][0]["detections"]]
    expected = predict(finding_model(), [dataset.pixels(records[0])], imgsz=96, conf=0.3)[0]
    assert len(found) > 0
    assert [d.cls for d in found] == [d.cls for d in expected]
    assert [d.x1 for d in found] == pytest.approx([d.x1 for d in expected], abs=0.05)
    assert said["imgsz"] == 96


def test_predict_reads_a_file_by_the_models_own_recipe(ask, models, dataset, tmp_path):
    pixels = dataset.pixels(dataset.images[0])
    cv2.imwrite(str(tmp_path / "one.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    by_name = {"dataset": dataset.name, "image": dataset.images[0].id}
    model = {"model": models["baseline_model"]}

    first = ask(predict_job, {**model, "images": [by_name]})
    second = ask(predict_job, {**model, "images": [{"path": str(tmp_path / "one.png")}]})

    assert second["images"][0]["id"] == "one.png"
    assert second["images"][0]["detections"] == first["images"][0]["detections"]


def test_compare_matches_boxes_and_measures_both_models(ask, models, dataset):
    said = ask(compare_job, {**models, "dataset": dataset.name, "split": "val", "imgsz": 96})

    records = dataset.split("val")
    assert [image["id"] for image in said["images"]] == [r.id for r in records]
    assert said["images"][0]["group"] == records[0].group
    sides = [[Detection.model_validate(d) for d in said["images"][0][side]]
             for side in ("baseline", "pruned")]  # fmt: skip
    assert said["images"][0]["pairs"] == [p.model_dump() for p in match_detections(*sides)]
    kinds = [pair["kind"] for image in said["images"] for pair in image["pairs"]]
    assert said["agreement"] == {kind: kinds.count(kind) for kind in said["agreement"]}
    expected = Evaluator(dataset, "val", 96, 8)(finding_model())
    assert said["baseline"]["metrics"]["map50"] == pytest.approx(expected.map50, abs=1e-4)
    assert said["pruned"]["cost"]["macs"] < said["baseline"]["cost"]["macs"]
    assert said["baseline"]["name"] == "baseline"
    assert said["latency"] == []


def test_latency_is_measured_in_the_formats_asked_for(ask, models):
    said = ask(latency_job, {**models, "imgsz": 64, "formats": ["pytorch"], "runs": 3, "batch": 2})

    assert [(x["name"], x["format"], x["batch"]) for x in said["latency"]] == [
        ("baseline", "pytorch", 2), ("pruned", "pytorch", 2),
    ]  # fmt: skip
    assert all(x["low_ms"] <= x["median_ms"] <= x["high_ms"] for x in said["latency"])


def test_an_exported_onnx_file_finds_what_the_model_finds(ask, models, dataset, tmp_path):
    said = ask(export_job, {"model": models["baseline_model"], "format": "onnx"})

    pixels = dataset.pixels(dataset.images[0])
    found = YOLO(tmp_path / said["path"], task="detect").predict(
        np.ascontiguousarray(pixels[..., ::-1]), imgsz=96, conf=0.3, save=False, verbose=False
    )[0]
    expected = predict(finding_model(), [pixels], imgsz=96, conf=0.3)[0]
    assert_same_boxes(found.boxes.xyxy.numpy(), [d.xyxy for d in expected], atol=0.1)


def test_openvino_comes_as_one_zip(ask, models, tmp_path):
    said = ask(export_job, {"model": models["pruned_model"], "format": "openvino", "imgsz": 64})

    assert said == {"path": "model_openvino_model.zip", "format": "openvino", "imgsz": 64}
    with zipfile.ZipFile(tmp_path / said["path"]) as archive:
        assert any(name.endswith(".xml") for name in archive.namelist())


def test_tensorrt_without_a_gpu_says_what_to_do(models):
    asked = {"model": models["pruned_model"], "format": "tensorrt"}
    with pytest.raises(ConfigError, match="built for one NVIDIA GPU"):
        export_job(None, asked, None, lambda *_: None)
    with pytest.raises(ConfigError, match="no format 'coreml'"):
        export_job(None, {"format": "coreml"}, None, lambda *_: None)


def test_an_upload_becomes_a_model(ask, shared_workspace, tmp_path):
    save_stock(thin_model(), tmp_path / "theirs.pt", imgsz=96)

    said = ask(upload_job, {"path": str(tmp_path / "theirs.pt"), "name": "Theirs"})

    assert open_card(shared_workspace, said["id"]).name == "Theirs"


def test_a_cancelled_job_stops(models, shared_workspace, dataset, tmp_path):
    def cancelled(done: float, _: str) -> None:
        if done > 0:
            raise Stopped("cancel")

    images = [{"dataset": dataset.name, "image": r.id} for r in dataset.images[:3]]
    with pytest.raises(Stopped):
        predict_job(
            shared_workspace, {"model": models["baseline_model"], "images": images}, tmp_path,
            cancelled,
        )  # fmt: skip


# --- sources ------------------------------------------------------------------


def test_a_step_of_a_run_is_a_model_too(shared_workspace, dataset):
    pruned = pruned_model()
    folder = shared_workspace.run_dir("run-7")
    config = PruneConfig(name="Plate 7", dataset=dataset.name, model="m", imgsz=96)
    write_json(folder / "config.json", config.model_dump(mode="json"))
    save_work(pruned, folder / "iterations" / "2" / "model.pt")

    named = {"pruned_run": "run-7", "pruned_iteration": 2}
    model, facts = load_source_model(shared_workspace, named, "pruned")

    assert (outputs(model) == outputs(pruned)).all()
    assert (facts.name, facts.imgsz, facts.classes) == ("Plate 7, step 2", 96, dataset.classes)
    assert facts.recipe == dataset.recipe
    with pytest.raises(NotFoundError, match="no finished step 3"):
        load_source_model(shared_workspace, {"run": "run-7", "iteration": 3})
    with pytest.raises(NotFoundError, match="no run 'run-8'"):
        load_source_model(shared_workspace, {"run": "run-8", "iteration": 0})


def test_a_warm_model_is_given_as_a_copy(shared_workspace, models):
    first, _ = load_source_model(shared_workspace, {"model": models["baseline_model"]})
    first.model[0].conv.weight.data.zero_()

    second, _ = load_source_model(shared_workspace, {"model": models["baseline_model"]})

    assert second.model[0].conv.weight.abs().sum().item() > 0


def test_a_source_without_a_name_says_what_to_give(shared_workspace):
    with pytest.raises(ConfigError, match="'baseline_model', or 'baseline_run'"):
        load_source_model(shared_workspace, {}, "baseline")
    with pytest.raises(ConfigError, match="'path', or 'dataset' and 'image'"):
        load_source_image(shared_workspace, {})
