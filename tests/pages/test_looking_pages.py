"""Before and after, Where it looks, Export: the same pair of models on one micrograph."""

from __future__ import annotations

import pytest

from msip_core.runs.state import RunState
from msip_core.workspace import Workspace
from tests.pages import lab_samples
from tests.pages.conftest import Open, no_crash, words
from tests.pages.fake_compute import FakeCompute


def test_both_models_are_asked_about_the_same_micrograph(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("compare", run=full)

    asked = [params for job, params in compute.asked if job == "predict"]
    assert [params.get("model") for params in asked] == ["baseline-1", "pruned-1"]
    assert asked[0]["images"] == asked[1]["images"]
    assert len(test.image) == 2


def test_a_step_in_the_middle_is_asked_of_the_run(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    open_page("compare", run=full, step="2")

    last = compute.asked[-1][1]
    assert (last["run"], last["iteration"]) == (full, 2)


def test_moving_the_score_asks_nothing_again(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("compare", run=full)
    before = len(compute.asked)

    test.slider("conf").set_value(0.95).run()

    assert len(compute.asked) == before
    assert "No organoid above 0.95. The highest score is 0.90" in words(test)


def test_the_finished_run_is_compared_on_the_test_part(full: str, open_page: Open) -> None:
    test = open_page("compare", run=full)

    table = next(d.value for d in test.dataframe if "quantity" in d.value)
    first = table.iloc[0]
    assert list(first) == ["mAP50 (test)", "0.889", "0.871", "−0.018"]


def test_speed_is_called_faster_only_where_it_is(full: str, open_page: Open) -> None:
    test = open_page("compare", run=full)
    test.button("job:latency:start").click().run()

    assert "faster" in words(test)
    assert test.get("plotly_chart")


def test_counts_of_all_test_images_as_csv(full: str, open_page: Open) -> None:
    test = open_page("compare", run=full)
    test.button("job:compare:start").click().run()

    no_crash(test)
    labels = [b.proto.label for b in test.get("download_button")]
    assert "Counts per image (CSV)" in labels
    assert "Counts per well (CSV)" in labels


def test_heat_maps_come_at_once_and_shap_on_demand(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("look", run=full, objects="labelled")

    assert [job for job, _ in compute.asked].count("gradcam") == 2
    boxes = [params["box"] for job, params in compute.asked if job == "gradcam"]
    assert boxes[0] == boxes[1]
    assert "About 5.1 s for 512 evaluations" in words(test)
    pictures = len(test.image)

    test.button("job:shap:Baseline:start").click().run()

    assert len(test.image) == pictures + 1
    assert "31 %" in words(test)


def test_a_chosen_object_is_in_the_address(full: str, open_page: Open) -> None:
    test = open_page("look", run=full, objects="labelled", object="3")

    assert test.query_params["object"] == "3"
    assert {"run", "step", "image", "part"} <= set(test.query_params)


@pytest.mark.parametrize("job", ["gradcam", "predict"])
def test_an_explanation_that_fails_says_why(
    full: str, open_page: Open, compute: FakeCompute, job: str
) -> None:
    compute.fail[job] = "Layer P5 gives no gradient for this object: try another layer."

    test = open_page("look", run=full)

    no_crash(test)
    assert "try another layer" in test.error[0].value


def test_a_run_without_a_finished_step_says_so(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    run_id = lab_samples.prune_run(workspace, RunState.RUNNING, steps=0)

    test = open_page("compare", run=run_id)

    no_crash(test)
    assert "not finished yet" in words(test)
