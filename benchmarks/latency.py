"""How much faster a pruned YOLOv8s is on this computer, in the formats that people deploy.

    python benchmarks/latency.py                          uniform random cut to a third of the MACs
    python benchmarks/latency.py --pruned path/to/model.pt
    python benchmarks/latency.py --out benchmarks/results/latency.json

Baseline: YOLOv8s, two classes, 640 px. Both models run in turn in PyTorch, ONNX Runtime and
OpenVINO, fp32, batch 1; printed are median milliseconds with the 95 % interval of the median, and
the ratio. Weights do not matter to speed, widths do: without --pruned, two cuts with the same
share of channels are compared, one with widths as they fall, one with multiples of 8.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from msip_core.workspace import Workspace

IMGSZ = 640
CLASSES = ("crypt", "no_crypt")
RATIOS = {1: 0.42, 8: 0.42}  # channels removed; round_to -> share


def main() -> None:
    options = _options()
    # Libraries read their settings at import, so nothing of them is imported before this.
    Workspace.open(options.workspace or tempfile.mkdtemp(prefix="latency-")).isolate_libraries()

    import torch

    from msip_core.detector.cost import count_cost
    from msip_core.detector.engines import ways_of
    from msip_core.detector.latency import measure_latency

    if options.threads:
        torch.set_num_threads(options.threads)
    models = _models(options)
    costs = {name: count_cost(model, options.imgsz) for name, model in models.items()}
    began = time.perf_counter()
    measured = measure_latency(
        models,
        options.imgsz,
        ways_of("cpu", options.formats, batches=options.batch),
        runs=options.runs,
    )
    result = {
        "what": "milliseconds per image, median and 95 % interval; baseline / pruned",
        "imgsz": options.imgsz,
        "machine": _machine(),
        "seconds": round(time.perf_counter() - began, 1),
        "models": {
            name: {**cost.model_dump(), "macs_ratio": cost.macs / costs["baseline"].macs}
            for name, cost in costs.items()
        },
        "latency": [asdict(latency) for latency in measured],
        "speed_up": _speed_up(measured),
    }
    _show(result)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(f"\nWritten to {options.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--pruned", nargs="+", metavar="[NAME=]MODEL.PT", help="models to time beside the baseline"
    )
    parser.add_argument("--baseline", type=Path, help="a .pt instead of a fresh YOLOv8s")
    parser.add_argument("--imgsz", type=int, default=IMGSZ)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--threads", type=int, help="default: torch's own")
    parser.add_argument("--formats", nargs="+", default=["pytorch", "onnx", "openvino"])
    parser.add_argument("--workspace", type=Path, help="where libraries keep their settings")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    return parser.parse_args()


def _models(options: argparse.Namespace) -> dict[str, Any]:
    from msip_core.detector.build import build_model
    from msip_core.detector.checkpoints import load_model

    baseline = (
        load_model(options.baseline) if options.baseline else build_model("yolov8s.yaml", CLASSES)
    )
    if options.pruned:
        named = [text.rpartition("=") for text in options.pruned]
        return {"baseline": baseline} | {
            name or Path(path).stem: load_model(Path(path)) for name, _, path in named
        }
    names = {1: "widths as they fall", 8: "multiples of 8"}
    return {
        "baseline": baseline,
        **{names[step]: _cut(baseline, ratio, step) for step, ratio in RATIOS.items()},
    }


def _cut(model: Any, ratio: float, round_to: int) -> Any:
    """Every group of coupled channels loses the same share, at random."""
    import torch
    import torch_pruning as tp

    from msip_core.detector.c2f import to_c2f_v2
    from msip_core.detector.checkpoints import normalise

    twin = to_c2f_v2(model)
    head = twin.model[-1]
    last = [branch[2] for pair in (head.cv2, head.cv3) for branch in pair]
    torch.manual_seed(0)
    tp.pruner.MagnitudePruner(
        twin,
        torch.zeros(1, 3, 64, 64),
        importance=tp.importance.RandomImportance(),
        pruning_ratio=ratio,
        ignored_layers=[*last, head.dfl],
        round_to=round_to if round_to > 1 else None,
    ).step()
    return normalise(twin)


def _speed_up(measured: list[Any]) -> dict[str, dict[str, float]]:
    baseline = {m.format: m.median_ms for m in measured if m.name == "baseline"}
    ratios: dict[str, dict[str, float]] = {}
    for m in measured:
        if m.name != "baseline":
            ratios.setdefault(m.name, {})[m.format] = round(baseline[m.format] / m.median_ms, 2)
    return ratios


def _machine() -> dict[str, Any]:
    import torch

    from msip_core.detector.devices import describe_device

    device = describe_device("cpu")
    packages = ("torch", "ultralytics", "onnxruntime", "openvino")
    return {
        "processor": device.name,
        "memory_gb": round(device.total_gb, 1),
        "threads": torch.get_num_threads(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _show(result: dict[str, Any]) -> None:
    machine = result["machine"]
    print(f"{machine['processor']}, {machine['threads']} threads, {result['imgsz']} px")
    print(f"{'model':<22}{'GMACs':>8}{'ratio':>8}  format        ms (95 % interval)     speed-up")
    for m in result["latency"]:
        cost = result["models"][m["name"]]
        faster = result["speed_up"].get(m["name"], {}).get(m["format"])
        interval = f"{m['median_ms']:7.1f} ({m['low_ms']:.1f}-{m['high_ms']:.1f})"
        print(
            f"{m['name']:<22}{cost['macs'] / 1e9:>8.2f}{cost['macs_ratio']:>8.3f}  "
            f"{m['format']:<10}{interval:>24}{'' if faster is None else f'{faster:>12.2f} x'}"
        )


if __name__ == "__main__":
    main()
