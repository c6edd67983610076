"""New run: what is set is what is started; preview, needs and refusals come before."""

from __future__ import annotations

import json

import pytest

from msip_core.config import PRUNE_PRESETS, ImportConfig, PruneConfig
from msip_core.data.importing import import_dataset
from msip_core.processors import Processors
from msip_core.questions.planning import Estimate, Preview
from msip_core.runs.service import RunService
from msip_core.workspace import Workspace
from pages.kit import machine as machine_module
from pages.kit.machine import Machine
from tests.data.conftest import write_image
from tests.pages.conftest import Open, no_crash, words
from tests.pages.fake_compute import FakeCompute
from tests.pages.lab_samples import LIGHTER, changed


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
    assert (config.limits.round_to, config.limits.multiple) == ("auto", 8)
    # ... and the page is now that of the run
    assert test.title[0].value == "Runs"


def test_a_link_with_a_lighter_model_says_what_to_choose(full: str, open_page: Open) -> None:
    test = open_page("new", model=LIGHTER)

    no_crash(test)
    said = [item.value.replace("\\", "") for item in test.error]
    assert said == [
        "'Example, a third' is lighter already: choose what it was made from (Example baseline), "
        "and a lower goal."
    ]
    assert test.selectbox[0].value == "baseline-1"
    assert not test.run().error


