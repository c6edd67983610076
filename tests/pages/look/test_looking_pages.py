"""Before and after, Where it looks, Export: the same pair of models on one micrograph."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from streamlit.testing.v1 import AppTest

from msip_core.boxes import PairKind, match_detections
from msip_core.data.dataset import open_dataset
from msip_core.questions.base import Question
from msip_core.questions.detecting import Compare, ComparedImage, Comparison, Predict, Predictions
from msip_core.questions.looking import (
    Explained,
    GradCam,
    RandomisedCheck,
    Shap,
    SkippedLayer,
    TimeShap,
)
from msip_core.questions.sources import DatasetImage, RunStep, SavedModel
from msip_core.questions.speed import MissingWay, TimeModels
from msip_core.runs.state import RunState
from msip_core.ways import Way
from msip_core.workspace import Workspace
from tests.pages import lab_samples
from tests.pages.conftest import Open, no_crash, words
from tests.pages.fake_compute import FakeCompute
from tests.pages.lab_samples import changed
from tests.views import samples

BASELINE = SavedModel(model=lab_samples.BASELINE)
LIGHTER = SavedModel(model=lab_samples.LIGHTER)


def component(test: AppTest, key: str) -> dict[str, Any]:
    """What an own component of the page was given."""
    found = [e.proto for e in test.get("bidi_component") if e.proto.id.endswith(f"-{key}")]
    assert len(found) == 1, [e.proto.id for e in test.get("bidi_component")]
    data: dict[str, Any] = json.loads(found[0].json)
    return data


def test_both_models_are_asked_about_the_same_micrograph(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("compare", run=full)

    asked = compute.asked_of(Predict)
    assert [question.model for question in asked] == [BASELINE, LIGHTER]
    assert asked[0].images == asked[1].images
    left, right = (component(test, "compare-slider")[side] for side in ("left", "right"))
    assert left["url"] == right["url"]
    assert left["title"].startswith("Baseline: ")


def test_a_step_in_the_middle_is_asked_of_the_run(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    open_page("compare", run=full, step="2")

    assert compute.asked_of(Predict)[-1].model == RunStep(run=full, iteration=2)


def test_moving_the_score_asks_nothing_again(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("compare", run=full)
    before = len(compute.asked)

    test.slider("conf").set_value(0.95).run()

    assert len(compute.asked) == before
    assert "Nothing was found above 0.95. The highest score is 0.90." in words(test)
    assert component(test, "compare-slider")["left"]["marks"] == []


def test_the_finished_run_is_compared_on_the_test_part(full: str, open_page: Open) -> None:
    test = open_page("compare", run=full)

    table = next(d.value for d in test.dataframe if "Quantity" in d.value)
    first = table.iloc[0]
    assert list(first) == ["mAP50 (test)", "0.889", "0.871", "−0.018"]


def test_speed_is_called_faster_only_where_it_is(full: str, open_page: Open) -> None:
    test = open_page("compare", run=full)
    test.button("job:latency:start").click().run()

    assert "faster" in words(test)
    assert "PyTorch on the processor, fp32, batch 1" in words(test)
    assert test.get("plotly_chart")


def test_a_gpu_is_measured_in_all_its_ways_and_each_line_says_its_own(
    full: str, open_page: Open, compute: FakeCompute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.kit.ways.gpu_count", lambda: 1)
    way = {"device": "cuda:0", "precision": "fp16", "batch": 32, "hardware": "NVIDIA H200"}
    gone = MissingWay.of(
        Way("cuda:0", "tensorrt"), "This needs the package 'tensorrt': pip install tensorrt."
    )
    latency = tuple(replace(entry, **way) for entry in samples.compare_result().latency)
    compute.answers = changed(TimeModels, latency=latency, missing=(gone,) * 4)
    test = open_page("compare", run=full)
    test.button("job:latency:start").click().run()

    (asked,) = compute.asked_of(TimeModels)
    assert asked.latency_device == "cuda:0"
    assert (asked.formats, asked.precisions, asked.batches) == (None, None, None)
    said = words(test)
    assert "PyTorch on GPU NVIDIA H200, fp16, batch 32" in said
    assert said.count("pip install tensorrt") == 1


def test_counts_of_all_test_images_as_csv(
    workspace: Workspace, full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.answers = shifted
    test = open_page("compare", run=full)
    test.button("job:compare:start").click().run()

    no_crash(test)
    assert not test.error
    labels = [b.proto.label for b in test.get("download_button")]
    assert "Counts per image (CSV)" in labels
    assert "Counts per well (CSV)" in labels
    data = open_dataset(workspace, "example")
    table = next(d.value for d in test.dataframe if "baseline_total" in d.value)
    assert list(table["baseline_total"]) == [len(data.boxes(r)) for r in data.split("test")]
    assert "baseline_median_size_um" in table
    assert "pruned_crypt_fraction" in table


def test_numbers_on_the_picture_are_those_of_the_table(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.answers = shifted
    test = open_page("compare", run=full, image="plate1_A05_f0")

    data = component(test, "compare-slider")
    table = next(d.value for d in test.dataframe if "Why?" in d.value)
    for side, column in (("left", "Baseline"), ("right", "Lighter model")):
        drawn = sorted(f"{mark['number']} {mark['text']}" for mark in data[side]["marks"])
        assert drawn
        assert drawn == sorted(filter(None, table[column]))
    asked = len(compute.asked)

    test.pills("kinds").set_value(["lost"]).run()

    data = component(test, "compare-slider")
    assert (len(data["left"]["marks"]), len(data["right"]["marks"])) == (1, 0)
    table = next(d.value for d in test.dataframe if "Why?" in d.value)
    assert list(table["Found"]) == ["lost (baseline only)"]
    assert len(compute.asked) == asked


def test_each_row_leads_to_the_explanation_of_its_object(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.answers = shifted
    test = open_page("compare", run=full, image="plate1_A05_f0")

    table = next(d.value for d in test.dataframe if "Why?" in d.value)
    new = table[table["Found"] == "new (pruned only)"].iloc[0]
    number = int(new["Lighter model"].split()[0])
    assert new["Why?"].startswith("/look?run=")
    assert new["Why?"].endswith(f"image=plate1_A05_f0&objects=lighter&object={number}")

    look = open_page("look", run=full, image="plate1_A05_f0", objects="lighter", object=str(number))

    assert not look.error
    chosen = [m["number"] for m in component(look, "pick-object")["left"]["marks"] if m["chosen"]]
    assert chosen == [str(number)]


def test_a_chosen_object_is_told_with_the_way_to_its_explanation(
    full: str, open_page: Open
) -> None:
    test = open_page("compare", run=full, objects="found", object="2")

    assert "Object 2 (baseline) · 2 (lighter model)" in words(test)
    links = [link.proto for link in test.get("page_link")]
    assert any(link.label == "See where both models look" for link in links)

    assert len(test.image) == 0
    test.toggle("plain").set_value(True).run()
    assert len(test.image) == 2  # pictures without script stand in for the slider


def test_sizes_are_in_pixels_where_no_pixel_size_is_known(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    with_size = open_page("compare", run=full)
    assert "µm" in next(m.value for m in with_size.metric if m.label.startswith("Median size"))
    path = workspace.dataset_dir("example") / "dataset.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["pixel_size_um"] = None
    path.write_text(json.dumps(document), encoding="utf-8")

    test = open_page("compare", run=full)

    assert "px" in next(m.value for m in test.metric if m.label.startswith("Median size"))
    assert "no pixel size is known" in words(test)


@pytest.mark.parametrize("page", ["compare", "look"])
def test_a_micrograph_whose_file_is_gone_is_one_sentence(
    workspace: Workspace, full: str, open_page: Open, page: str
) -> None:
    data = open_dataset(workspace, "example")
    data.path(data.split("test")[0]).unlink()

    test = open_page(page, run=full)

    no_crash(test)
    assert "is gone from the workspace: import the dataset again" in test.error[0].value
    assert test.selectbox("choose::image")  # another one can be chosen


def test_images_where_the_models_disagree_come_first_and_open_on_a_click(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.answers = shifted
    test = open_page("compare", run=full)
    test.button("job:compare:start").click().run()

    items = component(test, "gallery")["items"]
    assert [item["text"].split(" of ")[0] for item in items] == ["2"] * len(items)
    assert [item["current"] for item in items].count(True) == 1


def test_heat_maps_come_at_once_and_shap_on_demand(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("look", run=full, objects="labelled")

    first, second = compute.asked_of(GradCam)
    assert first.box == second.box
    assert "About 10 s for 1024 evaluations, at most" in words(test)
    pictures = len(test.image)

    test.button("job:shap:baseline:start").click().run()

    assert len(test.image) == pictures + 1
    assert "31 %" in words(test)


def test_a_share_that_is_not_given_is_no_dash_in_a_sentence(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.answers = changed(Shap, c_at_10=None, converged=False)
    test = open_page("look", run=full, objects="labelled")
    test.button("job:shap:baseline:start").click().run()
    assert "on the blurred image." in words(test)
    assert "strongest tenth" not in words(test)


def test_evaluations_that_are_set_and_asked_for_at_once_are_the_ones_that_count(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("look", run=full, objects="labelled")
    test.select_slider(key="samples").set_value(512)
    test.button("job:shap:baseline:start").click().run()

    assert [question.samples for question in compute.asked_of(Shap)] == [512]


def test_a_chosen_object_is_in_the_address(full: str, open_page: Open) -> None:
    test = open_page("look", run=full, objects="labelled", object="3")

    assert test.query_params["object"] == "3"
    assert {"run", "step", "image", "part"} <= set(test.query_params)


@pytest.mark.parametrize("kind", [GradCam, Predict])
def test_an_explanation_that_fails_says_why(
    full: str, open_page: Open, compute: FakeCompute, kind: type[Question[Any]]
) -> None:
    compute.fail[kind] = "Layer P5 gives no gradient for this object: try another layer."

    test = open_page("look", run=full)

    no_crash(test)
    assert "try another layer" in test.error[0].value
    assert ("Try another layer, or another kind of map." in words(test)) == (kind is GradCam)


def test_a_layer_and_a_method_are_asked_for(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("look", run=full, method="eigencam", layer="P4")

    asked = compute.asked_of(GradCam)
    assert [(q.method, q.layers) for q in asked] == [("eigencam", ("P4",))] * 2
    text = words(test)
    assert "µm to both sides" in text  # the band, whose edges are drawn
    assert "would have 12.8 % of its heat there" in text  # 0.41 / 3.2 of the picture
    assert "It cannot show why" in text


def test_the_check_with_shuffled_weights_is_a_plain_verdict(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    def answers(workspace: Workspace, question: Question[Any], out: Path) -> BaseModel:
        usual = lab_samples.answer(workspace, question, out)
        if not isinstance(question, GradCam):
            return usual
        value = 0.12 if question.model == BASELINE else 0.81
        return usual.model_copy(update={"randomised": checked(value, passed=value < 0.5)})

    compute.answers = answers

    text = words(open_page("look", run=full))

    assert "it depends on what the model learned. :small[:gray[rank correlation" in text
    assert "shuffled weights +0.12 (+0.02 to +0.22), alike from 0.50" in text
    assert "The map does not change when the weights are shuffled: do not trust it." in text
    assert "shuffled weights +0.81 (+0.71 to +0.91), alike from 0.50" in text


def test_an_empty_map_and_a_missing_box_are_said(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    reason = "its map is empty: nothing there raises the score"
    skipped = (SkippedLayer(layer="P4 (layer 18)", reason=reason),)
    compute.answers = changed(GradCam, layers=(), skipped=skipped)
    text = words(open_page("look", run=full, layer="P4"))
    assert text.count("No layer gave a map for this object: choose another layer") == 2
    assert "P4 (layer 18) is left out: its map is empty" in text

    target = Explained(score=0.1, best_iou=0.31, anchors=1)
    compute.answers = changed(
        GradCam, note="This model…", target=target, randomised=checked(None, passed=None)
    )
    text = words(open_page("look", run=full))
    assert "no box here that matches the chosen one (best overlap 0.31)" in text
    assert "shuffled weights give an empty map for this object" in text


def test_a_slow_shap_offers_fewer_evaluations(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.answers = changed(TimeShap, per_evaluation=0.5)
    test = open_page("look", run=full)
    assert "About 8 min 32 s for 1024 evaluations, at most." in words(test)

    test.button("shap:fewer").click().run()

    assert "About 2 min 8 s for 256 evaluations, at most." in words(test)


def test_a_shap_that_fails_says_what_was_asked(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("look", run=full)
    compute.fail[Shap] = "The device ran out of memory."

    test.button("job:shap:baseline:start").click().run()

    assert "ran out of memory" in test.error[0].value
    assert "Try fewer evaluations, or another object." in words(test)


def test_an_object_that_is_not_there_gives_way_to_the_first(full: str, open_page: Open) -> None:
    test = open_page("look", run=full, part="train", object="2")
    test.selectbox("choose::image").select_index(1).run()
    assert test.query_params["object"] == "1"  # another micrograph, another object 2
    assert "is not among these" not in words(test)

    test = open_page("look", run=full, object="77")

    assert not test.error
    assert "Object 77 is not among these" in words(test)
    assert test.query_params["object"] == "1"


def test_nothing_found_names_the_highest_score_and_what_to_do(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.answers = weak
    text = words(open_page("look", run=full))

    assert "Nothing was found above 0.25. The highest score is 0.18." in text
    assert "Choose “Labelled on the micrograph”" in text


def test_a_run_without_a_finished_step_says_so(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    run_id = lab_samples.prune_run(workspace, RunState.RUNNING, steps=0)

    test = open_page("compare", run=run_id)

    no_crash(test)
    assert "not finished yet" in words(test)


# --- other answers of the compute process -----------------------------------------


def checked(value: float | None, *, passed: bool | None) -> RandomisedCheck:
    """The check with shuffled weights, its interval .1 to both sides."""
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    return RandomisedCheck(
        correlation=value, low=low, high=high, draws=5, passed=passed, cascade={}, verdict=""
    )


def weak(workspace: Workspace, question: Question[Any], out: Path) -> BaseModel:
    """Models that find everything with a fifth of the usual score."""
    usual = lab_samples.answer(workspace, question, out)
    if not isinstance(usual, Predictions):
        return usual
    images = tuple(
        image.model_copy(
            update={
                "detections": tuple(
                    box.model_copy(update={"score": box.score * 0.2}) for box in image.detections
                )
            }
        )
        for image in usual.images
    )
    return usual.model_copy(update={"images": images})


def shifted(workspace: Workspace, question: Question[Any], out: Path) -> BaseModel:
    """A lighter model that misses one object and finds one elsewhere, on every image."""
    if isinstance(question, Compare):
        return compared(workspace, question, out)
    usual = lab_samples.answer(workspace, question, out)
    if not isinstance(question, Predict) or question.model != LIGHTER:
        return usual
    assert isinstance(usual, Predictions)
    elsewhere = {"x1": 0.0, "y1": 0.0, "x2": 6.0, "y2": 6.0}
    images = tuple(
        image.model_copy(update={"detections": (
            *image.detections[:-1], image.detections[-1].model_copy(update=elsewhere)
        )})
        for image in usual.images
    )  # fmt: skip
    return usual.model_copy(update={"images": images})


def compared(workspace: Workspace, question: Compare, out: Path) -> Comparison:
    """Both models on the test part."""
    data = open_dataset(workspace, question.dataset)
    agreement: dict[PairKind, int] = dict.fromkeys(("both", "class changed", "lost", "new"), 0)
    images = []
    for record in data.split(question.split):
        asked = (DatasetImage(dataset=data.name, image=record.id),)
        answers = [
            shifted(workspace, Predict(model=model, images=asked), out)
            for model in (BASELINE, LIGHTER)
        ]
        before, after = (
            found.images[0].detections for found in answers if isinstance(found, Predictions)
        )
        pairs = match_detections(before, after)
        for pair in pairs:
            agreement[pair.kind] += 1
        images.append(
            ComparedImage(
                id=record.id,
                file=record.file,
                group=record.group,
                baseline=before,
                pruned=after,
                pairs=tuple(pairs),
            )
        )
    usual = samples.compare_result()
    return usual.model_copy(update={"images": tuple(images), "agreement": agreement})
