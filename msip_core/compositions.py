"""Published systems as whole choices: what each takes from the catalog, in one table. No torch.

`prune --composition NAME` and `study run NAME` know each by its name. A share that is kept is what
the system reaches by itself on YOLOv8n and s, where it aims at no goal of its own; else the usual
third of the multiply-adds. Any setting can be changed beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from msip_core.errors import ConfigError
from msip_core.messages import mark
from msip_core.recipes import RECIPES


@dataclass(frozen=True, slots=True)
class Composition:
    """A published method that is a choice from several families.

    Attributes:
        settings: of PruneConfig, over its defaults.
        weights: description of the network that it is about; "" takes any YOLOv8.
    """

    name: str
    label: str
    description: str
    paper: str
    settings: Mapping[str, Any]
    weights: str = ""


def _one(
    name: str, label: str, description: str, paper: str, *, weights: str = "", **settings: Any
) -> Composition:
    return Composition(name, label, description, paper, MappingProxyType(settings), weights)


# With a single cut there is no better model to keep, and one fine-tune does what several would.
_AT_ONCE: Mapping[str, Any] = MappingProxyType(
    {
        "iterations": 1,
        "limits": {"max_removed_per_iteration": 0.6},
        "finetune": RECIPES["paper-finetune"].model_copy(update={"epochs": 100}),
        "max_map50_drop": None,
    }
)
_REVIEW = ((0.3, 0.4), (0.2, 0.3), (0.1, 0.15))  # backbone, neck, head
_OURS = "MSIP Lab"

_ALL = (
    _one(
        "amc", "AMC",
        mark("An agent learns by reinforcement how much of each layer to keep; channels go by "
             "L1 norm."),
        "He et al. 2018, arXiv:1802.03494",
        method="l1", allocation="amc",
    ),
    _one(
        "netadapt", "NetAdapt",
        mark("Shrinks one layer at a time, each time the one that loses least accuracy per "
             "multiply-add; channels go by L2 norm."),
        "Yang et al. 2018, arXiv:1804.03230",
        method="l2", allocation="netadapt",
    ),
    _one(
        "200fps", mark("200 FPS, three stages"),
        mark("Backbone, neck and head lose 30, 20 and 10 % of their channels at once, by L1 norm."),
        "Mehta & Ozturk 2018, arXiv:1805.06361 (named for it; the ratios are the list's)",
        method="l1", allocation="stages", keep_macs=0.615, **_AT_ONCE,
    ),
    _one(
        "review-stages", mark("Stages within a review's ranges"),
        mark("Searches the ratios of backbone, neck and head between 30 and 40, 20 and 30, 10 "
             "and 15 %; channels go by L1 norm."),
        "Jani et al. 2023, arXiv:2307.11904 (named for it; the ranges are the list's)",
        method="l1", allocation="search", search={"space": "stages", "stage_bounds": _REVIEW},
        keep_macs=0.55, **_AT_ONCE,
    ),
    _one(
        "nisp", "NISP",
        mark("Hands the importance of the last layer back to every channel; each layer loses "
             "the same share."),
        "Yu et al. 2018, arXiv:1711.05908",
        method="nisp", allocation="uniform",
    ),
    _one(
        "pruned-yolo", "Pruned-YOLO",
        mark("Sparse training with soft masks, then channels go by batch-norm factor times "
             "filter; the head loses least, the deep backbone most."),
        "Pruned-YOLO, ICANN 2021",
        pretrain=RECIPES["pruned-yolo-pretrain"], method="bn-weight", allocation="stages-order",
    ),
    _one(
        "slimming-cwd", mark("Slimming and distillation"),
        mark("Sparse training, half of every layer's channels cut at once by batch-norm factor, "
             "then training with the unpruned network as teacher."),
        "Sabaghian 2025, arXiv:2509.12918",
        pretrain=RECIPES["sparse-pretrain"], method="bnscale", allocation="uniform",
        recovery="cwd",
        keep_macs=0.255,  # what half of the channels leaves of YOLOv8n and s (25.7 and 25.3 %)
        **_AT_ONCE,
    ),
    _one(
        "graph-guided-depthwise", mark("Graph-guided, depthwise"),
        mark("A depthwise-separable YOLOv8, whose depthwise filters go with the channels they "
             "carry, by group norm over its graph."),
        "Graph-Guided Channel Pruning for Lightweight YOLOv8; Fang et al. 2023, arXiv:2301.12900",
        weights="yolov8n-depthwise.yaml", method="group-norm", allocation="global",
    ),
    _one(
        "slimming", mark("Network Slimming"),
        mark("Sparse training, then one threshold over all batch-norm factors."),
        "Liu et al. 2017, arXiv:1708.06519",
        pretrain=RECIPES["sparse-pretrain"], method="slim", allocation="global",
        recovery="sparse",
    ),
    _one(
        "depgraph", "DepGraph",
        mark("Training that shrinks coupled channels together, then one ranking by the norm of "
             "each group."),
        "Fang et al. 2023, arXiv:2301.12900",
        pretrain=RECIPES["depgraph-pretrain"], method="group-norm", allocation="global",
    ),
    _one(
        "hrank", "HRank",
        mark("Channels whose feature maps have a low rank go, the same share in every layer."),
        "Lin et al. 2020, arXiv:2002.10179",
        method="hrank", allocation="uniform",
    ),
    _one(
        "layerdrop", "LayerDrop",
        mark("Training that leaves bottlenecks out at random, then every other one with a "
             "shortcut goes."),
        "Fan et al. 2020, arXiv:1909.11556",
        pretrain=RECIPES["layerdrop-pretrain"], granularity="layerdrop", keep_macs=0.93,
        **_AT_ONCE,
    ),
    _one(
        "structured-layers", mark("Structured layers"),
        mark("Whole bottlenecks go, those whose removal costs least mAP50 first."), _OURS,
        granularity="blocks", block_score="map50", keep_macs=0.85, iterations=4,
    ),
    _one(
        "c2f", "C2f alone", mark("Channels go inside the C2f blocks alone."), _OURS,
        granularity="modules", modules=("C2f",), keep_macs=0.5, iterations=4,
    ),
    _one(
        "sppf", mark("SPPF alone"),
        mark("Channels go inside the SPPF block alone, which holds few of the multiply-adds."),
        _OURS,
        granularity="modules", modules=("SPPF",), keep_macs=0.98, iterations=4,
    ),
    _one(
        "detect", mark("Detect alone"), mark("Channels go inside the detection head alone."), _OURS,
        granularity="modules", modules=("Detect",), keep_macs=0.85, iterations=4,
    ),
    _one(
        "mixed", mark("Layers, then channels"),
        mark("Two whole bottlenecks go first, then coupled channels."), _OURS,
        granularity="mixed", blocks=2,
    ),
    _one(
        "automatic", mark("Automatic search"),
        mark("Tries sets of ratios of the stages at equal multiply-adds and takes the best; "
             "channels go by L2 norm."),
        "Akiba et al. 2019, arXiv:1907.10902",
        method="l2", allocation="search",
    ),
    _one(
        "lamp-guide", mark("LAMP, step by step to a speed-up"),
        mark("Sparse training, then small cuts by LAMP until the network is measured twice as "
             "fast on this computer, then fine-tuning."),
        "Lee et al. 2021, arXiv:2010.07611",
        pretrain=RECIPES["sparse-pretrain"], method="lamp", allocation="global",
        recovery="sparse", keep_latency=0.5, finetune_after="last-cut", max_map50_drop=None,
        finetune=RECIPES["paper-finetune"].model_copy(update={"epochs": 100}),
    ),
)  # fmt: skip
COMPOSITIONS: Mapping[str, Composition] = MappingProxyType({one.name: one for one in _ALL})


def find_composition(name: str) -> Composition:
    """The composition of that name, or a sentence with the names that exist."""
    try:
        return COMPOSITIONS[name]
    except KeyError:
        known = ", ".join(COMPOSITIONS)
        raise ConfigError(
            "There is no composition named '{name}'; known: {known}.", name=name, known=known
        ) from None
