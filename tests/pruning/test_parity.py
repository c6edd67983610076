"""Where torch-pruning is right, we remove exactly the channels that it removes; where it is not,
its error is shown.

`plain` is what a script with torch-pruning alone does: a pruner, a ratio, one step.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn
from ultralytics.utils.loss import v8DetectionLoss

from msip_core.allocation.table import GroupTable
from msip_core.catalog import find
from msip_core.config import AllocationOptions, TrainingRecipe
from msip_core.detector.c2f import to_c2f_v2
from msip_core.detector.checkpoints import round_to_half
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.detector.sources import load_source_model
from msip_core.groups.coupling import fixed_layers, prunable_groups
from msip_core.groups.members import Member, members
from msip_core.importance.calibration import CalibrationSet
from msip_core.importance.random import RandomImportance
from msip_core.importance.statistics import Statistics, gather, ready
from msip_core.importance.taylor import TaylorAbsImportance
from msip_core.pruning.folder import RunFolder
from msip_core.pruning.loop import run
from msip_core.pruning.schedule import final_window
from msip_core.questions.sources import SavedModel
from msip_core.workspace import Workspace
from tests.allocation.kit import budget_of, counted, widths_of
from tests.importance.kit import drawn_calibration, thin_detector
from tests.pruning.kit import BASELINE, IMGSZ, Listener, config

# The caps are ours: they are opened as far as they go.
FREE = AllocationOptions(round_to=1, max_removed_per_iteration=0.99, min_kept=0.001)
Removed = dict[str, tuple[int, ...]]


@pytest.fixture(scope="module")
def network() -> DetectionModel:
    return thin_detector(0.25)


def plain(
    model: DetectionModel, importance: Any, ratio: float, **pruner: Any
) -> tuple[DetectionModel, Removed]:
    """A copy pruned by torch-pruning, and the channels that it removed by first convolution: its
    own root is the last one, since it walks backwards from the outputs."""
    twin = copy_model(model).eval()
    for parameter in twin.parameters():
        parameter.requires_grad_(True)
    names = {module: name for name, module in twin.named_modules()}
    place = {module: i for i, module in enumerate(names)}
    step = tp.pruner.BasePruner(
        twin,
        torch.zeros(1, 3, IMGSZ, IMGSZ),
        importance,
        pruning_ratio=ratio,
        ignored_layers=fixed_layers(twin),
        **pruner,
    ).step(interactive=True)
    removed: Removed = {}
    cut_outputs = tp.prune_conv_out_channels
    for group in step:
        if group[0].idxs:
            outs = [dep.target.module for dep, _ in group if dep.handler == cut_outputs]
            first = min(outs, key=lambda module: place[module])
            removed[names[first]] = tuple(sorted(group[0].idxs))
        group.prune()
    twin.model[-1].shape = None
    return twin, removed


class Ours:
    """What our criteria and allocations remove from the network."""

    def __init__(self, model: DetectionModel) -> None:
        self.groups = prunable_groups(model).groups
        self.budget = budget_of(model, IMGSZ)

    def __call__(self, method: str, allocation: str, theirs: Removed) -> Removed:
        """At the MACs that `theirs` leaves."""
        criterion, widths = find("criterion", method).load()(), widths_of(self.budget)
        scores = {name: criterion(group).numpy() for name, group in self.groups.items()}
        left = self.budget.vector({n: w - len(theirs.get(n, ())) for n, w in widths.items()})
        window = final_window(float(self.budget.macs(left)), 1)
        table = GroupTable(self.budget, scores, widths)
        return dict(find("allocation", allocation).load()(FREE).allocate(table, window).removed)


@pytest.fixture(scope="module")
def ours(network: DetectionModel) -> Ours:
    return Ours(network)


def magnitude(**settings: Any) -> Any:
    return tp.importance.GroupMagnitudeImportance(**settings)


TOGETHER = {"global_pruning": True}
LIKE = {"global_pruning": True, "isomorphic": True}


@pytest.mark.parametrize(
    ("method", "allocation", "importance", "ratio", "pruner"),
    [
        ("l1", "uniform", magnitude(p=1), 0.5, {}),
        ("l2", "uniform", magnitude(p=2), 0.5, {}),
        ("l2", "uniform", magnitude(p=2), 0.25, {}),
        ("bnscale", "uniform", tp.importance.BNScaleImportance(), 0.5, {}),
        ("l1", "global", magnitude(p=1), 0.2, TOGETHER),
        ("l2", "isomorphic", magnitude(p=2), 0.5, LIKE),
        ("lamp", "global", tp.importance.LAMPImportance(), 0.4, TOGETHER),
        ("slim", "global", tp.importance.BNScaleImportance(normalizer=None), 0.2, TOGETHER),
        ("group-norm", "global", magnitude(group_reduction="sum", normalizer="max"), 0.4, TOGETHER),
    ],
)
def test_the_same_criterion_and_ratio_remove_the_same_channels(
    network: DetectionModel, ours: Ours, method: str, allocation: str, importance: Any,
    ratio: float, pruner: dict[str, bool],
):  # fmt: skip
    _, theirs = plain(network, importance, ratio, **pruner)

    found = ours(method, allocation, theirs)

    assert sum(map(len, theirs.values())) > 0.15 * sum(ours.budget.widths)
    assert found == theirs


def test_a_whole_run_leaves_the_network_that_a_plain_script_leaves(lab: Workspace):
    """Same baseline, L2, half of every layer: the same tensors, weight for weight."""
    baseline = to_c2f_v2(load_source_model(lab, SavedModel(model=BASELINE))[0])
    script, removed = plain(baseline, magnitude(p=2), 0.5)
    share = counted(script, IMGSZ)[0] / counted(baseline, IMGSZ)[0]
    listener = Listener(lab, "parity")

    run(
        config(
            method="l2", allocation="uniform", iterations=1, keep_macs=share,
            limits=FREE.model_dump(), finetune=TrainingRecipe(epochs=0), repair="none",
        ),
        listener,
    )  # fmt: skip

    ended = RunFolder(listener.run_dir).iteration(1).load("model.pt").state_dict()
    expected = round_to_half(script).state_dict()
    assert removed
    assert set(ended) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(ended[name], value, rtol=0, atol=0, msg=name)


def test_random_needs_a_lot_that_does_not_depend_on_what_was_drawn_before(ours: Ours):
    """torch-pruning draws from the global generator, so its lots depend on the order of groups and
    on every other draw; a resumed run would remove other channels."""
    group = ours.groups["model.4.cv2.conv"]
    lots, own = [], []
    for draws in (0, 1):
        torch.manual_seed(3)
        torch.rand(draws)
        lots.append(tp.importance.RandomImportance()(group))
        own.append(RandomImportance(seed=3)(group))

    assert not torch.equal(*lots)
    assert torch.equal(*own)


# --- Taylor -----------------------------------------------------------------------------------


class WithoutNorms(TaylorAbsImportance):
    """Taylor as torch-pruning computes it: batch norms are not counted."""

    normalise = True

    def member_score(self, member: Member) -> Tensor:
        if member.kind == "norm":
            return torch.zeros(len(member.positions))
        return super().member_score(member)


@pytest.fixture(scope="module")
def one_batch() -> CalibrationSet:
    return drawn_calibration(images=4, batch=4, micro_batch=4)


@pytest.fixture(scope="module")
def statistics(network: DetectionModel, one_batch: CalibrationSet) -> Statistics:
    return gather(network, one_batch, frozenset({"taylor-abs"}))


@pytest.fixture(scope="module")
def theirs(network: DetectionModel, one_batch: CalibrationSet) -> dict[str, Any]:
    """Groups of a copy that holds the gradients of that batch, as users of torch-pruning get
    them."""
    twin = copy_model(network)
    with ready(twin):
        numbers = range(len(one_batch))
        output = twin(one_batch.pixels(numbers))
        v8DetectionLoss(twin)(output, one_batch.targets(numbers))[0].sum().backward()
        gradients = {name: p.grad for name, p in twin.named_parameters()}
    for name, parameter in twin.named_parameters():
        parameter.grad = gradients[name]
    return dict(prunable_groups(twin).groups)


def test_taylor_of_the_convolutions_is_torch_prunings(
    ours: Ours, theirs: dict[str, Any], statistics: Statistics
):
    score = tp.importance.GroupTaylorImportance(normalizer="mean", group_reduction="sum")
    removed = {
        name: set(score(group).argsort()[: len(group[0].idxs) // 2].tolist())
        for name, group in theirs.items()
    }

    for name, group in ours.groups.items():
        own = WithoutNorms(statistics)(group)
        torch.testing.assert_close(own.float(), score(theirs[name]), rtol=1e-3, atol=1e-6)
        assert set(own.argsort()[: len(own) // 2].tolist()) == removed[name]


def test_torch_prunings_taylor_never_counts_batch_norm(
    ours: Ours, theirs: dict[str, Any], statistics: Statistics
):
    """It compares with the group-norm handler. Counted, batch norm changes who goes."""
    group = theirs["model.4.cv2.conv"]
    score = tp.importance.GroupTaylorImportance(normalizer=None)
    before = score(group)
    for member in members(group):
        if isinstance(member.layer, nn.BatchNorm2d):
            member.layer.weight.grad.mul_(1e6)
    assert torch.equal(score(group), before)

    different = 0
    for group in ours.groups.values():
        full, blind = TaylorAbsImportance(statistics)(group), WithoutNorms(statistics)(group)
        half = len(full) // 2
        different += set(full.argsort()[:half].tolist()) != set(blind.argsort()[:half].tolist())
    assert different > 10
