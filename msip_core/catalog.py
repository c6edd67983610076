"""Every strategy by name: label, one plain line, paper, and where its code lies. No torch.

Menus, the command line, the docs and the contract suites read this; a strategy is added by
writing its file and listing it here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, Literal

from msip_core.config import TERMS
from msip_core.errors import ConfigError

Family = Literal["criterion", "allocation", "granularity", "recovery", "explainer"]
Ranking = Literal["any", "layer", "network"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One strategy.

    Attributes:
        target: "module:attribute", imported on first use.
        needs_data: the calibration pass must run before it can score.
        default_allocation: the allocation that the method was published with (criteria only).
        ranking: of a criterion, where its scores may be compared; of an allocation, where it
            compares them: inside each layer, or in one ranking of the whole network.
        taught_by: what of the unpruned network, which runs along while training, is compared;
            "" where none does (recoveries only).
        softened: its distributions have a temperature (recoveries only).
        searches: it tries out networks before the first cut (allocations only).
        least_images: fewest calibration images that it can score from (criteria only).
        adapted: of a criterion with MSIP's four weights, those that follow validation; empty for
            a criterion without weights.
    """

    name: str
    family: Family
    label: str
    description: str
    paper: str
    target: str
    needs_data: bool = False
    default_allocation: str = ""
    ranking: Ranking = "any"
    taught_by: Literal["", "maps", "predictions"] = ""
    softened: bool = False
    searches: bool = False
    least_images: int = 1
    adapted: tuple[str, ...] = ()

    @property
    def needs_teacher(self) -> bool:
        """Whether the unpruned network runs along while training."""
        return bool(self.taught_by)

    def load(self) -> Any:
        """Import the strategy's class or function."""
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)


def _criterion(
    name: str, label: str, description: str, paper: str, attribute: str, **more: Any
) -> Entry:
    more.setdefault("default_allocation", "uniform")
    return Entry(
        name, "criterion", label, description, paper, f"msip_core.importance.{attribute}", **more
    )


