"""Refit after the cut: what is linearly there comes back, and nothing gets worse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import ConfigError
from msip_core.groups.coupling import prunable_groups
from msip_core.importance.windows import windows
from msip_core.pruning import refit
from msip_core.pruning.refit import kept_filters, refitted
from msip_core.pruning.surgery import channel_counts, prune_channels
from tests.importance.kit import depthwise_detector, drawn_calibration, thin_detector

CALIBRATION = drawn_calibration(images=8)


def cut(model: DetectionModel, share: float = 0.25):
    """A quarter of every group gone: the network, and the filters that stayed."""
    groups = prunable_groups(model).groups
    removed = {n: list(range(int(share * len(g[0].idxs)))) for n, g in groups.items()}
    kept = kept_filters(groups, removed, channel_counts(model))
    twin = copy_model(model)
    prune_channels(twin, removed)
    return twin, kept


def error(model: DetectionModel, before: DetectionModel) -> float:
    """Mean square of the difference of the raw boxes, as a share of their variance."""
    pixels = CALIBRATION.pixels(range(len(CALIBRATION)))
    with torch.no_grad():
        found, true = model.eval()(pixels)[1]["boxes"], before.eval()(pixels)[1]["boxes"]
    return float((found - true).square().mean() / true.var())


@pytest.fixture(
    params=[thin_detector, depthwise_detector], ids=["yolov8n", "depthwise"], scope="module"
)
def pruned(request):
    model = request.param()
    return model, *cut(model)


def test_filters_that_stay_are_counted_for_every_convolution(pruned):
    _, after, kept = pruned
    assert {n: len(k) for n, k in kept.items()} == channel_counts(after)


def test_a_whole_detector_is_given_back_what_it_said(pruned):
    model, after, kept = pruned
    fine, coarse = (refitted(after, model, kept, CALIBRATION, ridge) for ridge in (0.01, 1.0))
    assert error(fine, model) < error(coarse, model) < error(after, model) / 20
    assert not fine.training
    assert all(p.grad is None for p in fine.parameters())
    fixed = fine.model[-1].dfl.conv.weight
    assert torch.equal(fixed, model.model[-1].dfl.conv.weight)


def test_blocks_of_images_do_not_change_the_result(pruned):
    model, after, kept = pruned
    few, many = (
        refitted(after, model, kept, CALIBRATION, 0.1, block=block, positions=512)
        for block in (2, 8)
    )
    for name, value in many.state_dict().items():
        torch.testing.assert_close(few.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_the_seed_repeats_it_and_both_networks_stay(pruned):
    model, after, kept = pruned
    states = [{k: v.clone() for k, v in m.state_dict().items()} for m in (model, after)]
    one, two = (refitted(after, model, kept, CALIBRATION, 0.1, positions=256) for _ in range(2))
    assert all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())
    for m, state in zip((model, after), states):
        assert all(torch.equal(v, state[k]) for k, v in m.state_dict().items())


def fitted(conv: nn.Conv2d, x: Tensor, y: Tensor, ridge: float) -> nn.Conv2d:
    """A convolution refitted to give `y` (images, out, h, w) from `x`, at every position."""
    cells = torch.arange(y[0, 0].numel()).expand(len(x), -1)
    rows = windows(conv, x, cells, y.shape[3])
    refit._fit(conv, None, refit._Pair(rows, y.flatten(2).transpose(1, 2).flatten(0, 1)), ridge)
    return conv


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": 3, "padding": 1, "groups": 2},
        {"kernel_size": 3, "padding": 1, "groups": 4},
        {"kernel_size": (1, 3), "padding": (0, 1)},
    ],
    ids=str,
)
def test_a_convolution_finds_the_weights_that_made_its_output(options):
    torch.manual_seed(0)
    x, true = torch.randn(4, 4, 10, 12), nn.Conv2d(4, 8, **options)
    conv = fitted(nn.Conv2d(4, 8, **options), x, true(x), 1e-8)
    torch.testing.assert_close(conv.weight, true.weight, rtol=0, atol=1e-5)
    torch.testing.assert_close(conv.bias, true.bias, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_channel_that_is_a_sum_of_others_is_not_missed():
    torch.manual_seed(0)
    x, reader = torch.randn(4, 3, 9, 9), nn.Conv2d(3, 2, 1)
    x[:, 2] = 2 * x[:, 0] - x[:, 1] + 0.5
    left = nn.Conv2d(2, 2, 1)
    left.weight.copy_(reader.weight[:, :2])
    errors = []
    for ridge in (1.0, 1e-2, 1e-4, 1e-8):
        left.weight.copy_(reader.weight[:, :2])
        got = fitted(left, x[:, :2], reader(x), ridge)(x[:, :2])
        errors.append(float((got - reader(x)).square().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("ridge", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("groups", [1, 4])
def test_a_refit_never_fits_worse_and_a_large_ridge_leaves_the_weights(ridge: float, groups: int):
    torch.manual_seed(0)
    x, y = torch.rand(4, 4, 9, 9), torch.randn(4, 4, 9, 9)
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=groups)
    old = conv.weight.clone()
    conv.bias += (y - conv(x)).mean((0, 2, 3))
    before = float((conv(x) - y).square().mean())
    fitted(conv, x, y, ridge)
    assert float((conv(x) - y).square().mean()) <= before + 1e-7
    assert float((fitted(conv, x, y, 1e12).weight - conv.weight).abs().max()) < 1e-6
    assert (ridge == 1e3) == bool(torch.allclose(conv.weight, old, atol=0.02))


@torch.no_grad()
def test_a_map_that_says_nothing_leaves_its_reader_as_it_is():
    conv = nn.Conv2d(2, 3, 1)
    old = conv.weight.clone()
    fitted(conv, torch.ones(2, 2, 4, 4), torch.full((2, 3, 4, 4), 7.0), 0.1)
    assert torch.equal(conv.weight, old)
    torch.testing.assert_close(conv(torch.ones(1, 2, 1, 1)), torch.full((1, 3, 1, 1), 7.0))


def test_a_ridge_of_nothing_is_refused(pruned):
    model, after, kept = pruned
    with pytest.raises(ValueError, match="at least 1e-09"):
        refitted(after, model, kept, CALIBRATION, 0)


def test_so_many_images_as_fit_in_memory_are_looked_at(monkeypatch: pytest.MonkeyPatch):
    model, many = thin_detector(), drawn_calibration(images=70, size=32)
    assert refit._how_many(model, many, torch.device("cpu")) == refit.IMAGES
    # Kept after the first layer: 8 maps of 16 x 16, and as much for the other network.
    monkeypatch.setattr(refit, "KEPT_BYTES", 10 * 2 * 4 * (3 * 32 * 32 + 8 * 16 * 16))
    assert refit._how_many(model, many, torch.device("cpu")) == 10
    monkeypatch.setattr(refit, "KEPT_BYTES", 1)
    assert refit._how_many(model, many, torch.device("cpu")) == refit.LEAST_IMAGES


def test_a_network_that_answers_no_numbers_is_named_and_not_refitted(pruned):
    before, after, kept = pruned
    broken = copy_model(before)
    with torch.no_grad():
        broken.model[0].conv.weight.fill_(torch.nan)

    with pytest.raises(ConfigError, match=r"not numbers.*has probably diverged"):
        refitted(after, broken, kept, CALIBRATION, 0.1)
