"""Attack the product: thousands of hostile inputs, a hundred kills, one table.

    python -m tests.campaign --out DIR                     all of it: an hour on two cores
    python -m tests.campaign --inputs 60 --kills 3         a slice, as in the suite
    python -m tests.campaign --only weights --kills 0      one kind

Exit code 1 if anything was wrong. Needs Linux (fork, /proc).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.campaign.inputs import Report, all_cases, attack
from tests.campaign.judge import MEGABYTES, SECONDS
from tests.campaign.kills import Kills, kill_at_random
from tests.campaign.lab import Lab, make_lab

MUTANTS = 160  # random inputs of each kind, beside the fixed ones


def main() -> int:
    options = _options()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-") as made:
        place = Path(made)
        lab = Lab(options.lab) if options.lab else make_lab(place / "lab")
        # Words of the command line queue runs; those that are killed start from a clean lab.
        attacked = lab.copy(place / "attacked")
        cases = [c for c in all_cases(attacked, options.mutants) if options.only in (None, c.kind)]
        if options.inputs is not None:
            chance = random.Random(options.seed)
            cases = chance.sample(cases, min(options.inputs, len(cases)))
        report = attack(attacked, cases, place / "inputs", options.seed)
        kills = kill_at_random(
            lab, place, options.kills, options.kills_each, options.seed, options.kill_minutes
        )
    text, document = _table(report, kills), _document(report, kills, options.seed)
    document["minutes"] = round((time.monotonic() - begun) / 60, 1)
    sys.stdout.write(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "campaign.md").write_text(text, encoding="utf-8")
        (options.out / "campaign.json").write_text(
            json.dumps(document, indent=1) + "\n", encoding="utf-8"
        )
    bad = report.wrong or kills.lost or kills.stuck or kills.wrong
    return 1 if bad else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--lab", type=Path, help="a finished lab instead of a new one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutants", type=int, default=MUTANTS)
    parser.add_argument("--inputs", type=int, help="so many, drawn from all")
    parser.add_argument("--only", help="one kind of input")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--kills-each", type=int, default=12, help="kills of one run")
    parser.add_argument("--kill-minutes", type=float, default=45.0)
    return parser.parse_args()


def _table(report: Report, kills: Kills) -> str:
    lines = [
        "| kind of input | tried | wrong | refused | slowest (s) | most memory (MB) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for kind, c in report.counts.items():
        most = f"{c.seconds:.1f} | {c.megabytes:.0f}"
        lines.append(f"| {kind} | {c.tried} | {c.wrong} | {c.refused} | {most} |")
    tried = sum(c.tried for c in report.counts.values())
    lines += [
        f"| all | {tried} | {len(report.wrong)} |  | limit {SECONDS:.0f} | limit {MEGABYTES:.0f} |",
        "",
        "| killed | times |",
        "| --- | --- |",
        *(f"| {act} | {n} |" for act, n in sorted(kills.kills.items())),
        f"| all | {kills.total} |",
        "",
        f"{kills.runs} runs, {kills.completed} completed, {len(kills.lost)} not equal to the "
        f"unbroken one, {len(kills.stuck)} stuck, {len(kills.wrong)} wrong states.",
    ]
    return "\n".join(lines) + "\n"


def _document(report: Report, kills: Kills, seed: int) -> dict[str, object]:
    return {
        "seed": seed,
        "inputs": {kind: asdict(count) for kind, count in report.counts.items()},
        "wrong": report.wrong,
        "kills": asdict(kills),
    }


if __name__ == "__main__":
    sys.exit(main())
