"""How a run ended, in one sentence, and what may be done next: one panel for each way to end."""

from __future__ import annotations

from typing import Any

import streamlit as st

from msip_core.config import AnyRun, PruneConfig
from msip_core.language import t, told
from msip_core.markdown import md
from msip_core.runs.state import RunState
from msip_core.runs.store import RunRow
from msip_core.speeds import is_wanted, read_speed
from msip_core.views import sentences, wording
from pages.kit.asking import ask_for
from pages.kit.choose import remember
from pages.kit.guard import guarded, show_failure
from pages.kit.lab import lab
from pages.kit.pair import unlearned
from pages.runs.history import PruneHistory

# Words that only these sentences have: msip_core.runs.failures, msip_core.pruning.schedule.
NO_MEMORY = "did not fit into the memory"
NO_SUCH_GOAL = "cannot be reached"
_MOST_STEPS = 200
_LEAST_PIXELS = 64


def outcome(run: RunRow, history: PruneHistory | None) -> None:
    """Draw the panel of a run that stands still; nothing while it moves."""
    if run.state is RunState.INTERRUPTED:
        _interrupted(run)
    elif run.state is RunState.FAILED:
        _failed(run)
    elif history is not None and history.final is not None:
        _result(history)
        if history.is_stopped_early:
            _guard_rail(history)
        elif history.final.stopped_by:
            _limits_reached(history)


def _interrupted(run: RunRow) -> None:
    st.warning(
        md(
            t("This run was interrupted at step {n}. Resume from its checkpoint?", n=run.iteration)
            if run.iteration
            else t("This run was interrupted. Resume from its checkpoint?")
        ),
        icon=":material/power_off:",
    )
    reason = told(run.error or "")
    # First what matters: the reason may end with the last lines of a log.
    st.caption(md(t("Nothing is lost but the epoch it was in.") + f" {reason}".rstrip()))


def _failed(run: RunRow) -> None:
    reason = run.error or ""
    show_failure(told(reason) or t("The worker ended without a reason: see the log below."))
    if NO_MEMORY in reason:
        _smaller(run.config)
    elif NO_SUCH_GOAL in reason and isinstance(run.config, PruneConfig):
        with st.container(horizontal=True, vertical_alignment="center"):
            _patient(run.config)
            st.page_link(
                "pages/new_run/page.py", label=t("Choose another goal"), icon=":material/add:"
            )


