"""How long a run is expected to take: on a busy computer, to its very end, beside a real one."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from msip_core.config import PruneConfig, parse_run_config
from msip_core.events import Stage
from msip_core.example import EXAMPLE, unpack
from msip_core.processors import Processors
from msip_core.pruning import estimate as pace_module
from msip_core.pruning.estimate import (
    CHECK_SECONDS,
    START_SECONDS,
    Pace,
    Step,
    measure_pace,
    pace_of,
    run_seconds,
)
from msip_core.pruning.network import Network
from msip_core.pruning.progress import TRAIN_COST, plan

IMAGES = {"train": 52, "val": 6, "test": 14}  # of the drawn example


def test_on_a_free_computer_the_clock_is_right() -> None:
    steps = [Step(0.42, 0.80), Step(0.40, 0.78)]
    found = pace_of(steps, images=4, threads=2, found=Processors(2))
    assert found == Pace(free=0.1, slowdown=1.0)


def test_a_clock_that_others_slow_down_is_not_believed() -> None:
    # Two threads computed .8 s together, but waited for cores for three more.
    steps = [Step(3.4, 0.80), Step(2.9, 0.82)]
    found = pace_of(steps, images=4, threads=2, found=Processors(2))
    assert found.free == pytest.approx(0.8 / (2 * 0.8) / 4)
    single = pace_of(steps, images=4, threads=1, found=Processors(2))
    assert single.free == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("cores", "busy", "threads", "slowdown"),
    [(2, 0.0, 2, 1.0), (2, 1.0, 1, 1.0), (2, 2.0, 1, 1.5), (2, 6.0, 1, 3.5), (16, 4.0, 12, 1.0)],
)
def test_what_others_do_enters_as_the_share_of_the_cores_that_is_left(
    cores: int, busy: float, threads: int, slowdown: float
) -> None:
    beside = Processors(cores, busy=busy)
    assert beside.threads() == threads
    found = pace_of([Step(1.0, 1.0 * threads)], 1, threads, beside)
    assert found.slowdown == pytest.approx(slowdown)


def test_a_kept_estimate_is_brought_up_to_date_with_what_others_do_now() -> None:
    then, now = Processors(2), Processors(2, busy=2.0)
    # Two threads that wait for each other a little; one thread that shares two cores with two.
    assert (then.pace, now.pace) == pytest.approx((1.6, 1 / 1.5))
    assert Processors(2, busy=1.0).pace == 1.0


def test_load_that_comes_or_goes_changes_the_estimate_without_measuring_again(
    monkeypatch: pytest.MonkeyPatch, network: Network
) -> None:
    monkeypatch.setattr(pace_module, "_timed", lambda step: Step(4.0, 4.0))
    free = measure_pace(network, 64, 4, "cpu", Processors(1))
    monkeypatch.setattr(pace_module, "_timed", lambda step: 1 / 0)
    busy = measure_pace(network, 64, 4, "cpu", Processors(1, busy=2.0))
    assert (free.free, free.slowdown) == (1.0, 1.0)
    assert (busy.free, busy.slowdown) == (1.0, 3.0)


# --- beside the run that came with the example --------------------------------------


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    unpack(EXAMPLE, folder := tmp_path_factory.mktemp("example"), ["runs"])
    return next((folder / "runs").glob("prune-*"))


@pytest.fixture(scope="module")
def recorded(example: Path) -> list[dict[str, Any]]:
    lines = (example / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def config(example: Path) -> PruneConfig:
    found = parse_run_config(json.loads((example / "config.json").read_text(encoding="utf-8")))
    assert isinstance(found, PruneConfig)
    # What that version did after a cut: statistics counted anew where that helped.
    return found.model_copy(update={"repair": "recalibrate"})


def stage_seconds(events: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds between the beginning of each stage and whatever came next."""
    marks = [e for e in events if e["kind"] in ("stage", "state")]
    found: dict[str, float] = defaultdict(float)
    for event, after in pairwise(marks):
        found[event.get("stage", "")] += after["time"] - event["time"]
    return found


def test_parts_of_the_estimate_are_those_that_the_clock_of_a_run_recorded(
    recorded: list[dict[str, Any]], config: PruneConfig
) -> None:
    parts, seconds = plan(config, **IMAGES, calibration=48), stage_seconds(recorded)
    units: dict[str, float] = defaultdict(float)
    for part in parts:
        units[part.step.stage] += part.units
    tuned = units[Stage.FINETUNING] / seconds[Stage.FINETUNING]
    # The parts that take most of the time, at the pace of fine-tuning.
    assert units[Stage.IMPORTANCE] / tuned == pytest.approx(seconds[Stage.IMPORTANCE], rel=0.5)
    assert units[Stage.EVALUATION_BEFORE] / tuned < 2 * seconds[Stage.EVALUATION_BEFORE]
    ended = units[Stage.TESTING] / tuned
    assert 0.5 * seconds[Stage.TESTING] < ended < 2 * seconds[Stage.TESTING]
    # Loading before the first part, and the check after the last, which are no parts.
    assert 0.5 * START_SECONDS < seconds[Stage.PREPARING] < 2 * START_SECONDS
    assert 0.5 * CHECK_SECONDS < seconds[Stage.SAVING] < 2 * CHECK_SECONDS


def test_the_whole_estimate_is_within_a_factor_of_two_of_the_run(
    recorded: list[dict[str, Any]], config: PruneConfig
) -> None:
    epochs = [e["seconds"] for e in recorded if e["kind"] == "epoch" and e["iteration"] == 1]
    trained = sorted(epochs)[len(epochs) // 2]
    pace = Pace(trained / (IMAGES["train"] + IMAGES["val"] / TRAIN_COST))
    expected = run_seconds(config, plan(config, **IMAGES, calibration=48), pace, IMAGES["train"])
    running = next(e["time"] for e in recorded if e.get("state") == "running")
    took = recorded[-1]["time"] - running
    assert recorded[-1]["state"] == "completed"
    assert 0.5 * took < expected < 2 * took
    beside = run_seconds(
        config, plan(config, **IMAGES, calibration=48), Pace(pace.free, 3.0), IMAGES["train"]
    )
    assert beside == pytest.approx(3 * expected)


def test_a_run_of_one_step_counts_its_last_stages(config: PruneConfig) -> None:
    short = config.model_copy(update={"iterations": 1})
    parts = plan(short, **IMAGES, calibration=48)
    work = sum(part.units for part in parts) * 0.03
    expected = run_seconds(short, parts, Pace(0.09), IMAGES["train"])
    assert expected >= work + START_SECONDS + CHECK_SECONDS
    tested = next(part for part in parts if part.step.stage is Stage.TESTING)
    assert tested.units == pytest.approx(0.335 * 6 + 1.335 * 14 + 20)
