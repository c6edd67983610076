"""A first run of one's own at one click: all settings filled in, its time said before."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from msip_core.config import PRUNE_PRESETS, PruneConfig, PrunePreset
from msip_core.data.dataset import DatasetSummary
from msip_core.language import t
from msip_core.markdown import md
from msip_core.models import ModelCard
from msip_core.questions.planning import Estimate
from pages.kit.asking import ask_for
from pages.kit.guard import guarded
from pages.kit.jobs import BUSY, finished, job_state
from pages.kit.lab import lab
from pages.kit.machine import seconds_now
from pages.kit.of_studies import own_or_all
from pages.kit.words import spent

STEPS = 2
_KEEP = 0.6


def small_run(sets: Sequence[DatasetSummary], models: Sequence[ModelCard]) -> PruneConfig | None:
    """Two quick steps with the smallest baseline whose dataset is here; None without one."""
    ready = {item.name for item in sets if item.ready}
    usable = own_or_all([c for c in models if c.kind != "pruned" and c.dataset in ready])
    if not usable:
        return None
    lightest = min(usable, key=lambda card: card.cost.macs)
    settings: PrunePreset = {**PRUNE_PRESETS["quick"], "iterations": STEPS}
    return PruneConfig(
        name=f"{lightest.name} to {_KEEP:.0%}", dataset=str(lightest.dataset), model=lightest.id,
        imgsz=lightest.imgsz, batch=8, keep_macs=_KEEP, max_map50_drop=0.03, **settings,
    )  # fmt: skip


def settings_link(config: PruneConfig) -> dict[str, str]:
    """Address of New run with the same settings."""
    return {
        "model": config.model,
        "dataset": config.dataset,
        "preset": "quick",
        "steps": str(STEPS),
    }


def offer(config: PruneConfig) -> None:
    """The button that starts it at once, its time, and the way to its settings."""
    st.markdown(
        t(
            "A small run of your own, all settings filled in: the detector is made lighter in 2 "
            "steps, also without a GPU."
        )
    )
    if st.button(
        t("Make a small run of my own now"),
        type="primary",
        icon=":material/rocket_launch:",
        key="start:small-run",
    ):
        st.switch_page("pages/runs/page.py", query_params={"run": ask_for(config)})
    question = Estimate.of(config)
    if job_state(question) == "new":
        lab().compute.submit(question)
    waiting = job_state(question) in BUSY
    st.fragment(_time, run_every=2 if waiting else None)(config)
    st.page_link(
        "pages/new_run/page.py",
        label=t("See or change its settings first"),
        icon=":material/tune:",
        query_params=settings_link(config),
    )


@guarded
def _time(config: PruneConfig) -> None:
    """Never in the way of the button: the time comes when it was measured."""
    question = Estimate.of(config)
    result = finished(question)
    if result:
        text = t("It takes about {time} on this computer.", time=spent(seconds_now(result)))
    elif job_state(question) in BUSY:
        text = t("How long it takes here is being measured; you need not wait for that.")
    else:
        text = t("How long it takes could not be measured here; the run itself tells.")
    st.caption(md(text))
