"""Sparse training and stochastic depth: what is added, how strongly, and that a fit with them
resumes exactly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from msip_core.config import RECIPES, TrainConfig, TrainingRecipe, parse_run_config
from msip_core.detector import trainer as trainer_module
from msip_core.detector.evaluation import Evaluator
from msip_core.detector.fit_state import FitState
from msip_core.detector.layerdrop import layers_dropped, shortcut_bottlenecks
from msip_core.detector.library import copy_model
from msip_core.detector.sparsity import BatchNormL1, batch_norm_factors, share_near_zero
from msip_core.detector.trainer import Fit, FitPlan
from msip_core.errors import ConfigError, Stopped
from msip_core.events import MilestoneRecord
from tests.detector.conftest import IMGSZ, outputs, short, thin_model


def norm_of(*gamma: float) -> nn.Sequential:
    net = nn.Sequential(nn.BatchNorm2d(len(gamma)))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor(gamma))
    net[0].weight.grad = torch.zeros(len(gamma))
    return net


# --- Network Slimming ---------------------------------------------------------


def test_each_factor_gets_lambda_times_its_sign_and_nothing_at_zero():
    net = norm_of(0.5, -0.2, 0.0)
    term = BatchNormL1(1e-4)
    term.bind(net)

    term.add(0.0)

    assert net[0].weight.grad.tolist() == pytest.approx([1e-4, -1e-4, 0.0])
    assert net[0].bias.grad is None


@pytest.mark.parametrize(("progress", "share"), [(0.0, 1.0), (0.5, 0.55), (0.9, 0.19)])
def test_with_decay_lambda_falls_to_a_tenth(progress, share):
    net = norm_of(1.0)
    term = BatchNormL1(1e-4, decays=True)
    term.bind(net)

    term.add(progress)

    assert float(net[0].weight.grad) == pytest.approx(1e-4 * share)


def test_every_batch_norm_is_meant_or_all_but_those_of_shortcut_bottlenecks():
    model = thin_model()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    blocks = shortcut_bottlenecks(model)

    few = batch_norm_factors(model, shortcuts=False)

    assert len(batch_norm_factors(model)) == len(norms)
    assert len(blocks) == 6  # layers 2, 4, 6, 8 of YOLOv8n: 1, 2, 2, 1
    assert len(few) == len(norms) - 2 * len(blocks)
    assert all(b.cv2.bn.weight is not w for b in blocks for w in few)


def stepped_gradients(pool, tmp_path, monkeypatch, nbs: int) -> list[torch.Tensor]:
    """Gradient of a factor at every optimizer step of an epoch whose loss is flat."""
    monkeypatch.setattr(trainer_module, "_MIN_STEPS", 1)
    monkeypatch.setattr(Fit, "_warm_up", lambda *_: None)  # it would gather fewer at first
    monkeypatch.setattr(
        Fit, "_forward", lambda self, _: (0 * sum(p.sum() for p in self.model.parameters()), {})
    )
    plan = FitPlan(
        model=thin_model(), pool=pool, recipe=short(1, bn_l1=0.01, nbs=nbs),
        workdir=tmp_path, seed=0, phase="train", iteration=0, validate_every=0, l1_names=(),
        before_batch=lambda: None, after_epoch=lambda _: None,
    )  # fmt: skip
    trainer, seen = Fit(plan, FitState("k")), []
    real = torch.optim.SGD.step
    weight = plan.model.model[0].bn.weight

    def step(optimizer, *a, **k):
        seen.append(weight.grad.clone())
        return real(optimizer, *a, **k)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    trainer.train()
    return seen


@pytest.mark.parametrize(("nbs", "steps"), [(4, 4), (8, 2), (16, 1)])
def test_gathering_batches_does_not_change_lambda(pool, tmp_path, monkeypatch, nbs, steps):
    seen = stepped_gradients(pool, tmp_path, monkeypatch, nbs)

    assert len(seen) == steps
    assert all(torch.allclose(grad, torch.full_like(grad, 0.01)) for grad in seen)


def test_clipping_does_not_change_lambda(pool, tmp_path):
    """A gradient of norm 1000 is clipped to 10; the term is added after it."""
    plan = FitPlan(
        model=thin_model(), pool=pool, recipe=short(1, bn_l1=0.01), workdir=tmp_path, seed=0,
        phase="train", iteration=0, validate_every=0, l1_names=(), before_batch=lambda: None,
        after_epoch=lambda _: None,
    )  # fmt: skip
    trainer, seen = Fit(plan, FitState("k")), []
    trainer._setup_train()
    for term in trainer._terms:
        term.bind(trainer.model)
    for parameter in trainer.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    weight = trainer.model.model[0].bn.weight
    weight.grad[0] = 1000
    trainer.optimizer.step = lambda: seen.append(weight.grad.clone())

    trainer._step()

    assert float(seen[0][0]) == pytest.approx(10.01, rel=1e-4)
    assert seen[0][1:].tolist() == pytest.approx([0.01] * (len(weight) - 1))


def test_a_short_sparse_training_leaves_more_factors_near_zero(train, history):
    heard = history()
    recipe = TrainingRecipe(epochs=2, lr0=0.03, mosaic=0, mixup=0)

    plain = train(thin_model(), recipe).model
    sparse = train(thin_model(), recipe.model_copy(update={"bn_l1": 1.0}), ctx=heard).model

    assert share_near_zero(plain, 0.5) < 0.1
    assert share_near_zero(sparse, 0.5) > 0.3
    told = [r.message for r in heard.records if isinstance(r, MilestoneRecord)]
    assert f"{share_near_zero(sparse):.1%} of the batch-norm factors" in told[0]
    assert ("next to no factor" in told[-1]) == (share_near_zero(sparse) < 0.01)


def test_sparse_training_ends_with_its_last_weights_not_with_the_most_accurate(train, monkeypatch):
    scores, real = iter([0.9, 0.1]), Evaluator.__call__
    monkeypatch.setattr(
        Evaluator, "__call__", lambda *a: real(*a).model_copy(update={"map50": next(scores)})
    )

    metrics = train(thin_model(), short(2, bn_l1=1e-4)).metrics
    assert metrics is not None
    assert metrics.map50 == 0.1


def test_the_share_near_zero_counts_factors_below_a_thousandth():
    assert share_near_zero(norm_of(0.5, -9e-4, 0.0, 2e-3)) == 0.5


def test_group_sparsity_outside_a_pruning_run_is_refused(train):
    with pytest.raises(ConfigError, match="use it in the pre-training of a pruning run"):
        train(thin_model(), short(1, group_l2=1e-4))
    with pytest.raises(ConfigError, match="use it to pre-train a pruning run"):
        parse_run_config(
            {"kind": "train", "dataset": "d", "weights": "w.pt", "recipe": {"group_l2": 1e-4}}
        )


def test_old_recipes_still_mean_what_they_meant():
    recipe = TrainingRecipe.model_validate({"epochs": 3, "l1_lambda": 1e-4})

    assert (recipe.bn_l1, recipe.group_l2, recipe.layerdrop) == (0, 0, 0)
    assert RECIPES["sparse-pretrain"].bn_l1 > 0
    assert TrainConfig(dataset="d", weights="w.pt").recipe.layerdrop == 0


# --- LayerDrop ----------------------------------------------------------------


def test_with_probability_zero_nothing_changes_and_nothing_is_drawn():
    model, images = thin_model().train(), torch.rand(2, 3, IMGSZ, IMGSZ)
    expected = copy_model(model)(images)["scores"]
    torch.manual_seed(0)
    drawn = torch.rand(1)
    torch.manual_seed(0)

    with layers_dropped(model, 0.0):
        found = model(images)["scores"]

    assert torch.equal(found, expected)
    assert torch.equal(torch.rand(1), drawn)


def test_evaluation_uses_every_block_always():
    model = thin_model()
    expected = outputs(model)

    with layers_dropped(model, 0.9), torch.no_grad():
        images = torch.rand(2, 3, IMGSZ, IMGSZ, generator=torch.Generator().manual_seed(1))
        model.eval()
        found = [model(images)[0] for _ in range(3)]

    assert all(torch.equal(each, expected) for each in found)


def test_a_block_that_is_left_out_passes_its_input_on():
    model = thin_model().train()
    blocks, x = shortcut_bottlenecks(model), torch.rand(1, 1, 4, 4)
    torch.manual_seed(0)

    with layers_dropped(model, 0.2):
        block = blocks[0]
        maps = x.expand(1, block.cv1.conv.in_channels, 4, 4)
        left_out = [block(maps) is maps for _ in range(500)]

    assert sum(left_out) / 500 == pytest.approx(0.2, abs=0.05)
    assert not any("forward" in vars(b) for b in blocks)


def test_bottlenecks_without_a_shortcut_are_never_left_out():
    model = thin_model().train()
    neck = [m for i in (12, 15, 18, 21) for m in model.model[i].m]

    with layers_dropped(model, 0.99):
        assert not any("forward" in vars(m) for m in neck)


def test_a_fit_with_layerdrop_differs_by_seed_and_resumes_exactly(train, history, tmp_path):
    model, recipe = thin_model(), short(2, layerdrop=0.5)
    unbroken = train(model, recipe, workdir=tmp_path / "unbroken")
    with pytest.raises(Stopped):
        train(model, recipe, ctx=history(6))

    resumed = train(model, recipe)
    whole = train(model, short(2), workdir=tmp_path / "whole")

    expected = unbroken.model.state_dict()
    assert all(torch.equal(v, expected[n]) for n, v in resumed.model.state_dict().items())
    name = "model.4.m.0.cv1.conv.weight"
    assert not torch.equal(whole.model.state_dict()[name], expected[name])
