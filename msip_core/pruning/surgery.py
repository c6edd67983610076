"""Surgery: the cut of coupled channels, in every layer that they reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from msip_core.groups.coupling import prunable_groups, traceable
from msip_core.messages import msg


def prune_channels(model: nn.Module, removed: Mapping[str, Sequence[int]]) -> None:
    """Remove channels, in place, with everything that hangs on them.

    Parameters become new objects: optimizers, averages and graphs made before are stale.

    Args:
        removed: group name -> indices of the channels to remove (of the current model).
    """
    pruning = prunable_groups(model)
    modules = dict(model.named_modules())
    with traceable(model):
        for name, indices in removed.items():
            if not len(indices):
                continue
            root: Any = modules[name]
            if len(indices) >= root.out_channels:
                raise ValueError(
                    msg(
                        "{name} would lose all of its {out_channels} channels",
                        name=name,
                        out_channels=root.out_channels,
                    )
                )
            fn = pruning.groups[name][0].dep.pruning_fn
            pruning.graph.get_pruning_group(root, fn, sorted(int(i) for i in indices)).prune()
    for block in model.modules():
        if hasattr(block, "cv0") and hasattr(block, "m") and hasattr(block, "c"):
            hidden: Any = block.cv1
            block.c = hidden.conv.out_channels  # C2f_v2's note of its hidden width


def channel_counts(model: nn.Module) -> dict[str, int]:
    """Output channels of every convolution, by name."""
    return {n: m.out_channels for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
