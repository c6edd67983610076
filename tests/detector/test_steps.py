"""Steps that nobody waits for: as those that are looked at, and without a look at the device."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.utils.loss import v8DetectionLoss

from msip_core.detector.batch import MOST, with_count
from msip_core.detector.checkpoints import normalise
from msip_core.detector.fit_state import FitState
from msip_core.detector.pool import DataPool
from msip_core.detector.quiet_loss import QuietLoss
from msip_core.detector.trainer import EpochReport, Fit, FitPlan
from msip_core.errors import Stopped, WorkError
from tests.detector.conftest import CLASSES, IMGSZ, finding_model, short, thin_model
from tests.looks import Looks

BATCH = 4


@pytest.fixture(scope="module")
def pool(dataset) -> DataPool:
    return DataPool(dataset, imgsz=IMGSZ, batch=BATCH)


@pytest.fixture
def fit(pool, tmp_path):
    """A finished fit of one epoch or more, and what its epochs told."""

    def run(recipe, *, masked, model=None, forward=None, state=None, pool=pool):
        told: list[EpochReport] = []
        folder = tmp_path / f"{masked}"
        folder.mkdir(exist_ok=True)
        plan = FitPlan(
            model=model or thin_model(), pool=pool, recipe=recipe, workdir=folder, seed=0,
            phase="train", iteration=0, validate_every=0, l1_names=(), masked=masked,
            before_batch=lambda: None, after_epoch=told.append,
        )  # fmt: skip
        trainer = Fit(plan, state or FitState("k"))
        if forward is not None:
            real = trainer._forward
            trainer._forward = lambda batch: forward(real, batch)
        trainer.train()
        return trainer, told

    return run


def spoiled(*wrong: int):
    """A forward whose loss is no number in these batches, counted from 0."""
    count = iter(range(10_000))

    def forward(real, batch):
        loss, items = real(batch)
        if next(count) in wrong:
            bad = loss * float("nan")
            return bad, {name: value * float("nan") for name, value in items.items()}
        return loss, items

    return forward


def distance(some, others) -> float:
    squares = [(a - b).double().square().sum() for a, b in zip(some, others, strict=True)]
    return float(torch.stack(squares).sum().sqrt())


def assert_alike(one, other) -> None:
    """But for rounding, in which kernels differ: a step more or less is half of the way."""
    begun = thin_model()
    for a, b in ((one.model, other.model), (one.ema.ema, other.ema.ema)):
        assert distance(a.parameters(), b.parameters()) < 0.02 * distance(
            a.parameters(), begun.parameters()
        )
        for (name, value), found in zip(a.named_buffers(), b.buffers(), strict=True):
            torch.testing.assert_close(value, found, rtol=1e-3, atol=1e-3, msg=name)
    assert one.ema.updates == other.ema.updates


@pytest.mark.parametrize(
    ("recipe", "wrong"),
    [
        (short(1, nbs=4), ()),
        (short(1, nbs=4, bn_l1=1e-3, layerdrop=0.5), ()),
        (short(1, nbs=4), (2,)),
        (short(1, nbs=8), (3,)),
    ],
    ids=["all usable", "sparse, layers dropped", "one bad", "one bad of a step of two"],
)
def test_a_masked_step_is_the_step_that_was_looked_at(fit, recipe, wrong, monkeypatch):
    monkeypatch.setattr("msip_core.detector.trainer._BAD_SHARE", 0.5)
    monkeypatch.setattr("msip_core.detector.trainer._MIN_STEPS", 2)

    watched, told = fit(recipe, masked=False, forward=spoiled(*wrong))
    masked, told_too = fit(recipe, masked=True, forward=spoiled(*wrong))

    assert watched.accumulate == masked.accumulate == (2 if recipe.nbs == 8 else 1)
    assert_alike(watched, masked)
    assert [report.bad_batches for report in told] == [report.bad_batches for report in told_too]
    assert sum(report.bad_batches for report in told) == len(wrong)
    for one, other in zip(told, told_too, strict=True):
        assert other.losses == pytest.approx(one.losses, rel=1e-3)


def test_a_bad_batch_leaves_weights_momentum_and_average_as_they_are(fit):
    seen = []

    def watching(real, batch):
        loss, items = real(batch)
        seen.append(loss)
        return (loss if len(seen) == 1 else loss * float("inf")), items

    with pytest.raises(WorkError, match="the loss of 3 of 4 batches is not a number"):
        fit(short(1), masked=True, forward=watching)
    trainer, _ = fit(short(1), masked=True, forward=spoiled(), state=FitState("k"))
    steps = trainer._steps
    steps.begin(4)
    before = [
        {n: v.clone() for n, v in m.state_dict().items()} for m in (trainer.model, trainer.ema.ema)
    ]
    momentum = [v["momentum_buffer"].clone() for v in trainer.optimizer.state.values()]
    updates = trainer.ema.updates

    weights = list(trainer.model.parameters())
    loss = sum(w.sum() for w in weights if w.requires_grad) * float("nan")
    steps.take(loss, {"box": loss.detach()})
    steps.step(0.0)
    sums, bad = steps.finish()

    for model, was in zip((trainer.model, trainer.ema.ema), before, strict=True):
        assert all(torch.equal(was[n], v) for n, v in model.state_dict().items())
    found = [v["momentum_buffer"] for v in trainer.optimizer.state.values()]
    assert all(map(torch.equal, momentum, found))
    assert (sums, bad, trainer.ema.updates) == ({"box": 0.0}, 1, updates)


def test_one_bad_batch_of_a_step_costs_only_itself(fit):
    trainer, _ = fit(short(1), masked=True)
    steps, (weight, *_) = trainer._steps, trainer._trained()
    steps.begin(3)
    grown = []
    trainer.optimizer.step = lambda: grown.append(weight.grad.clone())

    for factor in (1e-4, float("nan"), 2e-4):
        steps.take((weight * factor).sum(), {})
    steps.step(0.0)

    assert grown[0] == pytest.approx(torch.full_like(weight, 3e-4))
    assert steps.finish() == ({}, 1)


def looks_per_batch(fit, pool, model, *, masked=True) -> Counter[str]:
    per_batch: list[Counter[str]] = []

    def forward(real, batch):
        per_batch.append(Counter(looks.found))
        if len(per_batch) == 2:
            stack.enter_context(looks)
        if len(per_batch) == 3:
            raise Stopped("pause")
        return real(batch)

    looks = Looks()
    with ExitStack() as stack, pytest.raises(Stopped):
        fit(short(1), masked=masked, model=model, forward=forward, pool=pool)
    # From one batch's forward to the next one's: also backward, step and the loader.
    return per_batch[2] - per_batch[1]


def deep_model() -> DetectionModel:
    description = yaml_model_load("yolov8n.yaml")
    description["scales"] = {"n": [1.0, 0.125, 512]}
    model = DetectionModel(description, nc=len(CLASSES), verbose=False)
    model.names = dict(enumerate(CLASSES))
    return normalise(model)


def test_a_step_looks_at_the_device_as_often_however_many_layers_there_are(fit, dataset):
    pool = DataPool(dataset, imgsz=IMGSZ, batch=BATCH, loader="device")
    thin, deep = thin_model(), deep_model()
    assert len(list(deep.modules())) > 1.5 * len(list(thin.modules()))

    few, many = (looks_per_batch(fit, pool, model) for model in (thin, deep))

    assert few == many
    assert few == {}
    # Where every number is read, the same count finds it.
    assert looks_per_batch(fit, pool, thin_model(), masked=False)["_local_scalar_dense"] > 2


@pytest.mark.parametrize("counts", [(3, 0, 25, 1), (0, 0, 0, 0), (0, 2)])
def test_the_quiet_loss_is_ultralytics_loss(counts, monkeypatch):
    monkeypatch.setattr("msip_core.detector.quiet_loss._PAIRS", 5000)  # in several pieces
    rng = torch.Generator().manual_seed(0)
    pictures = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).float()
    found = len(pictures)
    batch = {
        "batch_idx": pictures,
        "cls": torch.randint(2, (found, 1), generator=rng).float(),
        "bboxes": torch.rand(found, 4, generator=rng) * 0.5 + 0.01,
    }
    model = finding_model().train()
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    images = torch.rand(len(counts), 3, IMGSZ, IMGSZ, generator=rng)
    results = []
    for criterion in (QuietLoss(model), v8DetectionLoss(model)):
        loss, items = criterion(model(images), with_count(dict(batch)))
        model.zero_grad()
        loss.sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        results.append((loss, items, gradient))

    (ours, items, gradient), (theirs, expected, slope) = results
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert {k: float(v) for k, v in items.items()} == pytest.approx(
        {k: float(v) for k, v in expected.items()}, rel=1e-5
    )
    torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-4 * float(slope.abs().max()))
    assert (float(theirs[0].detach()) > 0) == (found > 0)


def test_on_a_gpu_forward_and_loss_send_nothing_and_read_nothing():
    """A made-up GPU, whose tensors have no values: a read or a shape that depends on values would
    raise; what is copied to it or from it is counted."""
    model, looks = thin_model().train(), Looks()
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    model.model[-1].stride = model.stride
    loss = QuietLoss(model)
    with FakeTensorMode(allow_non_fake_inputs=True):
        for owned in [*model.modules(), *loss.bbox_loss.modules()]:
            for name, value in owned.named_parameters(recurse=False):
                owned._parameters[name] = nn.Parameter(on_gpu(*value.shape))
            for name, value in owned.named_buffers(recurse=False):
                owned._buffers[name] = on_gpu(*value.shape, dtype=value.dtype)
        loss.device, loss.proj = torch.device("cuda", 0), on_gpu(16)
        batch = {"batch_idx": on_gpu(5), "cls": on_gpu(5, 1), "bboxes": on_gpu(5, 4), MOST: 3}
        loss(model(on_gpu(2, 3, IMGSZ, IMGSZ)), batch)  # tables of anchors are sent once
        with looks:
            total, _ = loss(model(on_gpu(2, 3, IMGSZ, IMGSZ)), batch)
            assert looks.found == {}
            torch.arange(3).to(total.device)
    assert (str(total.device), looks.found) == ("cuda:0", {"_to_copy": 1})


def on_gpu(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype, device="cuda:0")
