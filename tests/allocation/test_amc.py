"""AMC: every episode meets the budget; the agent solves a bandit; a stopped search goes on."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from msip_core.allocation.amc import LEAST, AmcAllocation, Road, transitions
from msip_core.allocation.ddpg import Agent, Transition
from msip_core.config import AllocationOptions
from msip_core.errors import Stopped
from msip_core.groups.budget import Budget
from tests.allocation.toy_search import ToyProblem, channels_matter

LIMITS = AllocationOptions()


def road_of(problem: ToyProblem) -> Road:
    return Road(problem, AmcAllocation(LIMITS).floor(problem), LIMITS.multiple)


@pytest.fixture
def problem(budget: Budget, tmp_path) -> ToyProblem:
    return ToyProblem(
        budget, tmp_path, channels_matter(budget, 1, 2, 4), episodes=10, random_episodes=9
    )


@pytest.mark.parametrize("keep", [0.2, 0.335, 0.6, 0.9])
@pytest.mark.parametrize("wish", ["all", "least", "lot", "late"])
def test_every_episode_meets_the_budget(budget: Budget, tmp_path, keep: float, wish: str):
    """Even that of an agent that wants to keep everything."""
    problem = ToyProblem(
        budget, tmp_path, channels_matter(budget, 1, 1, 1), keep=keep, iterations=16
    )
    rng = np.random.default_rng(0)
    choose = {
        "all": lambda state: 1.0,
        "least": lambda state: LEAST,
        "lot": lambda state: float(rng.uniform(LEAST, 1)),
        "late": lambda state: 1.0 if state[0] < 0.5 else LEAST,
    }[wish]

    episode = road_of(problem).walk(choose)

    assert float(budget.macs(episode.widths)) <= problem.window.high
    assert (episode.widths >= 8).all()
    assert (episode.widths % 8 == 0).all()
    assert [v.action for v in episode.visits] == pytest.approx(
        (episode.widths / budget.widths).tolist()
    )


def test_an_agent_that_keeps_all_ends_just_below_the_budget(problem: ToyProblem, budget: Budget):
    """The clip takes no more than it must: the early groups are whole, the late ones pay."""
    widths = road_of(problem).walk(lambda state: 1.0).widths

    assert (widths[:5] == budget.widths[:5]).all()
    assert (widths[-5:] < budget.widths[-5:]).all()
    assert float(budget.macs(widths)) > 0.97 * problem.window.high


def test_a_state_has_eleven_features_between_zero_and_one(problem: ToyProblem, budget: Budget):
    visits = road_of(problem).walk(lambda state: 0.7).visits
    states = np.stack([v.state for v in visits])

    assert states.shape == (59, 11)
    assert states.min() >= 0
    assert states.max() <= 1
    index, freed, to_come, previous = states[:, 0], states[:, 8], states[:, 9], states[:, 10]
    assert index.tolist() == pytest.approx((np.arange(59) / 58).tolist())
    assert freed[0] == 0
    assert (np.diff(freed) >= 0).all()
    assert (np.diff(to_come) <= 0).all()
    assert to_come[-1] == 0
    assert previous[0] == 1
    assert previous[1:].tolist() == pytest.approx([v.action for v in visits[:-1]])


def test_a_reward_that_weighs_cost_leaves_the_size_to_the_agent(budget: Budget, tmp_path):
    """-(1 - mAP50) * log(MACs): by it, a tenth of the error is worth a tenth of the logarithm."""
    problem = ToyProblem(budget, tmp_path, channels_matter(budget, 1, 1, 1), reward="with-cost")
    road = road_of(problem)

    whole = road.walk(lambda state: 1.0).widths

    assert (whole == budget.widths).all()
    assert road.reward(0.9, whole) == pytest.approx(-0.1 * np.log(budget.macs_now))
    assert road.reward(0.9, road.low) > road.reward(0.9, whole) > road.reward(0.8, road.low)
    assert road_of(ToyProblem(budget, tmp_path, problem.accuracy)).reward(0.9, whole) == 0.9


def test_all_steps_of_an_episode_get_its_reward_and_the_last_one_ends_it(problem: ToyProblem):
    episode = road_of(problem).walk(lambda state: 0.5)

    steps = transitions(episode, 0.7)

    assert [t.reward for t in steps] == [0.7] * 59
    assert [t.last for t in steps] == [False] * 58 + [True]
    assert all(np.array_equal(a.after, b.state) for a, b in itertools.pairwise(steps))


def test_a_bandit_with_a_known_best_ratio_is_solved():
    """One group, reward 1 - (a - .6)^2: the policy comes to keep 60 %."""
    agent = Agent(1, LEAST, 1.0, memory=500, seed=0)
    state = np.ones(1, np.float32)
    for n in range(140):
        action = agent.by_lot() if n < 40 else agent.explore(state, 0.5 * 0.97 ** (n - 40))
        reward = 1 - (action - 0.6) ** 2
        agent.remember(Transition(state, action, reward, state, True))
        if n >= 40:
            agent.learn()
            agent.learn()
        agent.rewarded(reward)

    assert agent.act(state) == pytest.approx(0.6, abs=0.06)


def test_exploration_stays_in_bounds_and_fades():
    agent = Agent(2, LEAST, 1.0, memory=10, seed=1)
    state = np.zeros(2, np.float32)

    wide = [agent.explore(state, 0.5) for _ in range(300)]
    narrow = [agent.explore(state, 0.01) for _ in range(300)]

    assert min(wide) >= LEAST
    assert max(wide) <= 1
    # A normal of sd .5 truncated to .8 wide is nearly uniform: sd near .8 / sqrt(12) = .23.
    assert np.std(wide) == pytest.approx(0.22, abs=0.03)
    assert np.std(narrow) == pytest.approx(0.01, rel=0.2)
    assert np.mean(narrow) == pytest.approx(agent.act(state), abs=0.003)


def test_the_memory_forgets_the_oldest_and_the_baseline_follows_rewards():
    agent = Agent(1, LEAST, 1.0, memory=3, seed=0)
    state = np.zeros(1, np.float32)
    for reward in (1.0, 2.0, 3.0, 4.0):
        agent.remember(Transition(state, 0.5, reward, state, True))
    assert sorted(t.reward for t in agent._replay) == [2.0, 3.0, 4.0]

    agent.rewarded(0.5)
    assert agent.baseline == pytest.approx(0.5)
    agent.rewarded(1.0)
    assert agent.baseline == pytest.approx(0.95 * 0.5 + 0.05 * 1.0)


def test_the_same_seed_makes_the_same_agent_and_leaves_other_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    agents = [Agent(3, LEAST, 1.0, 10, seed) for seed in (1, 1, 2)]

    assert torch.rand(1) == expected
    state = np.ones(3, np.float32)
    assert agents[0].act(state) == agents[1].act(state) != agents[2].act(state)


def test_the_best_episode_is_the_result(problem: ToyProblem, budget: Budget):
    result = AmcAllocation(LIMITS).search(problem)

    seen = json.loads((problem.folder / "episodes.json").read_text())["map50"]
    assert len(seen) == 10
    assert result.map50 == max(seen)
    kept = np.rint(budget.widths * (1 - np.array(list(result.ratios.values()))))
    assert problem.accuracy(kept) == pytest.approx(result.map50)
    assert problem.done == sorted(problem.done)


def test_a_search_that_was_stopped_goes_on_without_trying_again(budget: Budget, tmp_path):
    accuracy = channels_matter(budget, 1, 2, 4)
    settings = {"episodes": 7, "random_episodes": 5}
    whole = ToyProblem(budget, tmp_path / "whole", accuracy, **settings)
    expected = AmcAllocation(LIMITS).search(whole)
    first = ToyProblem(budget, tmp_path / "broken", accuracy, stop_after=6, **settings)
    with pytest.raises(Stopped):
        AmcAllocation(LIMITS).search(first)

    second = ToyProblem(budget, tmp_path / "broken", accuracy, **settings)
    result = AmcAllocation(LIMITS).search(second)

    assert result == expected
    assert first.evaluated + second.evaluated == whole.evaluated
