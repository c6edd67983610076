"""The way from images to a heat map of one's own, and how far on it this lab is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import streamlit as st

from msip_core.data.dataset import DatasetSummary
from msip_core.language import t, tn
from msip_core.markdown import md, rich
from msip_core.models import ModelCard
from msip_core.runs.state import RunState
from msip_core.runs.store import RunRow
from msip_core.views import wording
from pages.kit.classes import knows_the_classes
from pages.kit.lab import example_runs, lab
from pages.kit.navigation import page_file, was_visited
from pages.kit.of_studies import own_or_all

_LOOKED_THROUGH = 200  # newest runs among which one's own is looked for


@dataclass(frozen=True, slots=True)
class Step:
    """One stop of the way.

    Attributes:
        word: what is done there, two or three words.
        state: one sentence on how far it is.
        page, ids: where it is done.
        do: the sentence of the "Next" button.
    """

    word: str
    done: bool
    state: str
    page: str
    do: str
    ids: dict[str, str] = field(default_factory=dict)


def own_run() -> RunRow | None:
    """The newest pruning run that neither came with the example nor belongs to a study."""
    came_along = example_runs()
    runs = lab().runs.list(limit=_LOOKED_THROUGH, kind="prune", of_studies=False)
    return next((run for run in runs if run.id not in came_along), None)


def first_steps(
    sets: Sequence[DatasetSummary], models: Sequence[ModelCard], run: RunRow | None
) -> list[Step]:
    """The five stops in order; the first that is not done is the next."""
    ready = [item for item in sets if item.ready]
    baselines = own_or_all(
        [
            card
            for card in models
            if card.kind != "pruned"
            and (not ready or any(knows_the_classes(card, item) for item in ready))
        ]
    )
    return [
        _data(ready, sets),
        _model(baselines, ready),
        _run(run, baselines),
        _looked("compare", run, t("Compare"), t("compare before and after"),
                t("The same micrograph by both models, side by side.")),
        _looked("look", run, t("Look"), t("see where it looks"),
                t("A heat map (Grad-CAM) of both models on one object.")),
    ]  # fmt: skip


def next_of(steps: Sequence[Step]) -> Step | None:
    return next((step for step in steps if not step.done), None)


def show_steps(steps: Sequence[Step]) -> None:
    """The stops beside each other; done, next or later is said by an icon and a word."""
    current = next_of(steps)
    with st.container(key="steps"):
        for column, (number, step) in zip(st.columns(len(steps)), enumerate(steps, 1)):
            with column, st.container(border=True, height="stretch"):
                if step.done:
                    st.badge(t("done"), icon=":material/check:", color="green")
                elif step is current:
                    st.badge(t("next"), icon=":material/arrow_forward:", color="blue")
                else:
                    st.badge(t("later"), icon=":material/schedule:", color="gray")
                st.markdown(md(rich("**{number}. {word}**", number=number, word=step.word)))
                st.caption(md(step.state))
                if step.done or step is current:
                    st.page_link(
                        step.page,
                        label=md(t("Open {what}", what=step.word.lower())),
                        query_params=step.ids or None,
                    )


def _data(ready: Sequence[DatasetSummary], every: Sequence[DatasetSummary]) -> Step:
    if ready:
        count = sum(item.images for item in ready)
        state = tn("{n} image is ready.", "{n} images are ready.", count)
        if all(item.drawn for item in ready):
            state += " " + t("Drawn by computer: bring your own at any time.")
    elif every:
        state = t("A dataset is there, but not ready: see what is missing.")
    else:
        state = t("Micrographs with boxes on them.")
    ids = {"dataset": (ready or every)[0].name} if every else {"view": "add"}
    return Step(t("Images"), bool(ready), state, "pages/data/page.py", t("bring in images"), ids)


def _model(baselines: Sequence[ModelCard], ready: Sequence[DatasetSummary]) -> Step:
    ids = {"view": "train", **({"dataset": ready[0].name} if ready else {})}
    if not baselines:
        state: str = t("A detector that is not pruned yet.")
    else:
        card, ids = baselines[0], {"model": baselines[0].id}
        state = card.name
        if card.val:
            state = t(
                "{name}: accuracy {value} (mAP50, val).",
                name=card.name,
                value=wording.accuracy(card.val.map50),
            )
    return Step(
        t("Detector"), bool(baselines), state, "pages/models/page.py", t("train a baseline"), ids
    )


def _run(run: RunRow | None, baselines: Sequence[ModelCard]) -> Step:
    def make(done: bool, state: str) -> Step:
        return Step(
            t("Run"),
            done,
            state,
            "pages/runs/page.py",
            t("look at your run"),
            {"run": run.id if run else ""},
        )

    if run is None:
        return Step(
            t("Run"),
            False,
            t("Make the detector lighter, step by step."),
            "pages/new_run/page.py",
            t("make it lighter"),
            {"model": baselines[0].id} if baselines else {},
        )
    if run.state is RunState.COMPLETED:
        if run.macs_ratio is None:
            return make(True, run.name)
        kept = wording.percent(run.macs_ratio, 1)
        return make(True, t("{name}: {share} of the work kept.", name=run.name, share=kept))
    if run.state.is_finished:
        return make(False, t("{name} ended early: see why.", name=run.name))
    share = wording.percent(run.done)
    return make(False, t("{name} is on its way: {share} done.", name=run.name, share=share))


def _looked(page: str, run: RunRow | None, word: str, do: str, what: str) -> Step:
    finished = run is not None and run.state is RunState.COMPLETED
    seen = finished and run is not None and was_visited(page, run.id)
    ids = {"run": run.id} if run else {}
    return Step(word, seen, what, page_file(page), do, ids)
