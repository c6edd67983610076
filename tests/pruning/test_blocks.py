"""Bottlenecks: taking them out exactly, judging them, and choosing as many as a goal asks for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from ultralytics.nn.modules import Bottleneck, C2f

from msip_core.allocation.goal import goal_of
from msip_core.combinations import check_combination
from msip_core.config import TrainingRecipe
from msip_core.detector.c2f import C2fV2, to_stock
from msip_core.detector.checkpoints import load_model, save_stock, save_work
from msip_core.detector.export import export_module
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import ConfigError, GoalUnreachableError, Stopped
from msip_core.events import Stage
from msip_core.groups.coupling import prunable_groups
from msip_core.pruning.block_scores import WHOLE, cosine_scores, gamma_scores, map50_scores
from msip_core.pruning.blocks import cheapest, lowest
from msip_core.pruning.bottlenecks import (
    Site,
    bottlenecks,
    count_bottlenecks,
    remove_bottlenecks,
    with_followers,
)
from msip_core.pruning.granularity import Scene, freed_by, granularity_of
from msip_core.pruning.layerdrop import every_other
from msip_core.pruning.loop import run
from msip_core.pruning.network import Network
from msip_core.pruning.surgery import channel_counts, prune_channels
from msip_core.workspace import Workspace
from tests.importance.kit import drawn_calibration
from tests.pruning.kit import (
    IMGSZ,
    Camera,
    Counter,
    Listener,
    after,
    config,
    cut_of,
    masked,
    network_of,
)


def block_of(n: int, shortcut: bool, seed: int = 0) -> C2fV2:
    """A lone block in eval mode with batch norms as after training."""
    torch.manual_seed(seed)
    block = C2fV2(C2f(8, 16, n, shortcut))
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return block.eval()


def silenced(block: C2fV2, key: str) -> C2fV2:
    """The residual branch (or, without a shortcut, the whole bottleneck) gives zero."""
    norm = block.m.get_submodule(key).cv2.bn
    with torch.no_grad():
        norm.weight.zero_()
        norm.bias.zero_()
    return block


def lone(block: C2fV2) -> nn.Module:
    """Held as a detector holds it, so that bottlenecks have names."""
    holder = nn.Module()
    holder.model = nn.ModuleList([block])
    return holder


# --- surgery --------------------------------------------------------------------


@pytest.mark.parametrize("key", ["0", "1", "2"])
def test_with_a_shortcut_removal_equals_a_zeroed_branch_to_rounding(key: str):
    x = torch.randn(2, 8, 9, 9, generator=torch.Generator().manual_seed(1))
    block = block_of(3, shortcut=True).double()

    remove_bottlenecks(lone(block), [f"model.0.m.{key}"])

    expected = silenced(block_of(3, shortcut=True).double(), key)(x.double())
    assert (block(x.double()) - expected).abs().max() < 1e-12
    single, other = block.float(), silenced(block_of(3, shortcut=True), key)
    assert (single(x) - other(x)).abs().max() < 1e-5  # the sheet: 2e-7 of unit outputs


def test_without_a_shortcut_the_last_ones_slice_is_dropped():
    x = torch.randn(2, 8, 9, 9, generator=torch.Generator().manual_seed(1))
    block = block_of(2, shortcut=False)

    remove_bottlenecks(lone(block), ["model.0.m.1"])

    torch.testing.assert_close(block(x), silenced(block_of(2, shortcut=False), "1")(x))
    assert block.cv2.conv.in_channels == 3 * 8


def test_without_a_shortcut_none_is_left_behind_one_that_goes():
    block = block_of(3, shortcut=False)
    with pytest.raises(ValueError, match="others stand behind it"):
        remove_bottlenecks(lone(block), ["model.0.m.1"])
    remove_bottlenecks(lone(block), ["model.0.m.1", "model.0.m.2"])

    assert [name for name, _ in block.m.named_children()] == ["0"]


def test_a_block_may_lose_all_and_its_others_keep_their_names():
    x = torch.randn(2, 8, 9, 9)
    block = block_of(2, shortcut=True)

    remove_bottlenecks(lone(block), ["model.0.m.0"])
    assert [site.name for site in bottlenecks(lone(block))] == ["model.0.m.1"]
    remove_bottlenecks(lone(block), ["model.0.m.1"])

    assert isinstance(block.m, nn.ModuleList)
    assert len(block.m) == 0
    nothing = silenced(silenced(block_of(2, shortcut=True), "0"), "1")
    torch.testing.assert_close(block(x), nothing(x), atol=1e-5, rtol=1e-4)


def test_an_unknown_bottleneck_is_named():
    with pytest.raises(ValueError, match=r"no bottleneck model\.0\.m\.7"):
        remove_bottlenecks(lone(block_of(1, shortcut=True)), ["model.0.m.7"])


def test_a_detector_with_unequal_channels_loses_every_block_exactly(network: Network):
    """Channels first, then all ten bottlenecks, one by one."""
    narrow = after(network.model, cut_of(network, config(keep_macs=0.6, method="l1")))
    image = torch.rand(1, 3, IMGSZ, IMGSZ)

    for site in reversed(bottlenecks(narrow)):
        still = silent(narrow, site.name)(image)[0]
        remove_bottlenecks(narrow, [site.name])
        torch.testing.assert_close(narrow(image)[0], still, atol=1e-3, rtol=1e-4)

    assert count_bottlenecks(narrow) == 0
    assert len(prunable_groups(narrow).groups) == 59 - 10 - 4  # m.cv1, and m.cv2 of the neck


def silent(model: DetectionModel, name: str) -> DetectionModel:
    twin = copy_model(model)
    norm = twin.get_submodule(name).cv2.bn
    with torch.no_grad():
        norm.weight.zero_()
        norm.bias.zero_()
    return twin


def test_groups_keep_their_names_when_a_bottleneck_goes(network: Network):
    """torch-pruning names the group over a shortcut after its last bottleneck."""
    model = copy_model(network.model)

    remove_bottlenecks(model, ["model.4.m.1"])

    left = set(prunable_groups(model).groups)
    assert left == set(network.groups) - {"model.4.m.1.cv1.conv"}


def test_the_budget_knows_the_cost_without_blocks(network: Network):
    sites = {site.name: site for site in bottlenecks(network.model)}
    names = ["model.2.m.0", "model.6.m.0", "model.15.m.0"]
    model = copy_model(network.model)
    remove_bottlenecks(model, names)

    predicted = network.budget.without([sites[name].branch for name in names])

    real = network_of(model).budget
    assert predicted.names == real.names
    assert predicted.macs_now == pytest.approx(real.macs_now, rel=1e-9)
    assert predicted.params_now == real.params_now
    narrower = real.widths - real.widths // 3
    assert predicted.macs(narrower) == pytest.approx(float(real.macs(narrower)), rel=1e-9)
    goal = goal_of(config(), network.budget)
    freed = freed_by(goal, network.budget, list(sites.values()))
    total = sum(freed[name] for name in names)
    assert network.budget.macs_now - total == pytest.approx(real.macs_now, rel=1e-9)


def test_files_of_a_network_without_blocks_open_and_export(network: Network, tmp_path):
    model = copy_model(network.model)
    remove_bottlenecks(model, ["model.4.m.0", "model.8.m.0", "model.12.m.0"])
    prune_channels(model, {"model.8.cv0.conv": [0, 1]})  # this block has to be unrolled
    image = torch.rand(1, 3, IMGSZ, IMGSZ)
    save_stock(model, tmp_path / "model.pt")
    save_work(model, tmp_path / "work.pt")

    for name in ("model.pt", "work.pt"):
        opened = load_model(tmp_path / name)
        torch.testing.assert_close(opened(image)[0], model(image)[0], atol=1e-4, rtol=1e-4)
    stock = to_stock(model)
    assert [name for name, _ in stock.model[4].m.named_children()] == ["0"]
    assert [layer.i for layer in stock.model if type(layer) is C2f and not len(layer.m)] == [15]
    channels = channel_counts(load_model(tmp_path / "work.pt"))
    assert channels == channel_counts(model)
    onnx = export_module(model, "onnx", tmp_path / "model.onnx", IMGSZ)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model(image)[0], atol=1e-2, rtol=1e-3)


# --- scores ---------------------------------------------------------------------


def test_gamma_is_the_mean_size_of_the_last_batch_norm():
    block = block_of(1, shortcut=True)
    with torch.no_grad():
        block.m[0].cv2.bn.weight.copy_(torch.tensor([-2.0, 0, 1, 1, 0, 0, 0, 0]))
    holder = lone(block)

    assert gamma_scores(holder, bottlenecks(holder)) == {"model.0.m.0": 0.5}


class Doubling(nn.Module):
    """Stands for a bottleneck: m(x) = x + (0, 3) for x = (4, 0)."""

    add = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.tensor([0.0, 3.0]).view(1, 2, 1, 1)


def test_the_cosine_says_how_far_an_output_turns_by_hand():
    """cos((4, 0), (4, 3)) = 4 / 5."""
    holder = lone(block_of(1, shortcut=True))
    holder.model[0].m = nn.ModuleList([Doubling()])
    holder.forward = lambda pixels: holder.model[0].m[0](
        torch.tensor([4.0, 0.0]).view(1, 2, 1, 1).repeat(len(pixels), 1, 1, 1)
    )
    holder.train()

    scores = cosine_scores(holder, bottlenecks(holder), drawn_calibration(images=4))

    assert scores == {"model.0.m.0": pytest.approx(0.2)}
    assert holder.training
    assert not holder.model[0].m[0]._forward_hooks


def test_the_drop_is_measured_once_for_each_block_and_goes_on_where_it_stopped(network: Network):
    sites = bottlenecks(network.model)[:3]
    asked: list[int] = []
    kept: dict[str, float] = {}

    def evaluate(model: DetectionModel) -> float:
        if len(asked) == 2:
            raise Stopped("pause")
        asked.append(count_bottlenecks(model))
        return 0.9 - 0.1 * len(asked)

    with pytest.raises(Stopped):
        map50_scores(network.model, sites, evaluate, kept, kept.update)
    assert asked == [10, 9]
    assert set(kept) == {WHOLE, sites[0].name}
    scores = map50_scores(network.model, sites, lambda model: 0.85, kept, kept.update)

    assert scores == pytest.approx({sites[0].name: 0.1, sites[1].name: -0.05, sites[2].name: -0.05})
    assert count_bottlenecks(network.model) == 10


# --- choice ---------------------------------------------------------------------


def sites_of(*blocks: tuple[int, bool]) -> list[Site]:
    """One block for each (bottlenecks, shortcut)."""
    return [
        Site(f"model.{b}", str(k), shortcut)
        for b, (n, shortcut) in enumerate(blocks)
        for k in range(n)
    ]


A, B, C, D = sites_of((1, True), (1, True), (1, True), (1, True))


@pytest.mark.parametrize(
    ("excess", "gone", "why"),
    [
        (1, [A], "the lowest score goes first"),
        (10, [A], "exactly enough is enough"),
        (11, [B], "a needs b, and with b nobody needs a"),
        (45, [A, B, C], "all three are needed"),
        (999, [A, B, C, D], "all there are"),
    ],
)
def test_the_lowest_go_and_what_is_not_needed_comes_back(excess, gone, why):
    scores = {A.name: 0.1, B.name: 0.2, C.name: 0.3, D.name: 0.4}
    freed = {A.name: 10.0, B.name: 30.0, C.name: 10.0, D.name: 10.0}

    assert cheapest([A, B, C, D], scores, freed, excess) == tuple(s.name for s in gone), why


def test_of_equal_scores_the_one_that_frees_more_goes():
    scores = dict.fromkeys((A.name, B.name), 0.0)

    assert cheapest([A, B], scores, {A.name: 1.0, B.name: 2.0}, 1) == (B.name,)


def test_without_shortcuts_those_behind_go_too_and_none_alone_comes_back():
    first, second, third = sites_of((3, False))
    scores = {first.name: 3.0, second.name: 1.0, third.name: 2.0}
    freed = dict.fromkeys(scores, 10.0)

    assert with_followers([first, second, third], second) == (second, third)
    assert cheapest([first, second, third], scores, freed, 5) == (third.name,)
    assert cheapest([first, second, third], scores, freed, 15) == (second.name, third.name)
    assert lowest([first, second, third], scores, 2) == (second.name, third.name)


def test_so_many_of_the_lowest_go_in_network_order():
    scores = {A.name: 0.4, B.name: 0.1, C.name: 0.3, D.name: 0.2}

    assert lowest([A, B, C, D], scores, 2) == (B.name, D.name)


@pytest.mark.parametrize(
    ("count", "p", "gone"),
    [
        (6, 0, ()),
        (6, 0.2, (0, 5)),
        (6, 0.25, (0, 4)),
        (6, 1 / 3, (0, 3)),
        (6, 0.5, (0, 2, 4)),
        (6, 0.7, (0, 1, 2, 3, 4, 5)),
        (6, 1, (0, 1, 2, 3, 4, 5)),
        (50, 1 / 49, (0, 49)),
    ],
)
def test_every_other_is_depth_modulo_the_floor_of_one_over_p(count, p, gone):
    assert every_other(count, p) == gone


def scene_of(network: Network, keep: float, scores: dict[str, float] | None = None) -> Scene:
    sites, budget = bottlenecks(network.model), network.budget
    goal = replace(goal_of(config(), budget), keep=keep)
    return Scene(
        sites=sites, budget=budget, whole_sites=sites, whole_budget=budget, iteration=1,
        edge=goal.amount, goal=goal, scores=lambda _: scores or {},
    )  # fmt: skip


def test_layerdrop_takes_the_smallest_share_that_meets_the_goal(network: Network):
    names = [site.name for site in bottlenecks(network.model) if site.shortcut]
    rule = granularity_of(config(granularity="layerdrop", keep_macs=0.9))

    assert len(names) == 6
    assert rule.choose_blocks(scene_of(network, 0.999)) == (names[0],)
    assert rule.choose_blocks(scene_of(network, 0.01)) == tuple(names)
    freed = freed_by(goal_of(config(), network.budget), network.budget, bottlenecks(network.model))
    three = sum(freed[names[d]] for d in every_other(6, 1 / 2)) / network.budget.macs_now
    # p = 1/6 to 1/3 take one or two of six blocks that cost about the same.
    assert rule.choose_blocks(scene_of(network, 1 - three)) == (names[0], names[2], names[4])


def test_layerdrop_by_score_leaves_blocks_without_shortcuts_alone(network: Network):
    sites = bottlenecks(network.model)
    scores = {site.name: 1.0 if site.shortcut else 0.0 for site in sites}
    by_score = granularity_of(
        config(granularity="layerdrop", layerdrop_rule="score", keep_macs=0.9)
    )

    gone = by_score.choose_blocks(scene_of(network, 0.9, scores))

    assert gone
    assert all(site.shortcut for site in sites if site.name in gone)


def test_nothing_goes_where_the_corridor_asks_for_nothing(network: Network):
    blocks = granularity_of(config(granularity="blocks", keep_macs=0.9))

    assert blocks.choose_blocks(scene_of(network, 1.0)) == ()


# --- refusals -------------------------------------------------------------------


def check(network: Network, **changes) -> None:
    asked = config(**changes)
    granularity_of(asked).check(network.model, network.budget, goal_of(asked, network.budget))


def test_senseless_settings_are_refused_in_words(network: Network):
    for granularity in ("blocks", "layerdrop"):
        with pytest.raises(ConfigError, match="'uniform' would have no effect"):
            check_combination(config(granularity=granularity, allocation="uniform"))
        with pytest.raises(ConfigError, match="too coarse to land on milliseconds"):
            check_combination(config(granularity=granularity, keep_latency=0.5))
    check_combination(config(granularity="mixed", allocation="uniform", keep_latency=0.5))
    with pytest.raises(ConfigError, match="10 blocks that could be removed, not 11"):
        check(network, granularity="mixed", blocks=11)
    with pytest.raises(ConfigError, match="6 blocks that could be removed, not 7"):
        check(network, granularity="mixed", blocks=7, block_score="cosine")
    with pytest.raises(GoalUnreachableError, match="ask for fewer blocks, or keep less"):
        check(network, granularity="mixed", blocks=10, keep_macs=0.9)
    with pytest.raises(GoalUnreachableError, match="choose the granularity 'mixed'"):
        check(network, granularity="blocks", keep_macs=0.3)


def test_a_network_without_bottlenecks_says_so(network: Network):
    model = copy_model(network.model)
    remove_bottlenecks(model, [site.name for site in bottlenecks(model)])

    assert not any(isinstance(module, Bottleneck) for module in model.modules())
    for name in ("blocks", "mixed", "layerdrop"):
        with pytest.raises(ConfigError, match="no blocks that could be removed"):
            check(replace(network, model=model), granularity=name, keep_macs=0.9)


# --- runs -----------------------------------------------------------------------

QUICK = {
    "granularity": "blocks",
    "keep_macs": 0.8,
    "finetune": TrainingRecipe(epochs=0),
    "repair": "none",
}


@pytest.fixture(scope="module")
def unbroken(lab: Workspace) -> Camera:
    stops = {"blocks-broken": Counter(Stage.IMPORTANCE, 1, points=9)}
    ctx = Camera(lab, "blocks-unbroken", stops)
    run(config(**QUICK), ctx)
    return ctx


def test_blocks_go_by_what_they_cost_in_map50_and_the_story_says_which(unbroken: Listener):
    records = unbroken.iterations
    stored = [
        json.loads((unbroken.run_dir / f"iterations/{t}/blocks.json").read_text()) for t in (1, 2)
    ]

    assert len(stored[0]["scores"]) == 10
    assert [tuple(one["removed"]) for one in stored] == [record.blocks for record in records]
    assert records[-1].macs_ratio <= 0.8
    assert records[0].macs_ratio > records[-1].macs_ratio
    assert all(record.weights is None and record.alpha is None for record in records)
    told = [s for s in unbroken.sentences if "of the 10 blocks" in s]
    assert len(told) == sum(bool(record.blocks) for record in records)
    first = {layer.name: layer for layer in records[0].layers}
    second = {layer.name: layer for layer in records[1].layers}
    gone = f"{records[0].blocks[0]}.cv1.conv"
    assert (first[gone].before, first[gone].after) == (first[gone].original, 0)
    assert (second[gone].before, second[gone].after) == (0, 0)


def test_a_run_killed_among_its_trials_goes_on_with_the_next(lab: Workspace, unbroken: Camera):
    broken = unbroken.left["blocks-broken"]
    trials = json.loads((broken.run_dir / "iterations/1/trials.json").read_text())

    resumed = Listener(lab, "blocks-broken")
    run(config(**QUICK), resumed)

    assert 1 < len(trials) < 11
    again = json.loads((broken.run_dir / "iterations/1/trials.json").read_text())
    assert {name: again[name] for name in trials} == trials
    told = [r.model_dump(exclude={"seconds"}) for r in resumed.iterations]
    assert told == [r.model_dump(exclude={"seconds"}) for r in unbroken.iterations]


def test_masking_by_hand_is_what_the_contract_suite_compares_with(network: Network):
    """Guards the suite itself: its mask is not the cut network under another name."""
    cut = cut_of(network, config(granularity="blocks", keep_macs=0.8, block_score="gamma"))

    assert channel_counts(masked(network.model, cut)) == network.layers
    assert cut.blocks