_ENTRIES = (
    _criterion(
        "msip",
        "MSIP, loss per MAC",
        "Four signals in one score, weighed against what a channel costs.",
        "Fang, multi-strategy importance pruning; terms and fusion ours",
        "msip:MsipImportance",
        needs_data=True,
        default_allocation="msip",
        adapted=TERMS,
    ),
    _criterion(
        "msip-literal",
        "MSIP, the paper's sum",
        "Our reading of the four signals, added up within each layer as the paper adds them.",
        "Fang, multi-strategy importance pruning; terms ours",
        "msip:MsipLiteralImportance",
        needs_data=True,
        default_allocation="msip-literal",
        adapted=TERMS,
    ),
    _criterion(
        "msip-published",
        "MSIP as published",
        "The four printed formulas and nothing else: squared gradient, norm, share of weights "
        "that are not zero, bits about the label.",
        "Fang, multi-strategy importance pruning",
        "msip:MsipPublishedImportance",
        needs_data=True,
        default_allocation="msip-literal",
        adapted=("gradient",),
    ),
    _criterion(
        "l1", "L1 norm", "Removes the filters with the smallest sum of weights.",
        "Li et al. 2017, arXiv:1608.08710", "magnitude:L1Importance",
    ),
    _criterion(
        "l2", "L2 norm", "Removes the filters with the smallest energy.",
        "Li et al. 2017, arXiv:1608.08710", "magnitude:L2Importance",
    ),
    _criterion(
        "lamp", "LAMP", "Filter energy relative to the stronger filters of its layer.",
        "Lee et al. 2021, arXiv:2010.07611", "lamp:LampImportance",
        default_allocation="global", ranking="network",
    ),
    _criterion(
        "bnscale", "BN scale", "Removes channels whose batch-norm factor is small.",
        "Liu et al. 2017, arXiv:1708.06519", "bnscale:BnScaleImportance",
    ),
    _criterion(
        "slim", "Network Slimming",
        "One threshold over the batch-norm factors of the whole network; wants sparse training.",
        "Liu et al. 2017, arXiv:1708.06519", "slim:SlimImportance",
        default_allocation="global",
    ),
    _criterion(
        "bn-weight", "BN × weight",
        "Removes channels whose filter and batch-norm factor together are small.",
        "Pruned-YOLO, ICANN 2021", "bnweight:BnWeightImportance",
        default_allocation="global",
    ),
    _criterion(
        "group-norm", "Group norm (DepGraph)",
        "Energy of everything that hangs on a channel, relative to the strongest of its group.",
        "Fang et al. 2023, arXiv:2301.12900", "groupnorm:GroupNormImportance",
        default_allocation="global",
    ),
    _criterion(
        "fpgm", "FPGM", "Removes filters that resemble all others of their layer.",
        "He et al. 2019, arXiv:1811.00250", "fpgm:FpgmImportance",
    ),
    _criterion(
        "taylor", "Taylor", "Estimates how much the loss would rise without a channel.",
        "Molchanov et al. 2019, arXiv:1906.10771", "taylor:TaylorImportance",
        needs_data=True, default_allocation="global",
    ),
    _criterion(
        "taylor-abs", "Taylor, absolute",
        "Taylor without squaring: many small changes count as much as one large one.",
        "Molchanov et al. 2019, arXiv:1906.10771", "taylor:TaylorAbsImportance",
        needs_data=True, default_allocation="global",
    ),
    _criterion(
        "taylor-2", "Taylor, second order",
        "Adds up how sharply the loss bends with each weight, image by image.",
        "LeCun et al. 1989; Theis et al. 2018, arXiv:1801.05787", "taylor:TaylorSecondImportance",
        needs_data=True, default_allocation="global",
    ),
    _criterion(
        "obs", "OBS, after compensation",
        "Estimates how much the loss would rise without a channel after the others made up for it.",
        "Hassibi & Stork 1993; Kurtić et al. 2023, arXiv:2302.04089", "obs:ObsImportance",
        needs_data=True, default_allocation="msip",
    ),
    _criterion(
        "hrank", "HRank", "Removes channels whose feature maps are simple: of low rank.",
        "Lin et al. 2020, arXiv:2002.10179", "hrank:HRankImportance",
        needs_data=True,
    ),
    _criterion(
        "nisp", "NISP",
        "Hands the importance of the last layer back through the weights to every channel.",
        "Yu et al. 2018, arXiv:1711.05908", "nisp:NispImportance",
        needs_data=True, ranking="layer",
    ),
    _criterion(
        "nisp-inffs", "NISP with Inf-FS",
        "NISP that starts from how varied and how independent the last responses are.",
        "Yu et al. 2018, arXiv:1711.05908; Roffo et al. 2015", "nisp:NispInfFsImportance",
        needs_data=True, ranking="layer", least_images=3,
    ),
    _criterion(
        "random", "Random", "Removes channels by lot: the floor that any method must beat.",
        "-", "random:RandomImportance",
    ),
    Entry(
        "msip", "allocation", "Loss per MAC",
        "One threshold on score per MAC, so every layer gives what it can best spare.",
        "MSIP Lab", "msip_core.allocation.msip:LossPerMacAllocation",
        ranking="network",
    ),
    Entry(
        "msip-literal", "allocation", "Median threshold per layer",
        "Each layer loses the channels below alpha times its own median score.",
        "Fang, multi-strategy importance pruning",
        "msip_core.allocation.msip:MedianAllocation", ranking="layer",
    ),
    Entry(
        "uniform", "allocation", "Same share everywhere",
        "Every layer loses the same share of its channels.",
        "Li et al. 2017, arXiv:1608.08710", "msip_core.allocation.uniform:UniformAllocation",
        ranking="layer",
    ),
    Entry(
        "global", "allocation", "One ranking",
        "All channels of all layers are ranked together; the lowest go.",
        "Liu et al. 2017, arXiv:1708.06519", "msip_core.allocation.ranked:GlobalAllocation",
        ranking="network",
    ),
    Entry(
        "isomorphic", "allocation", "Like among like",
        "Channels are ranked among layers of the same structure; each kind loses the same share.",
        "Fang et al. 2024, arXiv:2407.04616",
        "msip_core.allocation.ranked:IsomorphicAllocation", ranking="network",
    ),
    Entry(
        "stages", "allocation", "Stage preset 30/20/10",
        "Backbone, neck and head lose 30, 20 and 10 %, scaled together to the goal.",
        "MSIP Lab", "msip_core.allocation.stages:StageAllocation", ranking="layer",
    ),
    Entry(
        "stages-strong", "allocation", "Stage preset 35/25/12.5",
        "Backbone, neck and head lose 35, 25 and 12.5 %, scaled together to the goal.",
        "MSIP Lab", "msip_core.allocation.stages:StrongStageAllocation", ranking="layer",
    ),
    Entry(
        "stages-order", "allocation", "Stages by sensitivity",
        "The head loses least, then the shallow backbone, the neck, and the deep backbone most.",
        "Pruned-YOLO, ICANN 2021",
        "msip_core.allocation.stages:OrderAllocation", ranking="layer",
    ),
    Entry(
        "sensitivity", "allocation", "Sensitivity of each layer",
        "Prunes each layer alone first, to see which ones hurt; all then cost the same accuracy.",
        "Li et al. 2017, arXiv:1608.08710",
        "msip_core.allocation.sensitivity:SensitivityAllocation", ranking="layer", searches=True,
    ),
    Entry(
        "search", "allocation", "Automatic search",
        "Tries sets of ratios of stages or modules at equal MACs and learns which keep accuracy.",
        "Akiba et al. 2019, arXiv:1907.10902", "msip_core.allocation.tpe:TpeAllocation",
        ranking="layer", searches=True,
    ),
    Entry(
        "netadapt", "allocation", "NetAdapt",
        "Shrinks one layer at a time, each time the one that loses least accuracy per MAC.",
        "Yang et al. 2018, arXiv:1804.03230",
        "msip_core.allocation.netadapt:NetAdaptAllocation", ranking="layer", searches=True,
    ),
    Entry(
        "amc", "allocation", "AMC",
        "An agent learns by reinforcement how much of each layer to keep.",
        "He et al. 2018, arXiv:1802.03494", "msip_core.allocation.amc:AmcAllocation",
        ranking="layer", searches=True,
    ),
    Entry(
        "channels", "granularity", "Channels", "Removes coupled channels.",
        "Fang et al. 2023, arXiv:2301.12900", "msip_core.pruning.channels:Channels",
    ),
    Entry(
        "modules", "granularity", "Channels of some modules",
        "Removes channels only inside modules of the chosen types; all others keep theirs.",
        "MSIP Lab", "msip_core.pruning.modules:Modules",
    ),
    Entry(
        "blocks", "granularity", "Blocks inside C2f",
        "Removes whole bottlenecks inside the C2f blocks, those that matter least first.",
        "MSIP Lab", "msip_core.pruning.blocks:Blocks",
    ),
    Entry(
        "mixed", "granularity", "Blocks, then channels",
        "Removes a few whole bottlenecks at first, then coupled channels.",
        "MSIP Lab", "msip_core.pruning.mixed:Mixed",
    ),
    Entry(
        "layerdrop", "granularity", "LayerDrop",
        "Removes every other bottleneck that has a shortcut; best after training with LayerDrop.",
        "Fan et al. 2020, arXiv:1909.11556", "msip_core.pruning.layerdrop:LayerDrop",
    ),
    Entry(
        "finetune", "recovery", "Fine-tuning", "Trains on after each cut.",
        "Li et al. 2017, arXiv:1608.08710", "msip_core.pruning.recovery:finetune",
    ),
    Entry(
        "cwd", "recovery", "Channel-wise distillation",
        "Trains on while the unpruned network shows where each channel should look.",
        "Shu et al. 2021, arXiv:2011.13256", "msip_core.pruning.recovery:cwd",
        taught_by="maps", softened=True,
    ),
    Entry(
        "feature", "recovery", "Feature distillation",
        "Trains on while the unpruned network shows its feature maps.",
        "Romero et al. 2015, arXiv:1412.6550", "msip_core.pruning.recovery:feature",
        taught_by="maps",
    ),
    Entry(
        "prediction", "recovery", "Prediction distillation",
        "Trains on while the unpruned network shows what it predicts.",
        "Zheng et al. 2022, arXiv:2102.12252", "msip_core.pruning.recovery:prediction",
        taught_by="predictions", softened=True,
    ),
    Entry(
        "crosskd", "recovery", "Cross-head distillation (CrossKD)",
        "Trains on while the head of the unpruned network reads what its own head computed first.",
        "Wang et al. 2023, arXiv:2306.11369", "msip_core.pruning.recovery:crosskd",
        taught_by="predictions", softened=True,
    ),
    Entry(
        "sparse", "recovery", "Sparse training",
        "Pushes batch-norm factors to zero before the first cut, then trains on after each.",
        "Liu et al. 2017, arXiv:1708.06519", "msip_core.pruning.recovery:finetune",
    ),
    Entry(
        "gradcam", "explainer", "Grad-CAM", "Where the score of a detection is sensitive.",
        "Selvaraju et al. 2017, arXiv:1610.02391", "msip_core.explain.cam:explain_detection",
    ),
    Entry(
        "layercam", "explainer", "LayerCAM",
        "Grad-CAM that weighs each place by itself: finer, close to the object.",
        "Jiang et al. 2021, IEEE TIP 30:5875", "msip_core.explain.cam:layercam",
    ),
    Entry(
        "eigencam", "explainer", "EigenCAM",
        "What stands out in the feature maps, whatever the class.",
        "Muhammad & Yeasin 2020, arXiv:2008.00299", "msip_core.explain.cam:eigencam",
    ),
    Entry(
        "shap", "explainer", "SHAP", "What each patch of the image adds to a detection.",
        "Lundberg & Lee 2017, arXiv:1705.07874", "msip_core.explain.shapley:explain_detection",
    ),
)  # fmt: skip


def _family(family: Family) -> Mapping[str, Entry]:
    return MappingProxyType({e.name: e for e in _ENTRIES if e.family == family})


CRITERIA = _family("criterion")
ALLOCATIONS = _family("allocation")
GRANULARITIES = _family("granularity")
RECOVERIES = _family("recovery")
EXPLAINERS = _family("explainer")
FAMILIES: Mapping[Family, Mapping[str, Entry]] = MappingProxyType(
    {
        "criterion": CRITERIA,
        "allocation": ALLOCATIONS,
        "granularity": GRANULARITIES,
        "recovery": RECOVERIES,
        "explainer": EXPLAINERS,
    }
)


def find(family: Family, name: str) -> Entry:
    """The entry of that name, or a sentence with the names that exist."""
    try:
        return FAMILIES[family][name]
    except KeyError:
        known = ", ".join(FAMILIES[family])
        raise ConfigError(f"There is no {family} named '{name}'; known: {known}.") from None
