"""The schedule of a run: how far each iteration may go, how alpha and the weights follow.

Corridor, with rho = share to keep, M_0 count of the baseline (multiply-adds, or whatever else the
goal counts), T iterations:

    q_t = (rho * M_0 / M_{t-1})^(1 / (T - t + 1))
    M_t in [M_{t-1} * q^1.5, M_{t-1} * q^0.5], never below rho * M_0; the last on rho * M_0

Feedback, with L_t the validation loss after fine-tuning and L_ref that of the unpruned model:

    alpha <- clip(alpha * exp(-5 ((L_t - L_ref) / L_ref - .02)), alpha / 10, 2)

(The least is a share of alpha: scores span decades, so alphas of .05 do occur, and a floor of .1
would answer more loss with a larger cut.) The feedback acts as a gain on the alpha that meets
M_{t-1} * q: the same alpha cuts less and less, since the channels below it are gone, so taken as it
stands it would hug the gentle edge and leave the last iteration a cut of a quarter or more
(YOLOv8s, 16 iterations: .45 to .335 in one step).

Weights, with m_k the mAP50 of a trial copy pruned by term k alone:

    w_k <- w_k * exp(.3 (m_k - mean m) / max(range m, .01)), floor .05 (0 stays 0), sum 1

Source: method sheet, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from msip_core.allocation.goal import NOUNS
from msip_core.allocation.table import Corridor
from msip_core.config import TERMS, AllocationOptions, MsipWeights
from msip_core.messages import msg

ALPHA_LEAST, ALPHA_MOST = 0.1, 2.0  # of the alpha before; of all
ALPHA_RATE, ALPHA_LOSS = 5.0, 0.02
WEIGHT_RATE, WEIGHT_FLOOR, WEIGHT_RANGE = 0.3, 0.05, 0.01
# How near the last iteration must come: any width hits it to half a percent; multiples of 8 and 16
# find a combination of steps at most 1 % below, never above.
FREE_TOLERANCE, STEP_TOLERANCE = 0.005, 0.01


def corridor(
    iteration: int, iterations: int, *, baseline: float, now: float, keep: float, round_to: int
) -> Corridor:
    """Counts between which iteration `iteration` (from 1) must land.

    Args:
        baseline, now: count of the unpruned and of the current network.
        keep: share of the baseline's that is left at the end.
    """
    goal = keep * baseline
    if iteration >= iterations:
        return final_window(goal, round_to)
    q = min(1.0, (goal / now) ** (1 / (iterations - iteration + 1)))
    low, high = max(now * q**1.5, goal), now * q**0.5
    high = max(low, high)
    return Corridor(low, high, min(max(now * q, low), high))


def final_window(goal: float, round_to: int) -> Corridor:
    """Where the last iteration must land."""
    if round_to == 1:
        return Corridor(goal * (1 - FREE_TOLERANCE), goal * (1 + FREE_TOLERANCE), goal)
    return Corridor(goal * (1 - STEP_TOLERANCE), goal, goal)


def next_alpha(alpha: float, loss: float, reference: float) -> float:
    """More loss than 2 % above the unpruned model's makes the next step gentler; so does one that
    is no number, as after a diverged fine-tune."""
    change = (loss - reference) / reference - ALPHA_LOSS if not math.isnan(loss) else math.inf
    # A loss that exploded must not underflow the exponent.
    factor = math.exp(max(-50.0, min(50.0, -ALPHA_RATE * change)))
    return min(alpha * max(factor, ALPHA_LEAST), ALPHA_MOST)


def next_weights(
    weights: MsipWeights, trial_map50: Sequence[float], adapted: Sequence[str] = TERMS
) -> MsipWeights:
    """Weights that follow what each term alone would have kept; equal trials change nothing.

    Args:
        trial_map50: mAP50 of the trial copy of each term, in the order of the weights.
        adapted: the terms whose weights follow; the others keep their proportions.
    """
    m = np.asarray(trial_map50, np.float64)
    if np.ptp(m) == 0:
        return weights
    w = np.array(weights.as_tuple())
    follows = np.isin(TERMS, adapted)
    w = w * np.exp(WEIGHT_RATE * follows * (m - m.mean()) / max(np.ptp(m), WEIGHT_RANGE))
    on = w > 0  # a term that was left out stays out
    w[on] = _floored(w[on] / w.sum(), WEIGHT_FLOOR)
    w = w.round(6)
    w[w.argmax()] += 1 - w.sum()
    return MsipWeights(**{term: round(float(x), 6) for term, x in zip(TERMS, w, strict=True)})


def _floored(w: np.ndarray, floor: float) -> np.ndarray:
    """Shares that sum to 1 with none below `floor`; the others give way in proportion."""
    low = np.zeros(len(w), bool)
    while True:
        free = w[~low]
        scaled = np.where(low, floor, w * (1 - floor * low.sum()) / free.sum())
        below = (scaled < floor - 1e-12) & ~low
        if not below.any():
            return scaled
        low |= below


def stopped_by_caps(
    capped: Sequence[str], groups: int, reached: float, asked: float, limits: AllocationOptions,
    *, noun: str = NOUNS["macs"],
) -> str:  # fmt: skip
    """The sentence for a last iteration that the caps ended above its goal."""
    named = ", ".join(capped[:5])
    if len(capped) > 5:
        named = msg("{layers} and others", layers=named)
    return msg(
        "The goal of {asked:.1%} of the {noun} was not reached, {reached:.1%} remain: {n} of "
        "{groups} layers ({named}) are at their limit of {most:.0%} lost per "
        "iteration or {least:.0%} left.",
        asked=asked,
        noun=noun,
        reached=reached,
        n=len(capped),
        groups=groups,
        named=named,
        most=limits.max_removed_per_iteration,
        least=limits.min_kept,
    )
