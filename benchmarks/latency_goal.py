"""Half the milliseconds, asked for as milliseconds and as multiply-adds of the same speed.

    python benchmarks/latency_goal.py --workspace W --data DATASET --model BASELINE --out DIR

Runs by the same recipe and seeds. The first of each seed has a goal in milliseconds: it weighs
channels by them, and leaves channels in the multiple that this computer is fast with. The second
has the goal in multiply-adds whose network takes as long, all else as it is when nobody asks: which
share that is, is found by cutting and measuring, before it runs, and corrected by running it again
until both take the same time to 2 %, four times at most; the one whose time is nearest counts.
Where the first found another multiple than 8, a third is told that multiple and the multiply-adds
of the first, which shows what of the difference the multiple makes. All models are then measured
beside the baseline, in turn, in the format that was asked for, with the mAP50 of each on validation
and test, and the paired interval of the differences over test images.

A run that is done is not run again, so the command can be stopped and repeated. Use a computer with
nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from msip_core.config import AllocationOptions, MsipOptions, PruneConfig, preset
from msip_core.ways import Way
from msip_core.workspace import Workspace, write_json, write_text

_HALVINGS = 6  # of the interval in which the share of the MACs is looked for
_SAME = 0.02  # two speeds that differ by less are the same
_ROUNDS = 4  # runs by MACs until their speed is that of the run by milliseconds
_EXPONENT = 2  # half the MACs take about .7 of the time

Row = dict[str, Any]


def main() -> None:
    options = _options()
    workspace = Workspace.open(options.workspace)
    workspace.isolate_libraries()
    options.out.mkdir(parents=True, exist_ok=True)
    pairs = []
    shares = options.share or [None] * len(options.seeds)
    for seed, share in zip(options.seeds, shares, strict=True):
        options.seed = seed
        pairs.append(_pair(options, workspace, share))
    found = {
        "seeds": pairs,
        "mean": _paired(options, workspace, pairs),
        "machine": _machine(),
        "format": options.format,
        "imgsz": options.imgsz,
        "preset": options.preset,
    }
    write_json(options.out / "latency_goal.json", found)
    write_text(options.out / "latency_goal.md", _table(options, pairs, found["mean"]))
    print(_table(options, pairs, found["mean"]))


def _pair(options: argparse.Namespace, workspace: Workspace, known: float | None) -> dict[str, Row]:
    """One run by milliseconds, and the run by MACs of the same speed; `known` is its share."""
    by_ms = _run(workspace, _config(options, "milliseconds"))
    share = known or _equal_share(options, workspace, by_ms["goal_ratio"])
    tries = []
    for _ in range(1 if known else _ROUNDS):
        rows = {
            "milliseconds": dict(by_ms),
            "MACs": _run(workspace, _config(options, "macs", share)),
        }
        if by_ms["channel_multiple"] != 8:
            told = _config(options, "macs, told", round(by_ms["macs_ratio"], 3), by_ms)
            rows["MACs, told the multiple"] = _run(workspace, told)
        _measure(options, workspace, rows)
        slower = _ms(rows["MACs"]) / _ms(rows["milliseconds"])
        print(f"{share:.1%} of the MACs, seed {options.seed}: {slower:.3f} times the time.")
        tries.append((abs(slower - 1), rows))
        if abs(slower - 1) <= _SAME:
            break
        share = round(share / slower**_EXPONENT, 3)
    return min(tries, key=lambda one: one[0])[1]


def _machine() -> dict[str, Any]:
    from msip_core.detector.devices import describe_device

    return {"processor": describe_device("cpu").name, "cores": os.cpu_count()}


def _ms(row: Row) -> float:
    return float(row["latency"]["median_ms"])


def _config(
    options: argparse.Namespace, name: str, keep_macs: float | None = None, told: Row | None = None
) -> PruneConfig:
    """Settings of a run; `told` is the one whose multiple it is given."""
    goal: dict[str, Any] = {"keep_macs": keep_macs} if keep_macs else {"keep_latency": options.keep}
    limits = {
        "cost": "macs" if keep_macs else "latency",
        "round_to": told["channel_multiple"] if told else "auto",
    }
    settings = preset("prune", options.preset) | {
        "name": f"latency goal: {name}", "dataset": options.data, "model": options.model,
        "imgsz": options.imgsz, "batch": options.batch, "device": options.device,
        "seed": options.seed, "latency_format": options.format, "max_map50_drop": None,
        "limits": AllocationOptions.model_validate(limits),
        "msip": MsipOptions(dynamic_weights=False),
    }  # fmt: skip
    return PruneConfig.model_validate(settings | goal)


class _Context:
    """Says what a person would read, and nothing more."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self.workspace, self.run_id = workspace, run_id
        self.run_dir = workspace.run_dir(run_id)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.final: Any = None

    def emit(self, record: Any) -> None:
        if record.kind == "milestone":
            print(record.message, flush=True)
        if record.kind == "final":
            self.final = record

    def check_stop(self) -> None:
        pass


def _run(workspace: Workspace, config: PruneConfig) -> dict[str, Any]:
    """Run it, or read what it found; a changed setting is another run."""
    from msip_core.pruning.loop import run

    kind, keep = config.goal
    name = f"latency-goal-{kind}-{keep:.3f}-{config.latency_format}-{config.imgsz}"
    name += f"-{config.limits.round_to}-s{config.seed}"
    ctx = _Context(workspace, name)
    write_json(ctx.run_dir / "config.json", config.model_dump(mode="json"))
    run(config, ctx)
    found: dict[str, Any] = json.loads(ctx.final.model_dump_json())
    return found


