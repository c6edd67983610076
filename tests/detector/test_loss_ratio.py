"""A ratio of losses is what they contribute, on the batches that it was measured on."""

# ruff: noqa: F811

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from msip_core.config import RECIPES
from msip_core.detector.fit_state import FitState
from msip_core.detector.loss_ratio import solve_gains
from msip_core.detector.trainer import Fit
from msip_core.errors import Stopped, WorkError
from tests.detector.conftest import short, thin_model
from tests.detector.test_training import assert_equal, plan, weights  # noqa: F401


@pytest.mark.parametrize("ratio", [(0.7, 0.3), (0.2, 0.8)])
def test_a_loss_ratio_is_what_the_losses_contribute_and_keeps_their_sum(plan, ratio):
    recipe = short(1, box=7.5, cls=0.5, dfl=1.5, loss_ratio=ratio)
    told = []
    trainer = Fit(replace(plan(recipe=recipe), weighed=told.append), FitState("k"))
    trainer._setup_train()
    batches = [trainer.preprocess_batch(batch) for batch in trainer.train_loader]
    before = weights(trainer.model)

    gains = solve_gains(trainer.model, batches, recipe, lambda batch: trainer.model(batch["img"]))

    def losses(args) -> tuple[float, float]:
        trainer.args.box, trainer.args.cls, trainer.args.dfl = args
        trainer.model.criterion = None  # it keeps the gains that it was made with
        trainer.model.eval()
        with torch.no_grad():
            items = [trainer.model.loss(batch, trainer.model(batch["img"]))[1] for batch in batches]
        return tuple(float(sum(i[name] for i in items)) for name in ("box_loss", "cls_loss"))

    box, cls = losses(gains)
    assert cls / (box + cls) == pytest.approx(ratio[0], rel=1e-4)
    assert box + cls == pytest.approx(sum(losses((7.5, 0.5, 1.5))), rel=1e-4)
    assert gains.dfl / gains.box == pytest.approx(1.5 / 7.5)
    trainer._weigh_losses()
    assert (trainer.model.args.box, trainer.model.args.cls, trainer.model.args.dfl) == told[0]
    assert all(torch.equal(v, before[n]) for n, v in trainer.model.state_dict().items())


def test_losses_that_are_nothing_cannot_be_weighed(plan):
    recipe = short(1, loss_ratio=(0.7, 0.3))
    trainer = Fit(plan(recipe=recipe), FitState("k"))
    trainer._setup_train()
    batch = trainer.preprocess_batch(next(iter(trainer.train_loader)))
    empty = {**batch, **{key: batch[key][:0] for key in ("cls", "bboxes", "batch_idx")}}
    with pytest.raises(WorkError, match="an IoU loss of 0 and a BCE of"):
        solve_gains(trainer.model, [empty], recipe, lambda b: trainer.model(b["img"]))


def test_gains_are_measured_once_and_a_resumed_fit_takes_the_same(train, history, tmp_path):
    recipe = short(2, loss_ratio=(0.7, 0.3))
    model, heard = thin_model(), history()
    whole = train(model, recipe, workdir=tmp_path / "whole", ctx=heard)
    with pytest.raises(Stopped):
        train(model, recipe, ctx=history(6))  # in the second epoch
    later = history()
    resumed = train(model, recipe, ctx=later)

    assert_equal(resumed.model, whole.model)
    said = [r.message for r in heard.records if r.kind == "milestone"]
    assert any(text.startswith("BCE and IoU loss contribute 0.7 : 0.3") for text in said)
    assert not any(getattr(r, "message", "").startswith("BCE and") for r in later.records)


def test_the_literal_gains_are_a_recipe_of_their_own():
    literal, paper = RECIPES["paper-pretrain-gains"], RECIPES["paper-pretrain"]
    assert (literal.box, literal.cls, literal.loss_ratio) == (2.4, 5.6, None)
    assert paper.loss_ratio == (0.7, 0.3)
    assert paper.box + paper.cls + paper.dfl == pytest.approx(8)
