"""The MSIP score against the method sheet's worked numbers (section 3)."""

from __future__ import annotations

import pytest
import torch

from msip_core.allocation.msip import lower_median
from msip_core.config import WEIGHT_PRESETS, MsipOptions, MsipWeights
from msip_core.errors import ConfigError
from msip_core.importance.msip import (
    MsipImportance,
    MsipLiteralImportance,
    Terms,
    fuse,
    relative,
)
from msip_core.importance.statistics import Statistics


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


WORKED = Terms(
    gradient=vector(1, 2, 6),
    geometry=vector(3, 2, 1),
    sparsity=vector(0.2, 0.5, 0.8),
    information=vector(0.1, 0.1, 0.3),
)
PAPER = WEIGHT_PRESETS["paper"]


def everything() -> Statistics:
    return Statistics(gathered=frozenset({"taylor", "grad2", "sparsity", "information",
                                          "loss-information"}))  # fmt: skip


def test_the_worked_example_of_the_paper_form():
    score = MsipLiteralImportance(everything()).fuse(WORKED)

    assert score.tolist() == pytest.approx([0.4205, 0.5, 0.5981], abs=1e-4)
    # At alpha = .9 the threshold is .45: channel 0 goes.
    tau = 0.9 * lower_median(score.numpy())
    assert tau == pytest.approx(0.45)
    assert (score < tau).tolist() == [True, False, False]


def test_relative_is_half_at_the_lower_median_and_blind_to_scale():
    x = vector(1, 2, 6, 9)

    assert relative(x).tolist() == pytest.approx([1 / 3, 0.5, 0.75, 9 / 11])
    torch.testing.assert_close(relative(1e6 * x), relative(x))
    assert relative(vector(0, 0, 0)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("fusion", ["product", "pool", "share"])
def test_full_weight_on_the_gradient_is_pure_taylor(fusion: str):
    score = fuse(WORKED, WEIGHT_PRESETS["gradient-only"], fusion)

    torch.testing.assert_close(score, WORKED.gradient)


def test_the_product_multiplies_taylor_by_a_bounded_factor():
    others = torch.stack([w * relative(x) for w, x in zip(
        (0.3, 0.2, 0.1), WORKED.as_tuple()[1:])]).sum(0) / 0.6  # fmt: skip

    score = fuse(WORKED, PAPER, "product")

    torch.testing.assert_close(score, WORKED.gradient * (1 + 0.6 * (2 * others - 1)))
    factor = score / WORKED.gradient
    assert (factor >= 0.4).all()
    assert (factor < 1.6).all()


@pytest.mark.parametrize("term", ["geometry", "sparsity", "information"])
@pytest.mark.parametrize("fusion", ["product", "pool", "share"])
def test_a_single_other_term_alone_ranks_the_channels_of_a_layer(term: str, fusion: str):
    score = fuse(WORKED, WEIGHT_PRESETS[f"{term}-only"], fusion)

    assert (
        score.argsort(stable=True).tolist() == getattr(WORKED, term).argsort(stable=True).tolist()
    )


def test_pool_raises_each_term_to_its_weight_over_the_gradients():
    score = fuse(WORKED, PAPER, "pool")

    g, e, s, n = WORKED.as_tuple()
    expected = g * relative(e) ** 0.75 * relative(s) ** 0.5 * relative(n) ** 0.25
    torch.testing.assert_close(score, expected)


def test_share_is_the_weighted_sum_in_loss_units():
    expected = WORKED.gradient.mean() * sum(
        w * x / x.mean() for w, x in zip(PAPER.as_tuple(), WORKED.as_tuple())
    )

    torch.testing.assert_close(fuse(WORKED, PAPER, "share"), expected)


@pytest.mark.parametrize("fusion", ["product", "pool"])
def test_scaling_one_layers_term_changes_nothing_but_the_gradients_unit(fusion: str):
    scaled = Terms(WORKED.gradient, 7 * WORKED.geometry, WORKED.sparsity, WORKED.information)

    torch.testing.assert_close(fuse(scaled, PAPER, fusion), fuse(WORKED, PAPER, fusion))


def test_switches_ask_the_calibration_pass_for_what_they_need():
    assert MsipImportance.required(MsipOptions()) == {"taylor", "sparsity", "information"}
    literal = MsipOptions(gradient="grad2", sparsity="weight", information="loss")
    assert MsipImportance.required(literal) == {"grad2", "loss-information"}


def test_a_criterion_without_its_calibration_says_so():
    with pytest.raises(ConfigError, match="needs a calibration pass that gathers"):
        MsipImportance()


def test_other_weights_share_the_statistics():
    criterion = MsipImportance(everything())
    weights = MsipWeights(gradient=1, geometry=0, sparsity=0, information=0)

    other = criterion.with_weights(weights)

    assert other.statistics is criterion.statistics
    assert other.options.weights == weights
    assert criterion.options.weights == PAPER
