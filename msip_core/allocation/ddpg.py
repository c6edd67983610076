"""Deep deterministic policy gradient for one bounded action: what AMC's agent learns with.

    critic   Q(s, a) -> r - b + discount * Q'(s', mu'(s'))        mean squared error
    actor    mu(s)    maximises Q(s, mu(s))
    targets  theta' <- (1 - tau) theta' + tau theta

Actor and critic have two hidden layers of 300. r is the reward of the whole episode, given to each
of its steps; b is the moving average of the rewards of earlier episodes. Exploration draws from a
normal distribution around mu(s), truncated to the bounds.
Sources: Lillicrap et al. 2016, arXiv:1509.02971; He et al. 2018, arXiv:1802.03494.
"""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

HIDDEN = 300
ACTOR_RATE, CRITIC_RATE = 1e-4, 1e-3
TAU, DISCOUNT, BATCH = 0.01, 1.0, 64
BASELINE_DECAY = 0.95

State = NDArray[np.float32]


class Transition(NamedTuple):
    """One step; `last` ends its episode."""

    state: State
    action: float
    reward: float
    after: State
    last: bool


class Agent:
    """Actor, critic, their targets and a replay memory.

    Args:
        features: length of a state.
        low, high: bounds of the action.
        memory: transitions that are remembered; older ones are forgotten.
        seed: for weights, batches and exploration.
    """

    def __init__(self, features: int, low: float, high: float, memory: int, seed: int) -> None:
        self.low, self.high, self.memory = low, high, memory
        self.random = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.actor = nn.Sequential(_layers(features), nn.Sigmoid())
            self.critic = _layers(features + 1)
        self._actor_target, self._critic_target = deepcopy(self.actor), deepcopy(self.critic)
        self._actor_steps = _adam(self.actor, ACTOR_RATE)
        self._critic_steps = _adam(self.critic, CRITIC_RATE)
        self._replay: list[Transition] = []
        self._oldest = 0
        self.baseline: float | None = None

    @torch.no_grad()
    def act(self, state: State) -> float:
        """The action that the policy would take."""
        action = float(self._policy(self.actor, torch.from_numpy(state)[None]))
        # Single precision may leave the bounds by its last digit.
        return min(max(action, self.low), self.high)

    def explore(self, state: State, spread: float) -> float:
        """The policy's action with truncated normal noise of standard deviation `spread`."""
        middle = self.act(state)
        while True:
            action = float(self.random.normal(middle, spread))
            if self.low <= action <= self.high:
                return action

    def by_lot(self) -> float:
        """Any action."""
        return float(self.random.uniform(self.low, self.high))

    def remember(self, transition: Transition) -> None:
        """Add one transition to the replay memory."""
        if len(self._replay) < self.memory:
            self._replay.append(transition)
        else:
            self._replay[self._oldest] = transition
            self._oldest = (self._oldest + 1) % self.memory

    def rewarded(self, reward: float) -> None:
        """Bring the moving average up to date with the reward of an episode."""
        if self.baseline is None:
            self.baseline = reward
        self.baseline = BASELINE_DECAY * self.baseline + (1 - BASELINE_DECAY) * reward

    def learn(self) -> None:
        """One step of critic and actor on a batch drawn from the memory."""
        picked = self.random.integers(len(self._replay), size=min(BATCH, len(self._replay)))
        batch = [self._replay[i] for i in picked]
        state = torch.from_numpy(np.stack([t.state for t in batch]))
        after = torch.from_numpy(np.stack([t.after for t in batch]))
        action = torch.tensor([[t.action] for t in batch])
        reward = torch.tensor([[t.reward] for t in batch]) - (self.baseline or 0.0)
        goes_on = torch.tensor([[0.0 if t.last else 1.0] for t in batch])
        with torch.no_grad():
            later = self._critic_target(_joined(after, self._policy(self._actor_target, after)))
            aim = reward + DISCOUNT * goes_on * later
        self._step(self._critic_steps, (self.critic(_joined(state, action)) - aim).pow(2).mean())
        chosen = self._policy(self.actor, state)
        self._step(self._actor_steps, -self.critic(_joined(state, chosen)).mean())
        self._follow(self._actor_target, self.actor)
        self._follow(self._critic_target, self.critic)

    def _policy(self, actor: nn.Module, state: Tensor) -> Tensor:
        share: Tensor = actor(state)
        return self.low + (self.high - self.low) * share

    @staticmethod
    def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    @staticmethod
    @torch.no_grad()
    def _follow(target: nn.Module, source: nn.Module) -> None:
        torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), TAU)


def _layers(inputs: int) -> nn.Sequential:
    """Two hidden layers of 300; the last layer begins near 0, so that no action is preferred."""
    last = nn.Linear(HIDDEN, 1)
    nn.init.uniform_(last.weight, -3e-3, 3e-3)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), last
    )


def _adam(net: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), rate, fused=True)  # twice as fast on a CPU


def _joined(state: Tensor, action: Tensor) -> Tensor:
    return torch.cat((state, action.to(state.dtype)), dim=1)
