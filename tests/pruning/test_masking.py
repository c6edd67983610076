"""A mask is the cut network, also while batch norm is recalibrated."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import nn

from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import WrongModelError
from msip_core.groups.coupling import prunable_groups
from msip_core.importance.calibration import CalibrationSet
from msip_core.pruning.bn import recalibrate, recalibrated
from msip_core.pruning.masking import Mask
from msip_core.pruning.surgery import prune_channels
from tests.importance.kit import IMGSZ, drawn_calibration


class Double(CalibrationSet):
    """Twice the digits, so that equal is equal: single precision differs by the order of sums."""

    def pixels(self, numbers: range, device="cpu") -> torch.Tensor:
        return super().pixels(numbers, device).double()


def thirds(groups) -> dict[str, list[int]]:
    """A third of each group, not its first channels."""
    return {name: list(range(1, len(group[0].idxs), 3)) for name, group in groups.items()}


def image() -> torch.Tensor:
    return torch.rand(2, 3, IMGSZ, IMGSZ, generator=torch.Generator().manual_seed(0))


def test_recalibrating_a_masked_network_is_recalibrating_the_cut_one(detector: DetectionModel):
    groups = prunable_groups(detector).groups
    removed = thirds(groups)
    drawn = drawn_calibration()
    calibration = Double(**{f.name: getattr(drawn, f.name) for f in fields(drawn) if f.init})
    cut = copy_model(detector)
    prune_channels(cut, removed)

    masked = recalibrated(Mask(detector, groups).masked(removed).double(), calibration)
    cut = recalibrated(cut.double(), calibration)

    assert sum(p.numel() for p in cut.parameters()) < sum(p.numel() for p in masked.parameters())
    double = image().double()
    torch.testing.assert_close(masked(double)[0], cut(double)[0], atol=1e-8, rtol=1e-8)
    # Statistics of the channels that stay, in the order in which they stay.
    stay = [c for c in range(detector.model[0].conv.out_channels) if c % 3 != 1]
    for statistic in ("running_mean", "running_var"):
        whole = getattr(masked.model[0].bn, statistic)[stay]
        torch.testing.assert_close(whole, getattr(cut.model[0].bn, statistic))


def test_recalibration_changes_what_a_masked_network_says(detector: DetectionModel):
    """Else the test above could not fail."""
    groups = prunable_groups(detector).groups
    masked = Mask(detector, groups).masked(thirds(groups))

    fresh = recalibrated(masked, drawn_calibration())

    with torch.no_grad():
        assert float((masked(image())[0] - fresh(image())[0]).abs().max()) > 0.01


def test_a_dead_channel_can_go_without_a_trace_and_a_live_one_cannot(detector: DetectionModel):
    model = copy_model(detector)
    norm = model.model[2].m[0].cv1.bn
    with torch.no_grad():
        norm.weight[3] = 0
        norm.bias[3] = 0
    groups = prunable_groups(model).groups
    mask, name = Mask(model, groups), "model.2.m.0.cv1.conv"

    whole, less, lesser = (
        model(image())[0],
        mask.masked({name: [3]})(image())[0],
        mask.masked({name: [3, 1]})(image())[0],
    )

    assert torch.equal(whole, less)
    assert not torch.equal(whole, lesser)


def test_every_mask_begins_from_the_model_as_it_was(detector: DetectionModel):
    groups = prunable_groups(detector).groups
    mask = Mask(detector, groups)
    expected = mask.masked({"model.1.conv": [2]})(image())[0]

    recalibrate(mask.masked(thirds(groups)), drawn_calibration())

    assert torch.equal(mask.masked({"model.1.conv": [2]})(image())[0], expected)


def test_the_masked_model_is_a_copy(detector: DetectionModel):
    before = {k: v.clone() for k, v in detector.state_dict().items()}
    groups = prunable_groups(detector).groups

    Mask(detector, groups).masked(thirds(groups))

    assert all(torch.equal(v, before[k]) for k, v in detector.state_dict().items())


def test_a_convolution_without_batch_norm_cannot_be_masked(detector: DetectionModel):
    model = copy_model(detector)
    model.model[0].bn = nn.Identity()

    with pytest.raises(WrongModelError, match=r"model\.0\.conv .* has no batch norm of its own"):
        Mask(model, prunable_groups(model).groups)
