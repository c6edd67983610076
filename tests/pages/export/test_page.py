"""Export: figures of several panels, methods, model with card, report, zip; and what is missing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel
from streamlit.testing.v1 import AppTest

from msip_core.data.dataset import Dataset
from msip_core.data.writing import delete_dataset
from msip_core.models import delete_model
from msip_core.questions.base import Question
from msip_core.questions.detecting import Predictions
from msip_core.questions.looking import GradCam, Shap
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.workspace import Workspace
from pages.export import figures as share_figures
from tests.pages import lab_samples
from tests.pages.conftest import Open, no_crash, words
from tests.pages.fake_compute import FakeCompute

_PNG = io.BytesIO()
Image.new("RGB", (8, 8), "white").save(_PNG, "PNG")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages whose words matter here: drawing itself is tested in tests/views."""
    monkeypatch.setattr(share_figures, "_file", lambda *_, **__: _PNG.getvalue())


def _downloads(test: AppTest) -> list[str]:
    return [button.proto.label for button in test.get("download_button")]


def _caption(test: AppTest) -> str:
    return str(test.code[0].value)


@pytest.mark.parametrize(
    ("panel", "begins"),
    [
        ("steps", "a, mAP50 on the validation images"),
        ("channels", "Output channels of 65"),
        ("pair", "a, one micrograph"),
        ("attention", "a, "),
    ],
)
def test_each_panel_can_be_previewed_and_downloaded(
    full: str, open_page: Open, panel: str, begins: str
) -> None:
    test = open_page(
        "share", run=full, panels=panel, width="85", file="svg", objects="labelled", object="1"
    )

    no_crash(test)
    assert not test.error
    assert _caption(test).startswith(begins)
    assert _downloads(test) == ["Download SVG"]
    assert any("Preview" in image.proto.imgs[0].alt for image in test.image if image.proto.imgs)


@pytest.mark.usefixtures("undrawn")
def test_several_panels_share_one_caption_and_the_address_keeps_them(
    full: str, open_page: Open
) -> None:
    test = open_page("share", run=full, panels="tradeoff,weights,epochs", columns="3", file="pdf")

    caption = _caption(test)
    assert caption.index("a, mAP50") < caption.index("b, weights") < caption.index("d, mAP50")
    assert test.multiselect("share:panels").value == ["tradeoff", "weights", "epochs"]
    assert test.query_params["panels"] == "tradeoff,weights,epochs"
    assert "178 × " in words(test)


@pytest.mark.usefixtures("undrawn")
def test_a_preset_chooses_panels_and_columns(full: str, open_page: Open) -> None:
    test = open_page("share", run=full)

    test.button("preset:curves").click().run()

    no_crash(test)
    assert test.query_params["panels"] == "steps,tradeoff,epochs,weights,channels"
    assert test.query_params["columns"] == "3"
    assert "178 × 230 mm" in words(test)


@pytest.mark.usefixtures("undrawn")
def test_removing_every_panel_asks_for_one(full: str, open_page: Open) -> None:
    test = open_page("share", run=full)

    test.multiselect("share:panels").set_value([]).run()

    assert "Choose at least one panel." in words(test)
    assert _downloads(test) == []


def test_too_many_panels_for_a_page_say_what_to_leave_out(full: str, open_page: Open) -> None:
    test = open_page(
        "share", run=full, panels="steps,tradeoff,epochs,weights,channels", columns="1"
    )

    no_crash(test)
    assert "a page has 230 mm: leave out “" in test.warning[0].value
    assert _downloads(test) == []


def test_a_panel_of_a_link_that_is_unknown_is_said(full: str, open_page: Open) -> None:
    test = open_page("share", run=full, panels="steps,colours")

    assert "The panel 'colours' of this link is not in this lab." in test.error[0].value


