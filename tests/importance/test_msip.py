"""The MSIP score against the method sheet's worked numbers (section 3)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from msip_core.config import WEIGHT_PRESETS, MsipOptions, MsipWeights
from msip_core.errors import ConfigError
from msip_core.importance.fusion import budget_factors, relative, standard, weighted_sum
from msip_core.importance.msip import (
    MsipImportance,
    MsipLiteralImportance,
    MsipPublishedImportance,
    Terms,
    fuse,
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
    return Statistics(
        gathered=frozenset({"taylor", "grad2", "sparsity", "information", "loss-information"})
    )


def layer(seed: int, channels: int = 64) -> Terms:
    """As in a real layer: gradients differ by powers of ten, the other terms by percents."""
    g = torch.Generator().manual_seed(seed)
    wide = torch.randn(channels, generator=g, dtype=torch.float64)
    narrow = 1 + 0.02 * torch.randn(3, channels, generator=g, dtype=torch.float64)
    return Terms((3 * wide).exp() * 1e-6, *narrow)


def shares(parts: list[torch.Tensor], total: torch.Tensor) -> list[float]:
    """Part of each in the variance of the total."""
    middle = total - total.mean()
    return [float((part - part.mean()) @ middle / (middle @ middle)) for part in parts]


def test_standard_is_blind_to_scale_and_gives_every_term_the_same_spread():
    terms = layer(0)

    for term in terms.as_tuple():
        torch.testing.assert_close(standard(1e6 * term), standard(term))
        assert float(standard(term).std()) == pytest.approx(1, abs=0.5)
    assert standard(vector(2, 2, 2)).tolist() == [0, 0, 0]
    assert standard(vector(0, 0, 0)).tolist() == [0, 0, 0]


def test_a_weight_is_the_terms_share_of_the_variance_whatever_the_terms_have_in_common():
    common = torch.randn(200, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    own = torch.randn(4, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    stacked = own + torch.tensor([0.0, 0.5, 1.0, 2.0], dtype=torch.float64)[:, None] * common
    parts = list(stacked)

    total = weighted_sum(parts, PAPER.as_tuple())

    centred = stacked - stacked.mean(1, keepdim=True)
    factors = budget_factors(
        centred @ centred.t() / 200, torch.tensor(PAPER.as_tuple(), dtype=torch.float64)
    )
    weighed = [f * part for f, part in zip(factors, parts)]
    assert shares(weighed, torch.stack(weighed).sum(0)) == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert float(torch.corrcoef(torch.stack([total, torch.stack(weighed).sum(0)]))[0, 1]) > 1 - 1e-9


def test_two_terms_alike_share_the_weight_they_have_together():
    x = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    y = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(4))

    twice, once = weighted_sum([x, y, y], (0.5, 0.25, 0.25)), weighted_sum([x, y], (0.5, 0.5))

    torch.testing.assert_close(twice / twice.std(), once / once.std(), rtol=1e-6, atol=1e-6)


def test_a_term_that_says_nothing_leaves_its_weight_to_the_others():
    x = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    nothing = torch.zeros(50, dtype=torch.float64)

    torch.testing.assert_close(weighted_sum([x, nothing], (0.5, 0.5)), weighted_sum([x], (1.0,)))
    assert weighted_sum([nothing, nothing], (0.5, 0.5)).tolist() == nothing.tolist()


def test_the_papers_sum_has_its_medians_at_a_half_and_its_weights_as_shares():
    terms = layer(5)
    parts = [torch.special.ndtr(standard(x)) for x in terms.as_tuple()]

    score = MsipLiteralImportance(everything()).fuse(terms)

    torch.testing.assert_close(score, weighted_sum(parts, PAPER.as_tuple()))
    assert (score > 0).all()  # as a threshold of alpha times the median needs it
    for part in parts:
        assert float(part.median()) == pytest.approx(0.5)


def test_as_published_is_the_printed_sum_with_each_term_over_its_mean_in_the_network():
    two = {"a": WORKED, "b": Terms(*(3 * x for x in WORKED.as_tuple()))}

    scores = MsipPublishedImportance(everything()).fuse_all(two)

    # Means over both groups are twice those of the first: gradient 6, geometry 4, sparsity 1,
    # information 1/3.
    expected = 0.4 * WORKED.gradient / 6 + 0.3 * WORKED.geometry / 4
    expected += 0.2 * WORKED.sparsity / 1 + 0.1 * WORKED.information * 3
    torch.testing.assert_close(scores["a"], expected)
    torch.testing.assert_close(scores["b"], 3 * expected)


def test_as_published_has_no_switches():
    odd = MsipOptions(gradient="taylor", geometry="response", sparsity="activation", reach=True)

    assert MsipPublishedImportance.required(odd) == {"grad2", "information"}
    assert MsipPublishedImportance(everything(), odd).switches.sparsity == "zero"


@pytest.mark.parametrize("fusion", ["product", "rank"])
def test_full_weight_on_the_gradient_is_pure_taylor(fusion: str):
    terms = layer(6)

    assert fuse(terms, WEIGHT_PRESETS["gradient-only"], fusion).equal(terms.gradient)


@pytest.mark.parametrize("term", ["geometry", "sparsity", "information"])
@pytest.mark.parametrize("fusion", ["product", "rank"])
def test_a_single_other_term_ranks_alone_and_holds_no_trace_of_the_gradient(term: str, fusion: str):
    terms = layer(7)
    weights = WEIGHT_PRESETS[f"{term}-only"]
    shuffled = Terms(terms.gradient.flip(0), *terms.as_tuple()[1:])

    score = fuse(terms, weights, fusion)

    assert score.argsort(stable=True).tolist() == getattr(terms, term).argsort(stable=True).tolist()
    torch.testing.assert_close(fuse(shuffled, weights, fusion), score)


def test_the_product_keeps_the_level_and_the_spread_of_the_layers_sensitivity():
    terms = layer(8)

    score = fuse(terms, PAPER, "product")

    assert float(score.log().median()) == pytest.approx(float(terms.gradient.log().median()), abs=1)
    assert float(score.log().std() / terms.gradient.log().std()) == pytest.approx(1, abs=0.3)
    # Four terms act: one that differs by percents counts as much as its weight says.
    parts = [standard(x) for x in terms.as_tuple()]
    along = [float(torch.corrcoef(torch.stack([p, score.log()]))[0, 1]) for p in parts]
    length = sum(w * w for w in PAPER.as_tuple()) ** 0.5
    assert along == pytest.approx([w / length for w in PAPER.as_tuple()], abs=0.12)


@pytest.mark.parametrize("name", ["geometry", "sparsity", "information"])
@pytest.mark.parametrize("fusion", ["product", "rank"])
def test_scaling_one_layers_term_changes_nothing_but_the_gradients_unit(name: str, fusion: str):
    terms = layer(9)
    scaled = replace(terms, **{name: 7 * getattr(terms, name)})

    torch.testing.assert_close(fuse(scaled, PAPER, fusion), fuse(terms, PAPER, fusion))
    louder = fuse(replace(terms, gradient=7 * terms.gradient), PAPER, fusion)
    torch.testing.assert_close(louder, 7 * fuse(terms, PAPER, fusion))


def test_relative_is_half_at_the_lower_median_and_blind_to_scale():
    x = vector(1, 2, 6, 9)

    assert relative(x).tolist() == pytest.approx([1 / 3, 0.5, 0.75, 9 / 11])
    torch.testing.assert_close(relative(1e6 * x), relative(x))
    assert relative(vector(0, 0, 0)).tolist() == [0, 0, 0]


def test_switches_ask_the_calibration_pass_for_what_they_need():
    assert MsipImportance.required(MsipOptions()) == {"taylor", "sparsity", "information"}
    other = MsipOptions(
        gradient="grad2", geometry="lp", sparsity="weight", information="loss", reach=False
    )
    assert MsipImportance.required(other) == {"grad2", "loss-information"}
    assert MsipImportance.required(MsipOptions(geometry="obs")) == {
        "taylor",
        "sparsity",
        "information",
        "obs",
    }
    assert MsipLiteralImportance.required(MsipOptions(sparsity="weight")) == {
        "taylor",
        "information",
    }


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


def test_ranks_of_equal_channels_do_not_follow_their_numbers():
    """A term that says the same of all channels gives none of its weight to the later ones, and
    channels that are alike in every term score alike."""
    g = torch.Generator().manual_seed(7)
    loss = torch.rand(8, dtype=torch.float64, generator=g)
    other = torch.rand(8, dtype=torch.float64, generator=g)
    flat = torch.ones(8, dtype=torch.float64)
    half = MsipWeights(gradient=0.4, geometry=0, sparsity=0.6, information=0)
    alone = fuse(Terms(loss, other, flat, flat), half, "rank")
    torch.testing.assert_close(alone, loss)

    twins = [Terms(*(x[order] for x in (vector(5, 1, 2, 1), vector(1, 3, 2, 3), vector(1, 1, 1, 1),
             vector(0, 0, 0, 0)))) for order in ([0, 1, 2, 3], [3, 2, 1, 0])]  # fmt: skip
    first, turned = (fuse(terms, PAPER, "rank") for terms in twins)
    torch.testing.assert_close(first, turned.flip(0))
    # Sums of ranks 1.35, .95, 1.05, .95 beside what all share: the two lowest values go to both.
    assert first.tolist() == [5, 1, 2, 1]


def test_a_group_whose_channels_are_all_alike_lies_at_its_median_not_at_nothing():
    """At 0, a group of equal channels would be the first that the settling takes from."""
    alike = Terms(*(vector(3, 3, 3, 3) for _ in range(4)))

    score = MsipLiteralImportance(everything()).fuse(alike)

    assert score.tolist() == pytest.approx([0.5] * 4)


@pytest.mark.parametrize("fusion", ["product", "rank"])
@pytest.mark.parametrize("level", [0.0, 3.0])
def test_where_the_loss_tells_no_channels_apart_the_other_terms_order_them(fusion, level):
    """As the branch of a scale at which no object of the calibration images lies: no gradient
    reaches it, and its channels went by their numbers."""
    terms = layer(3, 12)
    flat = replace(terms, gradient=torch.full((12,), level, dtype=torch.float64))

    score = fuse(flat, WEIGHT_PRESETS["sparsity-only"], fusion)

    assert score.argsort().tolist() == terms.sparsity.argsort().tolist()
    torch.testing.assert_close(score, flat.gradient, rtol=1e-5, atol=1e-290)  # an order, no more
    assert torch.equal(fuse(flat, WEIGHT_PRESETS["gradient-only"], fusion), flat.gradient)
