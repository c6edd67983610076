"""The search of a run: its story, its folder, and going on after a stop."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from msip_core.config import SearchOptions, TrainingRecipe, parse_run_config
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.detector.checkpoints import load_model
from msip_core.detector.images import SplitImages
from msip_core.detector.library import DetectionModel
from msip_core.errors import ConfigError
from msip_core.events import Stage
from msip_core.processors import Processors
from msip_core.pruning import estimate as estimating
from msip_core.pruning import search
from msip_core.pruning.bn import recalibrate
from msip_core.pruning.estimate import Pace, estimate
from msip_core.pruning.loop import run
from msip_core.pruning.preview import preview
from msip_core.pruning.search import NetworkProblem
from msip_core.workspace import Workspace
from tests.pruning.kit import DATASET, Camera, Counter, Listener, config

# What makes each method take seconds here.
SHORT = {
    "sensitivity": {"grid": (0.6,)},
    "search": {"trials": 3, "finalists": 2, "short_steps": 1},
    "netadapt": {"candidates": 2, "first_step": 0.08, "short_steps": 1},
    "amc": {"episodes": 3, "random_episodes": 2},
}
SEARCHES = list(SHORT)
# Runs that were killed: whose, and where.
STOPS = {
    "broken-netadapt": ("netadapt", (Stage.SEARCHING, 0, 30)),
    "broken-amc": ("amc", (Stage.SEARCHING, 0, 8)),
    "broken-later": ("amc", (Stage.PRUNING, 1, 0)),
}


@pytest.fixture(autouse=True, scope="module")
def images_of_trials():
    """An untrained detector finds nothing whatever is cut: its trials are graded by their loss.
    Gives the number of images of each."""
    images: list[int] = []

    def by_loss(problem: NetworkProblem, model: DetectionModel) -> float:
        recalibrate(model, problem._statistics, problem.ctx)
        images.append(problem._evaluator.batches.images)
        return 10 / problem._evaluator(model).loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NetworkProblem, "_measure", by_loss)
        yield images


def asked(allocation: str, **changes):
    """One cut to 60 %, nothing fine-tuned: what is left of the run is the search."""
    # Sensitivity tries every group that has room for two steps: wide steps leave two dozen.
    step = 16 if allocation == "sensitivity" else 4
    return config(
        method="l2", allocation=allocation, iterations=1, keep_macs=0.6,
        limits={"round_to": step, "max_removed_per_iteration": 0.8}, repair="none",
        finetune=TrainingRecipe(epochs=0), search={"recalibration": 4, **SHORT[allocation]},
        **changes,
    )  # fmt: skip


def result_of(ctx: Listener) -> dict:
    return json.loads((ctx.run_dir / "search" / "allocation.json").read_text())


def trials_of(ctx: Listener) -> list[dict]:
    lines = (ctx.run_dir / "search" / "trials.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def whole(lab: Workspace) -> Callable[[str], Camera]:
    """An unbroken run of a method, made once."""

    @lru_cache
    def of(name: str) -> Camera:
        stops = {key: Counter(*stop) for key, (who, stop) in STOPS.items() if who == name}
        ctx = Camera(lab, f"searched-{name}", stops)
        run(asked(name), ctx)
        return ctx

    return of


@pytest.mark.parametrize("name", SEARCHES)
def test_a_run_searches_once_before_its_first_iteration(whole, name: str):
    ctx = whole(name)
    stages = [stage for stage, _ in ctx.stages]

    assert stages.count("searching the ratios") == 1
    assert stages.index("searching the ratios") < stages.index("importance")
    found = result_of(ctx)
    assert found["allocation"] == name
    assert len(found["ratios"]) == 59
    assert found["trials"] == len(trials_of(ctx)) > 2
    assert len({t["map50"] for t in trials_of(ctx)}) > 2
    assert any("multiply-adds; they are scaled" in s for s in ctx.sentences)
    assert ctx.iterations[-1].macs_ratio == pytest.approx(0.6, rel=0.02)
    assert ctx.iterations[-1].macs_ratio <= 0.6
    done = [r.done for r in ctx.progress]
    assert done == sorted(done)
    assert len({round(d, 3) for d in done}) > 5


@pytest.mark.parametrize("name", ["netadapt", "amc"])
def test_a_search_killed_anywhere_ends_like_an_unbroken_one(lab: Workspace, whole, name: str):
    broken = whole(name).left[f"broken-{name}"]
    finished = trials_of(broken) if (broken.run_dir / "search/trials.jsonl").is_file() else []
    assert finished
    assert not (broken.run_dir / "search/allocation.json").is_file()

    resumed = Listener(lab, f"broken-{name}")
    run(asked(name), resumed)

    assert trials_of(resumed)[: len(finished)] == finished
    ours, theirs = (
        [(t["widths"], t["map50"]) for t in trials_of(ctx)] for ctx in (resumed, whole(name))
    )
    assert ours == theirs
    assert result_of(resumed)["ratios"] == result_of(whole(name))["ratios"]
    models = [
        load_model(ctx.run_dir / "iterations/1/model.pt").state_dict()
        for ctx in (resumed, whole(name))
    ]
    assert all(torch.equal(value, models[1][key]) for key, value in models[0].items())


def test_a_run_killed_after_its_search_does_not_search_again(lab: Workspace, whole):
    broken = whole("amc").left["broken-later"]

    resumed = Listener(lab, "broken-later")
    run(asked("amc"), resumed)

    assert ("searching the ratios", 0) in broken.stages
    assert ("searching the ratios", 0) not in resumed.stages
    assert resumed.iterations[-1].macs_ratio == pytest.approx(0.6, rel=0.02)


def test_many_images_are_worth_a_cut_and_tell_the_same(
    lab: Workspace, whole, monkeypatch: pytest.MonkeyPatch
):
    """On a CPU, a trial on many images cuts; here any saving counts as many."""
    cuts: list[int] = []
    cut = search.prune_channels
    monkeypatch.setattr(search, "FIXED_COST", 0.0)
    monkeypatch.setattr(
        search, "prune_channels", lambda model, gone: (cuts.append(len(gone)), cut(model, gone))
    )
    ctx = Listener(lab, "cut-trials")

    run(asked("search"), ctx)

    assert len(cuts) == len(trials_of(ctx)) + 2  # and the two finalists
    for ours, theirs in zip(trials_of(ctx), trials_of(whole("search"))):
        assert ours["widths"] == theirs["widths"]
        assert ours["map50"] == pytest.approx(theirs["map50"], rel=1e-3)


def test_trials_never_read_an_image_again(lab: Workspace, monkeypatch: pytest.MonkeyPatch):
    """Each validation image once for the baseline, each test image once for the test, each
    calibration image once; the trials read none."""
    read: list[str] = []
    pixels, load = Dataset.pixels, SplitImages.load_image

    def read_pixels(dataset, record):
        read.append(f"calibration {record.id}")
        return pixels(dataset, record)

    def read_image(images, index, **more):
        read.append(images.im_files[index])
        return load(images, index, **more)

    monkeypatch.setattr(Dataset, "pixels", read_pixels)
    monkeypatch.setattr(SplitImages, "load_image", read_image)

    run(asked("amc"), Listener(lab, "read-once"))

    dataset = open_dataset(lab, DATASET)
    measured = len(dataset.split("val")) + len(dataset.split("test"))
    assert len(read) == len(set(read)) == 8 + measured


def test_a_trial_may_look_at_fewer_images(lab: Workspace, images_of_trials: list[int]):
    ctx, few = Listener(lab, "few-images"), asked("amc")
    options = few.search.model_copy(update={"images": 1})
    images_of_trials.clear()

    run(few.model_copy(update={"search": options}), ctx)

    assert images_of_trials == [1, 1, 1]
    assert len(open_dataset(lab, DATASET).split("val")) > 1


def test_presets_need_no_search_and_say_what_they_leave_unscaled(lab: Workspace):
    ctx = Listener(lab, "preset")
    run(config(method="taylor", allocation="stages", finetune=TrainingRecipe(epochs=0)), ctx)

    assert ("searching the ratios", 0) not in ctx.stages
    assert not (ctx.run_dir / "search" / "scores.npz").exists()  # nobody asked for an order
    (said,) = [s for s in ctx.sentences if "As they stand" in s]
    assert f"leave {result_of(ctx)['unscaled']:.1%}" in said
    assert ctx.iterations[-1].macs_ratio == pytest.approx(0.5, rel=0.006)


def test_the_curves_of_sensitivity_stay_in_the_run(whole):
    curves = json.loads((whole("sensitivity").run_dir / "search/sensitivity.json").read_text())

    assert len(curves["groups"]) == 59
    for group in curves["groups"]:
        assert len(group["ratios"]) == len(group["drops"])
        assert np.diff(group["ratios"]).min(initial=1) > 0


def test_a_preview_shows_where_the_search_starts_and_says_so(lab: Workspace):
    def look(**changes):
        return preview(config(method="l2", **changes), lab, lambda *_: None)

    searched, even = look(allocation="netadapt"), look(allocation="uniform")

    assert "first searches how much each layer loses" in searched.note
    assert even.note == ""
    assert searched.macs[1] == pytest.approx(even.macs[1], rel=0.01)
    for ours, theirs in zip(searched.layers, even.layers):
        assert abs(ours.after - theirs.after) <= 1


def test_an_estimate_counts_the_search(lab: Workspace, monkeypatch: pytest.MonkeyPatch):
    # One pace for all three, whatever else the computer does in between.
    idle = SimpleNamespace(look=lambda: Processors(2, 2.0, 0.0))
    monkeypatch.setattr(estimating, "Sample", lambda **_: idle)
    monkeypatch.setattr(estimating, "measure_pace", lambda *_: Pace(0.05))
    plain = estimate(asked("sensitivity").model_copy(update={"allocation": "uniform"}), lab)
    few, many = (
        estimate(
            asked("amc").model_copy(
                update={"search": SearchOptions(episodes=n, random_episodes=1)}
            ),
            lab,
        )
        for n in (20, 400)
    )

    assert plain.seconds < few.seconds < many.seconds
    more = 20 * (few.seconds - plain.seconds)
    assert many.seconds - plain.seconds == pytest.approx(more, rel=0.05)


def test_a_search_that_would_never_learn_is_refused():
    asked = {"kind": "prune", "dataset": "d", "model": "m", "search": {"episodes": 50}}
    with pytest.raises(ConfigError, match="of 50 none would be learned"):
        parse_run_config(asked)
