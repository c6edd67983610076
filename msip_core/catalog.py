"""Every strategy by name: label, one plain line, paper, and where its code lies. No torch.

Menus, the command line, reports, the README's table (`assets/readme.py`) and the contract suites
read this, and nothing asks for a strategy by its name. One is added by writing its file and listing
it here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any, Literal, get_args

from msip_core.errors import ConfigError
from msip_core.messages import mark
from msip_core.scoring import TERMS

Family = Literal["criterion", "allocation", "granularity", "recovery", "explainer"]
Ranking = Literal["any", "layer", "network"]
HeatMap = Literal["gradcam", "layercam", "eigencam"]  # as HEAT_MAPS, for those who ask by type
Removed = Literal["blocks", "channels"]
_FANG = ("fang_msip",)


@dataclass(frozen=True, slots=True)
class Entry:
    """One strategy.

    Attributes:
        target: "module:attribute", imported on first use.
        cites: keys in views/references.bib, of the works behind it.
        usual: goes without saying in a methods paragraph (granularities, recoveries).
        settings: what it reads that not every strategy beside it does (`msip_core.config`).

        needs_data: the calibration pass must run before it can score (criteria only).
        default_allocation: the allocation that the method was published with (criteria only).
        ranking: of a criterion, where its scores may be compared; of an allocation, where it
            compares them: inside each layer, or in one ranking of the whole network.
        least_images: fewest calibration images that it can score from (criteria only).
        adapted: of a criterion with MSIP's four weights, those that follow validation; empty for
            a criterion without weights.
        loss_unit: its terms are in the unit of the loss, and fused as asked for (criteria only).
        variant: what it does differently from the work that it cites, as it stands in a methods
            paragraph (criteria only).

        searches: it tries out networks before the first cut (allocations only).
        takes: what a cut may take away (granularities only).
        taught_by: what of the unpruned network, which runs along while training, is compared;
            "" where none does (recoveries only).
        softened: its distributions have a temperature (recoveries only).
        sparse: it trains sparsely before the first cut (recoveries only).

        job: the interactive job that computes it, where an explainer named so is the plain one
            (explainers only).
        caption: one line for whoever looks at its map (explainers only).
    """

    name: str
    family: Family
    label: str
    description: str
    paper: str
    target: str
    cites: tuple[str, ...] = ()
    usual: bool = False
    settings: tuple[str, ...] = ()
    needs_data: bool = False
    default_allocation: str = ""
    ranking: Ranking = "any"
    least_images: int = 1
    adapted: tuple[str, ...] = ()
    loss_unit: bool = False
    variant: str = ""
    searches: bool = False
    takes: frozenset[Removed] = frozenset()
    taught_by: Literal["", "maps", "predictions"] = ""
    softened: bool = False
    sparse: bool = False
    job: str = ""
    caption: str = ""

    @property
    def has_term_weights(self) -> bool:
        """Whether it has MSIP's four weights."""
        return bool(self.adapted)

    @property
    def needs_teacher(self) -> bool:
        """Whether the unpruned network runs along while training."""
        return bool(self.taught_by)

    def load(self) -> Any:
        """Import the strategy's class or function."""
        return resolve_name(self.target)


def _criterion(
    name: str, label: str, description: str, paper: str, attribute: str, **more: Any
) -> Entry:
    more.setdefault("default_allocation", "uniform")
    return Entry(
        name, "criterion", label, description, paper, f"msip_core.importance.{attribute}", **more
    )


