"""New run: what is set is what is started; the estimate comes before."""

from __future__ import annotations

import pytest

from msip_core.config import PRUNE_PRESETS, PruneConfig
from msip_core.runs.service import RunService
from msip_core.workspace import Workspace
from tests.pages.conftest import Open, no_crash, words
from tests.pages.fake_compute import FakeCompute


def _started(workspace: Workspace) -> PruneConfig:
    config = RunService(workspace).list(limit=1)[0].config
    assert isinstance(config, PruneConfig)
    return config


def test_start_makes_the_run_that_was_set(workspace: Workspace, full: str, open_page: Open) -> None:
    test = open_page("new")
    test.slider("new:keep").set_value(40).run()
    test.slider("new:guard").set_value(0.0).run()
    test.button("new:start").click().run()

    no_crash(test)
    config = _started(workspace)
    assert config.keep_macs == 0.4
    assert config.max_map50_drop is None
    assert config.dataset == "example"
    assert config.model == "baseline-1"
    assert config.imgsz == 128  # the model's own
    assert config.finetune == PRUNE_PRESETS["quick"]["finetune"]
    assert config.limits.round_to == 8
    # ... and the page is now that of the run
    assert test.title[0].value == "Runs"


def test_a_slider_moves_the_other_three(full: str, open_page: Open) -> None:
    test = open_page("new")
    test.slider("weight:gradient").set_value(70).run()

    terms = ("gradient", "geometry", "sparsity", "information")
    assert [test.slider(f"weight:{t}").value for t in terms] == [70, 15, 10, 5]


def test_weights_reach_the_config(workspace: Workspace, full: str, open_page: Open) -> None:
    test = open_page("new")
    test.slider("weight:information").set_value(55).run()
    test.button("new:start").click().run()

    # 45 left in 40 : 30 : 20
    assert _started(workspace).msip.weights.as_tuple() == (0.20, 0.15, 0.10, 0.55)


def test_another_method_has_no_weights(workspace: Workspace, full: str, open_page: Open) -> None:
    test = open_page("new")
    test.selectbox("new:method").select("lamp").run()

    assert not [s for s in test.slider if str(s.key).startswith("weight:")]
    test.button("new:start").click().run()
    assert _started(workspace).method == "lamp"


@pytest.mark.parametrize("preset", PRUNE_PRESETS)
def test_presets_bring_their_schedule(
    workspace: Workspace, full: str, open_page: Open, preset: str
) -> None:
    test = open_page("new")
    test.radio("new:preset").set_value(preset).run()
    test.button("new:start").click().run()

    config = _started(workspace)
    assert config.iterations == PRUNE_PRESETS[preset]["iterations"]
    assert config.finetune == PRUNE_PRESETS[preset]["finetune"]
    assert config.pretrain == PRUNE_PRESETS[preset].get("pretrain")


def test_the_estimate_is_said_before_start(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("new")
    test.button("job:estimate:start").click().run()

    assert compute.asked[-1][0] == "estimate"
    assert [m.value for m in test.metric if m.label == "Expected time"] == ["21 min"]
    # A new name does not make the question new.
    test.text_input("new:name").input("plate 7").run()
    assert [m.value for m in test.metric if m.label == "Expected time"] == ["21 min"]


def test_an_estimate_that_fails_says_why(full: str, open_page: Open, compute: FakeCompute) -> None:
    compute.fail["estimate"] = "Batch 16 did not fit (needs 9.1, free 7.8 GB)."

    test = open_page("new")
    test.button("job:estimate:start").click().run()

    assert "did not fit" in test.error[0].value
    assert test.button("job:estimate:start").label == "Try again"


def test_the_same_on_the_command_line(full: str, open_page: Open) -> None:
    test = open_page("new")

    assert "msip_core prune --data example --model baseline-1 --method msip" in test.code[0].value


def test_settings_survive_a_look_at_another_page(full: str, open_page: Open) -> None:
    test = open_page("new")
    test.slider("new:keep").set_value(45).run()
    test.slider("weight:gradient").set_value(70).run()

    test.switch_page("pages/data.py").run()
    test.switch_page("pages/new.py").run()

    assert test.slider("new:keep").value == 45
    assert test.slider("weight:gradient").value == 70


def test_a_detector_of_other_classes_is_warned_about(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    from tests.pages.lab_samples import add_model

    add_model(workspace, "other", name="Other", classes=("spheroid",))

    test = open_page("new", model="other")

    assert "The detector knows spheroid" in words(test)
