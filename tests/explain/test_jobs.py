"""The jobs behind the pages, on a drawn dataset, two small models and the folder of a run."""

from __future__ import annotations

import csv
import json
from typing import Any

import cv2
import numpy as np
import pytest

from msip_core.boxes import Box
from msip_core.config import PruneConfig
from msip_core.data.dataset import Dataset
from msip_core.data.synthetic import import_example
from msip_core.detector import sources
from msip_core.detector.build import register_model
from msip_core.detector.checkpoints import save_work
from msip_core.errors import ConfigError, DatasetError, NotFoundError, Stopped
from msip_core.explain import jobs
from msip_core.explain.boundary import boundary_scores
from msip_core.explain.subject import find_subject, labelled_subjects
from msip_core.explain.targets import Candidates
from msip_core.runs.jobs import JOBS
from msip_core.workspace import Workspace, write_json
from tests.explain.toy import IMGSZ, thin_yolo

SMALL = {"features": 9, "samples": 24, "patches": "grid"}


def quiet(done: float, message: str) -> None:
    assert 0 <= done <= 1
    assert message


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, layouts: dict[str, Any]) -> Workspace:
    """A workspace with a drawn dataset, a baseline, a pruned model and a run of two steps."""
    workspace = Workspace.open(tmp_path_factory.mktemp("explain") / "workspace")
    data = import_example(workspace, images=12, size=IMGSZ, seed=3)
    facts: dict[str, Any] = {"imgsz": IMGSZ, "dataset": data.name, "recipe": data.recipe}
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
def image(data: Dataset) -> dict[str, str]:
    """An image with a labelled crypt, as params name it."""
    record = next(r for r in data.images if r.counts.get("crypt"))
    return {"dataset": data.name, "image": record.id}


def test_the_compute_process_knows_every_job_of_this_room():
    for name in ("gradcam", "shap", "boundary", "attention"):
        module, _, function = JOBS[name].partition(":")
        assert module == jobs.__name__
        assert callable(getattr(jobs, function))


@pytest.mark.parametrize("source", [{"model": "base"}, {"run": "run-1", "iteration": 1}])
def test_grad_cam_of_the_largest_crypt_with_its_scores_and_files(
    lab, data, image, source, tmp_path
):
    result = jobs.gradcam(lab, {**source, **image, "method": "layercam"}, tmp_path, quiet)

    json.dumps(result)
    record = data.image(image["image"])
    crypts = [b for b in data.boxes(record) if data.classes[b.cls] == "crypt"]
    largest = max(crypts, key=lambda b: (b.x2 - b.x1) * (b.y2 - b.y1))
    assert Box(**result["box"]) == largest
    assert (result["class"], result["reference"]) == ("crypt", "largest crypt labelled by a person")
    with np.load(tmp_path / result["heat"]) as arrays:
        heat = arrays["heat"]
        assert set(arrays.files) == {"heat", *result["layers"]}
    assert heat.shape == (IMGSZ, IMGSZ)
    number = data.boxes(record).index(largest)
    outline = data.contours(record)[number]
    assert result["scores"] == boundary_scores(heat, outline, largest).as_dict()
    assert result["scores"]["contour"] == "mask"
    buds = data.crypts(record)[number]
    assert result["crypt_scores"] == boundary_scores(heat, buds, largest).as_dict()
    assert len(result["layers"]) + len(result["skipped"]) == 3
    assert {"correlation", "passed", "verdict"} <= set(result["randomised"])
    assert cv2.imread(str(tmp_path / result["overlay"])).shape == (480, 480, 3)


def test_both_models_of_a_pair_are_asked_about_the_same_box(lab, image, tmp_path):
    box = {"cls": 1, "x1": 10.0, "y1": 20.0, "x2": 60.0, "y2": 70.0}

    results = [
        jobs.gradcam(
            lab, {"model": name, **image, "box": box, "randomised": False}, tmp_path, quiet
        )
        for name in ("base", "light")
    ]

    assert [r["box"] for r in results] == [box, box]
    assert [r["class"] for r in results] == ["no_crypt"] * 2
    assert results[0]["randomised"] is None
    assert results[0]["scores"] != results[1]["scores"]


