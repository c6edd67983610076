"""Interactive work: what is asked comes back as an answer and files."""

from __future__ import annotations

import zipfile
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from ultralytics import YOLO

from msip_core.boxes import Detection, match_detections
from msip_core.config import PruneConfig
from msip_core.detector import compare_job, speed_job
from msip_core.detector.build import register_model
from msip_core.detector.checkpoints import save_stock, save_work
from msip_core.detector.engines import engine_for
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.prediction import Predictor, one_class_each, predict
from msip_core.detector.sources import lend_source_model, load_source_model
from msip_core.errors import ConfigError, NotFoundError, Stopped
from msip_core.models import open_card
from msip_core.questions.base import Job
from msip_core.questions.detecting import Compare, Export, Predict, Upload
from msip_core.questions.sources import DatasetImage, ImageFile, RunStep, SavedModel
from msip_core.questions.speed import TimeModels
from msip_core.ways import Way
from msip_core.workspace import write_json
from tests.detector.conftest import (
    assert_same_boxes,
    finding_model,
    outputs,
    pruned_model,
    thin_model,
)
from tests.made_up_gpu import MadeUpGpu
from tests.pages.lab_samples import add_model

ANY = SavedModel(model="any")


@pytest.fixture(scope="module")
def models(shared_workspace, dataset) -> dict[str, SavedModel]:
    """A baseline and a pruned model of the workspace."""
    made = {}
    for side, model in (("baseline", finding_model()), ("pruned", pruned_model())):
        card = register_model(
            shared_workspace, model, name=side, kind=side, imgsz=96, dataset=dataset
        )
        made[side] = SavedModel(model=card.id)
    return made


@pytest.fixture
def ask(shared_workspace, tmp_path):
    def run(question):
        heard: list[float] = []
        answer = question.answer(Job(shared_workspace, tmp_path, lambda d, _: heard.append(d)))
        assert heard[0] == 0.0
        assert all(0 <= done <= 1 for done in heard)
        return question.answer_type().model_validate(answer.model_dump(mode="json"))

    return run


def test_predict_answers_for_every_image_in_order(ask, models, dataset):
    records = dataset.images[:2]
    asked = tuple(DatasetImage(dataset=dataset.name, image=r.id) for r in records)

    said = ask(Predict(model=models["baseline"], images=asked, conf=0.3))

    assert [image.id for image in said.images] == [r.id for r in records]
    found = said.images[0].detections
    expected = predict(finding_model(), [dataset.pixels(records[0])], imgsz=96, conf=0.3)[0]
    expected = one_class_each(expected, 0.7)
    assert len(found) > 0
    assert [d.cls for d in found] == [d.cls for d in expected]
    assert [d.x1 for d in found] == pytest.approx([d.x1 for d in expected], abs=0.05)
    assert said.imgsz == 96


