"""Which channels hang together, by torch-pruning's dependency graph.

What is never cut: the last convolution of each head branch (`cv2[i][2]`, `cv3[i][2]`: their outputs
are box bins and classes) and DFL (a fixed sum). The inside of the head is prunable; it holds 28 %
of YOLOv8s's MACs. YOLOv8n and s then have 59 groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import nn
from ultralytics.nn.modules import C2f

from msip_core.errors import WrongModelError
from msip_core.groups.hooks import modes_kept
from msip_core.groups.layout import PROBE_SIZE, in_network
from msip_core.groups.members import group_name


@dataclass(frozen=True)
class PruningGraph:
    """A model's couplings. Stale as soon as the model is pruned: build a new one.

    Attributes:
        graph: torch-pruning's dependency graph.
        groups: name of the root convolution -> group over all its channels, in network order.
    """

    graph: Any
    groups: Mapping[str, Any]


def head_of(model: nn.Module) -> nn.Module:
    """The Detect layer."""
    return model.model[-1]  # type: ignore[index, union-attr, return-value]


def fixed_layers(model: nn.Module) -> list[nn.Module]:
    """Layers whose outputs have a meaning and are never pruned."""
    head: Any = head_of(model)
    last = [branch[2] for branches in (head.cv2, head.cv3) for branch in branches]
    return [*last, head.dfl]


def prunable_groups(model: nn.Module) -> PruningGraph:
    """Find the groups of coupled channels; the model is left as it was.

    Raises:
        WrongModelError: the network still holds C2f, or cannot be traced.
    """
    if any(type(module) is C2f for module in model.modules()):
        # torch-pruning 1.6.1 cannot follow the halves of C2f through the network.
        raise WrongModelError(
            "This network still holds C2f blocks, whose halves cannot be pruned apart: convert "
            "its C2f blocks to C2f_v2 first."
        )
    device = next(model.parameters()).device
    example = torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE, device=device)
    with traceable(model):
        try:
            graph = tp.DependencyGraph().build_dependency(
                model, example, output_transform=_raw, verbose=False
            )
            groups = list(
                graph.get_all_groups(
                    ignored_layers=fixed_layers(model), root_module_types=[nn.Conv2d]
                )
            )
            place = {module: i for i, module in enumerate(model.modules())}
            found = [_from_first(graph, group, place) for group in groups]
        except (IndexError, AttributeError) as error:
            raise WrongModelError(
                "The couplings of this network could not be traced: use an unfused YOLOv8 detector."
            ) from error
    found.sort(key=lambda group: place[group[0].dep.layer])
    names = in_network(model, map(group_name, found))
    return PruningGraph(graph, dict(zip(names, found, strict=True)))


def _from_first(graph: Any, group: Any, place: Mapping[nn.Module, int]) -> Any:
    """The same group, rooted at its first convolution.

    torch-pruning walks backwards from the outputs, so a group over a shortcut would bear the name
    of its last bottleneck, and another name once that bottleneck is taken out.
    """
    fn = tp.prune_conv_out_channels
    convs = [item.dep.layer for item in group.items if item.dep.pruning_fn == fn]
    if not convs:
        return group
    first = min(convs, key=lambda layer: place[layer])
    if first is group[0].dep.layer:
        return group
    return graph.get_pruning_group(first, fn, list(range(first.out_channels)))


def _raw(output: Any) -> list[torch.Tensor]:
    """The head's two raw outputs; decoding adds nothing to the couplings."""
    return [output[1]["boxes"], output[1]["scores"]]


@contextmanager
def traceable(model: nn.Module) -> Iterator[None]:
    """Gradients on (torch-pruning traces autograd: without them the graph is empty and nothing is
    pruned); afterwards flags and train/eval mode are as before (tracing leaves eval mode)."""
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    head: Any = head_of(model)
    head.shape = None  # anchors cached by an inference-mode forward cannot be traced
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    try:
        with modes_kept(model), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        head.shape = None
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(flags[name])