def test_one_file_is_opened_once_and_one_pass_of_the_network_serves_all_layers(
    lab, image, tmp_path, monkeypatch
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
    jobs.gradcam(lab, {**image, "model": "base"}, tmp_path, quiet)
    # To choose the anchors, for the map, and for each of 5 networks in 4 depths of shuffling.
    assert passes == [1] * (1 + 1 + 5 * 4)
    jobs.shap(lab, {**image, "model": "base", **SMALL}, tmp_path, quiet)
    assert len(opened) == 1


def test_a_file_without_labels_is_explained_by_its_best_detection(lab, image, data, tmp_path):
    file = tmp_path / "new.png"
    cv2.imwrite(str(file), data.pixels(data.image(image["image"])))
    params = {"model": "light", "path": str(file), "randomised": False}

    alone = jobs.gradcam(lab, params, tmp_path, quiet)
    paired = jobs.gradcam(lab, {**params, "reference_model": "base"}, tmp_path, quiet)

    assert alone["reference"].startswith("detection with the highest score")
    assert alone["reference"].endswith("of light")
    assert paired["reference"].endswith("of base")
    assert alone["target"]["best_iou"] > 0.5  # its own box, cut at the image's edge
    assert alone["scores"]["contour"] == "box"
    assert alone["crypt_scores"] is None


def test_shap_gives_values_on_the_patches_it_writes(lab, image, tmp_path):
    result = jobs.shap(lab, {"model": "base", **image, **SMALL}, tmp_path, quiet)

    json.dumps(result)
    with np.load(tmp_path / "segments.npz") as arrays:
        assert arrays["segments"].shape == (IMGSZ, IMGSZ)
        assert arrays["segments"].max() == 8
        np.testing.assert_allclose(arrays["values"], result["values"])
        assert arrays["heat"].shape == (IMGSZ, IMGSZ)
    assert sum(result["values"]) == pytest.approx(result["score"] - result["base"], abs=1e-6)
    assert result["scores"]["contour"] == "mask"
    # One estimate is all that 24 evaluations make: no number, and a sentence why.
    assert (result["converged"], result["c_at_10"]) == (False, None)
    assert "C@10 is not given" in result["note"]
    more = jobs.shap(lab, {"model": "base", **image, **SMALL, "samples": 2000}, tmp_path, quiet)
    assert more["converged"]
    assert 0.1 < more["c_at_10"] <= 1
    assert more["evaluations"] < 2000
    assert result["seconds"] > 0
    assert (tmp_path / result["overlay"]).is_file()


def test_a_time_estimate_explains_nothing(lab, image, tmp_path):
    params = {"model": "base", **image, "samples": 2048, "estimate": True}

    result = jobs.shap(lab, params, tmp_path, quiet)

    assert result["seconds"] == pytest.approx(result["per_evaluation"] * 2050)
    assert result["samples"] == 2048
    assert not list(tmp_path.iterdir())


def test_a_cancelled_shap_stops_in_the_middle(lab, image, tmp_path):
    def cancel(done: float, message: str) -> None:
        if message.startswith("SHAP"):
            raise Stopped("cancel")

    with pytest.raises(Stopped):
        jobs.shap(lab, {"model": "base", **image, **SMALL}, tmp_path, cancel)
    assert not list(tmp_path.iterdir())


def test_attention_shows_both_models_and_makes_the_baselines_half_once(
    lab, image, tmp_path, monkeypatch
):
    asked: list[int] = []
    explain = jobs.cam.explain_detection
    monkeypatch.setattr(
        jobs.cam, "explain_detection", lambda *a, **k: asked.append(1) or explain(*a, **k)
    )
    shares: list[float] = []
    params = {"run": "run-1", "iteration": 1, **image, **SMALL, "imgsz": IMGSZ}

    result = jobs.attention(lab, params, tmp_path / "a", lambda d, m: shares.append(d))
    again = jobs.attention(lab, {**params, "iteration": 0}, tmp_path / "b", quiet)

    json.dumps(result)
    assert shares == sorted(shares)
    for side in ("baseline", "pruned"):
        for kind, file in (("gradcam", "heat"), ("shap", "segments")):
            part = result[side][kind]
            assert part["box"] == result["box"]
            assert (tmp_path / "a" / part[file]).is_file()
            assert (tmp_path / "a" / part["overlay"]).is_file()
    assert result["baseline"]["gradcam"]["scores"] != result["pruned"]["gradcam"]["scores"]
    assert again["pruned"]["shap"]["values"] == result["baseline"]["shap"]["values"]
    assert len(asked) == 2  # step 0 is the baseline: nothing new was computed
    assert (tmp_path / "b" / again["pruned"]["gradcam"]["heat"]).is_file()


def test_attention_is_made_anew_when_the_weights_change(lab, image, tmp_path, layouts):
    params = {"run": "run-1", "iteration": 1, **image, **SMALL}
    before = jobs.attention(lab, params, tmp_path / "a", quiet)
    weights = lab.run_dir("run-1") / "iterations" / "1" / "model.pt"
    kept = weights.read_bytes()

    save_work(thin_yolo(seed=4), weights)
    after = jobs.attention(lab, params, tmp_path / "b", quiet)
    weights.write_bytes(kept)

    assert after["baseline"]["shap"]["values"] == before["baseline"]["shap"]["values"]
    assert after["pruned"]["shap"]["values"] != before["pruned"]["shap"]["values"]


def test_border_scores_of_two_models_over_a_split(lab, data, tmp_path):
    params = {"baseline_model": "base", "pruned_model": "light", "dataset": "example",
              "split": "train", "limit": 3, "objects": 2, "method": "layercam"}  # fmt: skip

    result = jobs.boundary(lab, params, tmp_path, quiet)

    json.dumps(result)
    assert result["models"] == {"baseline": "base", "pruned": "light"}
    expected = [min(2, len(data.boxes(r))) for r in data.split("train")[:3]]
    assert len(result["objects"]) == sum(expected)
    assert result["without_objects"] == expected.count(0)
    first = result["images"][0]
    mine = [o for o in result["objects"] if o["image"] == first["image"]]
    assert first["baseline"]["ber"] == pytest.approx(np.mean([o["baseline"]["ber"] for o in mine]))
    paired = result["paired"]["ber"]
    assert paired["images"] + paired["left_out"] == len(result["images"])
    assert paired["difference"] == pytest.approx(
        result["summary"]["pruned"]["ber"] - result["summary"]["baseline"]["ber"]
    )
    with (tmp_path / result["table"]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["image"] for r in rows] == [o["image"] for o in result["objects"]]
    assert float(rows[0]["pruned ber"]) == pytest.approx(
        result["objects"][0]["pruned"]["ber"], abs=1e-6
    )


def test_border_scores_of_one_model_have_no_pairs(lab, image, tmp_path):
    params = {"model": "base", "dataset": "example", "images": [image["image"]], "objects": 1}

    result = jobs.boundary(lab, params, tmp_path, quiet)

    assert result["paired"] is None
    assert len(result["objects"]) == 1
    assert result["objects"][0]["contour"] == "mask"
    assert result["objects"][0]["class"] == "crypt"  # crypts come first


def test_classes_are_matched_by_name_not_by_number(lab, data, image, layouts):
    from msip_core.detector.sources import load_source_model

    model, facts = load_source_model(lab, {"model": "base"})
    swapped = facts._replace(classes=("no_crypt", "crypt"))

    found = find_subject(lab, image, model, swapped, imgsz=IMGSZ, device="cpu")

    assert swapped.classes[found.box.cls] == "crypt"
    assert found.outline is not None
    stranger = facts._replace(classes=("person",))
    with pytest.raises(ConfigError, match="does not know the class 'crypt'; it knows person"):
        labelled_subjects(data, data.image(image["image"]), stranger, 1)


def test_questions_that_cannot_be_answered_are_said_in_words(lab, image, tmp_path):
    with pytest.raises(ConfigError, match="name the run"):
        jobs.attention(lab, {"model": "base", **image}, tmp_path, quiet)
    with pytest.raises(NotFoundError, match="no finished step 9"):
        jobs.attention(lab, {"run": "run-1", "iteration": 9, **image}, tmp_path, quiet)
    with pytest.raises(DatasetError, match="has no nowhere images"):
        jobs.boundary(
            lab, {"model": "base", "dataset": "example", "split": "nowhere"}, tmp_path, quiet
        )


def test_nothing_is_left_behind_by_a_failed_explanation(lab, image, tmp_path):
    before = sorted(p.name for p in lab.cache.iterdir())

    with pytest.raises(ConfigError):
        jobs.attention(
            lab, {"run": "run-1", "iteration": 1, **image, "samples": 2}, tmp_path, quiet
        )

    drafts = [p.name for p in lab.cache.iterdir() if p.name.startswith(".")]
    assert drafts == [name for name in before if name.startswith(".")]