@pytest.mark.usefixtures("undrawn")
def test_a_method_without_weights_leaves_that_panel_out(
    workspace: Workspace, full: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RunService.iterations

    def without(self: RunService, run_id: str) -> list[Any]:
        return [r.model_copy(update={"weights": None}) for r in real(self, run_id)]

    monkeypatch.setattr(RunService, "iterations", without)
    test = open_page("share", run=full, panels="steps,weights")

    no_crash(test)
    assert "“Weights of the four signals” is left out. The method msip has no weights." in words(
        test
    )
    assert "four terms" not in _caption(test)


@pytest.mark.usefixtures("undrawn")
def test_speed_that_was_not_measured_is_left_out_and_measured_speed_is_drawn(
    full: str, open_page: Open
) -> None:
    test = open_page("share", run=full, panels="steps,speed")
    assert "was not measured yet" in words(test)

    test = open_page("compare", run=full)
    test.button("job:latency:start").click().run()
    test.query_params["panels"] = "speed"
    test.switch_page("pages/export/page.py").run()

    assert _caption(test).startswith("Latency per image")


@pytest.mark.usefixtures("undrawn")
def test_without_a_pixel_size_the_bar_is_left_out_and_it_is_said(
    full: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dataset, "pixel_size_um", None)

    test = open_page("share", run=full, panels="pair")

    no_crash(test)
    assert "so the picture has no scale bar" in words(test)
    assert "No scale bar: the pixel size is unknown" in _caption(test)


@pytest.mark.usefixtures("undrawn")
def test_an_object_that_is_not_found_leaves_the_heat_maps_out(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    def nothing(workspace: Workspace, question: Question[Any], out: Path) -> BaseModel:
        usual = lab_samples.answer(workspace, question, out)
        assert isinstance(usual, Predictions)
        images = tuple(image.model_copy(update={"detections": ()}) for image in usual.images)
        return usual.model_copy(update={"images": images})

    compute.answers = nothing
    test = open_page("share", run=full, panels="steps,attention", objects="found")

    no_crash(test)
    assert "No object is chosen for the heat maps." in words(test)
    assert _caption(test).startswith("a, mAP50")


@pytest.mark.usefixtures("undrawn")
def test_heat_maps_and_shap_of_both_models_with_the_crypts(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    address = {"run": full, "panels": "attention", "maps": "both", "objects": "labelled"}
    test = open_page("share", **address)
    assert "drawn as soon as its pictures are there" in words(test)

    for side in ("Baseline", "Pruned"):
        test.button(f"job:share:shap:{side}:start").click().run()

    no_crash(test)
    caption = _caption(test)
    assert "b, Grad-CAM, Baseline (BER 0.41); c, SHAP, Baseline (C@10 0.31)" in caption
    assert "d, Grad-CAM, Pruned (BER 0.41); e, SHAP, Pruned (C@10 0.31)" in caption
    assert len(compute.asked_of(GradCam)) == 2


def test_a_run_whose_first_step_is_not_finished_says_so(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    run_id = lab_samples.prune_run(workspace, RunState.RUNNING, steps=0)

    test = open_page("share", run=run_id)

    no_crash(test)
    assert "not finished yet" in words(test)
    assert _downloads(test) == []


def test_the_methods_text_with_its_citations(full: str, open_page: Open) -> None:
    test = open_page("share", run=full, view="methods")

    text = _caption(test)
    assert "keep 33.5 % of the MACs in 5 iterations" in text
    assert "Selvaraju" not in text
    assert _downloads(test) == ["Methods as text", "References as BibTeX", "References as RIS"]

    test.get("button_group")[-1].set_value(["gradcam"]).run()

    assert "Selvaraju" in _caption(test)


def test_the_model_file_its_card_and_other_formats(full: str, open_page: Open) -> None:
    test = open_page("share", run=full, view="model", model="pruned-1")
    test.button("job:export:onnx:start").click().run()

    no_crash(test)
    assert _downloads(test) == [
        "Download model.pt",
        "Download the model card",
        "Download model.onnx",
    ]
    assert "Its accuracy was measured on only 40 images" in words(test)


@pytest.mark.parametrize("gone", ["dataset", "model"])
def test_what_is_left_of_a_run_is_taken_home_when_its_images_or_its_baseline_were_deleted(
    workspace: Workspace, full: str, open_page: Open, gone: str
) -> None:
    if gone == "dataset":
        delete_dataset(workspace, "example")
    else:
        delete_model(workspace, lab_samples.BASELINE)

    test = open_page("share", run=full, view="model")
    no_crash(test)
    assert not test.error
    assert _downloads(test)[:2] == ["Download model.pt", "Download the model card"]
    assert "Make the ONNX file" in [b.label for b in test.button]

    (following,) = [one for one in test.get("page_link") if one.proto.label.startswith("Next:")]
    kept = "model=baseline-1" if gone == "dataset" else "dataset=example"
    assert following.proto.query_string == kept

    test = open_page("share", run=full, view="methods")
    no_crash(test)
    assert "Methods as text" in _downloads(test)

    test = open_page("share", run=full, view="run")
    no_crash(test)
    assert "Download the whole run" in _downloads(test)


def test_a_number_of_evaluations_that_no_page_offers_is_not_asked_for(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page(
        "share", run=full, panels="attention", maps="shap", samples="a lot", patches="9" * 12,
        objects="labelled", object="1",
    )  # fmt: skip
    test.button("job:share:shap:Baseline:start").click().run()

    no_crash(test)
    assert [(q.samples, q.features) for q in compute.asked_of(Shap)] == [(1024, 50)]


def test_report_and_zip_of_a_run(full: str, open_page: Open) -> None:
    test = open_page("share", run=full, view="run")

    assert _downloads(test) == ["Download the report", "Download the whole run"]


def test_heat_maps_for_the_report_are_asked_for_one_object(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("share", run=full, view="run", objects="labelled")
    assert compute.asked_of(GradCam) == []

    test.toggle("heat").set_value(True).run()

    no_crash(test)
    assert len(compute.asked_of(GradCam)) == 2


def test_a_report_asked_for_before_its_heat_maps_are_there_says_so(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.hold.add(GradCam)

    test = open_page("share", run=full, view="run", objects="labelled", heat="true")

    no_crash(test)
    assert "Until both heat maps are there, the report comes without them." in words(test)
    assert "Download the report" in _downloads(test)
