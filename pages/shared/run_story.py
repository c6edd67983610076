"""One pruning run as the page shows it: what it measured, and which step is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import streamlit as st

from msip_core.config import PruneConfig
from msip_core.events import BaselineRecord, FinalRecord, IterationRecord
from msip_core.language import t
from msip_core.markdown import md
from msip_core.runs.events_log import EventLog
from msip_core.runs.store import RunRow
from msip_core.views.story import settled
from msip_core.views.wording import percent
from pages.shared.choose import remember
from pages.shared.lab import lab


@dataclass(frozen=True)
class Story:
    """What a pruning run has measured so far, read once per look at the page."""

    run: RunRow
    config: PruneConfig
    baseline: BaselineRecord | None
    iterations: tuple[IterationRecord, ...]
    final: FinalRecord | None

    @property
    def steps(self) -> list[int]:
        """Steps that can be looked at; 0 is the baseline."""
        first = [0] if self.baseline else []
        return first + [record.index for record in self.iterations]

    @property
    def default(self) -> int:
        """The step that a page without a choice shows: the result, else the newest."""
        if self.final is not None:
            return self.final.iteration
        return self.iterations[-1].index if self.iterations else 0

    @property
    def is_stopped_early(self) -> bool:
        """The guard rail ended it: the kept model is older than the last step."""
        final = self.final
        return bool(
            final and final.stopped_by and self.iterations
            and final.iteration < self.iterations[-1].index
        )  # fmt: skip

    def at(self, step: int) -> IterationRecord | None:
        """The record of a step; None for the baseline."""
        return next((record for record in self.iterations if record.index == step), None)


def read_story(run: RunRow, config: PruneConfig) -> Story:
    """All that the run has measured until now; read again only after its story went on."""
    path = EventLog(lab().runs.run_dir(run.id)).path
    # A run folder that was emptied from outside has no diary any more: the page says so little.
    state = path.stat() if path.is_file() else None
    size, changed = (state.st_size, state.st_mtime_ns) if state else (0, 0)
    return Story(run, config, *_measured(str(path), run.id, size, changed))


@lru_cache(maxsize=64)
def _measured(
    path: str, run_id: str, size: int, changed: int
) -> tuple[BaselineRecord | None, tuple[IterationRecord, ...], FinalRecord | None]:
    # Path, size and time of change are not used here: they make a story that went on a new entry.
    runs = lab().runs
    final = runs.final(run_id)
    return runs.baseline(run_id), settled(runs.iterations(run_id), final), final


def chosen_step(story: Story) -> int:
    """The step of the address; without one the page follows the newest."""
    wanted = st.query_params.get("step")
    if wanted is None:
        return story.default
    if wanted.isdecimal() and int(wanted) in story.steps:
        return int(wanted)
    st.query_params.pop("step")
    st.info(
        md(
            t(
                "Step {step} of this link is not there (yet): the page follows the newest.",
                step=wanted,
            )
        ),
        icon=":material/info:",
    )
    return story.default


def pick_step(story: Story, step: int) -> None:
    """Show this step everywhere; the default step is followed, not pinned."""
    if step == story.default:
        remember("step", None)
    elif step in story.steps:
        remember("step", str(step))


def step_words(story: Story, step: int) -> str:
    """'Step 3 of 5: 60.1 % of the MACs'. The same for ever: the browser knows the chosen option
    by its words, and a step that was the newest once must not be renamed."""
    record = story.at(step)
    if record is None:
        return t("Baseline: not pruned")
    return t(
        "Step {n} of {total}: {kept} of the MACs",
        n=step, total=story.config.iterations, kept=percent(record.macs_ratio, 1),
    )  # fmt: skip


def stepper(story: Story, step: int) -> None:
    """The step by keyboard: one back, a list, one on. Everything below follows it."""
    steps = story.steps
    place = steps.index(step) if step in steps else -1
    st.session_state["step:list"] = step if steps else None
    offered: list[int | None] = [*steps]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="stepper"):
        _arrow(story, steps[place - 1] if place > 0 else None, "back")
        st.selectbox(
            t("Step shown"),
            offered or [None],
            key="step:list",
            format_func=lambda n: t("none yet") if n is None else step_words(story, n),
            on_change=_listed,
            args=(story,),
            disabled=not steps,
            width=340,
            help=t("Or click a point of a curve. Numbers, network and pictures follow."),
        )
        _arrow(story, steps[place + 1] if 0 <= place < len(steps) - 1 else None, "on")
        st.button(
            t("Back to the result") if story.final else t("Follow the newest"),
            key="step:newest",
            icon=":material/last_page:",
            type="tertiary",
            disabled="step" not in st.query_params,
            on_click=pick_step,
            args=(story, story.default),
        )


def _listed(story: Story) -> None:
    chosen = st.session_state["step:list"]
    if chosen in story.steps:  # else the words of another language, after a switch
        pick_step(story, chosen)


def _arrow(story: Story, target: int | None, way: str) -> None:
    back = way == "back"
    st.button(
        t("Earlier") if back else t("Later"),
        key=f"step:{way}",
        icon=":material/chevron_left:" if back else ":material/chevron_right:",
        disabled=target is None,
        on_click=pick_step,
        args=(story, target),
    )