def test_a_link_with_a_dataset_that_is_not_ready_says_what_is_missing(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    write_image(workspace.root / "new" / "a.png", 0)
    import_dataset(workspace, ImportConfig(source=workspace.root / "new", name="new"))

    test = open_page("new", dataset="new")

    no_crash(test)
    assert "Dataset 'new' cannot be used yet. These are new images" in test.error[0].value


def test_a_slider_moves_the_other_three(full: str, open_page: Open) -> None:
    test = open_page("new")
    test.slider("weight:gradient").set_value(70).run()

    terms = ("gradient", "geometry", "sparsity", "information")
    assert [test.slider(f"weight:{t}").value for t in terms] == [70, 15, 10, 5]


def test_a_mixture_of_ones_own_is_a_choice_once_there_is_one(full: str, open_page: Open) -> None:
    test = open_page("new")
    assert "My own" not in test.button_group("weights:preset").options

    test.slider("weight:gradient").set_value(70).run()

    assert test.button_group("weights:preset").value == "custom"


def test_wrong_settings_are_told_beside_start(
    full: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.kit.run_fields.MAX_SEED", 2**40)
    monkeypatch.setattr("pages.kit.run_fields.gpu_count", lambda: 0)
    test = open_page("new")
    test.number_input("new:seed").set_value(2**33).run()

    no_crash(test)
    assert "seed: it must be at most 4294967295" in words(test)
    assert test.button("new:start").disabled


def test_allocation_and_the_rest_reach_the_config(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = open_page("new")
    test.selectbox("new:method").set_value("l2").run()
    assert "Same share everywhere" in test.selectbox("new:allocation").options[0]
    test.selectbox("new:allocation").set_value("global").run()
    test.button("new:start").click().run()

    no_crash(test)
    config = _started(workspace)
    assert (config.method, config.allocation) == ("l2", "global")
    assert (config.granularity, config.recovery) == ("channels", "finetune")


def test_a_senseless_pair_is_refused_with_the_reason(full: str, open_page: Open) -> None:
    test = open_page("new")
    test.selectbox("new:method").set_value("lamp").run()
    assert not test.error
    test.selectbox("new:allocation").set_value("uniform").run()

    no_crash(test)
    assert "the same as L2: choose L2" in test.error[0].value
    assert test.button("new:start").disabled


def test_the_goal_may_count_parameters_or_milliseconds(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = open_page("new")
    test.button_group("new:counts").set_value("params").run()
    test.slider("new:keep").set_value(50).run()
    assert "3.01 M → 1.50 M parameters" in words(test)
    test.button("new:start").click().run()
    no_crash(test)
    assert _started(workspace).goal == ("params", 0.5)

    test = open_page("new")
    test.button_group("new:counts").set_value("latency").run()
    test.selectbox("new:format").set_value("openvino").run()
    test.button("new:start").click().run()
    no_crash(test)
    config = _started(workspace)
    assert (config.goal[0], config.latency_format) == ("latency", "openvino")
    assert "of the milliseconds" in config.name


def test_each_strategy_asks_what_it_wants_to_know(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = open_page("new")
    test.selectbox("new:granularity").set_value("mixed").run()
    test.number_input("new:blocks").set_value(3).run()
    test.selectbox("new:block-score").set_value("gamma").run()
    test.selectbox("new:recovery").set_value("cwd").run()
    test.number_input("new:distill-temperature").set_value(4.0).run()
    test.button("new:start").click().run()

    no_crash(test)
    config = _started(workspace)
    assert (config.granularity, config.blocks, config.block_score) == ("mixed", 3, "gamma")
    assert (config.recovery, config.distill.temperature) == ("cwd", 4.0)


def test_a_search_says_that_it_takes_long_and_how_long_may_be_set(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = open_page("new")
    test.selectbox("new:method").set_value("l2").run()
    test.selectbox("new:allocation").set_value("search").run()
    assert "tried out before the first cut" in words(test)
    test.number_input("new:trials").set_value(7).run()
    test.selectbox("new:sampler").set_value("evolution").run()
    test.button("new:start").click().run()

    no_crash(test)
    search = _started(workspace).search
    assert (search.trials, search.sampler) == (7, "evolution")


@pytest.mark.parametrize(
    ("allocation", "asks", "answer"),
    [("amc", "reward", "with-cost"), ("netadapt", "accept", "accuracy")],
)
def test_each_search_asks_what_it_wants_to_know(
    workspace: Workspace, full: str, open_page: Open, allocation: str, asks: str, answer: str
) -> None:
    test = open_page("new")
    test.selectbox("new:method").set_value("l2").run()
    test.selectbox("new:allocation").set_value(allocation).run()
    test.selectbox(f"new:{asks}").set_value(answer).run()
    test.button("new:start").click().run()

    no_crash(test)
    assert getattr(_started(workspace).search, asks) == answer


def test_a_published_whole_brings_its_own_settings(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    test = open_page("new")
    test.selectbox("new:composition").set_value("slimming-cwd").run()
    assert "does not count" in words(test)
    test.button("new:start").click().run()

    no_crash(test)
    config = _started(workspace)
    assert (config.method, config.recovery, config.iterations) == ("bnscale", "cwd", 1)
    assert config.limits.max_removed_per_iteration == 0.6


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


def test_the_preview_says_what_would_be_left_without_a_click(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("new")

    assert [type(question) for question in compute.asked] == [Preview, Estimate]
    assert "**4.06 G → 2.44 G** multiply-adds per image" in words(test)
    assert "**6.2 MB → 2.1 MB**" in words(test)
    assert "One cut, untrained. The run goes there in 4 steps" in words(test)
    (picture,) = (json.loads(c.proto.spec) for c in test.get("plotly_chart"))
    assert picture["layout"]["uirevision"] == "preview"
    named = [note["text"] for note in picture["layout"]["annotations"]]
    assert named[0] == "<b>backbone</b><br>−40 %"


def test_only_what_decides_the_cut_asks_for_a_new_preview(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("new")
    compute.asked.clear()
    test.text_input("new:name").input("plate 7").run()
    test.slider("new:guard").set_value(0.1).run()
    assert compute.asked == []

    test.select_slider("new:batch").set_value(4).run()
    assert [type(question) for question in compute.asked] == [Estimate]

    compute.asked.clear()
    test.slider("weight:gradient").set_value(70).run()
    assert [type(question) for question in compute.asked] == [Preview]


def test_the_expected_time_follows_what_else_the_computer_does_now(
    full: str, open_page: Open, compute: FakeCompute, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, busy = Processors(2), Processors(2, busy=2.0)  # 1.6 threads' work, and 2/3 of one's

    compute.answers = changed(Estimate, pace=free.pace)
    for found, expected in ((free, "21 min"), (busy, "50 min 24 s")):
        machine = Machine(None, 2, 8.0, 16.0, 50.0, pace=found.pace)
        monkeypatch.setattr(machine_module, "find_machine", lambda _, machine=machine: machine)
        test = open_page("new")
        assert [m.value for m in test.metric if m.label == "Expected time"] == [expected]


@pytest.mark.parametrize("preset", PRUNE_PRESETS)
def test_a_schedule_says_the_numbers_that_the_fields_below_it_hold(
    full: str, open_page: Open, preset: str
) -> None:
    test = open_page("new", preset=preset)
    steps = test.number_input(f"new:iterations:{preset}")
    epochs = test.number_input(f"new:epochs:{preset}")
    steps.set_value(3)
    epochs.set_value(7).run()

    radio = test.radio("new:preset")
    captions = dict(zip(radio.proto.options, radio.proto.captions, strict=True))
    after = "the last" if PRUNE_PRESETS[preset].get("finetune_after") == "last-cut" else "each"
    name = {"quick": "Quick", "standard": "Standard", "paper": "Paper"}[preset]
    assert captions[name].startswith(f"Steps: 3; epochs after {after}: 7.")
    if preset != "quick":
        assert captions["Quick"].startswith("Steps: 4; epochs after each: 2.")


def test_all_but_how_light_and_how_patiently_is_folded_away(full: str, open_page: Open) -> None:
    test = open_page("new")

    (advanced,) = [one for one in test.expander if one.label == "Advanced"]
    assert not advanced.proto.expanded
    folded = {
        str(one.key)
        for kind in ("selectbox", "slider", "text_input", "select_slider", "number_input")
        for one in advanced.get(kind)
    }
    assert {"new:method", "new:guard", "new:name", "new:device", "new:seed"} <= folded
    assert not {"new:keep", "new:iterations:quick", "new:epochs:quick"} & folded


def test_the_estimate_is_said_before_start(full: str, open_page: Open) -> None:
    test = open_page("new")

    assert [m.value for m in test.metric if m.label == "Expected time"] == ["21 min"]
    assert [m.value for m in test.metric if m.label.startswith("Memory")] == ["1.3 GB"]
    assert [m.value for m in test.metric if m.label == "Disk"] == ["0.1 GB"]


def test_an_estimate_that_fails_says_why_and_start_stays_open(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.fail[Estimate] = "The measuring was ended from outside."

    test = open_page("new")

    assert "ended from outside" in test.error[0].value
    assert test.button("job:estimate:start").label == "Try again"
    assert not test.button("new:start").disabled


# --- refusals: before the start, each with its reason ---------------------------


def test_start_is_open_while_the_preview_is_worked_out(
    workspace: Workspace, full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.hold.add(Preview)
    test = open_page("new")
    assert not test.button("new:start").disabled
    assert "You need not wait for the preview" in words(test)

    before = RunService(workspace).count()
    test.button("new:start").click().run()

    no_crash(test)
    assert RunService(workspace).count() == before + 1
    assert test.title[0].value == "Runs"


def test_a_preview_that_fails_says_why_and_start_is_closed(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.fail[Preview] = "Dataset 'example' has no labelled training image."

    test = open_page("new")

    assert "no labelled training image" in test.error[0].value
    assert test.button("new:start").disabled


def test_a_class_that_the_val_part_lacks_is_warned_about(
    workspace: Workspace, full: str, open_page: Open
) -> None:
    path = workspace.dataset_dir("example") / "dataset.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for image in document["images"]:
        if image["split"] == "val":
            image["counts"].pop("crypt", None)
    path.write_text(json.dumps(document), encoding="utf-8")

    test = open_page("new")

    said = "\n".join(item.value for item in test.warning)
    assert "No image of the val part has a box of crypt" in said


def test_a_link_brings_the_schedule(full: str, open_page: Open) -> None:
    test = open_page("new", preset="paper", steps="3")

    assert test.radio("new:preset").value == "paper"
    assert test.number_input("new:iterations:paper").value == 3
    assert open_page("new", steps="all").number_input("new:iterations:quick").value == 4


def test_the_same_on_the_command_line(full: str, open_page: Open) -> None:
    test = open_page("new")

    assert "msip_core prune --data example --model baseline-1 --method msip" in test.code[0].value


def test_settings_survive_a_look_at_another_page(full: str, open_page: Open) -> None:
    test = open_page("new")
    test.slider("new:keep").set_value(45).run()
    test.slider("weight:gradient").set_value(70).run()

    test.switch_page("pages/data/page.py").run()
    test.switch_page("pages/new_run/page.py").run()

    assert test.slider("new:keep").value == 45
    assert test.slider("weight:gradient").value == 70
