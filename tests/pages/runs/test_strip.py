"""The attention strip of the Runs page: made in the background, a few at a time, kept."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from msip_core.data.correcting import save_labels
from msip_core.data.dataset import open_dataset
from msip_core.questions.looking import GradCam, Shap
from msip_core.questions.sources import RunStep
from msip_core.runs.state import RunState
from msip_core.workspace import Workspace
from tests.pages import lab_samples
from tests.pages.conftest import Open, no_crash, words
from tests.pages.fake_compute import FakeCompute


def asked(compute: FakeCompute, kind: type[GradCam] | type[Shap]) -> list[int]:
    """Steps in the order in which they were asked for."""
    models = [question.model for question in compute.asked_of(kind)]
    return [model.iteration for model in models if isinstance(model, RunStep)]


def status(test: AppTest) -> str:
    return next(line for line in words(test).splitlines() if " pictures" in line)


def test_the_strip_fills_with_the_baseline_and_the_chosen_step_first(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.hold.add(GradCam)
    test = open_page("runs", run=full, step="3")
    assert asked(compute, GradCam) == [0, 3]  # no more than two wait at a time
    assert "0 of 6 pictures" in status(test)

    compute.hold.clear()
    compute.states.clear()
    for _ in range(3):
        test.run()

    no_crash(test)
    assert sorted(set(asked(compute, GradCam))) == [0, 1, 2, 3, 4, 5]
    assert status(test) == "6 of 6 pictures"
    assert len(test.image) == 6
    assert words(test).count("Grad-CAM **41.0 %**") == 6
    assert words(test).count("±0.0 points") == 5
    assert "A map can show where this score reacts" in words(test)


def test_pictures_are_not_asked_for_while_others_wait(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.states["somebody"] = "running"

    test = open_page("runs", run=full)

    assert asked(compute, GradCam) == []
    compute.states["somebody"] = "done"
    test.run()
    assert asked(compute, GradCam)[0] == 0


def test_the_making_can_be_stopped_and_goes_on(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.hold.add(GradCam)
    test = open_page("runs", run=full)

    test.button("strip:stop").click().run()
    test.run()

    assert list(compute.states.values()) == ["cancelled", "cancelled"]
    assert len(asked(compute, GradCam)) == 2
    compute.hold.clear()
    test.button("strip:go").click().run()
    for _ in range(3):
        test.run()
    assert status(test) == "6 of 6 pictures"


def test_what_failed_is_said_once_and_can_be_tried_again(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.fail[GradCam] = "The weights of this step are gone."
    test = open_page("runs", run=full)
    for _ in range(3):
        test.run()
    assert "0 of 6 pictures. The weights of this step are gone." in status(test)

    compute.fail.clear()
    test.button("strip:go").click().run()

    assert status(test) == "6 of 6 pictures"


def test_shap_is_made_only_on_demand(full: str, open_page: Open, compute: FakeCompute) -> None:
    test = open_page("runs", run=full)
    for _ in range(3):
        test.run()
    assert asked(compute, Shap) == []

    test.toggle("shap").set_value(True).run()
    for _ in range(4):
        test.run()

    assert status(test) == "12 of 12 pictures"
    assert "SHAP **36.0 %**" in words(test)
    assert {question.samples for question in compute.asked_of(Shap)} == {320}


def test_a_column_head_picks_its_step(full: str, open_page: Open) -> None:
    test = open_page("runs", run=full)

    test.button("strip:pick:1").click().run()

    assert test.query_params["step"] == "1"
    assert "The network at step 1" in words(test)


def test_a_link_to_a_micrograph_whose_boxes_were_corrected_away_says_so(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    image = open_dataset(workspace, "example").images[0].id
    save_labels(workspace, "example", {image: []}, seen=1, who="Ada")

    test = open_page("runs", run=full, image=image)

    no_crash(test)
    assert "No object is labelled on this micrograph." in words(test)


def test_a_run_that_has_measured_nothing_keeps_room_for_the_strip(
    workspace: Workspace, full: str, open_page: Open, compute: FakeCompute
) -> None:
    run_id = lab_samples.prune_run(workspace, RunState.QUEUED)

    test = open_page("runs", run=run_id)

    no_crash(test)
    assert asked(compute, GradCam) == []
    assert "appears once the baseline was measured" in "".join(
        str(item.proto.body) for item in test.get("html")
    )


def test_steps_whose_weights_are_not_here_are_not_asked_for_and_the_page_says_why(
    full: str, open_page: Open, compute: FakeCompute, workspace: Workspace
) -> None:
    for step in range(1, 5):  # the last one's weights are those of the model that was made
        place = workspace.run_dir(full) / "iterations" / str(step) / "metrics.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("{}")

    test = open_page("runs", run=full)
    for _ in range(3):
        test.run()

    no_crash(test)
    assert sorted(set(asked(compute, GradCam))) == [0, 5]
    assert status(test).startswith("2 of 6 pictures. The example is shipped without the weights")
    assert [e for e in test.button if e.key == "strip:go"] == []
    assert sum("weights not here" in e.proto.body for e in test.get("html")) == 4
