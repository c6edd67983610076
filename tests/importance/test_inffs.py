"""Inf-FS: all paths through a graph of features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from msip_core.errors import ConfigError
from msip_core.importance.nisp import Pooled, inf_fs, last_convolutions, spearman
from tests.importance.kit import drawn_calibration, thin_detector


def test_two_features_of_equal_spread_without_correlation_score_nine():
    x = torch.tensor([[1.0, 2], [2, 4], [3, 1], [4, 3]])

    assert spearman(x)[0, 1] == pytest.approx(0)
    assert inf_fs(x).tolist() == pytest.approx([9, 9])


def test_inf_fs_sums_all_paths():
    x = torch.rand(12, 5, generator=torch.Generator().manual_seed(0)).double()
    sd = x.numpy().std(0)
    sd = sd / sd.max()
    a = 0.5 * np.maximum.outer(sd, sd) + 0.5 * (1 - np.abs(spearmanr(x.numpy()).statistic))
    a *= 0.9 / np.abs(np.linalg.eigvalsh(a)).max()

    paths = sum(np.linalg.matrix_power(a, k) for k in range(1, 400))

    np.testing.assert_allclose(inf_fs(x).numpy(), paths.sum(1), rtol=1e-9)


def test_a_response_that_never_changes_is_the_least_important():
    x = torch.rand(10, 3, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 0.7

    assert inf_fs(x).argmin() == 1
    assert torch.isfinite(inf_fs(torch.ones(4, 3))).all()


def test_digits_that_rounding_leaves_are_no_change():
    x = torch.rand(10, 4, generator=torch.Generator().manual_seed(0))
    x[:, 1:3] = 0.7
    noisy = x.clone()
    noisy[::2, 1] += 6e-8  # as another size of the micro-batch gives
    noisy[1::3, 2] -= 6e-8

    torch.testing.assert_close(inf_fs(noisy), inf_fs(x), rtol=1e-6, atol=0)


def test_rank_correlation_gives_ties_their_mean_rank():
    x = torch.tensor([[1.0, 3], [1, 2], [2, 2], [5, 0], [4, 9]])

    assert spearman(x)[0, 1].item() == pytest.approx(spearmanr(x.numpy()).statistic)


def test_the_scale_of_a_layer_does_not_change_inf_fs():
    x = torch.rand(8, 6, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(inf_fs(1000 * x), inf_fs(x))


def test_responses_are_pooled_per_image():
    model, calibration = thin_detector(), drawn_calibration(4)
    pooled = Pooled(last_convolutions(model))
    with pooled.watching(), torch.no_grad():
        model(calibration.pixels(range(0, 3)))
        model(calibration.pixels(range(3, 4)))

    assert all(len(torch.cat(rows)) == 4 for rows in pooled._rows.values())
    assert set(pooled.seeds()) == set(last_convolutions(model))


def test_two_images_are_too_few_for_rank_correlations():
    with pytest.raises(ConfigError, match="at least 3 calibration images, not 2"):
        inf_fs(torch.rand(2, 4))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_responses_that_are_no_numbers_give_none_instead_of_an_error_report(wrong: float):
    responses = torch.rand(5, 4).masked_fill(torch.eye(5, 4) > 0, wrong)

    assert inf_fs(responses).isnan().all()
