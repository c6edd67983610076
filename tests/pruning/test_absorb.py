"""What removed channels give at rest is taken in by the layers that read them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import silu

from msip_core.detector.library import DetectionModel, copy_model
from msip_core.groups.coupling import prunable_groups
from msip_core.groups.members import members
from msip_core.pruning.bottlenecks import remove_bottlenecks
from msip_core.pruning.refit import kept_filters
from msip_core.pruning.repair import absorbed, at_rest
from msip_core.pruning.surgery import channel_counts, prune_channels
from tests.importance.kit import drawn_calibration, thin_detector

PIXELS = drawn_calibration(images=2).pixels(range(2))


def at_rest_and_cut(names: list[str]) -> tuple[DetectionModel, DetectionModel, dict[str, Tensor]]:
    """A detector in which the first two channels of these groups have gamma 0, its copy without
    them, and the filters that stayed."""
    before = thin_detector()
    groups = prunable_groups(before).groups
    removed = {name: [0, 1] for name in names}
    with torch.no_grad():
        for name in names:
            for member in members(groups[name]):
                if member.kind == "norm":
                    norm: Any = member.layer
                    gone = member.indices[torch.isin(member.positions, torch.tensor([0, 1]))]
                    norm.weight[gone] = 0
                    norm.bias[gone] = torch.linspace(1, 2, len(gone))
    kept = kept_filters(groups, removed, channel_counts(before))
    after = copy_model(before)
    prune_channels(after, removed)
    return before, after, kept


def raw(model: DetectionModel) -> Tensor:
    with torch.no_grad():
        found = copy_model(model).eval()(PIXELS)[1]
    return torch.cat([found["boxes"], found["scores"]], 1)


def read_by_1x1_alone(model: DetectionModel) -> list[str]:
    return [
        name
        for name, group in prunable_groups(model).groups.items()
        if all(m.layer.kernel_size == (1, 1) for m in members(group) if m.kind == "in")
        and len(group[0].idxs) > 4
    ]


def test_channels_at_rest_that_1x1_convolutions_read_leave_no_trace():
    """Through concatenation, pooling (SPPF) and into the bias of the head's last convolutions."""
    names = read_by_1x1_alone(thin_detector())
    assert {"model.2.cv0.conv", "model.9.cv1.conv", "model.22.cv2.0.1.conv"} <= set(names)
    before, after, kept = at_rest_and_cut(names)
    wanted = raw(before)
    unchanged = {name: value.clone() for name, value in before.state_dict().items()}

    found = raw(absorbed(after, before, kept))

    assert float((raw(after) - wanted).abs().max()) > 0.1
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    assert all(torch.equal(value, unchanged[name]) for name, value in before.state_dict().items())


def test_a_3x3_convolution_gives_the_same_inside_the_map():
    before, after, kept = at_rest_and_cut(["model.0.conv"])
    mended = absorbed(after, before, kept)

    def given(model: DetectionModel) -> Tensor:
        with torch.no_grad():
            return model.eval().model[1](model.model[0](PIXELS))

    torch.testing.assert_close(
        given(mended)[..., 1:, 1:], given(before)[..., 1:, 1:], rtol=1e-4, atol=1e-4
    )
    assert float((given(mended) - given(before))[..., 0, :].abs().max()) > 1e-3  # padding


def test_a_shortcut_hands_on_the_sum_of_what_its_branches_give_at_rest():
    """cv2 of a C2f reads y1 = act(b), then y1 + act(b'), then that + act(b'')."""
    name = "model.4.cv1.conv"
    before, _, kept = at_rest_and_cut([name])
    block: Any = before.model[4]
    first, second, third = (
        silu(norm.bias[:2].detach().double())
        for norm in (block.cv1.bn, block.m[0].cv2.bn, block.m[1].cv2.bn)
    )
    width, skipped = block.cv1.conv.out_channels, block.cv0.conv.out_channels
    weight = block.cv2.conv.weight.detach().double()[:, :, 0, 0]
    expected = torch.zeros(len(weight), dtype=torch.float64)
    for part, constants in enumerate((first, first + second, first + second + third)):
        start = skipped + part * width
        expected += weight[:, start : start + 2] @ constants

    found = at_rest(copy_model(before), kept)

    torch.testing.assert_close(found["model.4.cv2.conv"], expected, rtol=1e-5, atol=1e-6)
    inner = block.m[1].cv1.conv.weight.detach().double()[:, :2].sum((2, 3))
    torch.testing.assert_close(
        found["model.4.m.1.cv1.conv"], inner @ (first + second), rtol=1e-5, atol=1e-6
    )


def test_blocks_that_went_in_the_same_cut_are_no_hindrance():
    before = thin_detector()
    start = copy_model(before)
    remove_bottlenecks(start, ["model.4.m.0"])
    groups = prunable_groups(start).groups
    removed = {"model.2.cv0.conv": [0, 1]}
    kept = kept_filters(groups, removed, channel_counts(start))
    after = copy_model(start)
    prune_channels(after, removed)

    found, direct = absorbed(after, before, kept), absorbed(after, start, kept)

    assert all(torch.equal(v, direct.state_dict()[n]) for n, v in found.state_dict().items())
    norm = "model.2.cv2.bn.running_mean"
    assert not torch.equal(found.state_dict()[norm], after.state_dict()[norm])


def test_a_cut_that_takes_nothing_leaves_nothing_to_absorb():
    model = thin_detector()
    kept = kept_filters({}, {}, channel_counts(model))

    found = absorbed(model, model, kept)

    assert raw(found).numpy() == pytest.approx(raw(model).numpy(), abs=0)
