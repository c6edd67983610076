"""The life of a run: its story, its folder, its guard rails, and going on after a stop."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from msip_core.config import AllocationOptions, MsipOptions, PruneConfig, TrainingRecipe
from msip_core.detector.c2f import to_c2f_v2
from msip_core.detector.checkpoints import load_model
from msip_core.detector.sources import load_source_model
from msip_core.errors import ConfigError, GoalUnreachableError, InputError, NotFoundError, Stopped
from msip_core.events import BaselineRecord, EpochRecord, FinalRecord, Stage
from msip_core.importance import shared
from msip_core.importance.statistics import gather
from msip_core.models import open_card
from msip_core.pruning.estimate import estimate
from msip_core.pruning.folder import RunFolder
from msip_core.pruning.iteration import Feedback, Iteration
from msip_core.pruning.loop import run
from msip_core.questions.base import Job
from msip_core.questions.planning import Estimate
from msip_core.questions.sources import model_named
from msip_core.workspace import Workspace
from tests.pruning.kit import BASELINE, DATASET, Camera, Counter, Listener, config


def weights_of(workspace: Workspace, run_id: str) -> dict[str, torch.Tensor]:
    path = workspace.model_dir(f"pruned-{run_id}") / "work.pt"
    return load_model(path).state_dict()


def without_time(record) -> dict:
    return record.model_dump(exclude={"seconds"})


STATIC = MsipOptions(dynamic_weights=False)


STOPS = (
    (Stage.BASELINE, 0, 0),
    (Stage.IMPORTANCE, 1, 3),  # amid the trials of weights
    (Stage.EVALUATION_BEFORE, 1, 2),
    (Stage.PRUNING, 2, 0),
    (Stage.FINETUNING, 2, 7),  # in the second epoch
    (Stage.EVALUATION_AFTER, 2, 0),
    (Stage.TESTING, 2, 2),
)


@pytest.fixture(scope="module")
def unbroken(lab: Workspace) -> Listener:
    ctx = Listener(lab, "unbroken")
    run(config(), ctx)
    return ctx


def test_the_story_is_told_in_order(unbroken: Listener):
    before, after = "evaluation before fine-tuning", "evaluation after"
    assert unbroken.stages == [
        ("baseline evaluation", 0),
        *[
            (stage, t)
            for t in (1, 2)
            for stage in ("importance", "pruning", before, "fine-tuning", after)
        ],
        ("final test", 2),
        ("saving and checking", 2),
    ]
    assert [r.index for r in unbroken.iterations] == [1, 2]
    assert len(unbroken.of(BaselineRecord)) == 1
    assert isinstance(unbroken.records[-1], FinalRecord)
    assert any("Iteration 1 of 2" in s for s in unbroken.sentences)


def test_macs_fall_to_the_goal_and_every_record_agrees_with_its_model(unbroken: Listener):
    first, last = unbroken.iterations
    baseline = unbroken.of(BaselineRecord)[0].cost.macs

    assert baseline > first.macs > last.macs
    assert last.macs_ratio == pytest.approx(0.5, rel=0.005)
    for record in (first, last):
        model = load_model(unbroken.run_dir / record.model)
        channels = {
            n: m.out_channels for n, m in model.named_modules() if hasattr(m, "in_channels")
        }
        for layer in record.layers:
            assert channels[layer.name] == layer.after <= layer.before <= layer.original
        assert sum(p.numel() for p in model.parameters()) == record.params
        assert sum(record.weights.values()) == pytest.approx(1)
        assert set(record.seconds) == {"importance", "pruning", "evaluation", "finetuning"}
    assert first.term_map50 is not None
    assert set(first.term_map50) == {"gradient", "geometry", "sparsity", "information"}
    assert last.term_map50 is None  # nothing follows that could use it


def test_the_folder_holds_what_other_rooms_read(unbroken: Listener):
    folder = unbroken.run_dir
    assert (folder / "iterations/0/model.pt").is_file()
    for t in (1, 2):
        names = {p.name for p in (folder / "iterations" / str(t)).iterdir()}
        assert {"metrics.json", "layers.json", "model.pt"} <= names
        assert not {"cut.pt", "pruned.pt", "fit"} & names  # only a resume needed them
    stored = json.loads((folder / "calibration.json").read_text())
    assert len(stored["images"]) == 8
    assert RunFolder(folder).finished() == unbroken.iterations


def test_widths_are_stored_once_and_an_older_folder_is_still_read(unbroken: Listener, tmp_path):
    files = tmp_path / "iterations/1"
    shutil.copytree(unbroken.run_dir / "iterations/1", files)
    rest = json.loads((files / "metrics.json").read_text())
    layers = json.loads((files / "layers.json").read_text())
    assert "layers" not in rest
    assert [row["name"] for row in layers] == [row.name for row in unbroken.iterations[0].layers]

    (files / "metrics.json").write_text(json.dumps({**rest, "layers": layers}))
    (files / "layers.json").unlink()

    assert RunFolder(tmp_path).finished() == [unbroken.iterations[0]]


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"a": 1}'])
def test_the_damaged_file_of_a_step_is_named(unbroken: Listener, tmp_path, content):
    files = tmp_path / "iterations/1"
    shutil.copytree(unbroken.run_dir / "iterations/1", files)
    (files / "layers.json").unlink()
    if content is not None:
        (files / "layers.json").write_text(content)

    with pytest.raises(InputError, match=r"1/layers\.json is damaged"):
        RunFolder(tmp_path).finished()

    (files / "metrics.json").write_text('{"layers": []}')
    with pytest.raises(InputError, match=r"1/metrics\.json is damaged"):
        RunFolder(tmp_path).finished()


def test_the_model_is_in_the_workspace_with_its_card(unbroken: Listener, lab: Workspace):
    final = unbroken.records[-1]
    card = open_card(lab, final.model_id)

    assert card.kind == "pruned"
    assert card.baseline_id == BASELINE
    assert card.dataset == DATASET
    assert card.cost.macs == final.cost.macs
    assert card.macs_ratio == pytest.approx(0.5, rel=0.005)
    assert final.test.split == final.baseline_test.split == "test"
    for path in final.artifacts.values():
        assert (lab.root / path).is_file()
    image = torch.rand(1, 3, 64, 64)
    stock = load_model(lab.model_dir(final.model_id) / "model.pt")
    work = load_model(unbroken.run_dir / "iterations/2/model.pt")
    torch.testing.assert_close(stock(image)[0], work(image)[0], atol=1e-3, rtol=1e-4)


def test_progress_only_grows_and_ends_at_one(unbroken: Listener):
    done = [r.done for r in unbroken.progress]

    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == pytest.approx(1)
    assert unbroken.progress[0].seconds_left is None
    assert unbroken.progress[-1].seconds_left == pytest.approx(0, abs=0.5)


def test_a_run_killed_in_stage_after_stage_ends_like_an_unbroken_one(
    lab: Workspace, unbroken: Listener
):
    """Each life begins with what a kill at that point of the life before would have left."""
    lives: list[Listener] = []
    for number, stop in enumerate(STOPS):
        left = {f"life-{number + 1}": Counter(*stop)}
        lives.append(Camera(lab, f"life-{number}", left, ends=True))
        with pytest.raises(Stopped):
            run(config(), lives[-1])
    lives.append(Listener(lab, f"life-{len(STOPS)}"))
    run(config(), lives[-1])

    told = {r.index: without_time(r) for ctx in lives for r in ctx.iterations}
    assert told == {r.index: without_time(r) for r in unbroken.iterations}
    expected, found = weights_of(lab, unbroken.run_id), weights_of(lab, lives[-1].run_id)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    # Nothing but the stage of its end was done twice; a finished fit is only read again.
    for number, (stage, iteration, _) in enumerate(STOPS):
        before = {s for ctx in lives[: number + 1] for s in ctx.stages}
        twice = before & set(lives[number + 1].stages)
        assert twice - {("fine-tuning", iteration)} <= {(stage.value, iteration)}
    epochs = [(r.iteration, r.epoch) for ctx in lives for r in ctx.of(EpochRecord)]
    assert sorted(epochs) == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_finished_run_called_again_only_repeats_its_end(unbroken: Listener, lab: Workspace):
    again = Listener(lab, "unbroken")

    run(config(), again)

    assert again.stages == []
    assert again.records[-1] == unbroken.records[-1]


def test_the_guard_rail_keeps_the_last_good_model(lab: Workspace, unbroken: Listener):
    """The baseline is said to be perfect, so the first iteration falls through the rail."""
    ctx = Listener(lab, "guarded")
    folder = RunFolder(ctx.run_dir)
    record = RunFolder(unbroken.run_dir).read_baseline()
    metrics = record.metrics.model_copy(update={"map50": 1.0})
    folder.write_baseline(record.model_copy(update={"metrics": metrics}))

    run(config(max_map50_drop=0.05, msip=STATIC), ctx)

    final = ctx.records[-1]
    assert [r.index for r in ctx.iterations] == [1]
    assert final.iteration == 0
    assert final.macs_ratio == pytest.approx(1)
    assert "more than the 0.050 allowed" in final.stopped_by
    assert "Kept the unpruned model" in final.stopped_by


def test_a_goal_out_of_reach_is_said_before_any_work(lab: Workspace):
    ctx = Listener(lab, "unreachable")
    limits = AllocationOptions(round_to=1, max_removed_per_iteration=0.1)

    with pytest.raises(GoalUnreachableError, match="Allow more iterations"):
        run(config(limits=limits, keep_macs=0.3), ctx)

    assert ctx.stages == []
    with pytest.raises(GoalUnreachableError, match="Allow more iterations"):
        estimate(config(limits=limits, keep_macs=0.3), lab)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "l2"},
        {"method": "random", "repair": "none"},
        {"method": "msip-literal", "repair": "recalibrate"},
        {"method": "msip", "adaptive_threshold": False},
        {"method": "msip", "msip": MsipOptions(information="loss")},
    ],
    ids=lambda c: "-".join(map(str, c.values()))[:40],
)
def test_methods_and_ablations_run_without_fine_tuning(lab: Workspace, changes: dict):
    method, *_ = changes.values()
    ctx = Listener(lab, f"short-{abs(hash(str(changes))) % 10**6}")

    run(config(finetune=TrainingRecipe(epochs=0), iterations=1, keep_macs=0.75, **changes), ctx)

    (record,) = ctx.iterations
    assert record.macs_ratio == pytest.approx(0.75, rel=0.006)
    assert (record.weights is not None) == method.startswith("msip")
    if changes.get("repair"):
        assert record.bn_recalibrated == (changes["repair"] == "recalibrate")
    if changes.get("adaptive_threshold") is False:
        lost = [1 - x.after / x.original for x in record.layers if x.after != x.original]
        assert max(lost) - min(lost) < 0.13  # the same share, up to one of eight channels


def test_pretraining_makes_iteration_zero(lab: Workspace):
    ctx = Listener(lab, "pretrained")
    recipe = TrainingRecipe(epochs=1, nbs=4, l1_lambda=1e-4, mixup=0)

    run(config(method="l1", iterations=1, keep_macs=0.8, pretrain=recipe), ctx)

    assert ("pre-training", 0) in ctx.stages
    start = load_model(ctx.run_dir / "iterations/0/model.pt").state_dict()
    source = load_model(lab.model_dir(BASELINE) / "model.pt").state_dict()
    assert not torch.equal(start["model.0.conv.weight"], source["model.0.conv.weight"])
    assert (ctx.run_dir / "iterations/0/reference.json").is_file()


def test_runs_that_begin_alike_are_prepared_and_looked_at_once(lab: Workspace, monkeypatch):
    """As the rows of a study do: one pre-training and one calibration pass for all of them."""
    recipe = TrainingRecipe(epochs=1, nbs=4, l1_lambda=1e-4, mixup=0, lr0=0.007)
    looks, heard = [], []

    def listening(model, calibration, needs, ctx):
        looks.append(set(needs))
        return gather(model, calibration, needs, ctx)

    monkeypatch.setattr(shared, "gather", listening)
    for name in ("alike-1", "alike-2"):
        ctx = Listener(lab, name)
        run(config(method="taylor", iterations=1, keep_macs=0.8, pretrain=recipe), ctx)
        heard.append([r.phase for r in ctx.of(EpochRecord)])

    assert heard == [["pretrain", "finetune", "finetune"], ["finetune", "finetune"]]
    assert looks == [{"taylor"}, set()]
    one, other = (
        load_model(lab.run_dir(name) / "iterations/1/model.pt").state_dict()
        for name in ("alike-1", "alike-2")
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_unknown_names_are_refused_in_words(lab: Workspace):
    with pytest.raises(ConfigError, match="There is no criterion named 'magic'"):
        run(config(method="magic"), Listener(lab, "magic"))
    with pytest.raises(NotFoundError, match="no dataset 'nothing'"):
        run(config(dataset="nothing"), Listener(lab, "nothing"))


def test_the_estimate_measures_this_computer(lab: Workspace, tmp_path):
    found = Estimate(config=config()).answer(Job(lab, tmp_path, lambda done, text: None))

    assert 0 < found.seconds < 600
    assert 0.8 < found.memory_gb < 2
    assert 0 < found.disk_gb < 1
    # So many that starting and checking, which every run needs, are little beside them.
    longer = estimate(config(finetune=TrainingRecipe(epochs=1000)), lab)
    # At the same pace, whatever else the computer does in between.
    assert longer.seconds * (longer.pace or 1) > 3 * found.seconds * (found.pace or 1)


def test_l1_at_the_transfer_is_in_the_network_that_is_cut_and_compared_with(lab: Workspace):
    """Iteration 0 holds the thresholded weights, and its own loss is what feedback looks at."""
    ctx = Listener(lab, "transfer")
    run(
        config(
            prox=0.02, repair="absorb", method="l2", iterations=1, keep_macs=0.7,
            finetune=TrainingRecipe(epochs=0),
        ),
        ctx,
    )  # fmt: skip
    source = to_c2f_v2(load_source_model(lab, model_named(BASELINE))[0])
    cut_from = RunFolder(ctx.run_dir).iteration(0).load("model.pt").state_dict()
    name = "model.2.cv0.conv.weight"
    was = source.state_dict()[name]
    torch.testing.assert_close(cut_from[name], was.sign() * (was.abs() - 0.02).clamp(min=0))
    assert torch.equal(cut_from["model.1.conv.weight"], source.state_dict()["model.1.conv.weight"])

    opened = json.loads((ctx.run_dir / "iterations/0/opened.json").read_text())
    (baseline,) = ctx.of(BaselineRecord)
    assert opened["loss"] != baseline.metrics.loss
    said = f"took mAP50 from {baseline.metrics.map50:.3f} to {opened['map50']:.3f}"
    assert any(said in sentence for sentence in ctx.sentences)
    (record,) = ctx.iterations
    assert record.repair == "betas absorbed"
    assert list(record.repair_map50 or {}) == ["betas absorbed"]


@pytest.mark.parametrize(("before", "said"), [(None, 1), ({"alike": ["a"]}, 0), ({}, 1)])
def test_a_layer_whose_channels_all_score_alike_is_named_once(before, said) -> None:
    """No gradient reached it, say: its channels would go by their numbers, in silence."""
    emitted: list = []
    files = SimpleNamespace(read_json=lambda _mark: before)
    parts: Any = SimpleNamespace(
        config=PruneConfig(dataset="d", model="m", method="taylor"),
        ctx=SimpleNamespace(emit=emitted.append),
        folder=SimpleNamespace(iteration=lambda _index: files),
        granularity=SimpleNamespace(
            open_groups=lambda _model, names: np.array([n != "d" for n in names])
        ),
    )
    scores = {"a": np.zeros(4), "b": np.arange(4.0), "c": np.zeros(1), "d": np.ones(8)}

    found = Iteration(parts, 1, Feedback())._alike(None, scores)  # type: ignore[arg-type]

    assert found == ["a"]
    assert [record.level for record in emitted] == ["warning"] * said
    assert all("Taylor tells no channels apart in 1 of 4 layers (a)" in e.message for e in emitted)
