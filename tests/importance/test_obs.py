"""OBS: what a channel costs after the others have made up for it, against numbers by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from ultralytics.utils.loss import v8DetectionLoss

from msip_core.config import WEIGHT_PRESETS, MsipOptions
from msip_core.detector.library import copy_model
from msip_core.groups.coupling import prunable_groups
from msip_core.importance import obs
from msip_core.importance.msip import MsipImportance
from msip_core.importance.obs import (
    Moments,
    ObsImportance,
    OutputGradients,
    Reader,
    centred_ones,
    costs_in_turn,
    coupled,
    moment_bytes,
    portions,
    readers,
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


ALL = [[0], [1], [2]]


def kernels(*rows: list[float]) -> Tensor:
    """(out, in, 1, 1) weights of a 1x1 convolution."""
    return torch.tensor(rows)[..., None, None]


def alone(moments: Tensor, weight: Tensor, fisher: list[float], ridge: float) -> list[float]:
    """What each channel costs when it is the only one that goes."""
    channels = weight.shape[1]
    own = [[c] for c in range(channels)]
    reader = Reader(moments, weight, torch.tensor(fisher), own, ridge)
    return reader.costs(torch.arange(channels)).tolist()


def test_a_twin_costs_nothing_and_an_independent_channel_its_variance_times_the_weight():
    cost = alone(TWINS, kernels([3.0, 2, 5]), [4.0], ridge=1e-9)

    # 4 * (5^2 * 1) / 2
    assert cost == pytest.approx([0, 0, 50], abs=1e-6)


def test_the_ridge_keeps_a_twin_from_standing_in_wholly():
    """1 - 1 / (1 + r) of the variance is left at ridge r: 1 / 11 at .1, and F / 2 of it counts."""
    cost = alone(TWINS, kernels([3.0, 2, 5]), [4.0], ridge=0.1)

    assert cost == pytest.approx([2 * 9 / 11, 2 * 4 / 11, 50])


def test_without_anything_made_up_for_a_channel_costs_all_that_it_says():
    moments = square([[2, 1.5, 0], [1.5, 3, 0.5], [0, 0.5, 1]])

    cost = alone(moments, kernels([3.0, 2, 5]), [2.0], ridge=1e6)

    assert cost == pytest.approx([9 * 2, 4 * 3, 25 * 1], rel=1e-5)


def test_every_output_counts_with_the_curvature_of_the_loss():
    cost = alone(TWINS, kernels([3.0, 2, 5], [1, 1, 2]), [4.0, 10.0], ridge=1e-9)

    assert cost[2] == pytest.approx((4 * 25 + 10 * 4) / 2)


def test_a_partly_redundant_channel_costs_its_residual_variance():
    """Correlation .6: what regression on the other leaves is 1 - .36 of the variance 4."""
    cost = alone(square([[4, 1.2], [1.2, 1]]), kernels([1.0, 0]), [2.0], ridge=1e-12)

    assert cost == pytest.approx([4 * 0.64, 0])


def test_inputs_that_never_vary_cost_nothing():
    assert alone(torch.zeros(2, 2).double(), kernels([1.0, 2]), [1.0], ridge=0.1) == [0, 0]


def test_of_two_twins_one_is_free_and_the_other_costs_what_both_say():
    """The cheaper goes first; then 4 * (3 + 2)^2 / 2, and the independent one 4 * 5^2 / 2."""
    reader = Reader(TWINS, kernels([3.0, 2, 5]), torch.tensor([4.0]), ALL, 1e-9)

    score = costs_in_turn([reader], 3).tolist()

    assert min(score[:2]) == pytest.approx(0, abs=1e-6)
    assert max(score[:2]) == pytest.approx(50, rel=1e-5)
    assert score[2] == pytest.approx(50, rel=1e-5)


def test_copies_that_go_together_do_not_stand_in_for_one_another():
    """Each twin alone is free; both together cost 4 * (3 + 2)^2 / 2."""
    own = [[0, 1], [2]]

    reader = Reader(TWINS, kernels([3.0, 2, 5]), torch.tensor([4.0]), own, 1e-9)

    assert reader.costs(torch.arange(2)).tolist() == pytest.approx([50, 50], rel=1e-5)


def smooth(inputs: int, seed: int) -> Tensor:
    """(400, inputs) values that have something to do with one another."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(400, inputs, dtype=torch.float64, generator=generator)
    return x @ torch.randn(inputs, inputs, dtype=torch.float64, generator=generator)


