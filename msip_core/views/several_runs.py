"""Several runs in one chart and one table: accuracy over the work that is left. Data first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from msip_core.combinations import what_chose
from msip_core.config import PruneConfig
from msip_core.language import t
from msip_core.views import style, wording
from msip_core.views.history import RunHistory
from msip_core.views.screen import as_label, new_figure, say_empty, share_axis

# Each run has a colour, a dash and a symbol of its own: colour is never the only sign.
LOOKS = (
    (style.ACCENT, "solid", "circle"),
    (style.VERMILLION, "dash", "square"),
    (style.BLUE, "dot", "diamond"),
    (style.GOLD, "dashdot", "triangle-up"),
    (style.PINK, "longdash", "cross"),
    (style.GREY, "longdashdot", "x"),
)


class RunLine(NamedTuple):
    """One run as a line; `steps` 0 is the baseline, `kept` the share of its MACs."""

    name: str
    steps: tuple[int, ...]
    kept: tuple[float, ...]
    map50: tuple[float, ...]


def lines_info(runs: Sequence[RunHistory[PruneConfig]]) -> tuple[RunLine, ...]:
    """A line for each run that has measured anything."""
    lines = []
    for run in runs:
        rows = [(0, 1.0, run.baseline.metrics.map50)] if run.baseline else []
        rows += [(r.index, r.macs_ratio, r.map50_after) for r in run.iterations]
        if rows:
            steps, kept, map50 = zip(*rows)
            lines.append(RunLine(run.name, tuple(steps), tuple(kept), tuple(map50)))
    return tuple(lines)


def lines_figure(lines: Sequence[RunLine], *, revision: str = "several") -> go.Figure:
    """One line a run, from right (baseline) to left (light)."""
    figure = new_figure(
        t("Work kept: share of the baseline's MACs"),
        t("mAP50 (validation)"),
        revision=revision,
        height=380,
    )
    figure.update_layout(hovermode="closest")
    for number, line in enumerate(lines):
        colour, dash, symbol = LOOKS[number % len(LOOKS)]
        figure.add_scatter(
            x=line.kept,
            y=line.map50,
            mode="lines+markers",
            name=as_label(line.name),
            customdata=line.steps,
            line={"color": colour, "dash": dash, "width": 2},
            marker={"symbol": symbol, "size": 9, "color": colour},
            hovertemplate=t("step %{customdata}: %{x:.1%} of the MACs, mAP50 %{y:.3f}"),
        )
    if not lines:
        say_empty(figure, t("None of these runs has measured anything yet"))
    share_axis(figure, [value for line in lines for value in line.map50])
    figure.update_xaxes(tickformat=".0%", range=[0, 1.05])
    return figure


def run_rows(runs: Sequence[RunHistory[PruneConfig]]) -> list[dict[str, str]]:
    """One row a run: what it was asked for and what came out."""
    return [_row(run) for run in runs]


def _row(run: RunHistory[PruneConfig]) -> dict[str, str]:
    last = run.iterations[-1] if run.iterations else None
    start = run.baseline.metrics.map50 if run.baseline else None
    now = run.final.metrics.map50 if run.final else last.map50_after if last else None
    kept = run.final.macs_ratio if run.final else last.macs_ratio if last else None
    params = run.final.cost.params if run.final else last.params if last else None
    tested = run.final.test.map50 if run.final and run.final.test else None
    change = wording.gap(start, now) if now is not None and start is not None else "—"
    return {
        t("Run"): run.name,
        t("Method"): what_chose(run.config),
        t("Steps done"): f"{len(run.iterations)} / {run.config.iterations}",
        t("MACs kept"): "—" if kept is None else wording.percent(kept, 1),
        t("Goal"): _goal(run.config),
        t("mAP50, baseline (validation)"): "—" if start is None else wording.accuracy(start),
        t("mAP50 now (validation)"): "—" if now is None else wording.accuracy(now),
        t("Change"): change,
        t("mAP50, final test"): "—" if tested is None else wording.accuracy(tested),
        t("Parameters"): "—" if params is None else wording.params(params),
    }


def _goal(config: PruneConfig) -> str:
    kind, keep = config.goal
    return f"{wording.percent(keep, 1)} {t(wording.GOALS[kind])}"
