"""What a study's worker measures of a real (thin) detector."""

from __future__ import annotations

import json

import numpy as np
import pytest

from msip_core.config import TrainConfig
from msip_core.data.dataset import open_dataset
from msip_core.detector.build import register_model
from msip_core.detector.coco_check import coco_map
from msip_core.detector.evaluation import Evaluator, FoundBoxes
from msip_core.detector.quantise import onnx_forward, quantise
from msip_core.errors import Stopped
from msip_core.matches import load_matches
from msip_core.measures import MeasureOptions
from msip_core.recipes import TrainingRecipe
from msip_core.studies import measuring
from msip_core.studies.statistics import Precision
from msip_core.studies.table import read_measured, sample
from msip_core.workspace import Workspace
from tests.detector.conftest import RunHistory, finding_model, outputs
from tests.drawn import copy_example

IMGSZ = 64


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Workspace:
    """Drawn images, and a detector that finds something on each."""
    workspace = Workspace.open(tmp_path_factory.mktemp("measuring") / "workspace")
    dataset = copy_example(workspace, images=20, size=96)
    for name in ("one", "other"):
        register_model(
            workspace, finding_model(), name=name, kind="baseline", imgsz=IMGSZ, model_id=name,
            dataset=dataset,
        )  # fmt: skip
    return workspace


def config(**measure) -> TrainConfig:
    return TrainConfig(
        dataset="example",
        imgsz=IMGSZ,
        batch=4,
        device="cpu",
        weights="one",
        recipe=TrainingRecipe(epochs=0),
        measure=MeasureOptions(**{"resamples": 100, "latency_runs": 3, **measure}),
    )


def history(lab: Workspace, name: str, **more) -> RunHistory:
    folder = lab.run_dir(name)
    folder.mkdir(exist_ok=True)
    return RunHistory(lab, folder, name, **more)


def test_everything_that_was_asked_is_measured_and_found_again(lab: Workspace) -> None:
    ctx = history(lab, "whole")
    asked = config(
        beside="other",
        datasets=("example",),
        noise=(0.05,),
        attention=2,
        shap=1,
        shap_features=9,
        shap_samples=64,
    )
    measuring.run(asked, "one", ctx)
    found = read_measured(lab, "whole")
    assert found is not None
    numbers = found.numbers

    matches = load_matches(lab.run_dir("whole") / "measure" / "matches.npz")
    map50, map50_95 = Precision(matches)()
    assert numbers["test"]["map50"] == pytest.approx(map50, abs=1e-9)
    assert numbers["test"]["map50_95"] == pytest.approx(map50_95, abs=1e-9)
    assert found.draws["test"].shape == (100, 2)
    # The same images under another name: the very same numbers and resamples.
    assert numbers["datasets"]["example"] == numbers["test"]
    assert np.array_equal(found.draws["dataset example"], found.draws["test"])
    assert sample([found], "noise 0.05").value == numbers["noise"]["0.05"]["map50"]
    assert set(numbers["latency"]) == {"model", "beside"}
    assert numbers["coco"]["map50"] == pytest.approx(map50, abs=measuring.DISAGREEMENT)
    assert len(numbers["attention"]["images"]) == 2
    test = open_dataset(lab, "example").split("test")
    assert numbers["test"]["groups"] == len({record.group for record in test})
    assert set(numbers["attention"]["groups"]) <= {record.id for record in test}
    for side in ("model", "beside"):
        timed = numbers["latency"][side]
        assert len(timed["rounds"]) == 3
        assert timed["median_ms"] == pytest.approx(np.median(timed["rounds"]))
    assert len(numbers["shap"]["c_at_10"]) == 1
    assert list((lab.run_dir("whole") / "measure").glob("attention/*/overlay.png"))
    assert any("test images: mAP50" in record.message for record in ctx.records)


def test_int8_is_measured_in_the_place_of_the_model(lab: Workspace) -> None:
    measuring.run(config(int8=True, beside="other"), "one", history(lab, "int8"))
    numbers = json.loads((lab.run_dir("int8") / "measure" / "measure.json").read_text())
    assert numbers["int8"] is True
    assert set(numbers["latency"]) == {"model", "beside"}
    file = lab.run_dir("int8") / "measure" / "int8.onnx"
    assert numbers["size_mb"] == pytest.approx(file.stat().st_size / 2**20, abs=1e-3)


def test_quantised_outputs_stay_close_to_the_model(lab: Workspace, tmp_path) -> None:
    import torch

    model = finding_model()
    path = quantise(model, open_dataset(lab, "example"), IMGSZ, tmp_path / "int8.onnx", images=4)
    images = torch.rand(2, 3, IMGSZ, IMGSZ, generator=torch.Generator().manual_seed(1))
    exact, rough = outputs(model, images), onnx_forward(path)(images)
    assert rough.shape == exact.shape
    error = (rough[:, :4] - exact[:, :4]).abs().median()
    assert 0 < float(error) < 1.0  # pixels: the weights are rounded, the boxes stay in place


def test_a_person_can_stop_the_measuring(lab: Workspace) -> None:
    with pytest.raises(Stopped):
        measuring.run(config(), "one", history(lab, "stopped", stop_after=1))
    assert read_measured(lab, "stopped") is None


def test_noise_changes_the_pixels_that_are_evaluated(lab: Workspace) -> None:
    evaluator, seen = Evaluator(open_dataset(lab, "example"), "test", IMGSZ, 4), []

    def disturb(pixels, file):
        seen.append(file)
        assert pixels.shape[0] == 3
        assert 0 <= pixels.min() <= pixels.max() <= 1
        return np.zeros_like(pixels)

    black = evaluator.measured(finding_model(), disturb=disturb)
    plain = evaluator.measured(finding_model())
    assert sorted(seen) == sorted(plain.matches.images)
    assert not np.array_equal(black.matches.conf, plain.matches.conf)
    assert plain.metrics == evaluator(finding_model())


def test_cocos_arithmetic_of_a_hand_made_case() -> None:
    """Two labels, one found: recall .5 at precision 1, on 101 points 51/101."""
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32)
    one = FoundBoxes("a.png", boxes[:1], np.array([0.9]), np.zeros(1), boxes, np.zeros(2))
    assert coco_map([one])[0] == pytest.approx(51 / 101, abs=1e-6)
    blind = one._replace(boxes=boxes[:0], conf=np.zeros(0), cls=np.zeros(0))
    assert coco_map([blind]) is None
