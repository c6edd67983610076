"""Plans are checked before anything starts; every row keeps to one protocol."""

from __future__ import annotations

import json

import pytest

from msip_core.compositions import COMPOSITIONS
from msip_core.config import PruneConfig, TrainConfig
from msip_core.errors import ConfigError
from msip_core.events import Cost
from msip_core.models import ModelCard, write_card
from msip_core.studies.library import plan_here
from msip_core.studies.plan import HONEST, read_plan, write_plan
from msip_core.studies.presets import PRESETS, SIZES, preset_plan
from msip_core.studies.tasks import config_of, epochs_of, equal_size, labels, run_id, tasks
from msip_core.ways import Way
from msip_core.workspace import Workspace
from tests.studies.conftest import make_plan


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_gives_configs_that_can_be_started(name: str, size) -> None:
    plan = preset_plan(name, size, "example")
    assert set(plan.honest) == set(HONEST)
    assert len(plan.seeds) >= 3 or size == "smoke"
    for task in tasks(plan):
        config = config_of(plan, task, "the-baseline")
        assert config.measure is not None
        assert config.dataset == "example"


def test_a_plan_comes_back_from_its_file(tmp_path) -> None:
    plan = preset_plan("table-3-2", "smoke", "example")
    path = tmp_path / "plan.yaml"
    path.write_text(write_plan(plan), encoding="utf-8")
    again = read_plan(path)
    assert write_plan(again) == write_plan(plan)
    assert [config_of(again, t, "b") for t in tasks(again)] == [
        config_of(plan, t, "b") for t in tasks(plan)
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": []}, "rows"),
        ({"seeds": [0, 0]}, "each seed stands once"),
        ({"rows": [{"key": "int8", "label": "x"}]}, "two rows are called int8"),
        ({"rows": [{"key": "a", "label": "x", "settings": {"seed": 4}}]}, "changes 'seed'"),
        ({"rows": [{"key": "a", "label": "x", "settings": {"method": "l3"}}]}, "l3"),
        ({"rows": [{"key": "a", "label": "x", "settings": {"epochs": 4}}]}, "Row 'a'"),
        ({"budget": {"imgsz": 320}}, "not in its budget"),
        ({"imgsz": 100}, "imgsz"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_plan_that_cannot_work_is_refused_with_the_reason(change, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_plan(**change)


@pytest.mark.parametrize("text", ["[1, 2]", "name: [", "just words"])
def test_a_file_that_is_no_plan_is_named(tmp_path, text: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"plan\.yaml"):
        read_plan(path)


def test_every_row_gets_the_same_budget() -> None:
    plan = make_plan()
    found = dict.fromkeys(("more-epochs", "smaller-image", "random", "l2", "msip"), 4)
    expected = {"baseline": 3, "int8": 0, "smaller-model": 3 + 4, **found}
    assert {task.row: epochs for task, epochs in epochs_of(plan)} == expected


def test_baseline_and_int8_come_once_and_the_others_once_a_seed() -> None:
    plan = make_plan()
    rows = [task.row for task in tasks(plan)]
    assert rows[0] == "baseline"
    assert {row: rows.count(row) for row in rows} == {
        "baseline": 1, "int8": 1, "more-epochs": 2, "smaller-model": 2, "smaller-image": 2,
        "random": 2, "l2": 2, "msip": 2,
    }  # fmt: skip
    assert list(labels(plan)) == ["baseline", *HONEST, "l2", "msip"]


def test_honest_rows_are_what_they_say() -> None:
    plan = make_plan(imgsz=640)
    made = {t.row: config_of(plan, t, "the-baseline") for t in tasks(plan)}
    assert isinstance(made["baseline"], TrainConfig)
    assert made["baseline"].weights == "yolov8s.yaml"
    assert made["more-epochs"].weights == "the-baseline"
    assert made["smaller-model"].weights == "yolov8n.yaml"
    assert made["smaller-image"].imgsz == 384  # .36 of the pixels; 352 px would be .30
    assert made["int8"].recipe.epochs == 0
    assert made["int8"].measure.int8
    assert isinstance(made["random"], PruneConfig)
    assert made["random"].method == "random"
    assert made["msip"].model == "the-baseline"
    assert made["msip"].measure.beside == "the-baseline"
    assert made["smaller-image"].measure.beside_imgsz == 640


@pytest.mark.parametrize(
    ("side", "keep", "expected"),
    [(640, 0.335, 384), (256, 0.335, 160), (128, 0.335, 64), (640, 0.25, 320), (64, 0.05, 32)],
)
def test_the_small_image_costs_about_as_much_as_the_pruned_model(side, keep, expected) -> None:
    assert equal_size(make_plan(imgsz=side, budget={"keep_macs": keep})) == expected


def test_a_brought_baseline_is_measured_and_not_trained() -> None:
    plan = make_plan(baseline={"model": "mine"})
    config = config_of(plan, tasks(plan)[0], None)
    assert (config.weights, config.recipe.epochs) == ("mine", 0)


def test_a_run_of_a_study_has_the_same_id_whenever_it_is_asked_for() -> None:
    task = tasks(make_plan())[1]
    assert run_id("study-261122-abcd", task) == "study-261122-abcd-more-epochs-s0"
    long = [run_id("study-" + "x" * 40, t) for t in tasks(preset_plan("field", "smoke", "d"))]
    assert len(set(long)) == len(long)
    assert max(map(len, long)) <= 56


@pytest.mark.parametrize("size", SIZES)
def test_half_the_fine_tuning_is_half_of_it_in_every_size(size) -> None:
    plan = preset_plan("table-3-2", size, "d", model="m")
    epochs = {
        row.key: plan.pruning(row, model="m", seed=0).finetune.epochs
        for row in plan.rows
        if row.key in ("msip", "half-epochs", "no-finetune")
    }
    assert epochs["no-finetune"] == 0
    assert 0 < epochs["half-epochs"] == epochs["msip"] // 2


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_every_system_has_a_study_of_its_name_beside_its_strongest_rivals(name: str) -> None:
    plan = preset_plan(name, "standard", "example")
    rows = {row.key: plan.pruning(row, model="m", seed=0) for row in plan.rows}
    own = rows.pop(f"s-{name}")
    assert set(rows) == {
        "msip",
        "lamp",
        "taylor-per-mac",
        "taylor-abs-per-mac",
        "taylor-2-per-mac",
        "obs-per-mac",
    }
    assert {row.goal for row in rows.values()} == {own.goal}
    assert own.method == COMPOSITIONS[name].settings.get("method", own.method)
    # As many epochs after the cuts as the others, in the cuts that the system makes.
    assert own.finetune_epochs == rows["msip"].finetune_epochs


@pytest.mark.parametrize("name", ["table-3-1", "table-3-2", "analysis", "field"])
def test_every_table_of_ours_holds_the_strongest_rivals(name: str) -> None:
    plan = preset_plan(name, "paper", "example")
    asked = [plan.pruning(row, model="m", seed=0) for row in plan.rows]
    per_mac = {one.method for one in asked if one.allocation == "msip"}
    assert {"taylor", "taylor-abs", "taylor-2", "obs"} <= per_mac
    same = {
        (one.goal, one.repair, one.calibration, one.imgsz)
        for one in asked
        if one.granularity == "channels"
    }
    assert len(same) == 1


def test_a_speed_up_is_the_goal_of_every_row() -> None:
    plan = preset_plan("table-3-1", "smoke", "example", speed_up=2.0)
    goals = {plan.pruning(row, model="m", seed=0).goal for row in plan.rows}
    assert goals == {("latency", 0.5)}
    with pytest.raises(ConfigError, match="above 1"):
        preset_plan("table-3-1", "smoke", "example", speed_up=0.5)


def test_the_next_smaller_model_starts_as_the_baseline_did(tmp_path) -> None:
    for name in ("yolov8s.pt", "yolov8n.pt"):
        (tmp_path / name).touch()
    alike = preset_plan("table-3-1", "smoke", "d", weights=str(tmp_path / "yolov8s.pt"))
    assert alike.smaller == str(tmp_path / "yolov8n.pt")
    assert alike.smaller_differs == ""
    assert preset_plan("table-3-1", "smoke", "d").smaller_differs == ""  # both from scratch
    (tmp_path / "yolov8n.pt").unlink()
    other = preset_plan("table-3-1", "smoke", "d", weights=str(tmp_path / "yolov8s.pt"))
    assert other.smaller == "yolov8n.yaml"
    assert other.smaller_differs.startswith("from scratch, while the baseline started from pre")


def test_how_a_baseline_of_the_workspace_started_is_followed_back(workspace: Workspace) -> None:
    def brought(name: str, weights: str | None) -> None:
        folder = workspace.run_dir(f"run-{name}")
        folder.mkdir(parents=True)
        if weights:
            (folder / "config.json").write_text(json.dumps({"weights": weights}))
        write_card(
            workspace,
            ModelCard(
                id=name, name=name, kind="baseline", architecture="yolov8s", classes=("a",),
                imgsz=64, cost=Cost(macs=1, params=1, size_mb=1, imgsz=64),
                origin={"run_id": f"run-{name}"},
            ),
        )  # fmt: skip

    brought("first", "/somewhere/yolov8s.pt")
    brought("second", "first")
    brought("plain", "yolov8s.yaml")
    brought("unknown", None)
    differs = {
        name: plan_here(workspace, "table-3-1", "smoke", "d", model=name).smaller_differs
        for name in ("first", "second", "plain", "unknown")
    }
    assert differs["first"] == differs["second"]
    assert differs["first"].startswith("from scratch, while")
    assert differs["plain"] == ""
    assert differs["unknown"] == "from scratch; how the baseline started is not known"
    with pytest.raises(ConfigError, match="is about a depthwise YOLOv8"):
        plan_here(workspace, "graph-guided-depthwise", "smoke", "d", model="plain")


def test_a_speed_up_on_a_gpu_is_the_goal_and_the_measure_of_every_row() -> None:
    latency = {"latency_device": "auto", "latency_precision": "fp16", "latency_batch": 32}
    plan = preset_plan("table-3-1", "smoke", "example", speed_up=2.0, latency=latency)
    usual = preset_plan("table-3-1", "smoke", "example")

    runs = [plan.pruning(row, model="m", seed=0) for row in plan.rows]
    asked = Way("cuda:3", "cudagraph", "fp16", 32)
    assert {run.goal for run in runs} == {("latency", 0.5)}
    assert {run.latency_way("cuda:3") for run in runs} == {asked}
    assert plan.measure.latency_way("cuda:3") == asked
    assert plan.measure.latency_runs == usual.measure.latency_runs
    assert usual.measure.latency_way("cuda:3") == Way()
    with pytest.raises(ConfigError, match="a processor only imitates it"):
        preset_plan("table-3-1", "smoke", "example", latency={"latency_precision": "fp16"})
