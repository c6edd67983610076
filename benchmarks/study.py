"""One study from its plan to its table, timed; what it found is copied to OUT.

    python benchmarks/study.py --preset table-3-1 --size smoke --out benchmarks/results/studies
    python benchmarks/study.py --preset table-3-1 --size standard --workspace W --data DATASET \\
        --set imgsz=256 --set "seeds=[0]" --out DIR

Without a workspace, on the drawn example that MSIP Lab ships, with its baseline. Other words go
into the plan by their names (`--set`), before it is checked. A study that was stopped goes on when
this is repeated.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from msip_core.changes import read_settings
from msip_core.cli.main import main as command_line
from msip_core.detector.devices import describe_device
from msip_core.example import install_example
from msip_core.models import list_models
from msip_core.studies.library import list_studies, plan_here
from msip_core.studies.plan import parse_plan, write_plan
from msip_core.studies.presets import PRESETS, SIZES
from msip_core.workspace import Workspace, write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
FILES = ("plan.yaml", "table.csv", "table.md", "table.tex")  # the report is large


def main() -> None:
    options = _options()
    out = options.out.resolve() / f"{options.preset}-{options.size}"
    out.mkdir(parents=True, exist_ok=True)
    workspace = Workspace.open(options.workspace or out / "work")
    if options.workspace is None:
        (out / "work" / ".gitignore").write_text("*\n", encoding="utf-8")
        install_example(workspace, ROOT / "assets" / "example")
    started = time.perf_counter()
    plan = _plan(options, workspace)
    known = [study for study in list_studies(workspace) if study.name == plan.name]
    words = ["study", "resume", known[0].id] if known else ["study", "run", str(_file(out, plan))]
    code = command_line([*words, "--workspace", str(workspace.root)])
    study = next(study for study in list_studies(workspace) if study.name == plan.name)
    for name in FILES:
        shutil.copy(workspace.study_dir(study.id) / name, out / name)
    facts = {
        "seconds_of_this_call": round(time.perf_counter() - started),
        "resumed": bool(known),
        "processor": describe_device("cpu").name,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    write_json(out / "facts.json", facts)
    print(facts)
    raise SystemExit(code)


def _plan(options: argparse.Namespace, workspace: Workspace) -> Any:
    model = options.model or (None if options.workspace else _example_baseline(workspace))
    plan = plan_here(
        workspace, options.preset, options.size, options.data, model=model,
        weights=options.weights, smaller=options.smaller, device=options.device,
    )  # fmt: skip
    return parse_plan(_merged(plan.model_dump(mode="json"), read_settings(options.set)))


def _example_baseline(workspace: Workspace) -> str:
    return next(card.id for card in list_models(workspace) if card.kind == "baseline")


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Changes by their nested names; everything else stays."""
    merged = dict(values)
    for name, value in changes.items():
        old = merged.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[name] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _file(out: Path, plan: Any) -> Path:
    write_text(out / "plan.yaml", write_plan(plan))
    return out / "plan.yaml"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--preset", choices=list(PRESETS), required=True)
    parser.add_argument("--size", choices=SIZES, default="smoke")
    parser.add_argument("--workspace", type=Path, help="else the drawn example is taken")
    parser.add_argument("--data", default="example", help="dataset of the workspace")
    parser.add_argument("--model", help="baseline of the workspace; none: one is trained")
    parser.add_argument("--weights", help="what the baseline starts from")
    parser.add_argument("--smaller", help="what the next smaller model starts from")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "studies")
    return parser.parse_args()


if __name__ == "__main__":
    main()
