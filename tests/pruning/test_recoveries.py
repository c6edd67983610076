"""What every recovery of the catalog must keep."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from ultralytics import YOLO

from msip_core.catalog import RECOVERIES, find
from msip_core.combinations import allocation_name
from msip_core.compositions import COMPOSITIONS
from msip_core.config import RECIPES, CalibrationConfig, MsipOptions, TrainingRecipe
from msip_core.detector.checkpoints import load_model, save_stock
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.detector.pool import DataPool
from msip_core.detector.training import FitResult
from msip_core.errors import ConfigError, Stopped
from msip_core.events import EpochRecord
from msip_core.groups.coupling import prunable_groups
from msip_core.importance.calibration import choose_images, load_calibration
from msip_core.pruning.estimate import estimate
from msip_core.pruning.loop import run
from msip_core.pruning.recovery import Aids
from msip_core.pruning.surgery import channel_counts, prune_channels
from tests.pruning.kit import IMGSZ, Listener, config

every_recovery = pytest.mark.parametrize("name", list(RECOVERIES))
# Names that share a function share what is slow: its training.
FUNCTIONS = {entry.target: name for name, entry in RECOVERIES.items()}
CALIBRATION = CalibrationConfig(batches=2, batch=4, micro_batch=2)
RECIPE = TrainingRecipe(epochs=2, lr0=0.01, mixup=0.5, close_mosaic=1, nbs=4, layerdrop=0.2)


@pytest.fixture(scope="module")
def pool(dataset) -> DataPool:
    return DataPool(dataset, imgsz=IMGSZ, batch=4)


@pytest.fixture(scope="module")
def teacher(detector, dataset) -> DetectionModel:
    twin = copy_model(detector)
    twin.names = dict(enumerate(dataset.classes))
    return twin


@pytest.fixture(scope="module")
def student(teacher) -> DetectionModel:
    """A quarter of every group is gone."""
    twin = copy_model(teacher)
    groups = prunable_groups(twin).groups
    prune_channels(twin, {name: range(len(g[0].idxs) // 4) for name, g in groups.items()})
    return twin


@pytest.fixture(scope="module")
def aids(dataset, teacher) -> Aids:
    ids = choose_images(dataset, CALIBRATION, 0)
    return Aids(lambda: teacher, load_calibration(dataset, ids, CALIBRATION, IMGSZ, 0))


@pytest.fixture(scope="module")
def recover(pool, student, aids, lab, tmp_path_factory):
    """A recovery with everything filled in."""

    def go(name, recipe=RECIPE, ctx=None, folder=None, **changes):
        return RECOVERIES[name].load()(
            student, config(recovery=name, **changes), recipe,
            workdir=folder or tmp_path_factory.mktemp(name), pool=pool, iteration=1,
            ctx=ctx or Listener(lab, "recovery"), aids=aids,
        )  # fmt: skip

    return go


@dataclass
class Told:
    """An unbroken recovery, and what it left behind."""

    result: FitResult
    folder: Path
    ctx: Listener
    changed: list[str]  # tensors of teacher or student that are not what they were


@pytest.fixture(scope="module")
def unbroken(recover, teacher, student, lab, tmp_path_factory):
    """Each recovery once, by name; names that share a function share the result."""

    @cache
    def run_once(name: str) -> Told:
        before = [
            (m, {n: v.clone() for n, v in m.state_dict().items()}) for m in (teacher, student)
        ]
        folder, ctx = tmp_path_factory.mktemp(f"{name}-unbroken"), Listener(lab, "recovery")
        result = recover(name, ctx=ctx, folder=folder)
        changed = [
            n for m, old in before for n, v in m.state_dict().items() if not torch.equal(v, old[n])
        ]
        return Told(result, folder, ctx, changed)

    return lambda name: run_once(FUNCTIONS[RECOVERIES[name].target])


class Impatient(Listener):
    """Stops at the n-th safe point after so many epochs."""

    def __init__(self, lab, epochs: int, points: int, run_id: str = "recovery") -> None:
        super().__init__(lab, run_id)
        self.epochs, self.points = epochs, points

    def check_stop(self) -> None:
        if len(self.of(EpochRecord)) == self.epochs:
            self.points -= 1
            if self.points < 0:
                raise Stopped("pause")


@every_recovery
def test_shape_and_names_stay_and_no_adapter_is_left(name, unbroken, student):
    told = unbroken(name)

    before, after = student.state_dict(), told.result.model.state_dict()
    assert [(n, v.shape) for n, v in after.items()] == [(n, v.shape) for n, v in before.items()]
    assert not torch.equal(after["model.0.conv.weight"], before["model.0.conv.weight"])
    stored = torch.load(told.folder / "state.pt", weights_only=True)
    assert set(stored["best"]) == set(before)
    assert stored["extra"] is None
    modules = list(told.result.model.modules())
    assert not any(m._forward_hooks or "forward" in vars(m) for m in modules)


@pytest.mark.parametrize("name", FUNCTIONS.values())
@pytest.mark.parametrize(("epochs", "points"), [(0, 3), (1, 2)])
def test_stopped_between_two_batches_it_ends_like_an_unbroken_one(
    name, recover, unbroken, lab, tmp_path, epochs, points
):
    with pytest.raises(Stopped):
        recover(name, ctx=Impatient(lab, epochs, points), folder=tmp_path)

    resumed = recover(name, folder=tmp_path)

    expected, found = unbroken(name).result.model.state_dict(), resumed.model.state_dict()
    assert [n for n, value in found.items() if not torch.equal(value, expected[n])] == []
    assert resumed.metrics == unbroken(name).result.metrics


@every_recovery
def test_the_saved_model_opens_in_stock_ultralytics(name, unbroken, tmp_path):
    model = unbroken(name).result.model
    save_stock(model, tmp_path / "model.pt")

    opened = YOLO(tmp_path / "model.pt").model.float().eval()

    image = torch.rand(1, 3, IMGSZ, IMGSZ, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(opened(image)[0], model(image)[0], atol=1e-3, rtol=1e-4)
    assert sum(p.numel() for p in opened.parameters()) == sum(p.numel() for p in model.parameters())


@every_recovery
def test_teacher_and_student_are_left_as_they_were(name, unbroken, teacher, student):
    assert unbroken(name).changed == []
    for model in (teacher, student):
        assert not model.training
        assert all(p.grad is None and p.requires_grad for p in model.parameters())
        assert not any(m._forward_hooks for m in model.modules())


def test_an_average_that_goes_on_counting_follows_more_slowly(pool, student, aids, lab, tmp_path):
    """After many thousands of steps it takes a ten-thousandth of each new one; anew, nearly all."""
    recipe = RECIPE.model_copy(update={"epochs": 1, "mosaic": 0.0, "mixup": 0.0})

    def go(averaged: int) -> FitResult:
        return RECOVERIES["finetune"].load()(
            student, config(), recipe, workdir=tmp_path / str(averaged), pool=pool, iteration=1,
            ctx=Listener(lab, "average"), aids=replace(aids, averaged=averaged),
        )  # fmt: skip

    anew, carried = go(0), go(20_000)

    assert carried.averaged == 20_000 + anew.averaged
    assert anew.averaged > 0
    name, start = "model.0.conv.weight", student.state_dict()["model.0.conv.weight"]
    moved = [float((r.model.state_dict()[name] - start).norm()) for r in (anew, carried)]
    assert 0 < moved[1] < 0.1 * moved[0]


def test_group_sparsity_shrinks_the_weakest_channels_of_a_fine_tune_most(recover, student):
    """Beside the same fine-tune without it. Seen at a batch norm, which is in one group only."""
    group = prunable_groups(student).groups["model.4.cv2.conv"]
    recipe = RECIPE.model_copy(update={"epochs": 1, "lr0": 0.02, "warmup_epochs": 0.0})
    plain, sparse = (
        recover("finetune", recipe.model_copy(update={"group_l2": reg})).model for reg in (0, 0.1)
    )

    norms = find("criterion", "l2").load()(None, MsipOptions(), 0)(group)
    gamma = [m.model[4].cv2.bn.weight.detach().abs() for m in (plain, sparse)]
    left = gamma[1] / gamma[0]
    assert float(left[norms.argmin()]) < float(left[norms.argmax()]) < 1
    assert float(left[norms.argmin()]) < 0.9


# --- with a teacher -----------------------------------------------------------

taught = pytest.mark.parametrize("name", [n for n, e in RECOVERIES.items() if e.needs_teacher])


def test_between_two_epochs_adapters_and_their_momentum_are_on_disk(recover, lab, tmp_path):
    with pytest.raises(Stopped):
        recover("cwd", ctx=Impatient(lab, 1, 2), folder=tmp_path)

    stored = torch.load(tmp_path / "state.pt", weights_only=True)
    assert stored["epochs_done"] == 1
    assert set(stored["extra"]) == {"15.weight", "18.weight", "21.weight"}
    own = stored["optimizer"]["param_groups"][-1]["params"]
    assert [stored["optimizer"]["state"][p]["momentum_buffer"].shape for p in own] == [
        v.shape for v in stored["extra"].values()
    ]


@taught
def test_the_distillation_loss_is_told_in_every_epoch(name, unbroken):
    told = [record.losses for record in unbroken(name).ctx.of(EpochRecord)]

    assert [set(losses) for losses in told] == [{"box", "cls", "dfl", "distill"}] * 2
    assert all(losses["distill"] > 0 for losses in told)


def test_a_layer_out_of_reach_is_refused_before_any_work(lab):
    asked = config(recovery="cwd", distill={"layers": [15, 40]})
    ctx = Listener(lab, "out-of-reach")

    with pytest.raises(ConfigError, match="cannot compare layer 40"):
        run(asked, ctx)
    assert ctx.records == []
    with pytest.raises(ConfigError, match="cannot compare layer 40"):
        estimate(asked, lab)


# --- whole runs ---------------------------------------------------------------


def test_a_run_with_a_teacher_that_was_stopped_ends_like_an_unbroken_one(lab):
    asked = config(recovery="cwd", method="l1", iterations=1, keep_macs=0.7, repair="none")
    unbroken = Listener(lab, "cwd-unbroken")
    run(asked, unbroken)
    with pytest.raises(Stopped):
        run(asked, Impatient(lab, 1, 2, "cwd-broken"))

    run(asked, Listener(lab, "cwd-broken"))

    models = [
        load_model(lab.model_dir(f"pruned-cwd-{end}") / "work.pt") for end in ("unbroken", "broken")
    ]
    a, b = (model.state_dict() for model in models)
    assert all(torch.equal(value, b[n]) for n, value in a.items())
    (record,) = unbroken.iterations
    assert record.macs_ratio == pytest.approx(0.7, rel=0.01)
    assert channel_counts(models[0]) == {x.name: x.after for x in record.layers}


@pytest.mark.parametrize("average", ["restart", "carry"])
def test_a_run_carries_the_steps_of_its_average_from_iteration_to_iteration_if_asked(lab, average):
    ctx = Listener(lab, f"average-{average}")
    quick = TrainingRecipe(epochs=1, nbs=4, mosaic=0, mixup=0)

    run(
        config(
            method="l1", iterations=2, keep_macs=0.7, repair="none", average=average, finetune=quick
        ),
        ctx,
    )

    first, second = (
        json.loads((ctx.run_dir / "iterations" / t / "average.json").read_text())["steps"]
        for t in "12"
    )
    assert first > 0
    assert second == (2 * first if average == "carry" else first)


def test_a_run_that_trains_after_its_last_cut_alone(lab):
    ctx = Listener(lab, "last-cut")
    quick = TrainingRecipe(epochs=1, nbs=4, mosaic=0, mixup=0)

    run(config(method="l1", iterations=2, keep_macs=0.7, finetune_after="last-cut",
               max_map50_drop=None, finetune=quick, repair="none"), ctx)  # fmt: skip

    assert [r.iteration for r in ctx.of(EpochRecord)] == [2]
    before, after = ctx.iterations
    assert before.seconds["finetuning"] == 0 < after.seconds["finetuning"]


def test_sparse_recovery_trains_sparse_once_before_the_first_iteration(lab):
    ctx = Listener(lab, "sparse")
    schedule = TrainingRecipe(epochs=1, nbs=4, mixup=0)

    run(
        config(recovery="sparse", method="bnscale", iterations=1, keep_macs=0.7, pretrain=schedule),
        ctx,
    )

    assert ctx.stages.count(("pre-training", 0)) == 1
    assert len([s for s in ctx.sentences if "of the batch-norm factors are now below" in s]) == 1
    (record,) = ctx.iterations
    assert record.macs_ratio == pytest.approx(0.7, rel=0.01)


def test_what_comes_before_the_first_iteration():
    own = TrainingRecipe(epochs=3, bn_l1=0.5)
    plain = TrainingRecipe(epochs=3)

    assert config().preparation is None
    assert config(pretrain=plain).preparation == plain
    assert config(recovery="sparse").preparation == RECIPES["sparse-pretrain"]
    assert config(recovery="sparse", pretrain=own).preparation == own
    mixed = config(recovery="sparse", pretrain=plain).preparation
    assert (mixed.epochs, mixed.bn_l1) == (3, RECIPES["sparse-pretrain"].bn_l1)


# --- compositions -------------------------------------------------------------

every_composition = pytest.mark.parametrize("name", list(COMPOSITIONS))


@every_composition
def test_a_composition_is_made_of_what_the_catalog_has(name):
    composition = COMPOSITIONS[name]

    asked = config(**composition.settings)

    for family, chosen in (
        ("criterion", asked.method),
        ("allocation", allocation_name(asked)),
        ("granularity", asked.granularity),
        ("recovery", asked.recovery),
    ):
        assert find(family, chosen).name == chosen
    assert composition.description.endswith(".")
    assert composition.paper


def test_slimming_with_distillation_cuts_half_of_every_layer_after_sparse_training(lab):
    settings = dict(COMPOSITIONS["slimming-cwd"].settings)
    for recipe in ("pretrain", "finetune"):
        settings[recipe] = settings[recipe].model_copy(update={"epochs": 1, "nbs": 4, "mixup": 0})
    settings["limits"] = {**settings["limits"], "round_to": 1}
    settings["repair"] = "none"
    ctx = Listener(lab, "slimming-cwd")

    run(config(**settings), ctx)

    (record,) = ctx.iterations
    assert record.macs_ratio == pytest.approx(0.255, rel=0.01)
    lost = [1 - x.after / x.original for x in record.layers if x.after != x.original]
    assert min(lost) > 0.4
    assert max(lost) <= 0.6
    losses = [r.losses for r in ctx.of(EpochRecord)]
    assert ["distill" in each for each in losses] == [False, True]
    assert any("of the batch-norm factors are now below" in s for s in ctx.sentences)
