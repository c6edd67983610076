"""The table as files: CSV with every number, LaTeX and Markdown as a paper prints them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from msip_core.documents import facts_in
from msip_core.studies.library import PLAN_FILE
from msip_core.studies.published import Published
from msip_core.studies.statistics import DRAWS, Interval
from msip_core.studies.table import Line, StudyTable
from msip_core.studies.verdicts import change_words, verdicts
from msip_core.views import tables, wording
from msip_core.workspace import Workspace, without_nan, write_json, write_text

CSV_FILE, LATEX_FILE, MARKDOWN_FILE, JSON_FILE = "table.csv", "table.tex", "table.md", "table.json"


def write_outputs(workspace: Workspace, study_id: str, table: StudyTable) -> dict[str, Path]:
    """Write all forms below the study's folder; name -> file.

    Where runs of the table that is there are gone, that one is kept beside the new one.
    """
    folder = workspace.study_dir(study_id)
    earlier = _keep_earlier(folder, table)
    write_text(folder / CSV_FILE, tables.to_csv(all_numbers(table)))
    write_text(folder / LATEX_FILE, tables.to_latex(printed_rows(table)))
    write_text(folder / MARKDOWN_FILE, markdown(table))
    write_json(folder / JSON_FILE, without_nan(document(study_id, table)))
    names = {"csv": CSV_FILE, "latex": LATEX_FILE, "markdown": MARKDOWN_FILE, "json": JSON_FILE}
    files = {name: folder / file for name, file in {**names, "plan": PLAN_FILE}.items()}
    return files | ({"earlier": earlier} if earlier else {})


def _keep_earlier(folder: Path, table: StudyTable) -> Path | None:
    """Where the table that rests on runs which are gone now was put; None where none is gone."""
    known = facts_in(folder / JSON_FILE).get("runs")
    there = {state.task.key for state in table.standing.states if state.row is not None}
    runs = known.items() if isinstance(known, dict) else ()
    if not any("completed" in str(run) and key not in there for key, run in runs):
        return None
    kept = folder / f"earlier-{datetime.now():%y%m%d-%H%M%S}"
    kept.mkdir(exist_ok=True)
    for name in (CSV_FILE, LATEX_FILE, MARKDOWN_FILE, JSON_FILE):
        if (folder / name).is_file():
            (folder / name).replace(kept / name)
    return kept


def printed_rows(table: StudyTable) -> list[dict[str, object]]:
    """As a paper prints them: mAP50 with its interval, the published number beside it."""
    return [_printed(line) for line in table.lines]


def _printed(line: Line) -> dict[str, object]:
    name = f"{line.label} ({line.differs})" if line.differs else line.label
    if line.map50 is None:
        return {"model": name, "mAP50 [95 %]": line.reason, **dict.fromkeys(_COLUMNS, "")}
    paper = line.published
    return {
        "model": name,
        "mAP50 [95 %]": line.map50.words,
        "vs baseline": change_words(line.change) if line.change else "",
        "mAP50-95": f"{line.map50_95.value:.3f}" if line.map50_95 else "",
        "GMACs": _number(line.macs, 1e9, 3),
        "MACs ratio": _number(line.macs_ratio, 1, 3),
        "params (M)": _number(line.params, 1e6, 2),
        "size (MB)": _number(line.size_mb, 1, 1),
        "ms": _number(line.ms, 1, 1),
        "speed-up": _speedup(line),
        "seeds": f"{line.seeds}/{line.asked}",
        "paper: mAP50": f"{paper.map50:.2f}" if paper else "",
        "difference": f"{line.map50.value - paper.map50:+.3f}" if paper else "",
    }


_COLUMNS = (
    "vs baseline", "mAP50-95", "GMACs", "MACs ratio", "params (M)", "size (MB)", "ms", "speed-up",
    "seeds", "paper: mAP50", "difference",
)  # fmt: skip


def _speedup(line: Line) -> str:
    known = line.speedup_interval
    text = _number(line.speedup, 1, 2)
    return f"{text} [{known.low:.2f}, {known.high:.2f}]" if known and text else text


def all_numbers(table: StudyTable) -> list[dict[str, object]]:
    """One flat row a model with every number, for a spreadsheet."""
    return [_flat(line, timed_words(table)) for line in table.lines]


def _flat(line: Line, timed: str) -> dict[str, object]:
    return {
        "key": line.key, "model": line.label, "differs": line.differs, "seeds": line.seeds,
        "seeds_asked": line.asked, "reason": line.reason, "macs": line.macs,
        "macs_ratio": line.macs_ratio, "params": line.params, "size_mb": line.size_mb,
        **_bounds("map50", line.map50), **_bounds("map50_95", line.map50_95),
        "map50_lowest_seed": line.spread[0] if line.spread else None,
        "map50_highest_seed": line.spread[1] if line.spread else None,
        "ms": line.ms, "ms_measured_with": timed if line.ms else None, "speedup": line.speedup,
        "speedup_low": line.speedup_interval.low if line.speedup_interval else None,
        "speedup_high": line.speedup_interval.high if line.speedup_interval else None,
        **_compared("change", line.change), **_compared("main_minus_this", line.against_main),
        **_compared("main_minus_this_95", line.against_main_95),
        **{f"paper_{name}": getattr(line.published, name, None) for name in Published._fields},
    }  # fmt: skip


def _bounds(name: str, value: Interval | None) -> dict[str, float | None]:
    return {
        name: value.value if value else None,
        f"{name}_low": value.low if value else None,
        f"{name}_high": value.high if value else None,
    }


def _compared(name: str, value: Interval | None) -> dict[str, float | bool | None]:
    """A difference, its p after Holm's correction, and whether it may be called better or worse."""
    return {
        **_bounds(name, value),
        f"{name}_p_holm": value.adjusted if value else None,
        f"{name}_clear": value.is_clear if value and value.is_known else None,
    }


