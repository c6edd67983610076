"""How channels are shared out, what is taken out, how the network learns again: one plain sentence
and the paper for each choice. Whoever leaves them alone gets what the method was published with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import streamlit as st

from msip_core.catalog import ALLOCATIONS, CRITERIA, GRANULARITIES, RECOVERIES, Entry
from msip_core.compositions import COMPOSITIONS, Composition
from msip_core.config import DistillOptions, ModuleType, PruneConfig, SearchOptions
from msip_core.language import mark, t, told
from msip_core.markdown import md
from pages.kit.run_fields import choice_field, number_field
from pages.kit.words import labelled

_BLOCK_SCORES = {
    "map50": mark("by what its removal costs on validation images"),
    "gamma": mark("by the scale of its last batch norm"),
    "cosine": mark("by how little it changes what passes through it"),
}
_RULES = {
    "every-other": mark("every other one, as published"),
    "score": mark("the least important first"),
}
_SPACES = {"stages": mark("3 stages"), "modules": mark("22 modules")}
_SAMPLERS = {
    "tpe": mark("an estimator that learns from all trials"),
    "evolution": mark("crossing the best trials"),
}
_REWARDS = {
    "within-goal": mark("accuracy at the goal"),
    "with-cost": mark("accuracy and multiply-adds in one number"),
}
_ACCEPTED = {
    "loss-per-saving": mark("the least accuracy lost for what it saves"),
    "accuracy": mark("the highest accuracy"),
}
_REPAIRS = {
    "auto": mark("whatever validation likes best"),
    "refit": mark("weights that make up for what is gone (least squares)"),
    "absorb": mark("what lost channels gave at rest goes on in the layers that read them"),
    "recalibrate": mark("fresh batch-norm statistics"),
    "none": mark("nothing"),
}
_USUAL = SearchOptions()


_OWN = ""  # the allocation that the method came with


def strategies(method: str) -> dict[str, object]:
    """Draw the choices; return them as settings of a PruneConfig."""
    with st.expander(t("More choices: layers, blocks, recovery"), icon=":material/account_tree:"):
        allocation = _allocation(method)
        granularity = _choice(
            "granularity", labelled(t("What is taken out"), t("granularity")), GRANULARITIES
        )
        details = granularity_details(granularity)
        recovery = _choice(
            "recovery", labelled(t("How it learns again"), t("recovery")), RECOVERIES
        )
        details |= recovery_details(recovery) | search_details(allocation)
        details["repair"] = repair_choice()
    return {"allocation": allocation, "granularity": granularity, "recovery": recovery, **details}


def _allocation(method: str) -> str | None:
    own = ALLOCATIONS[CRITERIA[method].default_allocation]

    def words(name: str) -> str:
        if name == _OWN:
            return t("As the method was published: {label}", label=told(own.label))
        return told(ALLOCATIONS[name].label)

    label = labelled(t("How much each layer gives"), t("allocation"))
    chosen = choice_field("new:allocation", label, [_OWN, *ALLOCATIONS], words)
    _explain(ALLOCATIONS[chosen] if chosen else own)
    return chosen or None


def _choice(setting: str, label: str, family: Mapping[str, Entry]) -> str:
    usual = PruneConfig.model_fields[setting].default
    names = [usual, *(name for name in family if name != usual)]
    chosen = choice_field(f"new:{setting}", label, names, lambda name: told(family[name].label))
    _explain(family[chosen])
    return chosen


def composition() -> Composition | None:
    """A published whole, which brings its own settings; None where a person chooses."""
    chosen = choice_field(
        "new:composition",
        labelled(t("A published whole"), t("composition")),
        [_OWN, *COMPOSITIONS],
        lambda name: told(COMPOSITIONS[name].label) if name else t("my own choices"),
    )
    if not chosen:
        return None
    whole = COMPOSITIONS[chosen]
    st.caption(md(f"{told(whole.description)} {t('Source: {paper}.', paper=told(whole.paper))}"))
    text = t(
        "It brings its own {names}: what is set for these on this page does not count.",
        names=", ".join(whole.settings),
    )
    st.info(md(text), icon=":material/info:")
    return whole


def _explain(entry: Entry) -> None:
    st.caption(md(f"{told(entry.description)} {t('Source: {paper}.', paper=told(entry.paper))}"))


def repair_choice() -> str:
    """What is done right after a cut, before any training."""
    return _pick("new:repair", labelled(t("Right after a cut"), t("repair")), _REPAIRS)


def granularity_details(granularity: str) -> dict[str, object]:
    """Which modules, how many blocks, which go first."""
    found: dict[str, object] = {}
    asked = GRANULARITIES[granularity].settings
    if "modules" in asked:
        kinds = st.multiselect(
            md(labelled(t("Only inside modules of these kinds"), t("module types"))),
            list(get_args(ModuleType)),
            default=["C2f"],
            key="new:modules",
            persist_state="session",
        )
        found["modules"] = tuple(kinds) or PruneConfig.model_fields["modules"].default
    if "blocks" in asked:
        label = labelled(t("Blocks that go first"), t("bottlenecks"))
        found["blocks"] = number_field("new:blocks", label, 2, (1, 100))
    if "layerdrop_rule" in asked:
        found["layerdrop_rule"] = _pick("new:rule", t("Which blocks go"), _RULES)
    if "block_score" in asked and found.get("layerdrop_rule") != "every-other":
        found["block_score"] = _pick("new:block-score", t("Blocks are ranked"), _BLOCK_SCORES)
    return found


def recovery_details(recovery: str) -> dict[str, object]:
    """How strongly and how softly the unpruned network teaches."""
    taught_by, softened = RECOVERIES[recovery].taught_by, RECOVERIES[recovery].softened
    if not taught_by:
        return {}
    usual = DistillOptions()
    left, right = st.columns(2)
    with left:
        label = labelled(t("How much the teacher counts"), t("weight"))
        why = (
            t("Beside the detection loss, for each of the three maps that feed the head.")
            if taught_by == "maps"
            else t("Beside the detection loss.")
        )
        weight = number_field("new:distill-weight", label, usual.weight, (0.01, 1000.0), why)
    if not softened:
        return {"distill": usual.model_copy(update={"weight": weight})}
    with right:
        label = labelled(t("How softly"), t("temperature"))
        why = (
            t("Higher: the whole map counts; lower: its strongest places.")
            if taught_by == "maps"
            else t("Higher: every place where a box may end counts; lower: the likeliest.")
        )
        temperature = number_field(
            "new:distill-temperature", label, usual.temperature, (0.1, 100.0), why
        )
    return {"distill": DistillOptions(weight=weight, temperature=temperature)}


def search_details(allocation: str | None) -> dict[str, object]:
    """How long an allocation that searches may search."""
    if allocation is None or not ALLOCATIONS[allocation].searches:
        return {}
    st.info(
        t("Networks are tried out before the first cut: this takes long, and can be paused."),
        icon=":material/hourglass:",
    )
    details = {"search": _tpe_details, "amc": _amc_details, "netadapt": _netadapt_details}
    asked = details[allocation]() if allocation in details else {}
    return {"search": SearchOptions.model_validate(asked)}


def _tpe_details() -> dict[str, object]:
    left, middle, right = st.columns(3)
    with left:
        trials = number_field("new:trials", t("Trials"), _USUAL.trials, (1, 10_000))
    with middle:
        space = _pick("new:space", t("One ratio for each of"), _SPACES)
    with right:
        sampler = _pick("new:sampler", t("Ratios are proposed by"), _SAMPLERS)
    return {"trials": trials, "space": space, "sampler": sampler}


def _amc_details() -> dict[str, object]:
    left, right = st.columns(2)
    with left:
        label = labelled(t("Rounds of learning"), t("episodes"))
        episodes = number_field("new:episodes", label, _USUAL.episodes, (2, 10_000))
    with right:
        reward = _pick("new:reward", labelled(t("What it is praised for"), t("reward")), _REWARDS)
    by_lot = min(_USUAL.random_episodes, max(1, episodes // 3))
    return {"episodes": episodes, "random_episodes": by_lot, "reward": reward}


def _netadapt_details() -> dict[str, object]:
    left, right = st.columns(2)
    with left:
        label = labelled(t("Layers tried at each step"), t("candidates"))
        why = t("The ones that paid best when they were last tried; 0 tries all.")
        candidates = number_field("new:candidates", label, _USUAL.candidates, (0, 1000), why)
    with right:
        accept = _pick("new:accept", t("The layer that wins a step has"), _ACCEPTED)
    return {"candidates": candidates, "accept": accept}


def _pick(key: str, label: str, words: dict[str, str]) -> str:
    return choice_field(key, label, words, lambda name: t(words[name]))