def _smaller(config: AnyRun) -> None:
    """The same settings with half the batch; where one image was too much, with smaller images."""
    if config.batch > 1:
        batch = config.batch // 2
        _again(
            config,
            t("Continue with a batch of {n}", n=batch),
            "batch",
            batch=batch,
            help=t("Starts again with the same settings and half the images at a time."),
        )
        return
    imgsz = max(_LEAST_PIXELS, config.imgsz // 2 // 32 * 32)
    _again(
        config,
        t("Continue with images of {n} px", n=imgsz),
        "imgsz",
        imgsz=imgsz,
        help=t("Starts again with the same settings and smaller images: small ones may be lost."),
    )


def _result(history: PruneHistory) -> None:
    """Work and accuracy in one line, from what was measured."""
    baseline, final = history.baseline, history.final
    if baseline is None or final is None:
        return
    before, after = sentences.best_pair(baseline, final)
    unlearned(before)
    split = t("final test") if after.split == "test" else t("validation")
    words = t(
        "**{saved} less work per image** ({macs_before} → {macs_after} MACs); accuracy "
        "(mAP50, {split}, {n} images) {found}, strict accuracy (mAP50-95) {placed}.",
        saved=wording.percent(1 - final.macs_ratio),
        macs_before=wording.macs(baseline.cost.macs),
        macs_after=wording.macs(final.cost.macs),
        split=split,
        n=after.images,
        found=wording.change(before.map50, after.map50),
        placed=wording.change(before.map50_95, after.map50_95),
    )
    st.markdown(md(words))
    if text := _speed(final.model_id):
        st.caption(md(text))


def _speed(model_id: str) -> str:
    """Milliseconds on the processor, which are measured after the run; "" where nobody asked."""
    workspace = lab().workspace
    if is_wanted(workspace, model_id):
        return t("Time per image on this processor: being measured.")
    speed = read_speed(workspace, model_id)
    if speed is None:
        return ""
    if speed.ms is None:
        why = told(speed.problem)
        return t("Time per image on this processor: not measured. {why}", why=why)
    name, after = speed.processor or "CPU", f"{speed.ms:.1f}"
    if speed.beside_ms is None:
        return t("Time per image on {name}: {after} ms.", name=name, after=after)
    return t(
        "Time per image on {name}: {before} ms → {after} ms.",
        name=name,
        before=f"{speed.beside_ms:.1f}",
        after=after,
    )


def _guard_rail(history: PruneHistory) -> None:
    """Accuracy fell too far: the last good model is kept, three ways to go on."""
    final, config = history.final, history.config
    assert final is not None
    if final.iteration:
        text = t(
            "Stopped at {share} of the work to protect accuracy. Last good model kept: step {n}.",
            share=wording.percent(final.macs_ratio),
            n=final.iteration,
        )
    else:
        text = t(
            "Stopped after the first step to protect accuracy. The unpruned model is kept: try "
            "a gentler run."
        )
    st.warning(md(text), icon=":material/shield:")
    st.caption(md(told(final.stopped_by or "")))
    with st.container(horizontal=True, vertical_alignment="center"):
        if final.iteration:
            st.page_link(
                "pages/export/page.py",
                label=t("Use it"),
                icon=":material/download:",
                query_params={"run": history.id, "step": str(final.iteration)},
            )
        _patient(config, t("Gentler run"))
        _again(
            config,
            t("Go on without the guard"),
            "unguarded",
            max_map50_drop=None,
            help=t("Starts again with the guard rail off and goes all the way to the goal."),
        )


def _limits_reached(history: PruneHistory) -> None:
    """The goal was too far for the limits of the layers."""
    final, config = history.final, history.config
    assert final is not None
    left = final.macs_ratio if final.goal_ratio is None else final.goal_ratio
    kind, keep = config.goal
    shares = {"share": wording.percent(left, 1), "goal": wording.percent(keep, 1)}
    st.warning(
        md({
            "macs": t(
                "These layers cannot shrink further: {share} of the work is left, {goal} was the "
                "goal.", **shares,
            ),
            "params": t(
                "These layers cannot shrink further: {share} of the parameters are left, {goal} "
                "was the goal.", **shares,
            ),
            "latency": t(
                "These layers cannot shrink further: {share} of the time per image is left, "
                "{goal} was the goal.", **shares,
            ),
        }[kind]),
        icon=":material/flag:",
    )  # fmt: skip
    st.caption(md(told(final.stopped_by or "")))
    _patient(config)


def _patient(config: PruneConfig, label: str | None = None) -> None:
    """The same goal in twice as many, smaller steps."""
    steps = min(_MOST_STEPS, 2 * config.iterations)
    text = t("{n} steps instead of {now}", n=steps, now=config.iterations)
    _again(
        config,
        f"{label}: {text}" if label else text,
        "patient",
        iterations=steps,
        help=t("A new run to the same goal in smaller steps: slower, and kinder to accuracy."),
    )


def _again(config: AnyRun, label: str, place: str, help: str, **changes: Any) -> None:
    st.button(
        md(label),
        key=f"outcome:{place}",
        icon=":material/replay:",
        help=md(help),
        on_click=submit_changed,
        args=(config,),
        kwargs=changes,
    )


@guarded
def submit_changed(config: AnyRun, **changes: Any) -> None:
    """Queue the same run with these settings changed, and look at it."""
    ask_for(config.model_copy(update=changes))
    remember("step", None)
