"""How a run went: accuracy, MACs, losses, weights over its iterations. Data first, then figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from msip_core.config import TERMS
from msip_core.events import BaselineRecord, EpochRecord, IterationRecord
from msip_core.language import mark, t
from msip_core.views import style, wording
from msip_core.views.screen import (
    as_label,
    mark_step,
    new_figure,
    reference_line,
    say_empty,
    share_axis,
    whole_steps,
)


class MapInfo(NamedTuple):
    """mAP50 per iteration on validation, and the level that the baseline sets.

    `guard` is the level below which the run stops, or None.
    """

    iterations: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    before_95: tuple[float, ...]
    after_95: tuple[float, ...]
    baseline: float | None
    baseline_95: float | None
    guard: float | None


def map_info(
    baseline: BaselineRecord | None,
    iterations: Sequence[IterationRecord],
    max_map50_drop: float | None = None,
) -> MapInfo:
    """Accuracy before and after fine-tuning, iteration by iteration."""
    level = baseline.metrics.map50 if baseline else None
    return MapInfo(
        iterations=tuple(r.index for r in iterations),
        before=tuple(r.map50_before for r in iterations),
        after=tuple(r.map50_after for r in iterations),
        before_95=tuple(r.map50_95_before for r in iterations),
        after_95=tuple(r.map50_95_after for r in iterations),
        baseline=level,
        baseline_95=baseline.metrics.map50_95 if baseline else None,
        guard=level - max_map50_drop if level is not None and max_map50_drop else None,
    )


def map_figure(info: MapInfo, *, chosen: int | None = None, revision: str = "map") -> go.Figure:
    """Two lines and, between them, what fine-tuning gave back in each iteration.

    Args:
        chosen: the step that the page shows, 0 for the baseline.
    """
    figure = new_figure(t("Pruning step (0: baseline)"), t("mAP50 (validation)"), revision=revision)
    mark_step(figure, chosen)
    _stems(figure, info)
    figure.add_scatter(
        x=info.iterations,
        y=info.before,
        mode="lines+markers",
        name=t("before fine-tuning"),
        line={"color": style.BEFORE, "dash": "dot", "width": 2},
        marker={"symbol": "circle-open", "size": 9},
        customdata=info.before_95,
        hovertemplate="%{y:.3f} (mAP50-95 %{customdata:.3f})",
    )
    figure.add_scatter(
        x=info.iterations, y=info.after, mode="lines+markers", name=t("after fine-tuning"),
        line={"color": style.AFTER, "width": 2.5}, marker={"symbol": "circle", "size": 9},
        customdata=info.after_95, hovertemplate="%{y:.3f} (mAP50-95 %{customdata:.3f})",
    )  # fmt: skip
    levels = [*info.before, *info.after]
    if info.baseline is not None:
        text = t("baseline {value}", value=wording.accuracy(info.baseline))
        figure.add_scatter(
            x=[0],
            y=[info.baseline],
            mode="markers",
            name=t("baseline"),
            showlegend=False,
            marker={"symbol": "diamond", "size": 10, "color": style.BASELINE},
            customdata=[info.baseline_95],
            hovertemplate="%{y:.3f} (mAP50-95 %{customdata:.3f})",
        )
        reference_line(figure, info.baseline, text, style.BASELINE, "dash")
        levels.append(info.baseline)
    if info.guard is not None:
        text = t("stop below {value}", value=wording.accuracy(info.guard))
        reference_line(figure, info.guard, text, style.TARGET, "longdashdot", place="bottom left")
        levels.append(info.guard)
    if not levels:
        say_empty(figure, t("Appears once the baseline has been measured"))
    share_axis(figure, levels)
    whole_steps(figure, max(info.iterations, default=1), first=0)
    return figure


def _stems(figure: go.Figure, info: MapInfo) -> None:
    """From before to after fine-tuning, at each step."""
    x: list[float | None] = []
    y: list[float | None] = []
    for step, low, high in zip(info.iterations, info.before, info.after):
        x += [step, step, None]
        y += [low, high, None]
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"color": style.GRID, "width": 5},
        hoverinfo="skip", showlegend=False, name="recovered",
    )  # fmt: skip


class MacsInfo(NamedTuple):
    """MACs in G and the accuracy that they give; index 0 is the baseline.

    Attributes:
        map50: on validation, after fine-tuning.
        target: GMACs that the run aims for.
    """

    iterations: tuple[int, ...]
    gmacs: tuple[float, ...]
    ratios: tuple[float, ...]
    map50: tuple[float, ...]
    target: float | None


def macs_info(
    baseline: BaselineRecord | None,
    iterations: Sequence[IterationRecord],
    keep_macs: float | None = None,
) -> MacsInfo:
    """Work per image and accuracy, from the baseline down to the goal."""
    start = [(0, baseline.cost.macs / 1e9, 1.0, baseline.metrics.map50)] if baseline else []
    rows = start + [(r.index, r.macs / 1e9, r.macs_ratio, r.map50_after) for r in iterations]
    return MacsInfo(
        iterations=tuple(row[0] for row in rows),
        gmacs=tuple(row[1] for row in rows),
        ratios=tuple(row[2] for row in rows),
        map50=tuple(row[3] for row in rows),
        target=keep_macs * baseline.cost.macs / 1e9 if baseline and keep_macs else None,
    )


def macs_figure(info: MacsInfo, *, chosen: int | None = None, revision: str = "macs") -> go.Figure:
    """MACs per iteration with the target line."""
    figure = new_figure(
        t("Pruning step (0: baseline)"), t("GMACs per image"), revision=revision, height=320
    )
    mark_step(figure, chosen)
    figure.add_scatter(
        x=info.iterations,
        y=info.gmacs,
        mode="lines+markers",
        name="MACs",
        line={"color": style.MACS, "width": 2.5, "shape": "hv"},
        marker={"symbol": "square", "size": 8},
        customdata=info.ratios,
        hovertemplate=t("%{y:.2f} G (%{customdata:.1%} of the baseline)"),
        showlegend=False,
    )
    if info.target is not None:
        text = t("goal {value}", value=wording.macs(info.target * 1e9))
        reference_line(figure, info.target, text, style.TARGET, "dash")
    if not info.iterations:
        say_empty(figure, t("Appears once the baseline has been measured"))
    top = max([*info.gmacs, info.target or 0.0], default=1.0)
    figure.update_yaxes(range=[0, top * 1.1 or 1.0])
    whole_steps(figure, max(info.iterations, default=1), first=0)
    return figure


class EpochsInfo(NamedTuple):
    """Epochs of a run in one line; `starts` are the positions where a new phase begins.

    `position` counts all epochs of the run from 1; `map50` is None where none was measured. Of
    many epochs one of `every` is drawn, and the last; `best` is the mAP50 of the best of all.
    """

    position: tuple[int, ...]
    losses: dict[str, tuple[float | None, ...]]
    map50: tuple[float | None, ...]
    starts: tuple[tuple[int, str], ...]
    every: int = 1
    best: float | None = None


_MOST_EPOCHS = 2000  # more than a screen has dots; a browser would choke on a hundred thousand
_PHASES = {"train": "training", "pretrain": "pre-training", "finetune": "fine-tuning"}


def epochs_info(epochs: Sequence[EpochRecord]) -> EpochsInfo:
    """Losses and mAP50 epoch by epoch, through all phases of the run."""
    names = list(dict.fromkeys(name for record in epochs for name in record.losses))
    starts: list[tuple[int, str]] = []
    current: tuple[str, int] | None = None
    for position, record in enumerate(epochs, start=1):
        if (record.phase, record.iteration) != current:
            current = (record.phase, record.iteration)
            word = f"iteration {record.iteration}" if record.iteration else _PHASES[record.phase]
            starts.append((position, word))
    every = max(1, -(-len(epochs) // _MOST_EPOCHS))
    drawn = sorted({*range(0, len(epochs), every), len(epochs) - 1} if epochs else ())
    return EpochsInfo(
        position=tuple(at + 1 for at in drawn),
        losses={name: tuple(epochs[at].losses.get(name) for at in drawn) for name in names},
        map50=tuple(epochs[at].map50 for at in drawn),
        starts=tuple(starts),
        every=every,
        best=max((r.map50 for r in epochs if r.map50 is not None), default=None),
    )


_LOSS_LOOK = ((style.BLUE, "solid"), (style.VERMILLION, "dash"), (style.GREEN, "dot"))


def epochs_figure(info: EpochsInfo, *, revision: str = "epochs") -> go.Figure:
    """mAP50 above, losses below, on one epoch axis; a thin line where a phase begins."""
    base = new_figure("", "", revision=revision, height=420)
    if not info.position:
        say_empty(base, t("The curve begins with the first finished epoch"))
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08, figure=base)
    for row in (1, 2):
        # Room for the numbers too, else the title of the axis is written upon them.
        figure.update_xaxes(gridcolor=style.GRID, zeroline=False, automargin=True, row=row, col=1)
        figure.update_yaxes(gridcolor=style.GRID, zeroline=False, row=row, col=1)
    measured = [(x, y) for x, y in zip(info.position, info.map50) if y is not None]
    figure.add_scatter(
        x=[x for x, _ in measured], y=[y for _, y in measured], mode="lines+markers",
        name="mAP50", line={"color": style.AFTER, "width": 2.5}, marker={"size": 6},
        hovertemplate="%{y:.3f}", row=1, col=1,
    )  # fmt: skip
    for number, (name, values) in enumerate(info.losses.items()):
        colour, dash = _LOSS_LOOK[number % len(_LOSS_LOOK)]
        figure.add_scatter(
            x=info.position,
            y=values,
            name=t("{name} loss", name=as_label(name)),
            # A lone point has no line.
            mode="lines+markers" if len(info.position) == 1 else "lines",
            line={"color": colour, "dash": dash, "width": 2},
            hovertemplate="%{y:.3f}",
            row=2,
            col=1,
        )
    for position, _ in info.starts[1:]:
        figure.add_vline(x=position - 0.5, line={"color": style.GREY, "dash": "dot", "width": 1})
    figure.update_yaxes(title_text="mAP50", row=1, col=1)
    figure.update_yaxes(title_text=t("training loss"), rangemode="tozero", row=2, col=1)
    few = t("Epoch (one of {n} is drawn)", n=info.every)
    figure.update_xaxes(title_text=few if info.every > 1 else t("Epoch"), row=2, col=1)
    share_axis(figure, [y for _, y in measured], row=1, col=1)
    whole_steps(figure, max(info.position, default=1))
    return figure


# msip_core.config.TERMS
_TERM_NAMES = {
    "gradient": mark("gradient"),
    "geometry": mark("geometry"),
    "sparsity": mark("sparsity"),
    "information": mark("information"),
}


class WeightsInfo(NamedTuple):
    """Weights w_k of the four terms (they sum to 1) and alpha, per iteration."""

    iterations: tuple[int, ...]
    weights: dict[str, tuple[float, ...]]
    alpha: tuple[float | None, ...]


def weights_info(iterations: Sequence[IterationRecord]) -> WeightsInfo:
    """How validation feedback moved the four weights and the threshold factor.

    Iterations without weights (criteria other than MSIP) are left out.
    """
    kept = [record for record in iterations if record.weights]
    return WeightsInfo(
        iterations=tuple(r.index for r in kept),
        weights={term: tuple((r.weights or {}).get(term, 0.0) for r in kept) for term in TERMS},
        alpha=tuple(r.alpha for r in kept),
    )


def weights_figure(
    info: WeightsInfo, *, chosen: int | None = None, revision: str = "weights"
) -> go.Figure:
    """Four weights above, alpha below where the method has one."""
    with_alpha = any(value is not None for value in info.alpha)
    base = new_figure("", "", revision=revision, height=400 if with_alpha else 320)
    figure = make_subplots(
        rows=2 if with_alpha else 1,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.1,
        row_heights=[0.65, 0.35] if with_alpha else [1.0],
        figure=base,
    )
    figure.update_xaxes(gridcolor=style.GRID, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=style.GRID, zeroline=False)
    mark_step(figure, chosen)
    for term, values in info.weights.items():
        colour, symbol, _ = style.TERM_LOOKS[term]
        figure.add_scatter(
            x=info.iterations, y=values, mode="lines+markers", row=1, col=1,
            name=t(_TERM_NAMES[term]), line={"color": colour, "width": 2},
            marker={"symbol": symbol, "size": 9}, hovertemplate="%{y:.2f}",
        )  # fmt: skip
    top = max((v for values in info.weights.values() for v in values), default=1.0)
    figure.update_yaxes(title_text=t("weight"), range=[0, min(1.05, top + 0.1)], row=1, col=1)
    if with_alpha:
        figure.add_scatter(
            x=info.iterations, y=info.alpha, mode="lines+markers", name="alpha", row=2, col=1,
            line={"color": style.GREY, "dash": "dash", "width": 2},
            marker={"symbol": "x", "size": 8}, hovertemplate="%{y:.3f}",
        )  # fmt: skip
        figure.update_yaxes(title_text="alpha", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(title_text=t("Pruning step"), row=2 if with_alpha else 1, col=1)
    whole_steps(figure, max(info.iterations, default=1))
    return figure
