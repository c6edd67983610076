"""The unpruned detector of a run with its couplings and costs, worked out once per process.

Interactive questions (preview, estimate) come again with every slider that moves; tracing the
couplings of YOLOv8s takes seconds, answering from them milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from msip_core.detector.c2f import to_c2f_v2
from msip_core.detector.checkpoints import size_mb
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.detector.sources import load_source_model
from msip_core.groups.budget import Budget
from msip_core.groups.coupling import prunable_groups
from msip_core.groups.layout import PROBE_SIZE
from msip_core.models import weights_path
from msip_core.pruning.surgery import channel_counts
from msip_core.questions.sources import model_named
from msip_core.workspace import Workspace

_KEPT = 3  # networks in memory


@dataclass(frozen=True, eq=False)
class Network:
    """A detector ready to be cut. Shared by many questions: nobody may change it.

    Attributes:
        path: the weights file.
        groups: group name -> torch-pruning's group.
        layers: convolution -> output channels.
        size_mb: MiB at half precision, what a stock file weighs.
        activation_bytes: of all convolution, batch-norm and activation outputs of one image.
        weight_bytes: of all parameters at full precision.
    """

    path: Path
    model: DetectionModel
    groups: Mapping[str, Any]
    budget: Budget
    layers: Mapping[str, int]
    size_mb: float
    activation_bytes: float
    weight_bytes: float


def open_network(workspace: Workspace, model: str, imgsz: int, prox: float = 0.0) -> Network:
    """The network that a run on `model` (an id, or a .pt file) starts from, with the weights that
    opening it copies thresholded by `prox`."""
    path = Path(model) if model.endswith(".pt") else weights_path(workspace, model)
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    return _open(workspace, model, path, changed, imgsz, prox)


@lru_cache(maxsize=_KEPT)
def _open(  # noqa: PLR0917 - what makes a network another one
    workspace: Workspace, model: str, path: Path, changed: int, imgsz: int, prox: float
) -> Network:
    # `changed` makes a file that was written again a new network.
    network = to_c2f_v2(load_source_model(workspace, model_named(model))[0], prox)
    groups = prunable_groups(network).groups
    budget = Budget(network, list(groups.values()), imgsz)
    return Network(
        path=path,
        model=network,
        groups=groups,
        budget=budget,
        layers=channel_counts(network),
        size_mb=size_mb(network),
        activation_bytes=_activation_bytes(network, imgsz),
        weight_bytes=4 * sum(p.numel() for p in network.parameters()),
    )


@torch.no_grad()
def _activation_bytes(model: DetectionModel, imgsz: int) -> float:
    total = 0

    def count(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel() * 4

    twin = copy_model(model).eval()
    for module in twin.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.SiLU):
            module.register_forward_hook(count)
    twin(torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE))
    return total * (imgsz / PROBE_SIZE) ** 2
