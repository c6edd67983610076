"""Numbers, curves and the picture of the network at the step that the page shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import streamlit as st

from msip_core.catalog import CRITERIA
from msip_core.config import PruneConfig
from msip_core.documents import read_json
from msip_core.events import IterationRecord
from msip_core.language import t
from msip_core.markdown import md
from msip_core.runs.store import RunRow
from msip_core.views import channels, progress, sensitivity, sentences, wording
from msip_core.ways import Way
from pages.kit.choose import choose_view
from pages.kit.guard import guarded
from pages.kit.lab import lab
from pages.kit.layout import Fact, chart, facts
from pages.kit.run_head import EVERY_SECONDS, is_moving
from pages.kit.ways import goal_way_words
from pages.kit.words import TERM_WORDS, known, strong
from pages.runs.history import PruneHistory, pick_step
from pages.runs.live_chart import live_chart


def step_facts(history: PruneHistory, step: int) -> None:
    """The numbers of the step, each against the baseline."""
    record, first = history.at(step), history.baseline
    start = first.metrics.map50 if first else None
    now = record.map50_after if record else start
    learned = first is not None and sentences.has_learned(first.metrics)
    change = wording.gap(start, now) if record and now is not None and start else None
    better: Literal["normal", "off"] = "normal" if learned else "off"
    kept = record.macs_ratio if record else 1.0 if first else None
    params = record.params if record else first.cost.params if first else None
    size = record.size_mb if record else first.cost.size_mb if first else None
    file = t("file of {size}", size=known(size, wording.megabytes))
    done = t("{n} of {total}", n=len(history.iterations), total=history.config.iterations)
    sub = goal_words(history.config, record.latency_way if record else None)
    with st.container(key="run-facts"):
        facts(
            [
                Fact(t("Accuracy, baseline"), known(start, wording.accuracy), "mAP50 val"),
                Fact(_at(step), known(now, wording.accuracy), "mAP50 val", change, better),
                Fact(t("Work kept"), known(kept, lambda x: wording.percent(x, 1)), sub["macs"]),
                Fact(t("Parameters"), known(params, wording.params), sub["params"] or file),
                *_time(history, record, sub["latency"]),
                Fact(t("Steps done"), done, t("iterations")),
            ]
        )


def _time(history: PruneHistory, record: IterationRecord | None, sub: str) -> list[Fact]:
    """Milliseconds of the step, where the run counts them."""
    if history.config.goal[0] != "latency":
        return []
    measured = record.latency_ms if record else None
    return [Fact(t("Time per image"), known(measured, lambda ms: f"{ms:.1f} ms"), sub)]


def goal_words(config: PruneConfig, way: Way | None = None) -> dict[str, str]:
    """What stands under the number that the goal counts; "MACs" under the work anyway."""
    kind, keep = config.goal
    share = wording.percent(keep, 1)
    words = {"macs": "MACs", "params": "", "latency": ""}
    if kind == "macs":
        words[kind] = t("MACs, goal {goal}", goal=share)
    elif kind == "params":
        words[kind] = t("goal {goal} of the baseline's", goal=share)
    else:
        words[kind] = t(
            "{format}, goal {goal} of the baseline's",
            format=goal_way_words(config, way),
            goal=share,
        )
    return words


def _at(step: int) -> str:
    return t("Accuracy, step {n}", n=step) if step else t("Accuracy shown")


def train_facts(run: RunRow) -> None:
    """The numbers of a training run."""
    epochs, final = lab().runs.epochs(run.id), lab().runs.final(run.id)
    measured = [record.map50 for record in epochs if record.map50 is not None]
    best = max(measured, default=None)
    row = [Fact(t("Passes done"), f"{len(epochs)}", t("epochs"))]
    if final:  # the saved model, measured once more: the number of its card
        row.append(Fact(t("Accuracy"), wording.accuracy(final.metrics.map50), "mAP50 val"))
    else:
        row.append(Fact(t("Best accuracy"), known(best, wording.accuracy), "mAP50 val"))
    if final and final.test:
        row.append(
            Fact(t("Accuracy, final test"), wording.accuracy(final.test.map50), "mAP50 test")
        )
    facts(row)


def curves(history: PruneHistory, step: int) -> None:
    """One of the charts over the steps; what is chosen is marked in each."""
    parts: dict[str, tuple[str, Callable[[PruneHistory, int], None]]] = {
        "curves": (t("Accuracy and work"), _accuracy_and_work),
        "training": (t("Training"), lambda history, _: epoch_curves(history.id, history.state)),
        "weights": (t("Weights"), _weights),
    }
    if history.config.allocation == "sensitivity":
        parts["layers"] = (t("Which layers hurt"), lambda history, _: sensitivity_chart(history))
    words = {name: word for name, (word, _) in parts.items()}
    chosen = choose_view(words, "curves", "runs", param="chart", label=t("Chart"))
    parts[chosen][1](history, step)


def _accuracy_and_work(history: PruneHistory, step: int) -> None:
    def pick(place: int) -> None:
        pick_step(history, place)

    with st.container(key="beside"):
        left, right = st.columns(2, gap="medium")
    with left:
        st.markdown(md(strong(t("Accuracy"), t("mAP50 before and after fine-tuning"))))
        info = progress.map_info(
            history.baseline, history.iterations, history.config.max_map50_drop
        )
        live_chart(
            lambda: progress.map_figure(info, chosen=step, revision=history.id),
            (info, step, history.id),
            "map",
            t("Accuracy (mAP50) before and after fine-tuning for each pruning step"),
            on_pick=pick,
        )
    with right:
        st.markdown(md(strong(t("Work per image"), "MACs")))
        work = progress.macs_info(history.baseline, history.iterations, history.config.macs_goal)
        live_chart(
            lambda: progress.macs_figure(work, chosen=step, revision=history.id),
            (work, step, history.id),
            "macs",
            t("Multiply-adds per image for each pruning step, with the goal"),
            on_pick=pick,
        )


def epoch_curves(run_id: str, state: str) -> None:
    """Losses and accuracy epoch by epoch; they grow by themselves while the run moves."""
    st.fragment(_epochs, run_every=EVERY_SECONDS if is_moving(state) else None)(run_id)


@guarded
def _epochs(run_id: str) -> None:
    info = progress.epochs_info(lab().runs.epochs(run_id))
    live_chart(
        lambda: progress.epochs_figure(info, revision=run_id),
        (info.position, tuple(info.losses.items()), info.map50, run_id),
        "epochs",
        t("Accuracy and training losses for each epoch"),
    )
    st.caption(
        t(
            "Accuracy of the weights in training; the model that is kept is measured once more "
            "from its file, so its number may differ by a little."
        )
    )


def _weights(history: PruneHistory, step: int) -> None:
    info = progress.weights_info(history.iterations)
    if not info.iterations:
        st.caption(
            md(
                t("Weights and threshold appear after the first step.")
                if (entry := CRITERIA.get(history.config.method)) and entry.has_term_weights
                else t("The method {name} has no weights.", name=history.config.method)
            )
        )
        return
    record = history.at(step)
    weights = (record.weights if record else None) or {}
    now = ", ".join(
        f"{t(TERM_WORDS[term][0])} {wording.percent(share)}" for term, share in weights.items()
    )
    st.caption(
        md(
            t("How validation moved the four weights, and the threshold factor alpha.")
            + (" " + t("Step {n}: {weights}.", n=step, weights=now) if now else "")
        )
    )
    live_chart(
        lambda: progress.weights_figure(info, chosen=step, revision=history.id),
        (info.iterations, tuple(info.weights.items()), info.alpha, step, history.id),
        "weights",
        t("Weights of the four MSIP terms and alpha for each step"),
        on_pick=lambda place: pick_step(history, place),
    )


def network(history: PruneHistory, step: int) -> None:
    """The network as a picture that thins out with the steps, and the same as a table."""
    title = t("The network at step {n}", n=step) if step else t("The network before pruning")
    st.markdown(md(strong(title, t("channels of every convolution"))))
    layers = _layers_at(history, step)
    info = channels.channels_info(layers)
    live_chart(
        lambda: channels.network_figure(info, revision=history.id),
        (info.bars, history.id),
        "network",
        t("Channels of every convolution of backbone, neck and head, of the baseline and now"),
    )
    table = st.expander(
        t("The same as a table"), key="layer-table", on_change="rerun", icon=":material/table:"
    )
    if table.open:
        with table:
            st.dataframe(
                channels.layer_rows(info), hide_index=True, alt=t("Channels of every convolution")
            )


def _layers_at(history: PruneHistory, step: int) -> tuple[channels.LayerChannels, ...]:
    """Channels at a step; those of the baseline are known from any finished step."""
    if not history.iterations:
        return ()
    record = history.at(step)
    if record is not None:
        return record.layers
    return tuple(
        layer.model_copy(update={"before": layer.original, "after": layer.original})
        for layer in history.iterations[0].layers
    )


_CURVES = ("search", "sensitivity.json")


def sensitivity_chart(history: PruneHistory) -> None:
    """The chart, and the layers that cost most in words."""
    what = t("mAP50 lost when half of one layer is gone")
    st.markdown(md(strong(t("Which layers hurt"), what)))
    path = lab().runs.run_dir(history.id).joinpath(*_CURVES)
    if (found := read_json(path)) is None:
        st.caption(t("The search has not finished yet."))
        return
    info = sensitivity.sensitivity_info(found)
    chart(
        sensitivity.sensitivity_figure(info, revision=history.id),
        "sensitivity",
        t("Accuracy that each layer costs when half of its channels are gone"),
    )
    worst = [
        f"{layer.label} ({wording.signed(-layer.drop)})"
        for layer in sensitivity.most_sensitive(info)
    ]
    st.caption(md(t("Most sensitive: {layers}.", layers=", ".join(worst))))
