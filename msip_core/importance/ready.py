"""A detector made ready for the calibration pass, and afterwards as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from ultralytics.utils import IterableSimpleNamespace

_GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}


@contextmanager
def ready(model: nn.Module) -> Iterator[None]:
    """Eval mode, gradients on, loss gains as attributes, no cached anchors; then all as before."""
    modes = {module: module.training for module in model.modules()}
    flags = {p: p.requires_grad for p in model.parameters()}
    grads = {p: p.grad for p in model.parameters()}
    args = model.args
    head: Any = model.model[-1]  # type: ignore[index]
    fixed = {id(p) for p in head.dfl.parameters()}
    model.eval()
    # Anchors cached under inference mode cannot take part in a backward pass.
    head.shape = None
    if isinstance(args, dict):  # as a loaded checkpoint has them; the loss wants attributes
        model.args = IterableSimpleNamespace(**{**_GAINS, **args})
    for p in model.parameters():
        p.requires_grad_(id(p) not in fixed)
        p.grad = None
    try:
        with torch.enable_grad():
            yield
    finally:
        model.args = args
        head.shape = None
        for p, flag in flags.items():
            p.requires_grad_(flag)
            p.grad = grads[p]
        for module, mode in modes.items():
            module.training = mode
