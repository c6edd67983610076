"""The multiple that a goal in milliseconds leaves channels in: the one this computer is fast with.

    time per MAC of multiple n = ms(n) / MACs(n),    n in {8, 16}

Convolution kernels keep maps in blocks of as many channels as a vector register holds; ONNX Runtime
takes 16 of them with AVX-512 and 8 with AVX2. A width between two blocks is padded, or laid out
anew where maps are joined, so two networks of equal MACs can differ by an eighth in time. No table
of single layers shows that: it is measured on whole networks, the same share of every layer cut
by L2 norm, in either multiple, timed in turn. The finer multiple stays unless the coarser one is
clearly faster, since it leaves the allocation more to choose from.
Source: blocked layout, Georganas et al. 2018, arXiv:1808.05567; in ONNX Runtime,
github.com/microsoft/onnxruntime/pull/1283.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msip_core.allocation.budget import Budget
from msip_core.allocation.table import GroupTable, Scores
from msip_core.allocation.uniform import UniformAllocation
from msip_core.config import PruneConfig
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.events import MilestoneRecord, RunContext
from msip_core.importance.magnitude import L2Importance
from msip_core.pruning.folder import RunFolder
from msip_core.pruning.iteration import widths_of
from msip_core.pruning.schedule import final_window
from msip_core.pruning.stopwatch import finds_multiple
from msip_core.pruning.surgery import prunable_groups, prune_channels

MULTIPLES = (8, 16)  # finest first
CLEARLY = 0.02  # a multiple that saves less than this share of the time is not worth its coarseness
# Milliseconds fall slower than MACs. Half the time of YOLOv8n was a quarter to a third of the MACs.
_MACS_EXPONENT = 1.5
_FILE = "multiple.json"

Clock = Callable[[Mapping[str, DetectionModel]], Mapping[str, float]]


def settled(
    config: PruneConfig, ctx: RunContext, network: DetectionModel, budget: Budget, clock: Clock
) -> PruneConfig:
    """The config with "auto" replaced by what was measured; read from the folder when resumed.

    Args:
        network: the unpruned network, which is not changed.
        clock: milliseconds of networks, measured in turn.
    """
    if not finds_multiple(config):
        return config
    folder = RunFolder(ctx.run_dir)
    found = folder.read_json(_FILE)
    if found is None:
        per_mac = _time_per_mac(config, network, budget, clock)
        times = {str(n): time for n, time in per_mac.items()}
        found = {"multiple": choose(per_mac), "ms_per_gmac": times}
        folder.write_json(_FILE, found)
        ctx.emit(MilestoneRecord(message=_sentence(per_mac, found["multiple"])))
    limits = config.limits.model_copy(update={"round_to": found["multiple"]})
    return config.model_copy(update={"limits": limits})


def is_settled(folder: RunFolder) -> bool:
    """Whether an earlier sitting has measured it."""
    return folder.read_json(_FILE) is not None


def choose(per_mac: Mapping[int, float]) -> int:
    """The finest multiple whose time per MAC is not clearly above the best."""
    best = min(per_mac.values())
    return min(n for n, time in per_mac.items() if best > (1 - CLEARLY) * time)


def _time_per_mac(
    config: PruneConfig, network: DetectionModel, budget: Budget, clock: Clock
) -> dict[int, float]:
    """Multiple -> milliseconds per GMAC of a network cut in it."""
    groups = prunable_groups(network).groups
    criterion = L2Importance()
    scores = {name: score.numpy() for name, score in criterion.scores(groups).items()}
    cuts = {n: _cut(config, network, budget, scores, n) for n in MULTIPLES}
    times = clock({str(n): model for n, (model, _) in cuts.items()})
    return {n: times[str(n)] / (macs / 1e9) for n, (_, macs) in cuts.items()}


def _cut(
    config: PruneConfig, network: DetectionModel, budget: Budget, scores: Mapping[str, Scores],
    multiple: int,
) -> tuple[DetectionModel, float]:  # fmt: skip
    """The network with the same share of every layer gone, and its MACs."""
    limits = config.limits.model_copy(update={"round_to": multiple, "cost": "macs"})
    amount = config.goal[1] ** _MACS_EXPONENT * budget.macs_now
    found = UniformAllocation(limits).allocate(
        GroupTable(budget, scores, widths_of(budget)), final_window(amount, multiple),
        iterations=config.iterations,
    )  # fmt: skip
    model = copy_model(network)
    prune_channels(model, found.removed)
    return model, found.macs


def _sentence(per_mac: Mapping[int, float], chosen: int) -> str:
    (other,) = [n for n in per_mac if n != chosen]
    ratio = per_mac[chosen] / per_mac[other]
    return (
        f"Channels are left in multiples of {chosen}: this computer then takes {ratio:.1%} of the "
        f"time that it takes with multiples of {other} for the same multiply-adds."
    )
