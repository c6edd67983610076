"""The panel beside the settings: what would be left, what it takes, what forbids it, Start."""

from __future__ import annotations

import streamlit as st

from msip_core.config import PruneConfig
from msip_core.language import t
from msip_core.markdown import md
from msip_core.questions.planning import PlannedCut
from msip_core.runs.slots import room_of, slot_of
from pages.kit.asking import ask_for
from pages.kit.lab import lab
from pages.kit.layout import careful
from pages.kit.machine import find_machine
from pages.new_run.checks import (
    Refusal,
    class_refusal,
    disk_refusal,
    goal_refusal,
    memory_refusal,
    queue_sentence,
    runs_before,
    show_refusals,
    starts_beside,
    unchecked_classes,
)
from pages.new_run.form import Choice
from pages.new_run.preview import has_failed, is_busy, needs, preview


def start_panel(choice: Choice, made: PruneConfig | Refusal) -> PlannedCut | None:
    """Draw the panel; return the preview once it is there."""
    refusal = made if isinstance(made, Refusal) else class_refusal(choice.model, choice.dataset)
    if refusal or isinstance(made, Refusal):
        st.subheader(t("This run cannot start"), anchor=False)
        show_refusals([refusal] if refusal else [])
        _start(None, t("First mend what is said above."))
        return None
    with st.container(border=True, key="new-preview"):
        found = preview(made)
    refusals = _needs_and_refusals(made, found) if found else []
    _warn(choice)
    show_refusals(refusals)
    _start(made, _why_not(made, refusals))
    return found


def _needs_and_refusals(config: PruneConfig, found: PlannedCut) -> list[Refusal]:
    before, room = runs_before(config), room_of(slot_of(config.device))
    machine = find_machine(str(lab().workspace.root))
    waits = len(before) >= room and not starts_beside(config, found, machine, before)
    checks = (
        goal_refusal(found),
        memory_refusal(config, found, machine, waits=waits and room == 1),
        disk_refusal(found, machine),
    )
    refusals = [refusal for refusal in checks if refusal]
    if not found.refused:
        with st.container(border=True, key="new-needs"):
            st.subheader(t("What it takes"), anchor=False)
            needs(config, found, machine.busy)
    if waits:
        st.info(md(queue_sentence(before, room)), icon=":material/schedule:")
    return refusals


def _warn(choice: Choice) -> None:
    careful(choice.dataset.concerns)
    blind = unchecked_classes(choice.dataset)
    if blind:
        text = t(
            "No image of the val part has a box of {classes}: the guard rail cannot see "
            "whether it is still found.",
            classes=", ".join(blind),
        )
        st.warning(md(text), icon=":material/visibility_off:")


def _why_not(config: PruneConfig, refusals: list[Refusal]) -> str | None:
    if refusals:
        return t("First mend what is said above.")
    if has_failed(config):
        return t("The run would fail as the preview did.")
    return None


def _start(config: PruneConfig | None, why_not: str | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        clicked = st.button(
            t("Start"),
            type="primary",
            icon=":material/play_arrow:",
            key="new:start",
            disabled=why_not is not None,
            help=md(why_not),
        )
        if why_not:
            st.caption(md(why_not), width="content")
        elif config is not None and is_busy(config):
            early = t("You need not wait for the preview: the run checks the same at its start.")
            st.caption(md(early), width="content")
    if clicked and config is not None and why_not is None:
        st.switch_page("pages/runs/page.py", query_params={"run": ask_for(config)})
