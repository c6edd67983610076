"""Batch-norm recalibration (pitfall 10)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from msip_core.detector.library import DetectionModel
from msip_core.errors import ConfigError
from msip_core.pruning.bn import recalibrated
from tests.importance.kit import drawn_calibration


def test_the_running_mean_is_the_mean_of_the_batch_means(detector: DetectionModel):
    calibration = drawn_calibration(images=8, batch=4)

    twin = recalibrated(detector, calibration)

    with torch.no_grad():
        means = [
            detector.model[0].conv(calibration.pixels(batch)).mean((0, 2, 3))
            for batch in calibration.batches()
        ]
    torch.testing.assert_close(twin.model[0].bn.running_mean, torch.stack(means).mean(0))
    assert twin.model[0].bn.num_batches_tracked == 2


def test_weights_momentum_mode_and_the_original_stay(detector: DetectionModel):
    before = {k: v.clone() for k, v in detector.state_dict().items()}

    twin = recalibrated(detector, drawn_calibration())

    assert all(torch.equal(v, before[k]) for k, v in detector.state_dict().items())
    assert not detector.training
    assert not twin.training
    for name, value in twin.named_parameters():
        assert torch.equal(value, before[name])
    momenta = {m.momentum for m in twin.modules() if isinstance(m, nn.BatchNorm2d)}
    assert momenta == {m.momentum for m in detector.modules() if isinstance(m, nn.BatchNorm2d)}


def test_a_lone_last_image_joins_the_batch_before(detector: DetectionModel):
    calibration = drawn_calibration(images=5, batch=4)

    twin = recalibrated(detector, calibration)

    with torch.no_grad():
        mean = detector.model[0].conv(calibration.pixels(range(5))).mean((0, 2, 3))
    torch.testing.assert_close(twin.model[0].bn.running_mean, mean)


def test_one_value_a_channel_has_no_variance_and_is_refused(detector: DetectionModel):
    small = drawn_calibration(images=3, batch=1, size=32)

    with pytest.raises(ConfigError, match=r"one image at a time at 32 px: take at least two"):
        recalibrated(detector, small)

    recalibrated(detector, drawn_calibration(images=3, batch=2, size=32))  # all three at once
