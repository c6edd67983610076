"""NISP: final importance handed back through the weights, against numbers by hand and against
what raising a channel really adds in the linear network."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn
from ultralytics.nn.modules import Conv

from msip_core.catalog import CRITERIA
from msip_core.detector.library import copy_model
from msip_core.importance.bnscale import BnScaleImportance
from msip_core.importance.nisp import (
    NispImportance,
    column_sums,
    last_convolutions,
    make_linear,
    propagate,
)
from msip_core.importance.statistics import Statistics, gather
from tests.importance.kit import IMGSZ, drawn_calibration, groups_of, thin_detector


def block(weight: list[list[float]], gamma: float | list[float] = 1.0) -> Conv:
    """A 1x1 Conv block with these weights, whose batch norm only scales."""
    rows = torch.tensor(weight)
    conv = Conv(rows.shape[1], rows.shape[0], 1)
    conv.bn.eps = 0.0
    with torch.no_grad():
        conv.conv.weight.copy_(rows[..., None, None])
        conv.bn.weight.copy_(torch.as_tensor(gamma))
    return conv.eval()


def test_the_worked_example():
    """W1 = [[1,-1],[0,2],[-3,1]], W2 = [[1,-2,0],[0,1,4]], s = (1, .5): hidden (1, 2.5, 2), input
    (7, 8)."""
    net = nn.Sequential(
        block([[1.0], [1.0]]),
        block([[1, -1], [0, 2], [-3, 1]]),
        block([[1, -2, 0], [0, 1, 4]]),
        nn.Conv2d(2, 1, 1),
    )

    found = propagate(net, torch.zeros(1, 1, 1, 1), {"3": torch.tensor([1, 0.5])})

    assert found["2.conv"].tolist() == pytest.approx([1, 0.5])
    assert found["1.conv"].tolist() == pytest.approx([1, 2.5, 2])
    assert found["0.conv"].tolist() == pytest.approx([7, 8])


def test_every_position_of_the_final_responses_counts():
    net = nn.Sequential(block([[1.0], [3.0]]), block([[1.0, 2.0]]), nn.Conv2d(1, 1, 1))

    found = propagate(net, torch.zeros(1, 1, 4, 5), {"2": torch.ones(1)})

    assert found["0.conv"].tolist() == pytest.approx([20, 40])


def test_a_channel_with_a_small_gamma_that_feeds_important_ones_is_kept():
    net = nn.Sequential(
        block([[1.0], [1.0]], [0.1, 1.0]), block([[10, 1], [10, 1]]), nn.Conv2d(2, 1, 1)
    )
    (group, *_) = groups_of(net, torch.zeros(1, 1, 4, 4), [net[1].conv, net[2]])
    scores = propagate(deepcopy(net), torch.zeros(1, 1, 4, 4), column_sums({"2": net[2]}))
    statistics = Statistics(response={"nisp": scores}, gathered=frozenset({"nisp"}))

    assert NispImportance(statistics)(group).argsort().tolist() == [1, 0]
    assert BnScaleImportance()(group).argsort().tolist() == [0, 1]
    # Its own gamma does count for the channels before it.
    ratio = propagate(
        nn.Sequential(
            block([[1.0], [1.0]]), block([[1, 0], [0, 1]], [0.1, 1.0]), nn.Conv2d(2, 1, 1)
        ),
        torch.zeros(1, 1, 4, 4),
        {"2": torch.ones(2)},
    )["0.conv"]
    assert (ratio[0] / ratio[1]).item() == pytest.approx(0.1)


def test_column_sums_add_up_what_the_last_convolution_reads():
    last = nn.Conv2d(2, 3, 1)
    with torch.no_grad():
        last.weight.copy_(torch.tensor([[1.0, -2], [0, 4], [-3, 0.5]])[..., None, None])

    assert column_sums({"last": last})["last"].tolist() == pytest.approx([4, 6.5])


def test_the_final_responses_of_a_detector_are_what_its_six_last_convolutions_read():
    assert set(last_convolutions(thin_detector())) == {
        f"model.22.{branch}.{scale}.2" for branch in ("cv2", "cv3") for scale in range(3)
    }


def seeded(net: nn.Module, seeds: dict[str, torch.Tensor]) -> float:
    """The final responses of a network to a black image, weighed by their seeds and added up."""
    modules, seen = dict(net.named_modules()), []
    handles = [
        modules[name].register_forward_pre_hook(
            lambda _m, inputs, s=s: seen.append(float((inputs[0] * s.view(1, -1, 1, 1)).sum()))
        )
        for name, s in seeds.items()
    ]
    with torch.no_grad():
        net(torch.zeros(1, 3, IMGSZ, IMGSZ).double())
    for handle in handles:
        handle.remove()
    return sum(seen)


@pytest.mark.parametrize("name", ["model.2.cv1", "model.6.cv2", "model.9.cv1", "model.15.cv2"])
def test_a_score_is_what_raising_the_channel_everywhere_adds_to_the_seeded_responses(name: str):
    """Through shortcut, concatenation, pooling, upsampling and three scales: without autograd."""
    model, channel = thin_detector(), 2
    seeds = column_sums(last_convolutions(model))
    score = gather(model, drawn_calibration(2), frozenset({"nisp"})).response["nisp"]
    twin = copy_model(model)
    make_linear(twin)
    twin.double().eval()
    assert seeded(twin, seeds) == 0  # linear, without shift

    def add_one(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        output[:, channel] += 1

    dict(twin.named_modules())[name].register_forward_hook(add_one)

    assert score[f"{name}.conv"][channel].item() == pytest.approx(seeded(twin, seeds), rel=1e-9)


def test_the_model_itself_stays_as_it_is():
    model = thin_detector()
    before = {k: v.clone() for k, v in model.state_dict().items()}

    gather(model, drawn_calibration(), frozenset({"nisp", "nisp-inffs"}))

    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert isinstance(model.model[0].act, nn.SiLU)


def test_a_batch_norm_without_factors_counts_with_gamma_one():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, affine=False, eps=0)).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([-3.0, 2]).view(2, 1, 1, 1))
        net[1].running_var.fill_(4)

    make_linear(net)

    assert net(torch.ones(1, 1, 1, 1)).flatten().tolist() == [1.5, 1]


def test_nisp_ranks_inside_a_layer_only():
    """Raw scores grow with what lies behind, so by itself NISP takes the same share everywhere."""
    assert CRITERIA["nisp"].default_allocation == "uniform"
    raw = gather(thin_detector(), drawn_calibration(2), frozenset({"nisp"})).response["nisp"]
    assert raw["model.0.conv"].mean() > 100 * raw["model.21.cv2.conv"].mean()
