"""What the rows of a study kept right after each cut, repaired, not yet trained (validation mAP50).

    tar xf benchmarks/results/studies/table-3-1-orgaquant-second/runs.tar.xz -C FOLDER
    python benchmarks/before_tuning.py STUDY --workspace FOLDER --against msip --out FILE.md

Every run wrote it down (`map50_before` of its steps), so nothing is computed anew. The last cut of
each row is compared with that of the row `--against`, paired by seed (Student's t, Holm's
correction); below three seeds there is no verdict.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.seeds_table import HONESTY, compare, difference
from msip_core.runs.service import RunService
from msip_core.studies.engine import standing
from msip_core.studies.library import plan_of
from msip_core.workspace import Workspace, write_text

_KEY = "last"


def main() -> None:
    options = _options()
    service = RunService(Workspace.open(options.workspace))
    plan = plan_of(service.workspace, options.study)
    rows = [row.key for row in plan.rows]
    results = [
        {"row": state.task.row, "seed": state.task.seed, "cuts": cuts, _KEY: cuts[-1]}
        for state in standing(service, options.study).states
        if state.task.row in rows and state.row and state.row.state.is_finished
        for cuts in [[step.map50_before for step in service.iterations(state.run_id)]]
        if cuts
    ]
    text = table(results, rows, options.against)
    print(text)
    if options.out:
        write_text(options.out, f"# {plan.name}: before fine-tuning\n\n{HONESTY}\n\n{text}")


def table(results: Sequence[dict[str, Any]], rows: Sequence[str], against: str) -> str:
    """Rows by what their last cut left, the most first."""
    found = compare(results, rows, against, _KEY)
    by_row = {row: [one for one in results if one["row"] == row] for row in rows}
    lines = [
        f"| row | seeds | val mAP50 after each cut, untrained | last, minus `{against}` [95 %] "
        "| p (Holm) | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    there = [row for row in rows if by_row[row]]
    for row in sorted(there, key=lambda row: -mean(one[_KEY] for one in by_row[row])):
        steps = zip(*(one["cuts"] for one in by_row[row]), strict=False)
        cuts = " ".join(f"{mean(step):.3f}" for step in steps)
        words = difference(found[row]) if row in found else ["", "", ""]
        lines.append(f"| `{row}` | {len(by_row[row])} | {cuts} | {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("study")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--against", default="msip", help="row that the others are compared with")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
