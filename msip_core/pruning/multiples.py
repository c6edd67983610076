"""The multiple that a goal in milliseconds leaves channels in: the one this computer is fast with.

    worth(n) = sum of the layers' full times, each times the share of its MACs that is left
    fixed    = least of (time(n) - worth(n)) / (1 - worth(n)), not below 0
    cost(n)  = fixed + (time(n) - fixed) * worth(8) / worth(n),   n in {8, 16}, on a GPU to 64

Time is a share of the unpruned network's, fixed the part of it that no width changes, cost what a
network as good as that in multiples of 8 would take. Layers are weighed by their time, not counted
by multiply-adds: a coarse multiple leaves narrow early layers whole, whose multiply-adds are dear
where maps must be moved and cheap where weights must, and would be judged by that.
Convolution kernels keep maps in blocks of as many channels as a vector register holds; ONNX Runtime
takes 16 of them with AVX-512 and 8 with AVX2. A width between two blocks is padded, or laid out
anew where maps are joined, so two networks of equal MACs can differ by an eighth in time. Tensor
cores multiply tiles, and kernels are built for tiles of 32 to 256 channels. No table of single
layers shows all of that: it is measured on whole networks, the same share of every layer cut by L2
norm, in each multiple, timed in turn. A multiple in which the run cannot come to its goal is left
out. The finest stays unless a coarser one is clearly faster, since it leaves the allocation more
to choose from.
Source: blocked layout, Georganas et al. 2018, arXiv:1808.05567; in ONNX Runtime,
github.com/microsoft/onnxruntime/pull/1283. Tiles: NVIDIA, "Matrix Multiplication Background",
docs.nvidia.com/deeplearning/performance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msip_core.allocation.goal import goal_of
from msip_core.allocation.table import GroupTable, Scores
from msip_core.allocation.uniform import UniformAllocation
from msip_core.config import PruneConfig
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.events import MilestoneRecord, RunContext
from msip_core.groups.budget import Budget, Widths
from msip_core.groups.coupling import prunable_groups
from msip_core.importance.magnitude import L2Importance
from msip_core.messages import msg
from msip_core.pruning.folder import RunFolder
from msip_core.pruning.granularity import granularity_of
from msip_core.pruning.iteration import widths_of
from msip_core.pruning.latency_goal import FAR, MULTIPLES, LatencyGoal, finds_multiple
from msip_core.pruning.schedule import final_window
from msip_core.pruning.surgery import prune_channels

CLEARLY = 0.02  # a multiple that saves less than this share of the time is not worth its coarseness
# Milliseconds fall slower than MACs. Half the time of YOLOv8n was a quarter to a third of the MACs.
_MACS_EXPONENT = 1.5
_FILE = "multiple.json"


def settled(
    config: PruneConfig,
    ctx: RunContext,
    network: DetectionModel,
    budget: Budget,
    watch: LatencyGoal,
) -> PruneConfig:
    """The config with "auto" replaced by what was measured; read from the folder when resumed.

    The cut networks that are measured for it also tell the watch how much of the time is fixed;
    where a number was asked for, one is measured for that.

    Args:
        network: the unpruned network, which is not changed.
    """
    if config.goal[0] != "latency" or not granularity_of(config).takes_channels:
        return config
    folder = RunFolder(ctx.run_dir)
    found = folder.read_json(_FILE)
    chosen = found["multiple"] if found else None
    open_ = finds_multiple(config)
    if not watch.has_learned or (open_ and chosen is None):
        known = chosen if open_ else config.limits.multiple
        asked = MULTIPLES[watch.way.on_gpu] if known is None else (known,)
        tried = _tried([in_multiples(config, n) for n in asked], network, budget, watch)
        if known is None:
            reached = {n: one for n, one in tried.items() if _reaches(one, network, budget, watch)}
            # Where none does, the finest is refused with the reason.
            costs = costs_of(tried)
            known = chosen = choose({n: costs[n] for n in reached} or {asked[0]: 1})
            folder.write_json(
                _FILE,
                {
                    "multiple": chosen,
                    "costs": {str(n): cost for n, cost in costs.items()},
                    "ms_per_gmac": {str(n): one.per_mac for n, one in tried.items()},
                },
            )
            ctx.emit(MilestoneRecord(message=_sentence(costs, chosen)))
        watch.learn(tried[known].widths, tried[known].share)
    return in_multiples(config, chosen) if open_ and chosen else config


def in_multiples(config: PruneConfig, multiple: int) -> PruneConfig:
    """The same run with its channels in these multiples."""
    limits = config.limits.model_copy(update={"round_to": multiple})
    return config.model_copy(update={"limits": limits})


class Tried(NamedTuple):
    """A network cut in one multiple.

    Attributes:
        widths: what each group keeps.
        share: of the unpruned network's milliseconds.
        worth: as above.
        per_mac: milliseconds per GMAC.
    """

    config: PruneConfig
    widths: Widths
    share: float
    worth: float
    per_mac: float


def _reaches(one: Tried, network: DetectionModel, budget: Budget, watch: LatencyGoal) -> bool:
    """Whether the limits in this multiple lead to the goal, as far as the table of layers and this
    cut tell."""
    meter = watch.meter.through(budget, one.widths, one.share * watch.baseline_ms)
    goal, granularity = goal_of(one.config, budget, meter), granularity_of(one.config)
    return granularity.least(network, budget, goal) <= goal.amount * (1 + FAR)


def is_settled(folder: RunFolder) -> bool:
    """Whether an earlier sitting has measured it."""
    return folder.read_json(_FILE) is not None


def choose(costs: Mapping[int, float]) -> int:
    """The finest multiple whose cost is not clearly above the best."""
    best = min(costs.values())
    return min(n for n, cost in costs.items() if best > (1 - CLEARLY) * cost)


def _tried(
    configs: Sequence[PruneConfig], network: DetectionModel, budget: Budget, watch: LatencyGoal
) -> dict[int, Tried]:
    """Multiple -> a network that was cut in it and measured."""
    groups = prunable_groups(network).groups
    criterion = L2Importance()
    scores = {name: score.numpy() for name, score in criterion.scores(groups).items()}
    cuts = {one.limits.multiple: _cut(one, network, budget, scores) for one in configs}
    times = watch.medians({str(n): model for n, (model, _, _) in cuts.items()})
    found = {}
    for one, (n, (_, widths, macs)) in zip(configs, cuts.items(), strict=True):
        share = times[str(n)] / times["baseline"]
        worth = watch.meter.worth(budget, widths)
        found[n] = Tried(one, widths, share, worth, times[str(n)] / (macs / 1e9))
    return found


def costs_of(tried: Mapping[int, Tried]) -> dict[int, float]:
    """Multiple -> cost, as above; the finest comes first."""
    seem_fixed = [(o.share - o.worth) / (1 - o.worth) for o in tried.values() if o.worth < 1]
    fixed = max(0.0, min(seem_fixed, default=0.0))
    finest = next(iter(tried.values())).worth
    return {n: fixed + (one.share - fixed) * finest / one.worth for n, one in tried.items()}


def _cut(
    config: PruneConfig, network: DetectionModel, budget: Budget, scores: Mapping[str, Scores]
) -> tuple[DetectionModel, Widths, float]:
    """The network with the same share of every layer gone, its widths and its MACs."""
    limits = config.limits.model_copy(update={"cost": "macs"})
    amount = config.goal[1] ** _MACS_EXPONENT * budget.macs_now
    found = UniformAllocation(limits).allocate(
        GroupTable(budget, scores, widths_of(budget)),
        final_window(amount, limits.multiple),
        iterations=config.iterations,
    )
    model = copy_model(network)
    prune_channels(model, found.removed)
    return model, budget.vector(found.widths), found.macs


def _sentence(costs: Mapping[int, float], chosen: int) -> str:
    # A coarser one that costs less but does not lead to the goal is no comparison.
    finer = [n for n in costs if n < chosen]
    other = min(finer or [n for n in costs if n != chosen], key=lambda n: costs[n])
    ratio = costs[chosen] / costs[other]
    return msg(
        "Channels are left in multiples of {chosen}: this computer then takes {ratio:.1%} of the "
        "time that it takes with multiples of {other} for as much of the network.",
        chosen=chosen,
        ratio=ratio,
        other=other,
    )
