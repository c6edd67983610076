"""What every granularity of the catalog must keep (method sheet, section 5)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from msip_core.allocation.goal import goal_of
from msip_core.catalog import ALLOCATIONS, GRANULARITIES
from msip_core.config import PruneConfig, TrainingRecipe
from msip_core.detector.checkpoints import load_model, save_stock
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import ConfigError, GoalUnreachableError
from msip_core.pruning.granularity import granularity_of
from msip_core.pruning.loop import run
from msip_core.pruning.network import Network
from msip_core.pruning.preview import OneCut, preview
from msip_core.pruning.surgery import channel_counts
from msip_core.workspace import Workspace
from tests.allocation.kit import counted
from tests.pruning.kit import IMGSZ, Listener, after, config, cut_of, masked, network_of

every_granularity = pytest.mark.parametrize("name", list(GRANULARITIES))
GOALS = {"channels": 0.6, "modules": 0.8, "blocks": 0.85, "mixed": 0.6, "layerdrop": 0.9}
FURTHER = {"channels": 0.4, "modules": 0.7, "blocks": 0.75, "mixed": 0.4, "layerdrop": 0.85}


def asked(name: str, keep: float, **changes) -> PruneConfig:
    settings = {"granularity": name, "keep_macs": keep, "iterations": 4, "block_score": "gamma"}
    return config(**{**settings, **changes})


@pytest.fixture(scope="module", params=list(GRANULARITIES))
def made(request, network: Network) -> tuple[str, OneCut, DetectionModel]:
    """Name, what goes, and the network after the cut."""
    name = request.param
    cut = cut_of(network, asked(name, GOALS[name]))
    return name, cut, after(network.model, cut)


def image(batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, IMGSZ, IMGSZ, generator=torch.Generator().manual_seed(0))


def test_the_cut_network_answers_as_the_masked_one(detector: DetectionModel, made):
    _, cut, small = made

    torch.testing.assert_close(
        small(image())[0], masked(detector, cut)(image())[0], atol=1e-3, rtol=1e-4
    )


def test_costs_fall_to_what_was_predicted(detector: DetectionModel, made):
    name, cut, small = made
    macs, params = counted(small, IMGSZ)
    whole, whole_params = counted(detector, IMGSZ)

    assert macs == pytest.approx(float(cut.budget.macs(cut.widths)), rel=1e-6)
    assert params == pytest.approx(float(cut.budget.params(cut.widths)), abs=0.5)
    assert params < whole_params
    assert macs <= (GOALS[name] + 0.005) * whole
    predicted = cut.budget.layer_widths(cut.widths)
    assert {n: w for n, w in predicted.items() if w} == channel_counts(small)
    assert set(predicted) == set(channel_counts(detector))


def test_mode_flags_and_all_that_is_left_stay_as_they_were(detector: DetectionModel, made):
    _, cut, _ = made
    model = copy_model(detector).train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}

    small = after(model, cut)

    assert all(module.training for module in small.modules())
    assert not any(p.requires_grad for p in small.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    readers = {site.rpartition(".m.")[0] for site in cut.blocks}
    for key, value in small.state_dict().items():
        untouched = value.shape == before[key].shape
        if untouched and not any(key.startswith(f"{reader}.cv2.conv") for reader in readers):
            assert torch.equal(value, before[key]), key


def test_the_stock_file_opens_and_answers_the_same(made, tmp_path):
    _, _, small = made
    path = tmp_path / "model.pt"

    save_stock(small, path)

    torch.testing.assert_close(load_model(path)(image())[0], small(image())[0])


def test_what_was_cut_can_be_trained_and_cut_again(made):
    name, _, small = made
    again = asked(name, FURTHER[name] / GOALS[name])

    smaller = after(small, cut_of(network_of(small), again, seed=1))

    assert counted(smaller, IMGSZ)[0] < counted(small, IMGSZ)[0]
    smaller.train()(image())["scores"].sum().backward()
    assert all(p.grad is not None for n, p in smaller.named_parameters() if n == "model.0.conv")


@every_granularity
def test_a_goal_out_of_reach_is_refused_with_what_can_be_reached(network: Network, name: str):
    limits = {"round_to": 1, "max_removed_per_iteration": 0.1}
    share = least_share(network, asked(name, 0.5, limits=limits))

    assert 0.02 < share < 1
    check(network, asked(name, share + 0.001, limits=limits))
    with pytest.raises(GoalUnreachableError, match=f"to {share:.1%} at best"):
        check(network, asked(name, share - 0.01, limits=limits))


@every_granularity
def test_each_runs_from_the_baseline_to_its_goal(lab: Workspace, name: str):
    ctx = Listener(lab, f"granularity-{name}")
    goal, iterations = GOALS[name], 2 if name == "mixed" else 1
    quick = {"finetune": TrainingRecipe(epochs=0), "repair": "none", "method": "l1"}

    run(asked(name, goal, iterations=iterations, **quick), ctx)

    final, records = ctx.records[-1], ctx.iterations
    assert final.stopped_by is None
    assert final.macs_ratio <= goal * 1.005
    taken = [block for record in records for block in record.blocks]
    assert bool(taken) == (name in ("blocks", "mixed", "layerdrop"))
    gone = {layer.name for layer in records[-1].layers if not layer.after}
    assert gone == {f"{block}.{part}.conv" for block in taken for part in ("cv1", "cv2")}
    model = load_model(lab.model_dir(final.model_id) / "model.pt")
    assert sum(p.numel() for p in model.parameters()) == final.cost.params


@every_granularity
def test_the_preview_knows_it(lab: Workspace, name: str):
    found = preview(asked(name, GOALS[name], method="l1"), lab, lambda done, message: None)

    assert found.refused is None
    assert found.macs[1] <= 1.005 * GOALS[name] * found.macs[0]
    gone = {layer.name for layer in found.layers if not layer.after}
    assert gone == {f"{block}.{part}.conv" for block in found.blocks for part in ("cv1", "cv2")}
    measured = preview(
        asked(name, GOALS[name], method="l1", block_score="map50"), lab, lambda *_: None
    )
    assert bool(measured.note) == (name in ("blocks", "mixed"))


# --- modules -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["C2f", "SPPF", "Detect", "Conv"])
def test_roots_outside_the_chosen_modules_keep_their_channels(network: Network, kind: str):
    keep = (1 + least_share(network, asked("modules", 0.99, modules=(kind,)))) / 2
    cut = cut_of(network, asked("modules", keep, modules=(kind,)))

    types = [type(layer).__name__.replace("C2fV2", "C2f") for layer in network.model.model]
    inside = {name for name in network.groups if types[int(name.split(".")[1])] == kind}
    small = channel_counts(after(network.model, cut))
    assert cut.removed
    assert set(cut.removed) <= inside
    assert all(small[n] == network.layers[n] for n in network.groups if n not in inside)
    macs = float(cut.budget.macs(cut.widths))
    assert macs / network.budget.macs_now == pytest.approx(keep, abs=0.01)


@pytest.mark.parametrize("allocation", list(ALLOCATIONS))
def test_every_allocation_keeps_to_the_chosen_modules(network: Network, allocation: str):
    cut = cut_of(network, asked("modules", 0.9, modules=("Detect",), allocation=allocation))

    assert {name.split(".")[1] for name in cut.removed} == {"22"}
    macs = float(cut.budget.macs(cut.widths))
    assert macs / network.budget.macs_now == pytest.approx(0.9, rel=0.006)


def test_several_types_may_lose_channels_together(network: Network):
    one, two = (
        least_share(network, asked("modules", 0.5, modules=kinds))
        for kinds in (("Conv",), ("Conv", "Detect"))
    )

    assert two < one


def test_a_refusal_names_the_modules(network: Network):
    with pytest.raises(GoalUnreachableError, match="in SPPF alone"):
        check(network, asked("modules", 0.3, modules=("SPPF",)))


def test_modules_that_are_not_there_are_refused_in_words(network: Network):
    without = copy_model(network.model)
    without.model[9] = nn.Identity()

    with pytest.raises(ConfigError, match="no channels to remove in SPPF"):
        check(replace(network, model=without), asked("modules", 0.9, modules=("SPPF",)))


def test_no_module_at_all_is_no_setting():
    with pytest.raises(ValueError, match="at least 1 item"):
        asked("modules", 0.5, modules=())


def check(network: Network, config: PruneConfig) -> None:
    goal = goal_of(config, network.budget)
    granularity_of(config).check(network.model, network.budget, goal)


def least_share(network: Network, config: PruneConfig) -> float:
    budget, goal = network.budget, goal_of(config, network.budget)
    return granularity_of(config).least(network.model, budget, goal) / goal.baseline


# --- other goals ------------------------------------------------------------------


@every_granularity
def test_a_goal_may_count_parameters(network: Network, name: str):
    keep = {"blocks": 0.85, "layerdrop": 0.9, "modules": 0.85}.get(name, 0.5)
    wanted = asked(name, 0.335, keep_params=keep)
    check(network, wanted)

    cut = cut_of(network, wanted)

    params = counted(after(network.model, cut), IMGSZ)[1] / network.budget.params_now
    assert params <= keep * 1.005
    if granularity_of(wanted).takes_channels:
        assert params == pytest.approx(keep, rel=0.005)
    with pytest.raises(GoalUnreachableError, match="of the parameters cannot be reached"):
        check(network, asked(name, 0.335, keep_params=0.021, limits={"min_kept": 0.9}))