def markdown(table: StudyTable) -> str:
    """The printed table, what it says, and how it was made."""
    facts = (
        f"{table.test_images or 'no'} test images, {len(table.plan.seeds)} seed(s), "
        f"{table.plan.imgsz} px; intervals: 95 %, {resampling_words(table)}. MACs are "
        f"multiply-adds, not speed; ms is the median time of one image ({timed_words(table)}), "
        "speed-up that of the baseline measured in turn with it."
    )
    said = "\n".join(f"- {text}" for text in verdicts(table))
    title = f"# {table.plan.name}\n\n"
    return f"{title}{tables.to_markdown(printed_rows(table))}\n\n{facts}\n\n{said}\n"


def timed_words(table: StudyTable) -> str:
    """In which way the milliseconds were measured, for a caption."""
    return wording.goal_way(table.plan.measure, table.way)


def resampling_words(table: StudyTable) -> str:
    """What the intervals vary, for a caption."""
    unit = "images" if table.test_groups is None else f"their {table.test_groups} groups and images"
    return (
        f"hierarchical bootstrap of {DRAWS} draws over seeds and, by "
        f"{table.plan.measure.resamples} resamples, test {unit}, paired between models; a model is "
        "called better only with at least three seeds, where the interval excludes zero and still "
        "does after Holm's correction over the rows"
    )


def document(study_id: str, table: StudyTable) -> dict[str, object]:
    """Everything as one JSON document: what `study show --json` prints."""
    now = table.standing
    return {
        "id": study_id, "name": table.plan.name, "done": now.done,
        "seconds_left": now.seconds_left, "paused": now.paused, "over": now.is_over,
        "test_images": table.test_images, "test_groups": table.test_groups,
        "rows": all_numbers(table),
        "verdicts": verdicts(table),
        "runs": {
            s.task.key: {"id": s.run_id, "state": s.row.state.value if s.row else "waiting"}
            for s in now.states
        },
    }  # fmt: skip


def _number(value: float | None, unit: float, digits: int) -> str:
    return "" if value is None else f"{value / unit:.{digits}f}"
