"""One run as it goes: state, what may be done, curves. Follows by itself while it moves."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from msip_core.config import PruneConfig
from msip_core.runs.state import Action, RunState
from msip_core.runs.store import RunRow
from msip_core.views import channels, progress, sentences, wording
from pages.shared.choose import choose_view
from pages.shared.guard import guarded, show_failure
from pages.shared.lab import lab
from pages.shared.layout import Fact, chart, facts, state_badge
from pages.shared.words import ACTION_WORDS, known, small, time_left, when

EVERY_SECONDS = 2


def live_run(run_id: str) -> None:
    """Draw the run; a timed fragment only while something can still change."""
    moving = _moving(lab().runs.get(run_id).state)
    st.fragment(_run, run_every=EVERY_SECONDS if moving else None)(run_id, moving)


def _moving(state: RunState) -> bool:
    return state.has_worker or state is RunState.QUEUED


@guarded
def _run(run_id: str, was_moving: bool) -> None:
    run = lab().runs.get(run_id)
    if was_moving and not _moving(run.state):
        st.rerun()  # one rerun of the page: it switches the timer off and shows what comes next
    _state_line(run)
    _buttons(run)
    if isinstance(run.config, PruneConfig):
        _prune_facts(run, run.config)
        _prune_charts(run, run.config)
    else:
        _train_facts(run)
        _epochs(run)


def _state_line(run: RunRow) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        state_badge(run.state)
        if run.state is RunState.QUEUED and run.queue_position:
            st.caption(f"Number {run.queue_position} in the queue of {run.slot}.", width="content")
        elif run.state.has_worker:
            step = f"Step {run.iteration} of {run.iterations}: " if run.iterations else ""
            st.caption(f"{step}{run.stage or 'starting'}", width="content")
        elif run.finished:
            took = wording.duration(run.finished - (run.started or run.finished))
            st.caption(f"{when(run.finished)}, took {took}", width="content")
    if _moving(run.state) or run.state in (RunState.PAUSED, RunState.INTERRUPTED):
        text = f"{run.done:.0%}"
        if run.state.has_worker:
            text += f" · {time_left(run.seconds_left)}"
        st.progress(min(1.0, run.done), text=f"{text} · {run.message}" if run.message else text)
    if run.state in (RunState.FAILED, RunState.INTERRUPTED):
        show_failure(run.error or "The worker ended without a reason: see the log below.")
    if run.state is RunState.INTERRUPTED:
        st.caption("Nothing is lost: Resume goes on from the last finished epoch.")


def _buttons(run: RunRow) -> None:
    actions = lab().runs.actions(run.id)
    if not actions:
        return
    with st.container(horizontal=True):
        for action in actions:
            word, icon, meaning = ACTION_WORDS[action]
            if action is Action.RESUME and run.state is RunState.FAILED:
                word, meaning = "Try again", "Goes on from the last good step."
            pressed = st.button(
                word,
                key=f"run:{run.id}:{action}",
                icon=icon,
                help=meaning,
                type="primary" if action is Action.RESUME else "secondary",
            )
            if pressed:
                lab().runs.act(run.id, action)
                st.rerun()


def _prune_facts(run: RunRow, config: PruneConfig) -> None:
    runs = lab().runs
    baseline, iterations, final = runs.baseline(run.id), runs.iterations(run.id), runs.final(run.id)
    last = iterations[-1] if iterations else None
    now = final.metrics.map50 if final else last.map50_after if last else None
    ratio = final.macs_ratio if final else last.macs_ratio if last else None
    params = final.cost.params if final else last.params if last else None
    start = baseline.metrics.map50 if baseline else None
    change = wording.signed(now - start) if now is not None and start is not None else None
    facts(
        [
            Fact("Accuracy before", known(start, wording.accuracy), "mAP50"),
            Fact("Accuracy now", known(now, wording.accuracy), "mAP50", change, "normal"),
            Fact(
                "Work kept",
                known(ratio, lambda share: wording.percent(share, 1)),
                f"MACs, goal {wording.percent(config.keep_macs, 1)}",
            ),
            Fact("Parameters", known(params, wording.params)),
            Fact("Steps", f"{len(iterations)} of {config.iterations}", "iterations"),
        ]
    )
    if final and baseline:
        st.markdown(sentences.result_sentence(baseline, final))
        st.caption(sentences.goal_sentence(config, final))
    if final and final.stopped_by:
        st.warning(final.stopped_by, icon=":material/shield:")


def _train_facts(run: RunRow) -> None:
    epochs, final = lab().runs.epochs(run.id), lab().runs.final(run.id)
    measured = [record.map50 for record in epochs if record.map50 is not None]
    best = max(measured, default=None)
    row = [
        Fact("Passes done", f"{len(epochs)}", "epochs"),
        Fact("Best accuracy", known(best, wording.accuracy), "mAP50 val"),
    ]
    if final and final.test:
        row.append(Fact("Accuracy, final test", wording.accuracy(final.test.map50), "mAP50 test"))
    facts(row)


def _prune_charts(run: RunRow, config: PruneConfig) -> None:
    parts: dict[str, tuple[str, Callable[[RunRow, PruneConfig], None]]] = {
        "curves": ("Accuracy and work", _curves),
        "training": ("Training", lambda run, _: _epochs(run)),
        "layers": ("Channels", _channels),
        "weights": ("Weights", _weights),
    }
    words = {name: word for name, (word, _) in parts.items()}
    chosen = choose_view(words, "curves", "runs", param="chart", label="Chart")
    parts[chosen][1](run, config)


def _curves(run: RunRow, config: PruneConfig) -> None:
    runs = lab().runs
    baseline, iterations = runs.baseline(run.id), runs.iterations(run.id)
    if baseline is None and not iterations:
        st.caption("Curves appear once the baseline has been measured.")
        return
    st.markdown(f"**Accuracy per step** {small('mAP50 before and after fine-tuning')}")
    chart(
        progress.map_figure(
            progress.map_info(baseline, iterations, config.max_map50_drop), revision=run.id
        ),
        "map",
        "Accuracy (mAP50) before and after fine-tuning for each pruning step",
    )
    st.markdown(f"**Work per image** {small('MACs')}")
    chart(
        progress.macs_figure(
            progress.macs_info(baseline, iterations, config.keep_macs), revision=run.id
        ),
        "macs",
        "Multiply-adds per image for each pruning step, with the goal",
    )


def _epochs(run: RunRow) -> None:
    epochs = lab().runs.epochs(run.id)
    if not epochs:
        st.caption("The curve begins with the first finished epoch.")
        return
    chart(
        progress.epochs_figure(progress.epochs_info(epochs), revision=run.id),
        "epochs",
        "Accuracy and training losses for each epoch",
    )


def _channels(run: RunRow, config: PruneConfig) -> None:
    iterations = lab().runs.iterations(run.id)
    if not iterations:
        st.caption("Channels per layer appear after the first step.")
        return
    last = iterations[-1]
    st.caption(f"After step {last.index}. Outline: channels of the baseline; filled: what is left.")
    info = channels.channels_info(last.layers)
    with st.container(height=520):
        chart(
            channels.channels_figure(info, revision=run.id),
            "channels",
            "Output channels of every layer before pruning and now",
        )


def _weights(run: RunRow, config: PruneConfig) -> None:
    info = progress.weights_info(lab().runs.iterations(run.id))
    if not info.iterations:
        st.caption(
            "Weights and threshold appear after the first step."
            if config.method.startswith("msip")
            else f"The method {config.method} has no weights."
        )
        return
    st.caption("How validation moved the four weights, and the threshold factor alpha.")
    chart(
        progress.weights_figure(info, revision=run.id),
        "weights",
        "Weights of the four MSIP terms and alpha for each step",
    )