def test_predict_reads_a_file_by_the_models_own_recipe(ask, models, dataset, tmp_path):
    pixels = dataset.pixels(dataset.images[0])
    cv2.imwrite(str(tmp_path / "one.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    by_name = DatasetImage(dataset=dataset.name, image=dataset.images[0].id)
    by_path = ImageFile(path=tmp_path / "one.png")

    first, second = (
        ask(Predict(model=models["baseline"], images=(image,))) for image in (by_name, by_path)
    )

    assert second.images[0].id == "one.png"
    assert second.images[0].detections == first.images[0].detections


def test_predict_finds_an_organoid_in_one_class(ask, models, dataset, monkeypatch):
    def both(self, image, *, conf, iou):
        at = {"x1": 2.0, "y1": 2.0, "x2": 30.0, "y2": 30.0}
        return [Detection(cls=c, score=0.9 - c / 10, number=c + 1, **at) for c in (0, 1)]

    monkeypatch.setattr(Predictor, "__call__", both)
    whole = DatasetImage(dataset=dataset.name, image=dataset.images[0].id)

    said = ask(Predict(model=models["baseline"], images=(whole,), tiles="never"))

    assert [(d.cls, d.number) for d in said.images[0].detections] == [(0, 1)]


def test_compare_counts_an_organoid_in_one_class(ask, models, dataset, monkeypatch):
    def both(self, images, *, conf, iou):
        at = {"x1": 2.0, "y1": 2.0, "x2": 30.0, "y2": 30.0}
        two = [Detection(cls=c, score=0.9 - c / 10, number=c + 1, **at) for c in (0, 1)]
        return [two for _ in images]

    monkeypatch.setattr(Predictor, "several", both)

    said = ask(Compare(**models, dataset=dataset.name, split="val", metrics=False, tiles="never"))

    assert [(d.cls, d.number) for d in said.images[0].baseline] == [(0, 1)]
    assert said.agreement == {"both": len(said.images), "class changed": 0, "lost": 0, "new": 0}


def test_compare_matches_boxes_and_measures_both_models(ask, models, dataset):
    said = ask(Compare(**models, dataset=dataset.name, split="val", imgsz=96))

    records = dataset.split("val")
    assert [image.id for image in said.images] == [r.id for r in records]
    first = said.images[0]
    assert first.group == records[0].group
    assert list(first.pairs) == match_detections(first.baseline, first.pruned)
    kinds = [pair.kind for image in said.images for pair in image.pairs]
    assert said.agreement == {kind: kinds.count(kind) for kind in said.agreement}
    expected = Evaluator(dataset, "val", 96, 8)(finding_model())
    assert said.baseline.metrics.map50 == pytest.approx(expected.map50, abs=1e-4)
    assert said.pruned.cost.macs < said.baseline.cost.macs
    assert (said.baseline.name, said.baseline.model) == ("baseline", models["baseline"].model)
    assert said.latency == ()


@pytest.fixture(scope="module")
def baseline():
    return finding_model()


@pytest.fixture
def made_up_gpus(monkeypatch):
    """Two GPUs that time models; networks themselves run on the processor."""
    gpu, real = MadeUpGpu(), speed_job.measure_latency

    def engine(way):
        return gpu.engine(way) if way.on_gpu else engine_for(way)

    def measure(*args, **more):
        return real(*args, **more, engine=engine)

    monkeypatch.setattr(speed_job, "engine_for", engine)
    for job in (speed_job, compare_job):
        monkeypatch.setattr(job, "measure_latency", measure)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    return gpu


def test_compare_on_a_gpu_times_that_gpu_alone(ask, models, dataset, baseline, made_up_gpus):
    """Nothing of the processor is timed, and nothing that must be built first."""
    said = ask(
        Compare(
            **models, dataset=dataset.name, split="val", imgsz=96, device="cpu",
            latency_device="cuda:1", formats=None, runs=3,
        )
    )  # fmt: skip

    found = [(x.name, x.device, x.format, x.precision, x.batch, x.hardware) for x in said.latency]
    assert sorted(found) == sorted(
        (side, "cuda:1", form, precision, batch, "Made-up GPU")
        for side in ("baseline", "pruned")
        for form in ("pytorch", "cudagraph")
        for precision in ("fp32", "fp16")
        for batch in (1, 32)
    )
    way = Way("cuda:1", "pytorch", "fp16", 32)
    (entry,) = [x for x in said.latency if x.name == "baseline" and x.way == way]
    assert entry.median_ms == pytest.approx(made_up_gpus.network_ms(baseline, 96, way))
    assert said.missing == ()


@pytest.mark.parametrize(
    ("device", "formats", "batch", "devices", "forms"),
    [
        ("auto", None, 4, {"cuda:0"}, {"pytorch", "cudagraph"}),
        ("cuda:1", ("onnx",), None, {"cuda:1"}, {"onnx"}),
        ("cpu", None, None, {"cpu"}, {"pytorch", "onnx", "openvino"}),
        ("all", ("pytorch",), 1, {"cpu", "cuda:0", "cuda:1"}, {"pytorch"}),
    ],
)
def test_compare_times_where_it_predicts_or_where_it_is_told(
    made_up_gpus, device, formats, batch, devices, forms
):
    ways, _ = compare_job.compared_ways(
        Compare(
            baseline=ANY,
            pruned=ANY,
            dataset="any",
            latency_device=device,
            formats=formats,
            batch=batch,
        )
    )
    assert {way.device for way in ways} == devices
    assert {way.format for way in ways} == forms
    if batch:
        assert {way.batch for way in ways} == {batch}


def test_compare_refuses_a_way_that_is_not_there_before_any_work(ask, models):
    with pytest.raises(ConfigError, match="There is no device 'cuda:7'"):
        ask(Compare(baseline=ANY, pruned=ANY, dataset="any", formats=None, latency_device="cuda:7"))


def test_latency_is_measured_in_the_formats_asked_for(ask, models):
    said = ask(TimeModels(**models, imgsz=64, formats=("pytorch",), runs=3, batches=(2,)))

    assert [(x.name, x.format, x.batch) for x in said.latency] == [
        ("baseline", "pytorch", 2),
        ("pruned", "pytorch", 2),
    ]
    assert all(x.low_ms <= x.median_ms <= x.high_ms for x in said.latency)


def test_one_model_alone_is_timed_too(ask, models):
    said = ask(TimeModels(pruned=models["pruned"], imgsz=64, formats=("pytorch",), runs=2))

    assert [x.name for x in said.latency] == ["pruned"]


def test_an_exported_onnx_file_finds_what_the_model_finds(ask, models, dataset, tmp_path):
    said = ask(Export(model=models["baseline"], format="onnx"))

    pixels = dataset.pixels(dataset.images[0])
    found = YOLO(tmp_path / said.path, task="detect").predict(
        np.ascontiguousarray(pixels[..., ::-1]), imgsz=96, conf=0.3, save=False, verbose=False
    )[0]
    expected = predict(finding_model(), [pixels], imgsz=96, conf=0.3)[0]
    assert_same_boxes(found.boxes.xyxy.numpy(), [d.xyxy for d in expected], atol=0.1)


def test_openvino_comes_as_one_zip(ask, models, tmp_path):
    said = ask(Export(model=models["pruned"], format="openvino", imgsz=64))

    assert (said.path, said.format, said.imgsz) == ("model_openvino_model.zip", "openvino", 64)
    with zipfile.ZipFile(tmp_path / said.path) as archive:
        assert any(name.endswith(".xml") for name in archive.namelist())


def test_tensorrt_without_a_gpu_says_what_to_do(ask, models):
    with pytest.raises(ConfigError, match="built for one NVIDIA GPU"):
        ask(Export(model=models["pruned"], format="tensorrt"))
    with pytest.raises(ConfigError, match="no format 'coreml'"):
        ask(Export(model=ANY, format="coreml"))


def test_an_upload_becomes_a_model(ask, shared_workspace, tmp_path):
    for place in (tmp_path, shared_workspace.uploads / "upload-1"):
        save_stock(thin_model(), place / "theirs.pt", imgsz=96)

        said = ask(Upload(path=place / "theirs.pt", name="Theirs"))

        assert open_card(shared_workspace, said.id).name == "Theirs"
    assert (tmp_path / "theirs.pt").is_file()
    assert list(shared_workspace.uploads.iterdir()) == []  # taken in, so the copy goes


def test_a_cancelled_job_stops(models, shared_workspace, dataset, tmp_path):
    def cancelled(done: float, _: str) -> None:
        if done > 0:
            raise Stopped("cancel")

    images = tuple(DatasetImage(dataset=dataset.name, image=r.id) for r in dataset.images[:3])
    question = Predict(model=models["baseline"], images=images)
    with pytest.raises(Stopped):
        question.answer(Job(shared_workspace, tmp_path, cancelled))


# --- sources ------------------------------------------------------------------


def test_a_step_of_a_run_is_a_model_too(shared_workspace, dataset):
    pruned = pruned_model()
    folder = shared_workspace.run_dir("run-7")
    config = PruneConfig(name="Plate 7", dataset=dataset.name, model="m", imgsz=96)
    write_json(folder / "config.json", config.model_dump(mode="json"))
    save_work(pruned, folder / "iterations" / "2" / "model.pt")

    model, facts = load_source_model(shared_workspace, RunStep(run="run-7", iteration=2))

    assert (outputs(model) == outputs(pruned)).all()
    assert (facts.name, facts.imgsz, facts.classes) == ("Plate 7, step 2", 96, dataset.classes)
    assert facts.recipe == dataset.recipe
    with pytest.raises(NotFoundError, match="no finished step 3"):
        load_source_model(shared_workspace, RunStep(run="run-7", iteration=3))
    with pytest.raises(NotFoundError, match="no run 'run-8'"):
        load_source_model(shared_workspace, RunStep(run="run-8"))


@pytest.mark.parametrize("load", [load_source_model, partial(lend_source_model, device="cpu")])
def test_a_model_whose_weights_are_gone_is_named(workspace, load):
    add_model(workspace, "bare")
    (workspace.model_dir("bare") / "model.pt").unlink()
    with pytest.raises(NotFoundError, match=r"There is no weights file .*bare/model\.pt"):
        load(workspace, SavedModel(model="bare"))


def test_a_warm_model_is_given_as_a_copy(shared_workspace, models):
    first, _ = load_source_model(shared_workspace, models["baseline"])
    first.model[0].conv.weight.data.zero_()

    second, _ = load_source_model(shared_workspace, models["baseline"])

    assert second.model[0].conv.weight.abs().sum().item() > 0