def by_regression(x: Tensor, weight: Tensor, fisher: list[float], gone: Tensor, ridge: float):
    """Cost of the inputs that are gone, by explicit ridge regression of every output."""
    level = ridge * x.square().mean()
    cost = 0.0
    for w, f in zip(weight.double().flatten(1), fisher):
        lost, rest = x[:, gone] @ w[gone], x[:, ~gone]
        gram = rest.t() @ rest / len(x) + level * torch.eye(rest.shape[1], dtype=torch.float64)
        change = torch.linalg.solve(gram, rest.t() @ lost / len(x))
        error = (lost - rest @ change).square().mean() + level * change.square().sum()
        cost += f * error.item() / 2
    return cost


@pytest.mark.parametrize("ridge", [0.01, 0.1, 1.0])
def test_whole_kernels_cost_what_the_best_fit_of_the_others_leaves(ridge: float):
    x, fisher = smooth(27, 0), [2.0, 6.0]
    weight = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(1))

    cost = alone(x.t() @ x / len(x), weight, fisher, ridge)

    for c in range(3):
        gone = torch.zeros(27, dtype=torch.bool)
        gone[9 * c : 9 * (c + 1)] = True
        assert cost[c] == pytest.approx(by_regression(x, weight, fisher, gone, ridge), rel=1e-9)


def test_in_its_turn_a_channel_adds_to_what_those_before_it_cost():
    """Two readers, one of kernels that a channel owns none, one or two of; greedy by regression."""
    fisher, own = [2.0, 6.0], [[[0, 5], [1], [2, 3], []], [[0], [1], [2], [3]]]
    data = [smooth(6 * 4, 0), smooth(4, 2)]
    generator = torch.Generator().manual_seed(1)
    weights = [
        torch.randn(2, 6, 2, 2, generator=generator) * 0.1,
        torch.randn(2, 4, 1, 1, generator=generator),
    ]

    def total(channels: list[int]) -> float:
        cost = 0.0
        for x, weight, inputs in zip(data, weights, own):
            kernel = weight[0, 0].numel()
            gone = torch.zeros(x.shape[1], dtype=torch.bool)
            for c in channels:
                for i in inputs[c]:
                    gone[kernel * i : kernel * (i + 1)] = True
            cost += by_regression(x, weight, fisher, gone, 0.1)
        return cost

    out: list[int] = []
    expected, most = [0.0] * 4, 0.0
    while len(out) < 4:
        adds = {c: total([*out, c]) - total(out) for c in range(4) if c not in out}
        first = min(adds, key=lambda c: adds[c])
        most = expected[first] = max(most, adds[first])
        out.append(first)

    score = costs_in_turn(
        [
            Reader(x.t() @ x / len(x), w, torch.tensor(fisher), inputs, 0.1)
            for x, w, inputs in zip(data, weights, own)
        ],
        4,
    )

    assert score.tolist() == pytest.approx(expected, rel=1e-6)


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


def test_a_group_finds_its_own_scores():
    (group, *_) = groups_of(net := chain([1, 2], [1, 1], [1, 1]), torch.zeros(1, 1, 4, 4), [net[2]])
    costs = torch.tensor([0.25, 3], dtype=torch.float64)
    statistics = Statistics(response={"obs": {"0": costs}}, gathered=OBS)

    assert ObsImportance(statistics)(group).tolist() == [0.25, 3]


@pytest.fixture(scope="module")
def model():
    return thin_detector(width=0.0625)


@pytest.fixture(scope="module")
def found(model):
    return gather(model, drawn_calibration(), OBS).response["obs"]


def test_every_group_has_a_cost_for_each_of_its_channels(model, found):
    groups = prunable_groups(model).groups

    assert {n: len(v) for n, v in found.items()} == {n: len(g[0].idxs) for n, g in groups.items()}
    assert all((v >= 0).all() and v.max() > 0 for v in found.values())