_BLOCKS: frozenset[Removed] = frozenset({"blocks"})
_CHANNELS: frozenset[Removed] = frozenset({"channels"})
_ENTRIES = (
    _criterion(
        "msip",
        mark("MSIP, loss per MAC"),
        mark("Four signals in one score, weighed against what a channel costs."),
        mark("Fang, multi-strategy importance pruning; terms and fusion ours"),
        "msip:MsipImportance",
        needs_data=True,
        default_allocation="msip",
        adapted=TERMS, cites=_FANG, loss_unit=True,
        variant=", in a variant that compares the scores of all layers, per multiply-add, and "
        "measures geometry, sparsity and information on the responses that reach the next layers,",
    ),
    _criterion(
        "msip-literal",
        mark("MSIP, the paper's sum"),
        mark("Our reading of the four signals, added up within each layer as the paper adds them."),
        mark("Fang, multi-strategy importance pruning; terms ours"),
        "msip:MsipLiteralImportance",
        needs_data=True,
        default_allocation="msip-literal",
        adapted=TERMS, cites=_FANG,
        variant=", with the paper's weighted sum over our reading of its terms,",
    ),
    _criterion(
        "msip-published", mark("MSIP as published"),
        mark("The four printed formulas and nothing else: squared gradient, norm, share of "
             "weights that are not zero, bits about the label."),
        mark("Fang, multi-strategy importance pruning"), "msip:MsipPublishedImportance",
        needs_data=True,
        default_allocation="msip-literal",
        adapted=("gradient",), cites=_FANG,
    ),
    _criterion(
        "l1", mark("L1 norm"), mark("Removes the filters with the smallest sum of weights."),
        "Li et al. 2017, arXiv:1608.08710", "magnitude:L1Importance", cites=("li2017filters",),
    ),
    _criterion(
        "l2", mark("L2 norm"), mark("Removes the filters with the smallest energy."),
        "Li et al. 2017, arXiv:1608.08710", "magnitude:L2Importance", cites=("li2017filters",),
    ),
    _criterion(
        "lamp", mark("LAMP"), mark("Filter energy relative to the stronger filters of its layer."),
        "Lee et al. 2021, arXiv:2010.07611", "lamp:LampImportance",
        default_allocation="global", ranking="network", cites=("lee2021lamp",),
    ),
    _criterion(
        "bnscale", mark("BN scale"), mark("Removes channels whose batch-norm factor is small."),
        "Liu et al. 2017, arXiv:1708.06519", "bnscale:BnScaleImportance",
        cites=("liu2017slimming",),
    ),
    _criterion(
        "slim", mark("Network Slimming"),
        mark("One threshold over the batch-norm factors of the whole network; wants sparse "
             "training."),
        "Liu et al. 2017, arXiv:1708.06519", "slim:SlimImportance",
        default_allocation="global", cites=("liu2017slimming",),
    ),
    _criterion(
        "bn-weight", mark("BN × weight"),
        mark("Removes channels whose filter and batch-norm factor together are small."),
        "Pruned-YOLO, ICANN 2021", "bnweight:BnWeightImportance",
        default_allocation="global", cites=("zhang2021prunedyolo",),
    ),
    _criterion(
        "group-norm", mark("Group norm (DepGraph)"),
        mark("Energy of everything that hangs on a channel, relative to the strongest of its "
             "group."),
        "Fang et al. 2023, arXiv:2301.12900", "groupnorm:GroupNormImportance",
        default_allocation="global", cites=("fang2023depgraph",),
    ),
    _criterion(
        "fpgm", mark("FPGM"), mark("Removes filters that resemble all others of their layer."),
        "He et al. 2019, arXiv:1811.00250", "fpgm:FpgmImportance", cites=("he2019fpgm",),
    ),
    _criterion(
        "taylor", mark("Taylor"), mark("Estimates how much the loss would rise without a channel."),
        "Molchanov et al. 2019, arXiv:1906.10771", "taylor:TaylorImportance",
        needs_data=True, default_allocation="global", cites=("molchanov2019taylor",),
    ),
    _criterion(
        "taylor-abs", mark("Taylor, absolute"),
        mark("Taylor without squaring: many small changes count as much as one large one."),
        "Molchanov et al. 2019, arXiv:1906.10771", "taylor:TaylorAbsImportance",
        needs_data=True, default_allocation="global", cites=("molchanov2019taylor",),
    ),
    _criterion(
        "taylor-2", mark("Taylor, second order"),
        mark("Adds up how sharply the loss bends with each weight, image by image."),
        "LeCun et al. 1989; Theis et al. 2018, arXiv:1801.05787", "taylor:TaylorSecondImportance",
        needs_data=True, default_allocation="global", cites=("lecun1989damage", "theis2018fisher"),
    ),
    _criterion(
        "obs", mark("OBS, after compensation"),
        mark("Estimates how much the loss would rise without a channel after the others made up "
             "for it."),
        "Hassibi & Stork 1993; Kurtić et al. 2023, arXiv:2302.04089", "obs:ObsImportance",
        needs_data=True, default_allocation="msip", cites=("hassibi1993surgeon", "kurtic2023ziplm"),
    ),
    _criterion(
        "hrank", mark("HRank"),
        mark("Removes channels whose feature maps are simple: of low rank."),
        "Lin et al. 2020, arXiv:2002.10179", "hrank:HRankImportance",
        needs_data=True, cites=("lin2020hrank",),
    ),
    _criterion(
        "nisp", mark("NISP"),
        mark("Hands the importance of the last layer back through the weights to every channel."),
        "Yu et al. 2018, arXiv:1711.05908", "nisp:NispImportance",
        needs_data=True, ranking="layer", cites=("yu2018nisp",),
    ),
    _criterion(
        "nisp-inffs", mark("NISP with Inf-FS"),
        mark("NISP that starts from how varied and how independent the last responses are."),
        "Yu et al. 2018, arXiv:1711.05908; Roffo et al. 2015", "nisp:NispInfFsImportance",
        needs_data=True, ranking="layer", least_images=3, cites=("yu2018nisp", "roffo2015inffs"),
    ),
    _criterion(
        "random", mark("Random"),
        mark("Removes channels by lot: the floor that any method must beat."), "-",
        "random:RandomImportance",
    ),
    Entry(
        "msip", "allocation", mark("Loss per MAC"),
        mark("One threshold on score per MAC, so every layer gives what it can best spare."),
        "MSIP Lab", "msip_core.allocation.msip:LossPerMacAllocation",
        ranking="network", settings=("limits.cost",),
    ),
    Entry(
        "msip-literal", "allocation", mark("Median threshold per layer"),
        mark("Each layer loses the channels below alpha times its own median score."),
        mark("Fang, multi-strategy importance pruning"),
        "msip_core.allocation.msip:MedianAllocation", ranking="layer",
        cites=_FANG,
    ),
    Entry(
        "uniform", "allocation", mark("Same share everywhere"),
        mark("Every layer loses the same share of its channels."),
        "Li et al. 2017, arXiv:1608.08710", "msip_core.allocation.uniform:UniformAllocation",
        ranking="layer", cites=("li2017filters",),
    ),
    Entry(
        "global", "allocation", mark("One ranking"),
        mark("All channels of all layers are ranked together; the lowest go."),
        "Liu et al. 2017, arXiv:1708.06519", "msip_core.allocation.ranked:GlobalAllocation",
        ranking="network", cites=("liu2017slimming",),
    ),
    Entry(
        "isomorphic", "allocation", mark("Like among like"),
        mark("Channels are ranked among layers of the same structure; each kind loses the same "
             "share."),
        "Fang et al. 2024, arXiv:2407.04616", "msip_core.allocation.ranked:IsomorphicAllocation",
        ranking="network", cites=("fang2024isomorphic",),
    ),
    Entry(
        "stages", "allocation", mark("Stage preset 30/20/10"),
        mark("Backbone, neck and head lose 30, 20 and 10 %, scaled together to the goal."),
        "MSIP Lab", "msip_core.allocation.stages:StageAllocation", ranking="layer",
    ),
    Entry(
        "stages-strong", "allocation", mark("Stage preset 35/25/12.5"),
        mark("Backbone, neck and head lose 35, 25 and 12.5 %, scaled together to the goal."),
        "MSIP Lab", "msip_core.allocation.stages:StrongStageAllocation", ranking="layer",
    ),
    Entry(
        "stages-order", "allocation", mark("Stages by sensitivity"),
        mark("The head loses least, then the shallow backbone, the neck, and the deep backbone "
             "most."),
        "Pruned-YOLO, ICANN 2021", "msip_core.allocation.stages:OrderAllocation", ranking="layer",
        cites=("zhang2021prunedyolo",),
    ),
    Entry(
        "sensitivity", "allocation", mark("Sensitivity of each layer"),
        mark("Prunes each layer alone first, to see which ones hurt; all then cost the same "
             "accuracy."),
        "Li et al. 2017, arXiv:1608.08710",
        "msip_core.allocation.sensitivity:SensitivityAllocation", ranking="layer", searches=True,
        cites=("li2017filters",), settings=("search.grid",),
    ),
    Entry(
        "search", "allocation", mark("Automatic search"),
        mark("Tries sets of ratios of stages or modules at equal MACs and learns which keep "
             "accuracy."),
        "Akiba et al. 2019, arXiv:1907.10902", "msip_core.allocation.tpe:TpeAllocation",
        ranking="layer", searches=True, cites=("akiba2019optuna",),
        settings=("search.trials", "search.space", "search.stage_bounds", "search.sampler",
                  "search.finalists", "search.short_steps", "search.short_lr"),
    ),
    Entry(
        "netadapt", "allocation", mark("NetAdapt"),
        mark("Shrinks one layer at a time, each time the one that loses least accuracy per MAC."),
        "Yang et al. 2018, arXiv:1804.03230",
        "msip_core.allocation.netadapt:NetAdaptAllocation", ranking="layer", searches=True,
        cites=("yang2018netadapt",), settings=(
            "search.candidates", "search.accept", "search.first_step", "search.step_decay",
            "search.short_steps", "search.short_lr"),
    ),
    Entry(
        "amc", "allocation", mark("AMC"),
        mark("An agent learns by reinforcement how much of each layer to keep."),
        "He et al. 2018, arXiv:1802.03494", "msip_core.allocation.amc:AmcAllocation",
        ranking="layer", searches=True, cites=("he2018amc",),
        settings=("search.episodes", "search.random_episodes", "search.reward"),
    ),
    Entry(
        "channels", "granularity", mark("Channels"), mark("Removes coupled channels."),
        "Fang et al. 2023, arXiv:2301.12900", "msip_core.pruning.channels:Channels",
        cites=("fang2023depgraph",), usual=True, takes=_CHANNELS,
    ),
    Entry(
        "modules", "granularity", mark("Channels of some modules"),
        mark("Removes channels only inside modules of the chosen types; all others keep theirs."),
        "MSIP Lab", "msip_core.pruning.modules:Modules", takes=_CHANNELS, settings=("modules",),
    ),
    Entry(
        "blocks", "granularity", mark("Blocks inside C2f"),
        mark("Removes whole bottlenecks inside the C2f blocks, those that matter least first."),
        "MSIP Lab", "msip_core.pruning.blocks:Blocks", takes=_BLOCKS, settings=("block_score",),
    ),
    Entry(
        "mixed", "granularity", mark("Blocks, then channels"),
        mark("Removes a few whole bottlenecks at first, then coupled channels."),
        "MSIP Lab", "msip_core.pruning.mixed:Mixed",
        takes=_BLOCKS | _CHANNELS, settings=("blocks", "block_score"),
    ),
    Entry(
        "layerdrop", "granularity", mark("LayerDrop"),
        mark("Removes every other bottleneck that has a shortcut; best after training with "
             "LayerDrop."),
        "Fan et al. 2020, arXiv:1909.11556", "msip_core.pruning.layerdrop:LayerDrop",
        cites=("fan2020layerdrop",), takes=_BLOCKS, settings=("layerdrop_rule", "block_score"),
    ),
    Entry(
        "finetune", "recovery", mark("Fine-tuning"), mark("Trains on after each cut."),
        "Li et al. 2017, arXiv:1608.08710", "msip_core.pruning.recovery:finetune",
        cites=("li2017filters",), usual=True,
    ),
    Entry(
        "cwd", "recovery", mark("Channel-wise distillation"),
        mark("Trains on while the unpruned network shows where each channel should look."),
        "Shu et al. 2021, arXiv:2011.13256", "msip_core.pruning.recovery:cwd",
        taught_by="maps", softened=True, cites=("shu2021cwd",),
    ),
    Entry(
        "feature", "recovery", mark("Feature distillation"),
        mark("Trains on while the unpruned network shows its feature maps."),
        "Romero et al. 2015, arXiv:1412.6550", "msip_core.pruning.recovery:feature",
        taught_by="maps", cites=("romero2015fitnets",),
    ),
    Entry(
        "prediction", "recovery", mark("Prediction distillation"),
        mark("Trains on while the unpruned network shows what it predicts."),
        "Zheng et al. 2022, arXiv:2102.12252", "msip_core.pruning.recovery:prediction",
        taught_by="predictions", softened=True, cites=("zheng2022localization",),
    ),
    Entry(
        "crosskd", "recovery", mark("Cross-head distillation (CrossKD)"),
        mark("Trains on while the head of the unpruned network reads what its own head computed "
             "first."),
        "Wang et al. 2023, arXiv:2306.11369", "msip_core.pruning.recovery:crosskd",
        taught_by="predictions", softened=True, cites=("wang2024crosskd",),
    ),
    Entry(
        "sparse", "recovery", mark("Sparse training"),
        mark("Pushes batch-norm factors to zero before the first cut, then trains on after each."),
        "Liu et al. 2017, arXiv:1708.06519", "msip_core.pruning.recovery:finetune",
        cites=("liu2017slimming",), sparse=True,
    ),
    Entry(
        "gradcam", "explainer", mark("Grad-CAM"),
        mark("Where the score of a detection is sensitive."),
        "Selvaraju et al. 2017, arXiv:1610.02391", "msip_core.explain.cam:explain_detection",
        cites=("selvaraju2017gradcam",), job="gradcam",
        caption=mark("Grad-CAM: which features raise the score of this object, and where "
                     "they lie."),
    ),
    Entry(
        "layercam", "explainer", mark("LayerCAM"),
        mark("Grad-CAM that weighs each place by itself: finer, close to the object."),
        "Jiang et al. 2021, IEEE TIP 30:5875", "msip_core.explain.cam:layercam",
        cites=("jiang2021layercam",), job="gradcam",
        caption=mark("LayerCAM: the same, weighed at each place alone; finer, and noisier."),
    ),
    Entry(
        "eigencam", "explainer", mark("EigenCAM"),
        mark("What stands out in the feature maps, whatever the class."),
        "Muhammad & Yeasin 2020, arXiv:2008.00299", "msip_core.explain.cam:eigencam",
        cites=("muhammad2020eigencam",), job="gradcam",
        caption=mark("EigenCAM: what stands out in the layer, whatever object and class."),
    ),
    Entry(
        "shap", "explainer", mark("SHAP"),
        mark("What each patch of the image adds to a detection."),
        "Lundberg & Lee 2017, arXiv:1705.07874", "msip_core.explain.shapley:explain_detection",
        cites=("lundberg2017shap",), job="shap",
    ),
)  # fmt: skip


def _family(family: Family) -> Mapping[str, Entry]:
    return MappingProxyType({e.name: e for e in _ENTRIES if e.family == family})


FAMILIES: Mapping[Family, Mapping[str, Entry]] = MappingProxyType(
    {family: _family(family) for family in get_args(Family)}
)
CRITERIA, ALLOCATIONS, GRANULARITIES, RECOVERIES, EXPLAINERS = FAMILIES.values()
HEAT_MAPS: Mapping[str, Entry] = MappingProxyType(
    {name: entry for name, entry in EXPLAINERS.items() if entry.job == "gradcam"}
)
PLAIN_EXPLAINERS: Mapping[str, Entry] = MappingProxyType(
    {name: entry for name, entry in EXPLAINERS.items() if entry.job == name}
)


def find(family: Family, name: str) -> Entry:
    """The entry of that name, or a sentence with the names that exist."""
    try:
        return FAMILIES[family][name]
    except KeyError:
        known = ", ".join(FAMILIES[family])
        raise ConfigError(
            "There is no {family} named '{name}'; known: {known}.",
            family=family,
            name=name,
            known=known,
        ) from None
