"""Peak memory of the calibration pass: YOLOv8s, two classes, 640 px, all of MSIP's terms.

    python benchmarks/calibration_memory.py [--batches 8] [--micro-batch 4] [--out DIR]

Prints the peak resident memory of the whole process. Memory is bounded by one micro-batch, so
fewer batches give the same figure sooner. Images are noise: memory does not depend on them.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from msip_core.workspace import Workspace, write_json

LIMIT_GB = 8.0


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        Workspace.open(folder).isolate_libraries()
        result = measure(options.batches, options.batch, options.micro_batch, options.imgsz)
    print(
        f"YOLOv8s, 2 classes, {options.imgsz} px, {result['images']} images: "
        f"{result['peak_gb']:.2f} GB at most (limit {LIMIT_GB:.0f}), "
        f"{result['before_gb']:.2f} GB before the pass, {result['seconds']:.0f} s"
    )
    if options.out:
        write_json(options.out / "calibration_memory.json", result)
    return 0 if result["peak_gb"] < LIMIT_GB else 1


def measure(batches: int, batch: int, micro_batch: int, imgsz: int) -> dict[str, float]:
    """Run the calibration pass once; memory in GB (1e9 bytes)."""
    import torch

    from msip_core.config import MsipOptions
    from msip_core.detector.build import build_model
    from msip_core.detector.c2f import to_c2f_v2
    from msip_core.importance.calibration import CalibrationSet
    from msip_core.importance.msip import MsipImportance
    from msip_core.importance.statistics import gather

    model = to_c2f_v2(build_model("yolov8s.yaml", ("crypt", "no_crypt")))
    n = batches * batch
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, imgsz, imgsz), dtype=torch.uint8, generator=generator)
    boxes = torch.rand(n, 20, 2, generator=generator) * 0.8 + 0.1
    labels = tuple(
        torch.cat([torch.arange(20).remainder(2)[:, None], xy, torch.full((20, 2), 0.1)], 1)
        for xy in boxes
    )
    calibration = CalibrationSet(
        images, labels, tuple(str(i) for i in range(n)), batch, micro_batch
    )
    before, started = peak_gb(), time.perf_counter()
    gather(model, calibration, MsipImportance.required(MsipOptions()))
    return {
        "peak_gb": peak_gb(), "before_gb": before, "seconds": time.perf_counter() - started,
        "images": n, "batch": batch, "micro_batch": micro_batch, "imgsz": imgsz,
        "threads": torch.get_num_threads(), "cores": os.cpu_count() or 1,
    }  # fmt: skip


def peak_gb() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--out", type=Path, help="folder for calibration_memory.json")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
