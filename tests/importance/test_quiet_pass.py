"""A calibration pass that never waits for a layer, on a GPU made up for the purpose."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

from msip_core.detector.checkpoints import normalise
from msip_core.detector.quiet_loss import QuietLoss
from msip_core.importance import information, statistic, statistics
from msip_core.importance.cells import CellSampler
from msip_core.importance.statistics import gather
from tests.importance.kit import drawn_calibration, thin_detector
from tests.looks import Looks

EVERY_PASS = frozenset(
    {"taylor", "grad2", "taylor-2", "sparsity", "information", "loss-information", "nisp-inffs"}
)


def deep_detector() -> DetectionModel:
    description = yaml_model_load("yolov8n.yaml")
    description["scales"] = {"n": [1.0, 0.0625, 512]}
    model = DetectionModel(description, nc=2, verbose=False)
    return normalise(model)


class PartByPart:
    """What was looked at before each micro-batch."""

    def __init__(self, looks: Looks) -> None:
        self.looks, self.before = looks, []

    def check_stop(self) -> None:
        self.before.append(Counter(self.looks.found))


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """What differs on a GPU: the loss, and how numbers are counted."""
    monkeypatch.setattr(statistic, "criterion_of", lambda model, _device: QuietLoss(model))

    def tally(places, size):
        counts = torch.zeros(size, dtype=torch.long, device=places.device)
        return counts.index_add_(0, places, counts.new_ones(()).expand(len(places)))

    monkeypatch.setattr(information, "tally", tally)


def looks_of(model, needs: frozenset[str]) -> tuple[list[Counter], Counter]:
    """From each micro-batch to the next, and all in all."""
    looks = Looks("bincount")
    parts = PartByPart(looks)
    with looks:
        gather(model, drawn_calibration(images=3, batch=3, micro_batch=1), needs, parts)
    pairs = zip(parts.before, parts.before[1:], strict=False)
    return [after - before for before, after in pairs], looks.found


def test_a_pass_looks_at_the_device_as_often_however_many_layers_there_are(as_on_a_gpu):
    thin, deep = thin_detector(width=0.0625), deep_detector()
    assert len(list(deep.modules())) > 1.3 * len(list(thin.modules()))

    (few, some), (many, all_) = (looks_of(model, EVERY_PASS) for model in (thin, deep))

    assert [sum(one.values()) for one in few[1:-1]] == [0] * (len(few) - 2)
    assert few == many
    assert some == all_


def test_where_everything_is_read_the_same_count_finds_it():
    few, _ = looks_of(thin_detector(width=0.0625), frozenset({"taylor"}))

    assert min(sum(one.values()) for one in few) > 5


def test_numbers_are_counted_alike_on_a_gpu_and_here(as_on_a_gpu, monkeypatch):
    model, calibration = thin_detector(width=0.0625), drawn_calibration(images=4, batch=4)
    kinds = frozenset({"taylor", "information"})
    found = gather(model, calibration, kinds)
    monkeypatch.undo()

    expected = gather(model, calibration, kinds)

    for name, value in expected.of("taylor").items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found.of("taylor")[name], value, rtol=1e-3, atol=1e-4 * scale)
    exact = expected.of("information")
    assert all(torch.equal(found.of("information")[name], v) for name, v in exact.items())


def test_on_a_gpu_a_micro_batch_is_sent_and_nothing_is_read(as_on_a_gpu, monkeypatch):
    """A made-up GPU, whose tensors have no values: to read one would raise. Forward only: without
    a GPU, torch cannot go back on one."""
    sampled = CellSampler.__call__

    def on_the_processor(self, *args):
        with unset_fake_temporarily():
            return sampled(self, *args)

    monkeypatch.setattr(CellSampler, "__call__", on_the_processor)
    model, looks = thin_detector(width=0.0625), Looks("bincount")
    loss = QuietLoss(model)
    monkeypatch.setattr(statistic, "criterion_of", lambda _model, _device: loss)
    parts, calibration = PartByPart(looks), drawn_calibration(images=2, batch=2, micro_batch=1)
    needs = frozenset({"sparsity", "information"})
    monkeypatch.setattr(statistics, "free_bytes", lambda _device: None)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.model[-1].stride = [8.0, 16.0, 32.0]  # asked for once for every size of picture
        move_to_gpu(model)
        with looks:
            found = gather(model, calibration, needs, parts)

    pairs = zip(parts.before, parts.before[1:], strict=False)
    sent = [after - before for before, after in pairs]
    assert sent[0]["_to_copy"] > 1  # cells, once for every size of map
    assert sent[1:] == [{"_to_copy": 1}] * (len(sent) - 1)
    # Results come back in one piece for each kind.
    assert looks.found["_to_copy"] - parts.before[-1]["_to_copy"] == 1 + 4
    assert {v.device.type for kind in found.gathered for v in found.of(kind).values()} == {"cpu"}


def move_to_gpu(model: nn.Module) -> None:
    for module in model.modules():
        for name, value in module.named_parameters(recurse=False):
            module._parameters[name] = nn.Parameter(on_gpu(*value.shape))
        for name, value in module.named_buffers(recurse=False):
            module._buffers[name] = on_gpu(*value.shape, dtype=value.dtype)


def on_gpu(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype, device="cuda:0")
