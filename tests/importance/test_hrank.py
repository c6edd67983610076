"""HRank: ranks of feature maps, and the tie-break that never reorders them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from msip_core.errors import ConfigError
from msip_core.importance.calibration import shrunk
from msip_core.importance.hrank import RTOL, SIDE, Ranks, RankTally, ranks_of
from msip_core.importance.statistic import Few
from msip_core.importance.statistics import gather
from tests.importance.kit import drawn_calibration, thin_detector


def test_ones_have_rank_one_the_identity_full_rank_and_zeros_none():
    maps = torch.stack([torch.ones(4, 4), torch.eye(4), torch.zeros(4, 4)])

    ranks, norms = ranks_of(maps)

    assert ranks.tolist() == [1, 4, 0]
    assert norms.tolist() == pytest.approx([4, 4, 0])


def tally_of(maps: torch.Tensor) -> torch.Tensor:
    tally = RankTally()
    tally.see("layer", maps)
    tally.add_images(len(maps))
    return tally.scores()["layer"]


def test_the_score_is_the_rank_by_the_smaller_side_averaged_over_images():
    wide = torch.zeros(2, 2, 4, 6)
    wide[0, 0, :4, :4] = torch.eye(4)  # rank 4, then 2: mean 3 of 4
    wide[1, 0, :2, :2] = torch.eye(2)
    wide[:, 1] = 1  # rank 1

    assert tally_of(wide).tolist() == pytest.approx([0.75, 0.25], abs=2e-6)


def test_a_smooth_map_with_silus_small_values_is_simple_only_with_a_tolerance():
    generator = torch.Generator().manual_seed(0)
    column, row = torch.rand(2, 20, generator=generator) + 0.5
    a = torch.outer(column, row) + 1e-3 * torch.randn(20, 20, generator=generator)

    assert torch.linalg.matrix_rank(a) == 20
    assert ranks_of(a)[0] == 1


def test_of_two_maps_of_equal_rank_the_weaker_goes_first():
    maps = torch.stack([3 * torch.eye(4), torch.eye(4), torch.ones(4, 4)])[None]

    score = tally_of(maps)

    assert score.argsort().tolist() == [2, 1, 0]
    assert score[0] - score[1] < 1e-6


def test_the_tie_break_never_reorders_ranks():
    generator = torch.Generator().manual_seed(0)
    size, channels, images = 8, 40, 3
    ranks = torch.randint(0, size + 1, (images, channels), generator=generator)
    maps = torch.zeros(images, channels, size, size)
    for i in range(images):
        for c in range(channels):
            # The lower the rank, the larger the map: the nuclear norm points the other way.
            maps[i, c].diagonal()[: ranks[i, c]] = 10.0 ** float(size - ranks[i, c])

    score, mean = tally_of(maps), ranks.double().mean(0)

    higher = mean[:, None] > mean
    assert higher.any()
    assert (score[:, None] > score)[higher].all()


def test_large_images_are_looked_at_small_and_small_ones_as_they_are():
    large = torch.rand(1, 3, 2 * SIDE, 2 * SIDE, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(shrunk(large, SIDE), torch.nn.functional.avg_pool2d(large, 2))
    assert shrunk(large[..., :64, :64], SIDE) is not large
    assert shrunk(large[..., :64, :64], SIDE).shape[-1] == 64


def test_only_the_first_images_are_looked_at(monkeypatch: pytest.MonkeyPatch):
    model, calibration = thin_detector(), drawn_calibration()
    first = replace(calibration, images=calibration.images[:3], labels=calibration.labels[:3])
    expected = gather(model, first, frozenset({"rank"})).response["rank"]

    monkeypatch.setattr(Ranks, "few", Few(3, SIDE))
    found = gather(model, calibration, frozenset({"rank"})).response["rank"]

    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])


def test_ranks_tell_the_channels_of_a_detector_apart():
    found = gather(thin_detector(), drawn_calibration(), frozenset({"rank"})).response["rank"]

    for scores in found.values():
        assert len(scores.unique()) > len(scores) // 2
        assert scores.min() >= 0
        assert scores.max() < 1 + 1e-5
    shares = torch.cat(list(found.values()))
    assert 0 < (shares < 0.9).double().mean() < 1
    assert RTOL == 1e-2


def test_responses_that_are_not_numbers_are_refused_by_name():
    tally = RankTally()
    tally.see("model.2.conv", torch.ones(1, 1, 4, 4))
    tally.see("model.3.conv", torch.full((1, 1, 4, 4), torch.nan))
    tally.add_images(1)

    with pytest.raises(ConfigError, match=r"layer model\.3\.conv are not numbers"):
        tally.scores()
