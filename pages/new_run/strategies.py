"""How channels are shared out, what is taken out, how the network learns again: one plain sentence
and the paper for each choice. Whoever leaves them alone gets what the method was published with."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from msip_core.catalog import ALLOCATIONS, CRITERIA, GRANULARITIES, RECOVERIES, Entry
from msip_core.compositions import COMPOSITIONS, Composition
from msip_core.config import PruneConfig
from msip_core.language import t, told
from msip_core.markdown import md
from pages.kit.run_fields import choice_field
from pages.kit.words import labelled
from pages.new_run.strategy_details import (
    granularity_details,
    recovery_details,
    repair_choice,
    search_details,
)

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
