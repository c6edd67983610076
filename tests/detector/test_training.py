"""Training keeps the pruned shape, and an interrupted fit ends like an unbroken one."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from ultralytics.utils.torch_utils import ModelEMA

from msip_core.config import TrainingRecipe
from msip_core.detector.c2f import new_conv_names, to_c2f_v2
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.fit_state import FitState, read_state, seed_from, write_state
from msip_core.detector.images import SplitImages
from msip_core.detector.library import hyperparameters
from msip_core.detector.pool import DataPool
from msip_core.detector.trainer import Fit, FitPlan
from msip_core.errors import ConfigError, OutOfMemoryError, Stopped, WorkError
from tests.detector.conftest import (
    BATCH,
    IMGSZ,
    finding_model,
    outputs,
    pruned_model,
    short,
    thin_model,
)


def weights(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(a, b) -> None:
    different = [n for n, v in a.state_dict().items() if not torch.equal(v, b.state_dict()[n])]
    assert different == []


# --- done once ----------------------------------------------------------------


def test_an_equal_fit_of_another_run_is_taken_and_not_repeated(train, history, tmp_path):
    first, second = history(), history()
    cache = tmp_path / "cache"
    one = train(thin_model(), short(2), ctx=first, workdir=tmp_path / "a", cache=cache)
    other = train(thin_model(), short(2), ctx=second, workdir=tmp_path / "b", cache=cache)

    assert (len(first.epochs()), len(second.epochs())) == (2, 0)
    assert_equal(one.model, other.model)
    assert one.metrics == other.metrics


def test_another_seed_is_another_fit(train, history, tmp_path):
    second = history()
    cache = tmp_path / "cache"
    train(thin_model(), short(1), workdir=tmp_path / "a", cache=cache)
    train(thin_model(), short(1), workdir=tmp_path / "b", cache=cache, seed=1, ctx=second)

    assert len(second.epochs()) == 1


# --- going on -----------------------------------------------------------------


@pytest.mark.parametrize("stop_after", [1, 6, 9])
def test_a_paused_and_resumed_fit_ends_with_the_same_weights(train, history, tmp_path, stop_after):
    model, recipe = thin_model(), short(3)
    unbroken = train(model, recipe, workdir=tmp_path / "unbroken")
    whole = history()

    with pytest.raises(Stopped):
        train(model, recipe, ctx=history(stop_after))
    resumed = train(model, recipe, ctx=whole)

    assert_equal(resumed.model, unbroken.model)
    assert resumed.metrics == unbroken.metrics
    assert resumed.epochs_done == 3
    batches = 4  # 14 images in batches of 4
    assert len(whole.epochs()) == 3 - stop_after // batches  # only what was left


def test_a_fit_resumes_in_another_pool_as_in_its_own(
    train, dataset, history, tmp_path, monkeypatch
):
    model, recipe = thin_model(), short(2)
    unbroken = train(model, recipe, workdir=tmp_path / "unbroken")
    with pytest.raises(Stopped):
        train(model, recipe, ctx=history(5))

    monkeypatch.setattr("msip_core.detector.images.MEMORY_SHARE", 0.0)  # now images stay on disk
    frugal = DataPool(dataset, imgsz=IMGSZ, batch=BATCH)
    resumed = train(model, recipe, pool=frugal)

    assert_equal(resumed.model, unbroken.model)


def test_a_finished_fit_answers_at_once_and_keeps_only_the_result(train, tmp_path, history):
    model = thin_model()
    first = train(model)
    size = (tmp_path / "fit" / "state.pt").stat().st_size

    again = history()
    second = train(model, ctx=again)

    assert_equal(second.model, first.model)
    assert again.records == []
    assert [path.name for path in (tmp_path / "fit").iterdir()] == ["state.pt"]
    assert size < 1.5 * sum(v.numel() * 4 for v in model.state_dict().values()) + 300_000


def test_other_settings_or_another_model_start_anew(train, history):
    train(thin_model())

    for change in ({"seed": 1}, {"iteration": 2}, {"recipe": short(2, degrees=3)}):
        heard = history()
        recipe = change.pop("recipe", None)
        train(thin_model(), recipe, ctx=heard, **change)
        assert len(heard.epochs()) == 2
    heard = history()
    train(thin_model(seed=9), ctx=heard)
    assert len(heard.epochs()) == 2


def test_a_state_survives_the_disk_and_is_refused_under_another_key(tmp_path):
    state = FitState("key", epochs_done=2, best={"w": torch.ones(2)}, metrics={"map50": 0.5})

    write_state(tmp_path / "state.pt", state)

    found = read_state(tmp_path / "state.pt", "key")
    assert found is not None
    assert (found.epochs_done, found.metrics) == (2, {"map50": 0.5})
    assert torch.equal(found.best["w"], torch.ones(2))
    assert read_state(tmp_path / "state.pt", "other") is None


def test_seeds_differ_by_every_part():
    parts = [(0, "train", 1, 0), (0, "train", 1, 1), (0, "train", 11, 0), (1, "train", 1, 0)]

    seeds = {seed_from(*part) for part in parts}

    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_from(0, "train", 1, 0) == seed_from(0, "train", 1, 0)


# --- the model ----------------------------------------------------------------


def test_fine_tuning_keeps_the_pruned_shape(train):
    pruned = pruned_model()

    result = train(pruned)

    assert [v.shape for v in result.model.state_dict().values()] == [
        v.shape for v in pruned.state_dict().values()
    ]
    assert not torch.equal(outputs(result.model), outputs(pruned))


def test_a_trainer_that_lost_the_pruned_shape_is_stopped(train, monkeypatch):
    whole = thin_model()
    monkeypatch.setattr(Fit, "get_model", lambda *_, **__: whole)

    with pytest.raises(WorkError, match="the pruned shape was lost"):
        train(pruned_model())


def test_training_leaves_the_callers_model_threads_and_random_numbers_alone(train):
    model = thin_model()
    before, threads = weights(model), torch.get_num_threads()
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    expected = (torch.rand(1), random.random(), np.random.rand())
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)

    train(model)

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.get_num_threads() == threads
    assert (torch.rand(1), random.random(), np.random.rand()) == expected


def test_the_result_is_ready_for_every_room(train):
    model = train(thin_model()).model

    assert not model.training
    assert all(p.requires_grad for p in model.parameters())
    assert model.criterion is None
    assert model.model[-1].shape is None


def test_the_distribution_of_box_edges_is_never_trained(train):
    model = train(thin_model()).model

    assert torch.equal(model.model[-1].dfl.conv.weight.flatten(), torch.arange(16.0))


def test_the_best_epoch_by_validation_is_returned(train, pool, history, monkeypatch):
    real = Evaluator.__call__
    scores = iter([0.2, 0.7, 0.7, 0.1])
    seen = []

    def scored(self, model):
        metrics = real(self, model)
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return metrics.model_copy(update={"map50": next(scores), "map50_95": 0.1})

    monkeypatch.setattr(Evaluator, "__call__", scored)

    result = train(thin_model(), short(4))

    assert result.metrics is not None
    assert result.metrics.map50 == 0.7
    assert all(torch.equal(seen[1][n], v) for n, v in result.model.state_dict().items())


def test_without_validation_in_every_epoch_the_last_weights_are_returned(train, history):
    heard = history()

    result = train(thin_model(), short(3), validate_every=2, ctx=heard)

    assert [epoch.map50 is None for epoch in heard.epochs()] == [True, False, True]
    assert result.metrics is None
    assert train(thin_model(), short(1), validate_every=0).metrics is None


def test_no_epochs_give_the_same_model(train):
    model = thin_model()

    result = train(model, short(0))

    assert torch.equal(outputs(result.model), outputs(model))
    assert (result.epochs_done, result.metrics) == (0, None)


def test_training_learns_the_drawn_organoids(train, dataset):
    model = finding_model()
    recipe = TrainingRecipe(epochs=6, lr0=0.02, mosaic=0, mixup=0, degrees=0, close_mosaic=0)
    evaluate = Evaluator(dataset, "train", IMGSZ, BATCH)

    trained = train(model, recipe, validate_every=0).model

    assert evaluate(trained).loss < 0.8 * evaluate(model).loss


# --- settings -----------------------------------------------------------------


@pytest.fixture
def plan(pool, tmp_path):
    def make(model=None, recipe=None, l1_names=()):
        return FitPlan(
            model=model or thin_model(), pool=pool, recipe=recipe or short(), workdir=tmp_path,
            seed=0, phase="train", iteration=0, validate_every=0, l1_names=l1_names,
            before_batch=lambda: None, after_epoch=lambda _: None,
        )  # fmt: skip

    return make


def test_learning_rate_momentum_and_loss_gains_are_the_recipes(plan):
    recipe = TrainingRecipe(epochs=2, lr0=0.003, momentum=0.8, box=2.4, cls=5.6, dfl=0.48)
    trainer = Fit(plan(recipe=recipe), FitState("k"))
    trainer._setup_train()

    assert type(trainer.optimizer) is torch.optim.SGD
    assert {(g["initial_lr"], g["momentum"]) for g in trainer.optimizer.param_groups} == {
        (0.003, 0.8)
    }
    assert not trainer.amp
    gains = (trainer.model.args.box, trainer.model.args.cls, trainer.model.args.dfl)
    assert gains == (2.4, 5.6, 0.48)


def test_the_cosine_ends_at_a_hundredth_of_the_rate(train, history):
    heard = history()
    recipe = TrainingRecipe(epochs=4, lr0=0.01, lrf=0.01, warmup_epochs=0, close_mosaic=0)

    train(thin_model(), recipe, ctx=heard, validate_every=0)

    expected = [0.01 * (0.01 + 0.99 * (1 + np.cos(np.pi * e / 4)) / 2) for e in range(4)]
    assert [epoch.lr for epoch in heard.epochs()] == pytest.approx(expected)


def test_few_images_still_make_several_steps_an_epoch(plan, monkeypatch):
    steps = []
    monkeypatch.setattr(ModelEMA, "update", lambda self, _: steps.append(1))

    Fit(plan(recipe=short(1, weight_decay=0.064)), FitState("k")).train()

    assert len(steps) == 4  # one a batch; gathering 64 images would have made one
    trainer = Fit(plan(recipe=short(1, weight_decay=0.064)), FitState("k"))
    trainer._setup_train()
    decay = {g["param_group"]: g["weight_decay"] for g in trainer.optimizer.param_groups}
    assert decay == {"weight": pytest.approx(0.064 * BATCH / 64), "bn": 0.0, "bias": 0.0}


def test_the_l1_term_adds_lambda_times_the_sign_to_the_new_convolutions_only(plan):
    model = to_c2f_v2(thin_model())
    recipe = short(1, l1_lambda=0.5)
    trainer = Fit(plan(model, recipe, new_conv_names(model)), FitState("k"))
    trainer._setup_train()
    for term in trainer._terms:
        term.bind(trainer.model)
    seen = {}
    trainer.optimizer.step = lambda: seen.update(
        {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    )
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with torch.no_grad():
        model.model[2].cv0.conv.weight[0].zero_()

    trainer._step()

    weight = model.model[2].cv0.conv.weight
    assert torch.equal(seen["model.2.cv0.conv.weight"], 0.5 * weight.detach().sign())
    assert float(seen["model.2.cv0.conv.weight"][0].abs().sum()) == 0  # 0 at 0
    assert float(seen["model.2.cv2.conv.weight"].abs().sum()) == 0


def test_the_l1_term_takes_convolutions_and_factors_of_every_opened_block(plan):
    model = to_c2f_v2(thin_model())
    trainer = Fit(plan(model, short(1, l1_lambda=1e-4), new_conv_names(model)), FitState("k"))

    trainer.train()

    (term,) = trainer._terms
    assert len(term.weights) == 2 * 16


def test_an_l1_term_with_nothing_to_act_on_says_so(train):
    with pytest.raises(ConfigError, match="set l1_lambda to 0"):
        train(thin_model(), short(1, l1_lambda=1e-4))


def test_a_gradient_that_is_no_number_changes_nothing(plan):
    trainer = Fit(plan(), FitState("k"))
    trainer._setup_train()
    before, averaged = weights(trainer.model), weights(trainer.ema.ema)
    for parameter in trainer.model.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))

    assert trainer._step() is False

    assert all(torch.equal(before[n], v) for n, v in trainer.model.state_dict().items())
    assert all(torch.equal(averaged[n], v) for n, v in trainer.ema.ema.state_dict().items())


def test_training_that_falls_apart_names_a_smaller_learning_rate(train, monkeypatch):
    monkeypatch.setattr(
        Fit, "_forward", lambda self, _: (torch.tensor(float("nan"), requires_grad=True), {})
    )

    with pytest.raises(WorkError, match=r"epoch 1: .*smaller learning rate than 0\.01"):
        train(thin_model())


def test_too_little_memory_names_a_smaller_batch(train, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")

    monkeypatch.setattr(Fit, "_forward", full)

    with pytest.raises(OutOfMemoryError, match="use a batch of 2"):
        train(thin_model())


# --- what is shared -----------------------------------------------------------


def test_the_pool_reads_images_once_for_all_fits(train, monkeypatch):
    train(thin_model(), short(1))

    def again(*_, **__):
        raise AssertionError("images were read again")

    monkeypatch.setattr("ultralytics.data.base.imread", again)

    train(thin_model(), short(2), iteration=2)


def test_the_pool_gives_every_fit_its_own_augmentation(plan):
    first = Fit(plan(recipe=short(1, degrees=7)), FitState("k"))
    first._setup_train()
    turned = first.train_loader.dataset.transforms.transforms[0].transforms[-1].degrees

    second = Fit(plan(recipe=short(1, degrees=0)), FitState("k"))
    second._setup_train()

    assert turned == 7
    assert second.train_loader is first.train_loader
    assert second.train_loader.dataset.transforms.transforms[0].transforms[-1].degrees == 0


def test_mosaic_closes_for_the_last_epochs_and_opens_for_the_next_fit(train, pool, monkeypatch):
    calls = []
    real = SplitImages.close_mosaic
    monkeypatch.setattr(
        SplitImages, "close_mosaic", lambda self, hyp: (calls.append(1), real(self, hyp))[1]
    )

    train(thin_model(), short(3), validate_every=0)  # close_mosaic=1
    assert len(calls) == 1

    train(thin_model(), short(1, mosaic=1.0), validate_every=0, iteration=5)
    assert len(calls) == 2


def test_a_stop_is_possible_while_images_are_read(dataset):
    def tick() -> None:
        raise Stopped("cancel")

    with pytest.raises(Stopped):
        DataPool(dataset, imgsz=IMGSZ, batch=BATCH, tick=tick).train_loader(hyperparameters())


def test_epochs_are_told_with_losses_metrics_and_time(train, history):
    heard = history()

    train(thin_model(), short(2), ctx=heard)

    first = heard.epochs()[0]
    assert (first.phase, first.iteration, first.epoch, first.epochs) == ("finetune", 1, 1, 2)
    assert set(first.losses) == {"box", "cls", "dfl"}
    assert all(value > 0 for value in first.losses.values())
    assert first.seconds > 0
    assert first.map50 is not None


def test_loader_processes_give_the_same_batches_after_a_restart(dataset):
    pool = DataPool(dataset, imgsz=IMGSZ, batch=BATCH)
    pool.workers = 2  # the pool itself asks for none on the CPU
    loader = pool.train_loader(hyperparameters(imgsz=IMGSZ, mixup=0.5))

    def epoch() -> list[torch.Tensor]:
        loader.generator.manual_seed(3)
        loader.reset()
        return [batch["img"] for batch in loader]

    first, second = epoch(), epoch()
    pool.close()

    assert loader.num_workers == 2
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