def test_depthwise_convolutions_add_no_cost_of_their_own():
    net = depthwise_detector()
    depthwise = {n for n, m in net.named_modules() if getattr(m, "groups", 1) > 1}

    assert depthwise
    assert not depthwise & set(readers(net))


@pytest.mark.parametrize("part", [1, 3])
def test_how_a_batch_is_split_for_memory_changes_no_cost(model, found, part: int):
    other = gather(model, replace(drawn_calibration(), micro_batch=part), OBS).response["obs"]

    for name, cost in found.items():
        assert float((other[name] - cost).abs().max()) <= 1e-4 * float(cost.max())


def test_moments_that_do_not_fit_at_once_are_gathered_in_several_passes(
    model, found, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(obs, "MOMENT_BYTES", 2**20)
    convs, groups = readers(model), coupled(prunable_groups(model).groups.values())
    sets = portions(groups, convs)
    assert [group for some in sets for group in some] == groups
    assert len(sets) > 3
    for some in sets:
        size = sum(moment_bytes(convs[n]) for n in {n for group in some for n in group.inputs})
        assert len(some) == 1 or size <= 2**20

    other = gather(model, drawn_calibration(), OBS).response["obs"]

    for name, cost in found.items():
        torch.testing.assert_close(other[name], cost, rtol=1e-9, atol=0)


def test_the_curvature_is_that_of_the_loss_of_one_image(model, monkeypatch: pytest.MonkeyPatch):
    """Squares of the gradient of each batch's loss at an output, over positions and images."""
    name, calibration, seen = "model.4.cv1.conv", drawn_calibration(), {}
    whole = OutputGradients.fisher

    def keep(self: OutputGradients, images: int) -> dict[str, Tensor]:
        seen.update(whole(self, images))
        return seen

    monkeypatch.setattr(OutputGradients, "fisher", keep)
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
    groups = {group.name: group for group in coupled(prunable_groups(model).groups.values())}

    pooled = model.model[9].cv1.conv.out_channels  # SPPF: itself and three poolings of it
    inputs = groups["model.9.cv1.conv"].inputs["model.9.cv2.conv"]
    assert [sorted(own) for own in inputs] == [
        [c + pooled * i for i in range(4)] for c in range(pooled)
    ]
    half = model.model[4].cv1.conv.out_channels  # C2f: what its two shortcuts add to
    inputs = groups["model.4.cv1.conv"].inputs["model.4.cv2.conv"]
    assert [sorted(own) for own in inputs] == [
        [c + half * i for i in (1, 2, 3)] for c in range(half)
    ]


def test_a_change_of_the_mean_is_free_where_a_norm_or_a_bias_can_take_it_up():
    net = thin_detector()
    net.model[22].cv3[0][2].bias = None
    left = {n for n, m in net.named_modules() if isinstance(m, nn.Conv2d)} - {
        n for n, m in net.named_modules() if m in centred_ones(net)
    }

    assert left == {"model.22.cv3.0.2", "model.22.dfl.conv"}


def test_msip_takes_it_as_geometry_and_in_the_same_order(model):
    options = MsipOptions(geometry="obs", weights=WEIGHT_PRESETS["geometry-only"])
    statistics = gather(model, drawn_calibration(), MsipImportance.required(options))
    groups = prunable_groups(model).groups
    scheme = MsipImportance(statistics, options)

    for name, score in scheme.scores(groups).items():
        own = statistics.response["obs"][name]
        assert torch.equal(scheme.terms(groups[name]).geometry, own)
        # Where a channel stands out it is clipped: level with the next, never before it.
        assert (score[own.argsort(stable=True)].diff() >= 0).all()


def test_a_network_that_answers_no_numbers_has_no_costs_either(model):
    broken = copy_model(model)
    with torch.no_grad():
        broken.model[4].cv1.conv.weight.fill_(torch.nan)

    costs = gather(broken, drawn_calibration(), OBS).response["obs"]

    assert any(cost.isnan().all() for cost in costs.values())
