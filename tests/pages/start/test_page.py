"""Start: how far on the way one is, and one next step."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import pages.kit.lab as lab_module
from msip_core.config import PRUNE_PRESETS, PruneConfig
from msip_core.example import install_example
from msip_core.questions.planning import Estimate
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.runs.supervisor import Supervisor
from msip_core.workspace import Workspace
from tests.pages.conftest import Open, no_crash, words
from tests.pages.fake_compute import FakeCompute
from tests.pages.lab_samples import draw_dataset, fill, prune_run


def _links(test: AppTest) -> dict[str, str]:
    """Text of each link -> its address."""
    return {
        link.proto.label: f"{link.proto.page}?{link.proto.query_string}"
        for link in test.get("page_link")
    }


def _badges(test: AppTest) -> list[str]:
    return [
        word
        for word in ("done", "next", "later")
        for m in test.markdown
        if m.value.endswith(f" {word}]")
    ]


@pytest.fixture
def fresh(workspace: Workspace, app: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A lab at first start: the example and nothing of one's own; the id of the example's run."""
    made = Workspace.open(tmp_path / "made")
    run_id = fill(made)
    for kind in ("datasets", "models", "runs"):
        shutil.copytree(made.root / kind, tmp_path / "assets" / "example" / kind)
    monkeypatch.setattr(lab_module, "ASSETS", tmp_path / "assets")

    def start(opened: Workspace) -> Supervisor:
        install_example(opened, tmp_path / "assets" / "example")
        return Supervisor(opened)

    monkeypatch.setattr(lab_module, "start_serving", start)
    return run_id


def test_one_click_starts_a_small_run_and_its_time_is_said_before(
    workspace: Workspace, fresh: str, open_page: Open, compute: FakeCompute
) -> None:
    test = open_page("start")
    assert "It takes about 21 min on this computer." in words(test)
    before = RunService(workspace).count()

    test.button("start:small-run").click().run()

    no_crash(test)
    assert test.title[0].value == "Runs"
    assert RunService(workspace).count() == before + 1
    newest = RunService(workspace).list(limit=1)[0]
    assert newest.state is RunState.QUEUED
    config = newest.config
    assert isinstance(config, PruneConfig)
    assert (config.model, config.dataset, config.iterations) == ("baseline-1", "example", 2)
    assert config.finetune == PRUNE_PRESETS["quick"]["finetune"]
    # Before it was asked for, the newest labels were meant, whichever they would be then.
    asked = config.model_copy(update={"dataset_version": None})
    assert compute.asked[0] == Estimate.of(asked)


def test_the_small_run_waits_for_no_measurement(
    workspace: Workspace, fresh: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.hold.add(Estimate)
    test = open_page("start")
    assert "is being measured; you need not wait" in words(test)
    assert not test.button("start:small-run").disabled

    compute.hold.clear()
    compute.states.clear()
    compute.fail[Estimate] = "The measuring was ended."
    test.run()
    assert "could not be measured here" in words(test)


def test_the_settings_of_the_small_run_are_those_of_its_link(
    workspace: Workspace, fresh: str, open_page: Open
) -> None:
    open_page("start").button("start:small-run").click().run()
    test = open_page("new", model="baseline-1", dataset="example", preset="quick", steps="2")
    test.button("new:start").click().run()

    linked, at_once = (run.config for run in RunService(workspace).list(limit=2))
    assert linked == at_once


def test_at_first_start_the_run_is_next_and_its_link_is_filled_in(
    fresh: str, open_page: Open
) -> None:
    test = open_page("start")

    assert _badges(test) == ["done", "done", "next", "later", "later"]
    assert "12 images are ready. Drawn by computer" in words(test)
    links = _links(test)
    wanted = "new?model=baseline-1&dataset=example&preset=quick&steps=2"
    assert links["See or change its settings first"] == wanted
    assert links["Next: make it lighter"] == wanted
    assert links["Or look at a finished run first"] == f"runs?run={fresh}"


def test_a_run_of_ones_own_is_followed_on_its_way(
    workspace: Workspace, fresh: str, open_page: Open
) -> None:
    open_page("start")  # the example is installed
    own = prune_run(workspace, RunState.RUNNING, steps=2, name="Mine")

    test = open_page("start")

    assert "Mine is on its way: 42 % done." in words(test)
    assert _links(test)["Next: look at your run"] == f"runs?run={own}"


def test_after_the_run_comparing_and_looking_are_next_until_they_were_seen(
    workspace: Workspace, fresh: str, open_page: Open
) -> None:
    open_page("start")
    own = prune_run(workspace, RunState.COMPLETED, name="Mine")

    test = open_page("start")
    assert _links(test)["Next: compare before and after"] == f"compare?run={own}"

    test.query_params["run"] = own
    test.switch_page("pages/compare/page.py").run()
    test.query_params.clear()
    test.switch_page("pages/start/page.py").run()
    assert _badges(test) == ["done", "done", "done", "done", "next"]
    assert _links(test)["Next: see where it looks"] == f"look?run={own}"


@pytest.mark.parametrize(
    ("page", "last_part"), [("compare", "compare.numbers.speed"), ("look", "look.maps.shap_maps")]
)
def test_who_leaves_before_the_last_part_has_come_has_looked_all_the_same(
    page: str, last_part: str, full: str, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Streamlit ends a page that is left where it stands, just as st.stop does.
    monkeypatch.setattr(f"pages.{last_part}", lambda *_: st.stop())

    test = open_page(page, run=full)

    assert (page, full) in test.session_state["visits"]


def test_images_without_a_detector_lead_to_training(workspace: Workspace, open_page: Open) -> None:
    draw_dataset(workspace)

    test = open_page("start")

    assert _badges(test) == ["done", "next", "later", "later", "later"]
    assert _links(test)["Next: train a baseline"] == "models?view=train&dataset=example"


def test_an_empty_lab_offers_to_draw_and_to_bring_in(open_page: Open) -> None:
    test = open_page("start")

    assert _badges(test) == ["next", "later", "later", "later", "later"]
    assert _links(test)["Draw example images"] == "data?view=add&way=drawn"


def test_the_words_are_there_with_their_precise_meaning(open_page: Open) -> None:
    text = words(open_page("start"))

    assert "**MACs**: How much arithmetic one image costs." in text
    assert "Multiply-adds of one forward pass" in text


def test_the_computer_is_told_behind_an_icon_not_behind_the_word_for_it(open_page: Open) -> None:
    test = open_page("start")

    (line,) = [c.value for c in test.caption if "of memory and" in c.value]
    assert line.startswith((":material/memory: ", ":material/bolt: "))
