"""The report of a study: one HTML file with table, plots, pictures and protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msip_core
from msip_core.documents import Provenance, facts_in
from msip_core.events import LayerChannels
from msip_core.measures import MEASURE_FOLDER
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.studies.analysis import analyse, analysis_rows, shap_sentence
from msip_core.studies.engine import TaskState
from msip_core.studies.outputs import printed_rows, resampling_words, timed_words
from msip_core.studies.pareto import UNITS, Axis, pareto_of
from msip_core.studies.plan import BASELINE, StudyPlan, write_plan
from msip_core.studies.table import StudyTable
from msip_core.studies.tasks import epochs_of, labels, one_schedule
from msip_core.studies.verdicts import verdicts
from msip_core.views import inline, style
from msip_core.views.paper_studies import pareto_paper, widths_info, widths_paper
from msip_core.views.protocol import PRECISIONS
from msip_core.views.report import Figure
from msip_core.views.wording import plural
from msip_core.workspace import Workspace, write_text

REPORT_FILE = "report.html"
_PICTURED = 6  # models side by side
_AXES: tuple[tuple[Axis, str], ...] = (
    ("macs", "mAP50 over multiply-adds"),
    ("ms", "mAP50 over measured time"),
)


def write_report(workspace: Workspace, study_id: str, table: StudyTable) -> Path:
    """Write report.html below the study's folder."""
    path = workspace.study_dir(study_id) / REPORT_FILE
    write_text(path, render_report(workspace, study_id, table))
    return path


def render_report(workspace: Workspace, study_id: str, table: StudyTable) -> str:
    """The report's HTML."""
    plan, states = table.plan, table.standing.states
    return inline.template("study.html.j2").render(
        plan=plan,
        study_id=study_id,
        version=msip_core.__version__,
        made=time.strftime("%Y-%m-%d %H:%M"),
        summary=_summary(table),
        verdicts=verdicts(table),
        rows=printed_rows(table),
        caption=_caption(table),
        figures=_figures(workspace, table),
        analysis=analysis_rows(analyse(workspace, table)),
        shap=shap_sentence(workspace, table),
        pictures=_pictures(workspace, table),
        honesty=style.HONESTY,
        protocol=_protocol(plan),
        versions=_versions(workspace, states),
        failures=[f"{line.label}: {line.reason}." for line in table.lines if line.reason],
        plan_yaml=write_plan(plan),
    )


def _summary(table: StudyTable) -> str:
    done = sum(line.seeds for line in table.lines)
    asked = sum(line.asked for line in table.lines)
    groups = f" of {plural(table.test_groups, 'group')}" if table.test_groups else ""
    return (
        f"{plural(len(table.lines), 'model')} under one protocol, {done} of {asked} runs done, "
        f"measured on {plural(table.test_images or 0, 'test image')}{groups}."
    )


def _caption(table: StudyTable) -> str:
    return (
        f"mAP50 with its 95 % interval: {resampling_words(table)}. MACs count multiply-adds; they "
        f"are not speed. ms: median of one image ({timed_words(table)}); speed-up: the baseline's "
        "time, measured in turn, over that."
    )


def _figures(workspace: Workspace, table: StudyTable) -> list[Figure]:
    found = []
    for axis, title in _AXES:
        info = pareto_of(table, axis)
        if info.points:
            drawn = inline.svg(pareto_paper(info), f"pareto{axis}", title)
            words = f"Test mAP50 over {UNITS[axis]}; bars: 95 % intervals; dotted: the models that "
            found.append(Figure(title, drawn, f"{words}no other beats in both."))
    if models := _layers(workspace, table):
        grid = widths_info(models)
        drawn = inline.svg(widths_paper(grid), "widths", "channels left in each layer")
        caption = "Share of each layer's output channels that is left, first seed."
        found.append(Figure("Which layers became narrower", drawn, caption))
    return found


def _layers(workspace: Workspace, table: StudyTable) -> dict[str, Sequence[LayerChannels]]:
    """Row label -> layers after the last step, of the first seed."""
    service, names = RunService(workspace), labels(table.plan)
    found: dict[str, Sequence[LayerChannels]] = {}
    for state in table.standing.states:
        done = state.row is not None and state.row.state is RunState.COMPLETED
        if done and state.row and state.row.kind == "prune":
            steps = service.iterations(state.run_id)
            if steps:
                found.setdefault(names[state.task.row], steps[-1].layers)
    return found


def _pictures(workspace: Workspace, table: StudyTable) -> list[tuple[str, list[tuple[str, str]]]]:
    """Grad-CAM and SHAP of the same object by several models, first seed."""
    names = labels(table.plan)
    shown = [BASELINE, *(row.key for row in table.plan.rows)]
    panels: dict[str, list[tuple[str, str]]] = {}
    for key in shown[: _PICTURED + 1]:
        state = next((s for s in table.standing.states if s.task.row == key), None)
        folder = workspace.run_dir(state.run_id) / MEASURE_FOLDER if state else None
        if folder is None or not folder.is_dir():
            continue
        for kind, place in (("Grad-CAM", folder / "attention"), ("SHAP", folder / "shap")):
            for file in sorted(place.glob("*/overlay.png")):
                source = inline.png_bytes(file.read_bytes())
                title = f"{file.parent.name}: {kind}"
                panels.setdefault(title, []).append((names[key], source))
    return sorted(panels.items())


def _protocol(plan: StudyPlan) -> list[tuple[str, str]]:
    budget = one_schedule(plan)
    epochs = {task.row: count for task, count in epochs_of(plan)}
    trained = (
        f"model {plan.baseline.model} of the workspace"
        if plan.baseline.model
        else f"{plan.baseline.weights}, {plan.baseline.epochs} epochs"
    )
    return [
        ("Dataset", plan.dataset),
        ("Image size", f"{plan.imgsz} px"),
        ("Batch", str(plan.batch)),
        ("Training precision", PRECISIONS[plan.precision]),
        ("Seeds", _seeds(plan)),
        ("Baseline", trained),
        ("Next smaller model", f"{plan.smaller}, {epochs.get('smaller-model', 0)} epochs"),
        ("Budget of a pruned row", f"{plural(budget.epochs, 'epoch')} of training after the cuts"),
        ("Settings shared by all pruned rows", json.dumps(_plain(plan.budget))),
        ("Split", "test images are only reported on; feedback comes from validation images"),
    ]


def _seeds(plan: StudyPlan) -> str:
    """Seeds of all rows, then those of single rows."""
    more = (f"{key} also {', '.join(map(str, own))}" for key, own in plan.more_seeds.items() if own)
    return "; ".join([", ".join(map(str, plan.seeds)), *more])


def _plain(budget: Mapping[str, object]) -> dict[str, object]:
    """The budget without the schedules, which the plan prints in full."""
    return {k: v for k, v in budget.items() if isinstance(v, int | float | str)}


def _versions(workspace: Workspace, states: Sequence[TaskState]) -> list[tuple[str, str]]:
    """Of the first run: versions, hardware, driver."""
    for state in states:
        if value := facts_in(workspace.run_dir(state.run_id) / "provenance.json", Provenance):
            versions = {"MSIP Lab": value.get("msip_lab"), **(value.get("versions") or {})}
            hardware = value.get("hardware") or {}
            machine = [hardware.get("processor"), *(hardware.get("gpus") or [])]
            rows = [(name, str(version)) for name, version in versions.items() if version]
            rows.append(("computer", ", ".join(str(part) for part in machine if part)))
            return rows
    return []
