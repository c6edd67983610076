"""Four weights that always sum to 100 %: arithmetic first, then the sliders."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from msip_core.config import TERMS, WEIGHT_PRESETS, MsipWeights
from msip_core.language import mark, t
from msip_core.markdown import md
from pages.kit.words import TERM_WORDS, labelled

# preset: name, and one sentence on when to take it
_PRESETS = {
    "paper": (
        mark("Balanced"),
        mark("The weights of MSIP's paper: all four signals, the error most. A good first choice."),
    ),
    "equal": (
        mark("Equal"),
        mark("Every signal counts alike: for seeing what the paper's weights change."),
    ),
    "gradient-heavy": (
        mark("Mostly the error"),
        mark("Stays close to what the detector needs now: careful with small datasets."),
    ),
    "gradient-only": (mark("Error only"), mark("One signal alone, to compare: how needed.")),
    "geometry-only": (mark("Unlikeness only"), mark("One signal alone, to compare: how unlike.")),
    "sparsity-only": (mark("Activity only"), mark("One signal alone, to compare: how active.")),
    "information-only": (
        mark("Class only"),
        mark("One signal alone, to compare: how much it tells of the class."),
    ),
    "custom": (mark("My own"), mark("Your own mixture: the four always sum to 100 %.")),
}
# What a high weight of each signal does.
_WHEN_HIGH = {
    "gradient": mark(
        "High: keeps the channels without which objects would be missed or taken for others."
    ),
    "geometry": mark(
        "High: keeps the odd ones out, such as the one channel that answers to a crypt's mouth, or "
        "a gland's lumen, among ten that answer to plain edges."
    ),
    "sparsity": mark(
        "High: keeps channels that answer everywhere. Where a class is rare, a channel that "
        "answers only to it counts for less: keep this weight low."
    ),
    "information": mark(
        "High: keeps channels whose answer tells the classes and background apart."
    ),
}


def rescale(weights: Mapping[str, int], moved: str) -> dict[str, int]:
    """Keep the moved weight; share the rest of 100 among the others in their old proportions.

    Args:
        weights: whole percents by term, `moved` already at its new value in [0, 100].

    Returns:
        Whole percents that sum to exactly 100 (largest remainders get the odd percents). Others
        that are all 0 share equally.
    """
    others = [term for term in weights if term != moved]
    rest = 100 - weights[moved]
    total = sum(weights[term] for term in others)
    exact = {term: rest * weights[term] / total if total else rest / len(others) for term in others}
    result = {term: int(exact[term]) for term in others}
    by_remainder = sorted(others, key=lambda term: result[term] - exact[term])
    for term in by_remainder[: rest - sum(result.values())]:
        result[term] += 1
    return {term: weights[moved] if term == moved else result[term] for term in weights}


def as_percents(weights: MsipWeights) -> dict[str, int]:
    """0.4 -> 40, for the four terms in their order."""
    return {term: round(100 * value) for term, value in zip(TERMS, weights.as_tuple())}


def preset_of(percents: Mapping[str, int]) -> str:
    """The preset that these weights are, or 'custom'."""
    for name, preset in WEIGHT_PRESETS.items():
        if as_percents(preset) == dict(percents):
            return name
    return "custom"


def weight_sliders() -> MsipWeights:
    """Presets and four sliders; moving one slider rescales the other three."""
    state = st.session_state
    for term, value in as_percents(WEIGHT_PRESETS["paper"]).items():
        state.setdefault(_key(term), value)
    # Shown values follow the sliders; a preset that was clicked has set them before. A mixture of
    # one's own is made by a slider: as long as there is none, a click on its word would do nothing.
    state["weights:preset"] = now = preset_of(_percents())
    st.pills(
        t("Mixture of the four signals"),
        [name for name in _PRESETS if name in (*WEIGHT_PRESETS, now)],
        format_func=lambda name: md(t(_PRESETS[name][0])),
        key="weights:preset",
        on_change=_take_preset,
    )
    st.caption(md(t(_PRESETS[now][1])))
    left, right = st.columns(2, gap="large")
    for place, term in enumerate(TERMS):
        word, meaning = TERM_WORDS[term]
        column = left if place % 2 == 0 else right
        column.slider(
            md(labelled(t(word), t(term))),
            0,
            100,
            step=1,
            format="%d %%",
            key=_key(term),
            help=md(t(meaning)),
            on_change=_moved,
            args=(term,),
            persist_state="session",
        )
        column.caption(md(t(_WHEN_HIGH[term])))
    percents = _percents()
    return MsipWeights(**{term: value / 100 for term, value in percents.items()})


def _key(term: str) -> str:
    return f"weight:{term}"


def _percents() -> dict[str, int]:
    return {term: int(st.session_state[_key(term)]) for term in TERMS}


def _moved(term: str) -> None:
    for other, value in rescale(_percents(), term).items():
        st.session_state[_key(other)] = value


def _take_preset() -> None:
    name = st.session_state["weights:preset"]
    if name in WEIGHT_PRESETS:
        for term, value in as_percents(WEIGHT_PRESETS[name]).items():
            st.session_state[_key(term)] = value
