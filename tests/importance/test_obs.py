"""OBS: what a channel costs after the others have made up for it, against numbers by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from ultralytics.utils.loss import v8DetectionLoss

from msip_core.importance import obs
from msip_core.importance.coupling import prunable_groups
from msip_core.importance.obs import (
    Moments,
    ObsImportance,
    centred_ones,
    copies,
    portions,
    readers,
    removal_costs,
)
from msip_core.importance.statistics import Statistics, gather
from msip_core.importance.windows import Places
from tests.importance.kit import (
    chain,
    depthwise_detector,
    drawn_calibration,
    groups_of,
    thin_detector,
)

OBS = frozenset({"obs"})


def square(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# Channels 0 and 1 always say the same, channel 2 something of its own.
TWINS = square([[1, 1, 0], [1, 1, 0], [0, 0, 1]])


def kernels(*rows: list[float]) -> Tensor:
    """(out, in, 1, 1) weights of a 1x1 convolution."""
    return torch.tensor(rows)[..., None, None]


def test_a_twin_costs_nothing_and_an_independent_channel_its_variance_times_the_weight():
    cost = removal_costs(TWINS, kernels([3.0, 2, 5]), torch.tensor([4.0]), ridge=1e-9)

    # 4 * (5^2 * 1) / 2
    assert cost.tolist() == pytest.approx([0, 0, 50], abs=1e-6)


def test_the_ridge_keeps_a_twin_from_standing_in_wholly():
    """1 - 1 / (1 + r) of the variance is left at ridge r: 1 / 11 at .1, and F / 2 of it counts."""
    cost = removal_costs(TWINS, kernels([3.0, 2, 5]), torch.tensor([4.0]), ridge=0.1)

    assert cost.tolist() == pytest.approx([2 * 9 / 11, 2 * 4 / 11, 50])


def test_without_anything_made_up_for_a_channel_costs_all_that_it_says():
    moments = square([[2, 1.5, 0], [1.5, 3, 0.5], [0, 0.5, 1]])

    cost = removal_costs(moments, kernels([3.0, 2, 5]), torch.tensor([2.0]), ridge=1e6)

    assert cost.tolist() == pytest.approx([9 * 2, 4 * 3, 25 * 1], rel=1e-5)


def test_every_output_counts_with_the_curvature_of_the_loss():
    cost = removal_costs(
        TWINS, kernels([3.0, 2, 5], [1, 1, 2]), torch.tensor([4.0, 10.0]), ridge=1e-9
    )

    assert cost[2].item() == pytest.approx((4 * 25 + 10 * 4) / 2)


def test_a_partly_redundant_channel_costs_its_residual_variance():
    """Correlation .6: what regression on the other leaves is 1 - .36 of the variance 4."""
    moments = square([[4, 1.2], [1.2, 1]])

    cost = removal_costs(moments, kernels([1.0, 0]), torch.tensor([2.0]), ridge=1e-12)

    assert cost.tolist() == pytest.approx([4 * 0.64, 0])


def test_copies_that_go_together_do_not_stand_in_for_one_another():
    """Each twin alone is free; both together cost (3 + 2)^2 of the variance, half each."""
    pair = [torch.tensor([0, 1])]

    cost = removal_costs(TWINS, kernels([3.0, 2, 5]), torch.tensor([4.0]), pair, ridge=1e-9)

    assert cost.tolist() == pytest.approx([25, 25, 50], rel=1e-5)


def test_inputs_that_never_vary_cost_nothing():
    cost = removal_costs(torch.zeros(2, 2).double(), kernels([1.0, 2]), torch.ones(1))

    assert cost.tolist() == [0, 0]


@pytest.mark.parametrize("ridge", [0.01, 0.1, 1.0])
def test_whole_kernels_cost_what_the_best_fit_of_the_others_leaves(ridge: float):
    """3x3 kernels of 3 channels, smooth inputs, by explicit ridge regression of each output."""
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(3, 2, 3, bias=False)
    x = torch.randn(400, 27, dtype=torch.float64, generator=generator)
    x = x @ torch.randn(27, 27, dtype=torch.float64, generator=generator)
    moments, fisher = x.t() @ x / len(x), torch.tensor([2.0, 6.0])
    level = ridge * moments.diagonal().mean()

    cost = removal_costs(moments, conv.weight, fisher, ridge=ridge)

    for c in range(3):
        gone = torch.zeros(27, dtype=torch.bool)
        gone[9 * c : 9 * (c + 1)] = True
        expected = 0.0
        for w, f in zip(conv.weight.detach().double().flatten(1), fisher.tolist()):
            lost, rest = x[:, gone] @ w[gone], x[:, ~gone]
            gram = rest.t() @ rest / len(x) + level * torch.eye(18, dtype=torch.float64)
            change = torch.linalg.solve(gram, rest.t() @ lost / len(x))
            error = (lost - rest @ change).square().mean() + level * change.square().sum()
            expected += f * error.item() / 2
        assert cost[c].item() == pytest.approx(expected, rel=1e-9)


def test_moments_are_of_the_kernels_windows_and_about_the_mean_on_request():
    conv = nn.Conv2d(2, 1, 3, stride=2, padding=1)
    x = 5 + torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    moments = Moments({"conv": conv}, Places(3, 27, 0))  # 9 of each image: all
    for part in (range(0, 2), range(2, 3)):
        with moments.watching(part):
            conv(x[part.start : part.stop])
    rows = nn.functional.unfold(x, 3, padding=1, stride=2).transpose(1, 2).flatten(0, 1).double()

    found = moments.take("conv", centred=True)

    torch.testing.assert_close(found, torch.cov(rows.t(), correction=0))
    assert not conv._forward_hooks


def test_a_group_adds_up_its_readers():
    (group, *_) = groups_of(net := chain([1, 2], [1, 1], [1, 1]), torch.zeros(1, 1, 4, 4), [net[2]])
    statistics = Statistics(response={"obs": {"2": torch.tensor([0.25, 3])}}, gathered=OBS)

    assert ObsImportance(statistics)(group).tolist() == [0.25, 3]


@pytest.fixture(scope="module")
def model():
    return thin_detector()


@pytest.fixture(scope="module")
def found(model):
    return gather(model, drawn_calibration(), OBS).response["obs"]


def test_every_convolution_that_mixes_channels_has_a_cost_for_each_of_its_inputs(model, found):
    convs = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    del convs["model.22.dfl.conv"]

    assert {n: len(v) for n, v in found.items()} == {n: m.in_channels for n, m in convs.items()}
    assert all((v >= 0).all() and v.max() > 0 for v in found.values())


def test_depthwise_convolutions_add_no_cost_of_their_own():
    net = depthwise_detector()
    depthwise = {n for n, m in net.named_modules() if getattr(m, "groups", 1) > 1}

    assert depthwise
    assert not depthwise & set(readers(net))


@pytest.mark.parametrize("part", [1, 3, 4])
def test_how_a_batch_is_split_for_memory_changes_no_cost(model, found, part: int):
    other = gather(model, replace(drawn_calibration(), micro_batch=part), OBS).response["obs"]

    for name, cost in found.items():
        assert float((other[name] - cost).abs().max()) <= 1e-4 * float(cost.max())


def test_moments_that_do_not_fit_at_once_are_gathered_in_several_passes(
    model, found, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(obs, "MOMENT_BYTES", 2**20)
    sets = portions(readers(model))
    assert len(sets) > 3
    sizes = [[8 * m.weight[0].numel() ** 2 for m in some.values()] for some in sets]
    assert all(len(s) == 1 or sum(s) <= 2**20 for s in sizes)

    other = gather(model, drawn_calibration(), OBS).response["obs"]

    for name, cost in found.items():
        torch.testing.assert_close(other[name], cost, rtol=1e-9, atol=0)


def test_the_curvature_is_that_of_the_loss_of_one_image(model, monkeypatch: pytest.MonkeyPatch):
    """Squares of the gradient of each batch's loss at an output, over positions and images."""
    name, calibration, seen = "model.4.cv1.conv", drawn_calibration(), {}
    whole = obs.OutputGradients.fisher

    def keep(self: obs.OutputGradients, images: int) -> dict[str, Tensor]:
        seen.update(whole(self, images))
        return seen

    monkeypatch.setattr(obs.OutputGradients, "fisher", keep)
    gather(model, calibration, OBS)

    criterion, total = v8DetectionLoss(model), 0.0
    kept: list[Tensor] = []
    hook = dict(model.named_modules())[name].register_forward_hook(
        lambda _m, _i, output: kept.append(output)
    )
    for batch in calibration.batches():
        loss = criterion(model(calibration.pixels(batch)), calibration.targets(batch))[0].sum()
        (gradient,) = torch.autograd.grad(loss, kept.pop())
        total = total + gradient.double().square().sum((0, 2, 3))
    hook.remove()
    torch.testing.assert_close(seen[name], total / len(calibration), rtol=1e-3, atol=0)


def test_what_goes_together_in_one_reader_is_found(model):
    sets = copies(prunable_groups(model).groups)

    pooled = model.model[9].cv1.conv.out_channels  # SPPF: itself and three poolings of it
    wanted = [[c + pooled * i for i in range(4)] for c in range(pooled)]
    assert sorted(s.tolist() for s in sets["model.9.cv2.conv"]) == wanted
    half = model.model[4].cv1.conv.out_channels  # C2f: what its two shortcuts add to
    wanted = [[c + half * i for i in (1, 2, 3)] for c in range(half)]
    assert sorted(s.tolist() for s in sets["model.4.cv2.conv"]) == wanted
    assert not sets.get("model.3.conv")


def test_a_change_of_the_mean_is_free_where_a_norm_or_a_bias_can_take_it_up():
    net = thin_detector()
    net.model[22].cv3[0][2].bias = None
    left = {n for n, m in net.named_modules() if isinstance(m, nn.Conv2d)} - {
        n for n, m in net.named_modules() if m in centred_ones(net)
    }

    assert left == {"model.22.cv3.0.2", "model.22.dfl.conv"}
