"""Networks whose costs are known, and tables of scores over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch_pruning as tp
from torch import nn

from msip_core.allocation.table import GroupTable
from msip_core.groups.budget import Budget
from msip_core.groups.coupling import prunable_groups


def budget_of(model: nn.Module, imgsz: int) -> Budget:
    return Budget(model, list(prunable_groups(model).groups.values()), imgsz)


def widths_of(budget: Budget) -> dict[str, int]:
    return dict(zip(budget.names, (int(w) for w in budget.widths), strict=True))


def counted(model: nn.Module, imgsz: int) -> tuple[float, int]:
    """MACs and parameters by torch-pruning's counter."""
    import torch

    return tp.utils.count_ops_and_params(model, torch.zeros(1, 3, imgsz, imgsz))


def random_table(budget: Budget, seed: int = 0, original: Mapping[str, int] | None = None) -> Any:
    """Log-normal scores; each group on its own scale."""
    rng = np.random.default_rng(seed)
    scores = {
        name: np.exp(rng.normal(rng.normal(0, 1), 1, int(width)))
        for name, width in zip(budget.names, budget.widths, strict=True)
    }
    return GroupTable(budget, scores, original or widths_of(budget))
