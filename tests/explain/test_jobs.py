"""The jobs behind the pages, on a drawn dataset, two small models and the folder of a run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from msip_core.boxes import Box
from msip_core.config import PruneConfig
from msip_core.data.dataset import Dataset
from msip_core.detector import sources
from msip_core.detector.build import register_model
from msip_core.detector.checkpoints import save_work
from msip_core.errors import ConfigError, DatasetError, NotFoundError, Stopped
from msip_core.explain.boundary import boundary_scores
from msip_core.explain.subject import find_subject, labelled_subjects
from msip_core.explain.targets import Candidates
from msip_core.questions.base import Job
from msip_core.questions.looking import Boundary, GradCam, Shap, TimeShap
from msip_core.questions.sources import DatasetImage, ImageFile, RunStep, SavedModel
from msip_core.workspace import Workspace, write_json
from tests.drawn import copy_example
from tests.explain.toy import IMGSZ, thin_yolo

SMALL = {"features": 9, "samples": 24, "patches": "grid"}
BASE, LIGHT = SavedModel(model="base"), SavedModel(model="light")


def quiet(done: float, message: str) -> None:
    assert 0 <= done <= 1
    assert message


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, layouts: dict[str, Any]) -> Workspace:
    """A workspace with a drawn dataset, a baseline, a pruned model and a run of two steps."""
    workspace = Workspace.open(tmp_path_factory.mktemp("explain") / "workspace")
    data = copy_example(workspace, images=12, size=IMGSZ, seed=3)
    facts: dict[str, Any] = {"imgsz": IMGSZ, "dataset": data}
    register_model(workspace, layouts["C2f"], name="base", kind="baseline", model_id="base",
                   architecture="yolov8n", **facts)  # fmt: skip
    register_model(workspace, thin_yolo(seed=1), name="light", kind="uploaded", model_id="light",
                   architecture="yolov8n", **facts)  # fmt: skip
    run = workspace.run_dir("run-1")
    config = PruneConfig(dataset=data.name, model="base", imgsz=IMGSZ)
    write_json(run / "config.json", config.model_dump(mode="json"))
    for k, layout in enumerate(("C2fV2", "unrolled")):
        (run / "iterations" / str(k)).mkdir(parents=True)
        save_work(layouts[layout], run / "iterations" / str(k) / "model.pt")
    return workspace


@pytest.fixture(scope="module")
def data(lab: Workspace) -> Dataset:
    from msip_core.data.dataset import open_dataset

    return open_dataset(lab, "example")


@pytest.fixture(scope="module")
def image(data: Dataset) -> DatasetImage:
    """An image with a labelled crypt."""
    record = next(r for r in data.images if r.counts.get("crypt"))
    return DatasetImage(dataset=data.name, image=record.id)


@pytest.fixture
def at(lab: Workspace, tmp_path: Path) -> Job:
    return Job(lab, tmp_path, quiet)


@pytest.mark.parametrize("source", [BASE, RunStep(run="run-1", iteration=1)])
def test_grad_cam_of_the_largest_crypt_with_its_scores_and_files(data, image, source, at, tmp_path):
    result = GradCam(model=source, image=image, method="layercam").answer(at)

    record = data.image(image.image)
    crypts = [b for b in data.boxes(record) if data.classes[b.cls] == "crypt"]
    largest = max(crypts, key=lambda b: (b.x2 - b.x1) * (b.y2 - b.y1))
    assert result.box == largest
    assert (result.label, result.reference) == ("crypt", "largest crypt labelled by a person")
    with np.load(tmp_path / result.heat) as arrays:
        heat = arrays["heat"]
        assert set(arrays.files) == {"heat", *result.layers}
    assert heat.shape == (IMGSZ, IMGSZ)
    number = data.boxes(record).index(largest)
    outline = data.contours(record)[number]
    assert result.scores == boundary_scores(heat, outline, largest)
    assert result.scores.contour == "mask"
    buds = data.crypts(record)[number]
    assert result.crypt_scores == boundary_scores(heat, buds, largest)
    assert len(result.layers) + len(result.skipped) == 3
    assert result.randomised is not None
    assert result.randomised.verdict
    assert cv2.imread(str(tmp_path / result.overlay)).shape == (768, 768, 3)


def test_both_models_of_a_pair_are_asked_about_the_same_box(image, at):
    box = Box(cls=1, x1=10.0, y1=20.0, x2=60.0, y2=70.0)

    results = [
        GradCam(model=model, image=image, box=box, randomised=False).answer(at)
        for model in (BASE, LIGHT)
    ]

    assert [r.box for r in results] == [box, box]
    assert [r.label for r in results] == ["no_crypt"] * 2
    assert results[0].randomised is None
    assert results[0].scores != results[1].scores


def test_one_file_is_opened_once_and_one_pass_of_the_network_serves_all_layers(
    image, at, monkeypatch
):
    for kept in (sources._warm, sources._warm_on):
        kept.cache_clear()
    opened: list[Any] = []
    passes: list[int] = []
    load, forward = sources.load_model, Candidates.forward
    monkeypatch.setattr(sources, "load_model", lambda path: opened.append(path) or load(path))

    def counted(network: Candidates, images: Any) -> Any:
        passes.append(len(images))
        return forward(network, images)

    monkeypatch.setattr(Candidates, "forward", counted)
    GradCam(model=BASE, image=image).answer(at)
    # To choose the anchors, for the map, and for each of 5 networks in 4 depths of shuffling.
    assert passes == [1] * (1 + 1 + 5 * 4)
    Shap(model=BASE, image=image, **SMALL).answer(at)
    assert len(opened) == 1


def test_a_file_without_labels_is_explained_by_its_best_detection(image, data, at, tmp_path):
    file = tmp_path / "new.png"
    cv2.imwrite(str(file), data.pixels(data.image(image.image)))
    question = GradCam(model=LIGHT, image=ImageFile(path=file), randomised=False)

    alone = question.answer(at)
    paired = question.model_copy(update={"reference": BASE}).answer(at)

    assert alone.reference.startswith("detection with the highest score")
    assert alone.reference.endswith("of light")
    assert paired.reference.endswith("of base")
    assert alone.target.best_iou > 0.5  # its own box, cut at the image's edge
    assert alone.scores.contour == "box"
    assert alone.crypt_scores is None


def test_shap_gives_values_on_the_patches_it_writes(image, at, tmp_path):
    result = Shap(model=BASE, image=image, **SMALL).answer(at)

    with np.load(tmp_path / "segments.npz") as arrays:
        assert arrays["segments"].shape == (IMGSZ, IMGSZ)
        assert arrays["segments"].max() == 8
        np.testing.assert_allclose(arrays["values"], result.values)
        assert arrays["heat"].shape == (IMGSZ, IMGSZ)
    assert sum(result.values) == pytest.approx(result.score - result.base, abs=1e-6)
    assert result.scores.contour == "mask"
    # One estimate is all that 24 evaluations make: no number, and a sentence why.
    assert (result.converged, result.c_at_10) == (False, None)
    assert "C@10 is not given" in result.note
    more = Shap(model=BASE, image=image, **{**SMALL, "samples": 2000}).answer(at)
    assert more.converged
    assert 0.1 < more.c_at_10 <= 1
    assert more.evaluations < 2000
    assert result.seconds > 0
    assert (tmp_path / result.overlay).is_file()


def test_a_time_estimate_explains_nothing(image, at, tmp_path):
    result = TimeShap(model=BASE, image=image, samples=2048).answer(at)

    assert result.seconds == pytest.approx(result.per_evaluation * 2050)
    assert result.samples == 2048
    assert not list(tmp_path.iterdir())


def test_a_cancelled_shap_stops_in_the_middle(lab, image, tmp_path):
    def cancel(done: float, message: str) -> None:
        if message.startswith("SHAP"):
            raise Stopped("cancel")

    with pytest.raises(Stopped):
        Shap(model=BASE, image=image, **SMALL).answer(Job(lab, tmp_path, cancel))
    assert not list(tmp_path.iterdir())


def test_border_scores_of_two_models_over_a_split(data, at, tmp_path):
    result = Boundary(
        model=BASE, pruned=LIGHT, dataset="example", split="train", limit=3, objects=2,
        method="layercam",
    ).answer(at)  # fmt: skip

    assert result.models == {"baseline": "base", "pruned": "light"}
    expected = [min(2, len(data.boxes(r))) for r in data.split("train")[:3]]
    assert len(result.objects) == sum(expected)
    assert result.without_objects == expected.count(0)
    first = result.images[0]
    mine = [o.scores["baseline"].ber for o in result.objects if o.image == first.image]
    assert first.scores["baseline"].ber == pytest.approx(np.mean(mine))
    paired = result.paired["ber"]
    assert paired.images + paired.left_out == len(result.images)
    assert paired.difference == pytest.approx(
        result.summary["pruned"].ber - result.summary["baseline"].ber
    )
    with (tmp_path / result.table).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["image"] for r in rows] == [o.image for o in result.objects]
    assert float(rows[0]["pruned ber"]) == pytest.approx(
        result.objects[0].scores["pruned"].ber, abs=1e-6
    )


def test_border_scores_of_one_model_have_no_pairs(image, at):
    result = Boundary(model=BASE, dataset="example", images=(image.image,), objects=1).answer(at)

    assert result.paired is None
    assert len(result.objects) == 1
    assert result.objects[0].contour == "mask"
    assert result.objects[0].label == "crypt"  # crypts come first
    assert list(result.objects[0].scores) == ["model"]


def test_classes_are_matched_by_name_not_by_number(lab, data, image, layouts):
    from msip_core.detector.sources import load_source_model

    model, facts = load_source_model(lab, BASE)
    swapped = facts._replace(classes=("no_crypt", "crypt"))

    asked = GradCam(model=BASE, image=image)
    found = find_subject(lab, asked, model, swapped, imgsz=IMGSZ, device="cpu")

    assert swapped.classes[found.box.cls] == "crypt"
    assert found.outline is not None
    stranger = facts._replace(classes=("person",))
    with pytest.raises(ConfigError, match="does not know the class 'crypt'; it knows person"):
        labelled_subjects(data, data.image(image.image), stranger, 1)


def test_questions_that_cannot_be_answered_are_said_in_words(image, at):
    with pytest.raises(NotFoundError, match="no finished step 9"):
        GradCam(model=RunStep(run="run-1", iteration=9), image=image).answer(at)
    with pytest.raises(DatasetError, match="has no nowhere images"):
        Boundary(model=BASE, dataset="example", split="nowhere").answer(at)
