"""Start a study: a preset, its size, the images; or a plan that somebody wrote."""

from __future__ import annotations

import streamlit as st

from msip_core.compositions import COMPOSITIONS
from msip_core.errors import InputError
from msip_core.language import mark, t, tn, told
from msip_core.markdown import md, rich
from msip_core.models import list_models
from msip_core.runs.slots import slot_of
from msip_core.settings import get_settings
from msip_core.studies.engine import advance
from msip_core.studies.library import check_plan, create, plan_here
from msip_core.studies.plan import StudyPlan, write_plan
from msip_core.studies.presets import SIZES, Size
from msip_core.studies.published import PAPER
from msip_core.studies.tasks import epochs_of, tasks
from pages.kit.choose import distinct, remember
from pages.kit.guard import show_error
from pages.kit.lab import datasets, lab
from pages.kit.of_studies import models_switch, models_to_choose
from pages.kit.run_fields import choice_field
from pages.kit.saving import save_button

_SYSTEM = "system"  # stands for all studies of one published system
# preset: name, what it asks
_PRESETS = {
    "table-3-1": (
        mark("Methods (table 3-1)"),
        mark("Does MSIP keep more accuracy than other criteria?"),
    ),
    "table-3-2": (mark("Parts of MSIP (table 3-2)"), mark("Which part of MSIP does the work?")),
    "table-3-3": (mark("Weights (table 3-3)"), mark("Do weights that follow validation help?")),
    "analysis": (
        mark("Attention (section 3.5)"),
        mark("Does the lighter model still look at the right thing?"),
    ),
    "field": (mark("The whole field"), mark("How do all methods compare under one protocol?")),
    _SYSTEM: (
        mark("One published system"),
        mark("What does it keep beside MSIP and the strongest simple criteria?"),
    ),
}
_SIZES: dict[Size, tuple[str, str]] = {
    "smoke": (
        mark("Trial"),
        mark("Minutes: shows that every row works. Its accuracies mean nothing."),
    ),
    "standard": (mark("Standard"), mark("3 repeats, 8 steps each: for a GPU.")),
    "paper": (mark("Paper"), mark("3 repeats of the published schedule: for a GPU, and long.")),
}
_RUN = "python -m msip_core study run plan.yaml"
_TRAIN = ""  # no baseline chosen: train one


def study_form() -> None:
    """Settings of a study and what they come to; Start keeps the plan and begins."""
    left, right = st.columns(2, gap="large")
    with left:
        preset = st.radio(
            t("Question"),
            list(_PRESETS),
            key="study:preset",
            persist_state="session",
            format_func=lambda name: md(t(_PRESETS[name][0])),
            captions=[md(t(words)) for _, words in _PRESETS.values()],
        )
        st.caption(md(told(PAPER)))
        if preset == _SYSTEM:
            preset = _system()
    with right:
        sizes: list[Size] = list(reversed(SIZES))
        size = st.radio(
            t("Size"),
            sizes,
            key="study:size",
            persist_state="session",
            format_func=lambda name: md(t(_SIZES[name][0])),
            captions=[md(t(_SIZES[name][1])) for name in sizes],
        )
        ready = distinct([item.name for item in datasets() if item.ready], _title)
        dataset = choice_field("study:dataset", t("Dataset"), ready, ready.__getitem__)
        model = _baseline()
    try:
        plan = plan_here(
            lab().workspace,
            preset,
            size,
            dataset,
            model=model or None,
            device=get_settings().device,
        )
        check_plan(lab().workspace, plan)
    except InputError as error:
        show_error(error)
        return
    _summary(plan)
    if st.button(t("Start the study"), type="primary", icon=":material/play_arrow:"):
        _start(plan)


def _title(dataset: str) -> str:
    return next(item.words for item in datasets() if item.name == dataset)


def _system() -> str:
    """One of the systems of the field, each a study of its name."""
    label = t("Published system")
    chosen = choice_field(
        "study:system", label, COMPOSITIONS, lambda name: told(COMPOSITIONS[name].label)
    )
    whole = COMPOSITIONS[chosen]
    source = t("Source: {paper}.", paper=told(whole.paper))
    st.caption(md(rich("{words} {source}", words=told(whole.description), source=source)))
    return chosen


def _baseline() -> str:
    unpruned = [card for card in list_models(lab().workspace) if card.kind != "pruned"]
    cards = models_to_choose(unpruned, asked=st.session_state.get("study:model"))
    shown = distinct(list(cards), lambda i: cards[i].name)
    chosen = choice_field(
        "study:model",
        t("Unpruned detector"),
        [_TRAIN, *cards],
        lambda i: shown[i] if i else t("Train one first, by the same protocol"),
    )
    models_switch(unpruned, "study")
    return chosen


def _summary(plan: StudyPlan) -> None:
    count = len(tasks(plan))
    epochs = sum(number for _, number in epochs_of(plan))
    runs = tn("{n} run", "{n} runs", count)
    passes = tn("{n} pass over the images in all.", "{n} passes over the images in all.", epochs)
    st.caption(md(f"{runs}, {passes} " + t("Image size {imgsz} px.", imgsz=plan.imgsz)))
    if plan.size != "smoke" and slot_of(plan.device) == "cpu":
        st.warning(
            t("This computer has no GPU, and a study of this size is meant for one."),
            icon=":material/hourglass:",
        )
    label, text, name = t("The plan as a file (YAML)"), write_plan(plan), f"{plan.preset}.yaml"
    save_button(label, text, name, type="tertiary", help=start_by_hand())


def start_by_hand() -> str:
    """What a plan that was taken home is good for."""
    return t(
        "The plan can be changed, and started with: {command}", command=rich("`{run}`", run=_RUN)
    )


def _start(plan: StudyPlan) -> None:
    study = create(lab().workspace, plan)
    advance(lab().runs, study.id)
    remember("study", study.id)
    st.rerun()