def _equal_share(options: argparse.Namespace, workspace: Workspace, ratio: float) -> float:
    """Share of the MACs whose network, cut at once by L2 norm, takes `ratio` of the time."""
    from msip_core.detector.latency import measure_latency
    from msip_core.detector.library import copy_model
    from msip_core.importance.magnitude import L2Importance
    from msip_core.pruning.network import open_network
    from msip_core.pruning.preview import one_cut
    from msip_core.pruning.surgery import prune_channels

    network = open_network(workspace, options.model, options.imgsz)
    scores = {name: L2Importance()(group).numpy() for name, group in network.groups.items()}
    low, high = 0.1, 0.9
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        asked = _config(options, "macs", share).model_copy(
            update={"method": "l2", "allocation": "msip"}
        )
        model = copy_model(network.model)
        prune_channels(model, one_cut(network, scores, asked).removed)
        cut, whole = measure_latency(
            {"cut": model, "whole": network.model},
            options.imgsz,
            [Way(format=options.format)],
            runs=options.runs,
        )
        print(f"{share:.1%} of the MACs take {cut.median_ms / whole.median_ms:.1%} of the time.")
        low, high = (low, share) if cut.median_ms / whole.median_ms > ratio else (share, high)
    return round((low + high) / 2, 3)


def _measure(
    options: argparse.Namespace, workspace: Workspace, rows: dict[str, dict[str, Any]]
) -> None:
    """Milliseconds of the three, all in turn."""
    from msip_core.detector.checkpoints import load_model
    from msip_core.detector.latency import measure_latency
    from msip_core.models import weights_path

    ids = {"baseline": options.model, **{name: row["model_id"] for name, row in rows.items()}}
    models = {name: load_model(weights_path(workspace, one)) for name, one in ids.items()}
    way = Way(format=options.format)
    measured = measure_latency(models, options.imgsz, [way], runs=options.runs)
    rows["baseline"] = {}
    for one in measured:
        rows[one.name]["latency"] = asdict(one)


def _paired(
    options: argparse.Namespace, workspace: Workspace, pairs: list[dict[str, Row]]
) -> dict[str, Any]:
    """Mean over seeds of mAP50 by milliseconds minus by MACs, paired over test images.

    Rows that not every seed has are left out.
    """
    from msip_core.data.dataset import open_dataset
    from msip_core.detector.checkpoints import load_model
    from msip_core.detector.evaluation import Evaluator
    from msip_core.models import weights_path
    from msip_core.studies.statistics import Precision, difference, mean_over_seeds

    evaluator = Evaluator(open_dataset(workspace, options.data), "test", options.imgsz)
    samples = {}
    for name in [n for n in pairs[0] if n != "baseline" and all(n in pair for pair in pairs)]:
        values, draws = [], []
        for pair in pairs:
            model = load_model(weights_path(workspace, pair[name]["model_id"]))
            found = evaluator.measured(model)
            values.append(found.metrics.map50)
            draws.append(Precision(found.matches).draws()[:, 0])
        samples[name] = mean_over_seeds(values, draws)
    gaps = {
        name: difference(other, samples["milliseconds"]).as_dict()
        for name, other in samples.items()
        if name != "milliseconds"
    }
    return {
        "map50": {name: float(one.values.mean()) for name, one in samples.items()},
        "gaps": gaps,
    }


def _table(options: argparse.Namespace, pairs: list[dict[str, Row]], mean: dict[str, Any]) -> str:
    lines = [
        f"{options.format}, {options.imgsz} px; asked: {options.keep:.0%} of the milliseconds.",
        "",
        "| seed | goal | multiples of | at the run's end | now, ms | share of the time | MACs | "
        "mAP50 val | mAP50 test |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for seed, pair in zip(options.seeds, pairs, strict=True):
        whole = _ms(pair["baseline"])
        lines.append(f"| {seed} | none | | | {whole:.1f} | 100 % | 100 % | | |")
        for name, row in pair.items():
            if name == "baseline":
                continue
            test = f"{row['test']['map50']:.3f}" if row["test"] else ""
            own = f"{row['goal_ratio']:.1%}" if name == "milliseconds" else ""
            lines.append(
                f"| {seed} | {name} | {row['channel_multiple']} | {own} | {_ms(row):.1f} | "
                f"{_ms(row) / whole:.1%} | {row['macs_ratio']:.1%} | {row['metrics']['map50']:.3f} "
                f"| {test} |"
            )
    lines += ["", f"mAP50 on test by milliseconds minus, mean of {len(pairs)} seed(s) (95 %):", ""]
    lines += [
        f"- by {name}: {gap['value']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})"
        for name, gap in mean["gaps"].items()
    ]
    return "\n".join(lines) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--data", required=True, help="dataset of the workspace")
    parser.add_argument("--model", required=True, help="baseline of the workspace")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument(
        "--share",
        type=float,
        nargs="+",
        help="of the MACs, one for each seed, where it was found before: run once, not corrected",
    )
    parser.add_argument("--format", default="onnx", choices=("pytorch", "onnx", "openvino"))
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    return parser.parse_args()


if __name__ == "__main__":
    main()
