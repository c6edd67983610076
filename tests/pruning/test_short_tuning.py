"""A few steps of training on the calibration images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from msip_core.importance.calibration import CalibrationSet
from msip_core.pruning.search import tune_shortly
from tests.importance.kit import drawn_calibration, thin_detector


class Quiet:
    """A run that nobody stops."""

    def check_stop(self) -> None:
        pass


def uneven() -> CalibrationSet:
    """One batch in which some images have one object and some twelve."""
    drawn = drawn_calibration(images=8, batch=8)
    many = tuple(
        torch.cat([rows] * 6) * torch.linspace(0.8, 1.0, 12)[:, None] if i < 4 else rows[:1]
        for i, rows in enumerate(drawn.labels)
    )
    whole = tuple(torch.cat([rows[:, :1].round(), rows[:, 1:]], 1) for rows in many)
    return replace(drawn, labels=whole)


def tuned(part: int) -> dict[str, Tensor]:
    """Weights after a step, the batch passing in parts of this size; batch norm in eval mode, whose
    statistics would be those of the parts."""
    model = thin_detector().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train = lambda mode=True, this=module: this  # type: ignore[method-assign]
    calibration = replace(uneven(), micro_batch=part)
    quiet: Any = Quiet()
    tune_shortly(model, calibration, steps=1, rate=0.01, ctx=quiet)
    return {name: value.detach() for name, value in model.named_parameters()}


def test_in_how_many_parts_a_batch_passes_changes_no_step():
    whole, parts, before = tuned(8), tuned(2), dict(thin_detector().named_parameters())

    moved = torch.cat([(whole[n] - before[n].detach()).flatten() for n in whole])
    apart = torch.cat([(whole[n] - parts[n]).flatten() for n in whole])
    assert float(moved.norm()) > 1e-3
    assert float(apart.norm()) < 1e-3 * float(moved.norm())
