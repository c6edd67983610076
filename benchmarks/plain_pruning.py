"""Pruning YOLOv8 with torch-pruning alone, as its users do: a pruner, a ratio, fine-tuning.

One kindness: the ratio of each iteration is searched so that the MACs are met (fixed ratios miss
them), and where one ratio for all layers jumps over them (widths in multiples of 8), the first
layers take the next ratio, so all rows of the table compare at equal MACs, within 1 %. No score,
threshold or surgery of the product is used; C2f is opened to C2f_v2 as in torch-pruning's own
YOLOv8 example.
"""

from __future__ import annotations

import copy
import random
from functools import partial
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from torch import nn

# name -> importance, and whether all layers are ranked together
METHODS: dict[str, tuple[Any, bool]] = {
    "random": (tp.importance.RandomImportance, False),
    "l2": (partial(tp.importance.MagnitudeImportance, p=2), False),
    "lamp": (partial(tp.importance.LAMPImportance, p=2), True),
}
_HALVINGS = 10
_NEAR = 0.005  # of the MACs: where the search for them ends
_TRACED = 64  # pixels: a small image shows the same graph, and MACs grow with the area


def prune_to(
    model: nn.Module, method: str, macs: float, imgsz: int, *, seed: int, round_to: int = 1
) -> nn.Module:
    """A copy of `model` pruned by `method` to the ratio whose MACs come nearest to `macs`."""
    low, high = 0.0, 0.95
    best: tuple[float, nn.Module] | None = None

    def left(ratio: float, more: float = 0.0, first: int = 0) -> float:
        nonlocal best
        pruned, counted = _prune(
            model, method, ratio, seed, round_to=round_to, more=more, first=first
        )
        counted *= (imgsz / _TRACED) ** 2
        if best is None or abs(counted - macs) < best[0]:
            best = (abs(counted - macs), pruned)
        return counted

    for _ in range(_HALVINGS):
        ratio = (low + high) / 2
        low, high = (ratio, high) if left(ratio) > macs else (low, ratio)
    few, many = 0, sum(isinstance(m, nn.Conv2d) for m in model.modules())
    while many - few > 1 and best is not None and best[0] > _NEAR * macs:
        middle = (few + many) // 2
        few, many = (middle, many) if left(low, high, middle) > macs else (few, middle)
    assert best is not None
    return best[1]


def _prune(
    model: nn.Module, method: str, ratio: float, seed: int, *, round_to: int, more: float,
    first: int,
) -> tuple[nn.Module, float]:  # fmt: skip
    """A pruned copy and its MACs; its `first` convolutions lose `more` in place of `ratio`."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    pruned = copy.deepcopy(model)
    head: Any = pruned.model[-1]
    head.shape = None
    for parameter in pruned.parameters():
        parameter.requires_grad_(True)
    importance, ranked_together = METHODS[method]
    example = torch.zeros(1, 3, _TRACED, _TRACED)
    convs = [module for module in pruned.modules() if isinstance(module, nn.Conv2d)]
    pruner = tp.pruner.BasePruner(
        pruned,
        example,
        importance=importance(),
        pruning_ratio=ratio,
        global_pruning=ranked_together,
        round_to=round_to if round_to > 1 else None,
        pruning_ratio_dict=dict.fromkeys(convs[:first], more),
        ignored_layers=[b[2] for bs in (head.cv2, head.cv3) for b in bs] + [head.dfl],
    )
    pruner.step()
    head.shape = None
    macs, _ = tp.utils.count_ops_and_params(pruned, example)
    head.shape = None
    return pruned, float(macs)
