"""A run is completed only after its saved model, loaded in a fresh process by stock Ultralytics,
gives the outputs of the model that was measured.

The worker computes the outputs of the working copy on one fixed input; a fresh process
(`python -m msip_core.runs.verify RUN_DIR --workspace ROOT`) that has never seen the working copy
opens model.pt and compares. The same process then times baseline and final model side by side, in
PyTorch on the processor, unless a goal in milliseconds has measured both already.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msip_core.arrays import read_arrays
from msip_core.errors import WorkError
from msip_core.events import FinalRecord
from msip_core.runs.events_log import EventLog
from msip_core.runs.executors import worker_environment
from msip_core.runs.summary import CHECK_FILE
from msip_core.workspace import Workspace, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from msip_core.runs.context import WorkerContext

REFERENCE_FILE = "model/reference.npz"
# Largest difference allowed, as a share of the largest output: a box corner at 640 px may then
# move by a fifteenth of a pixel. fp32 layers that were folded or unrolled differ by about 1e-6.
TOLERANCE = 1e-4
_LATENCY_RUNS = 20


def check_saved_model(context: WorkerContext) -> None:
    """Compare the final model of a run with what a fresh process loads.

    Raises:
        WorkError: the file cannot be loaded, or its outputs differ.
    """
    final = final_record(context.run_dir)
    _write_reference(context.run_dir, context.workspace, final)
    done = subprocess.run(
        [sys.executable, "-m", "msip_core.runs.verify", str(context.run_dir),
         "--workspace", str(context.workspace.root)],
        capture_output=True, text=True, env=worker_environment(), check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise WorkError(
            "The saved model was loaded again in a fresh process and did not pass: "
            f"{said[-1] if said else f'exit code {done.returncode}'}"
        )


def final_record(run_dir: Path) -> FinalRecord:
    """The FinalRecord of the run's story."""
    event = EventLog(run_dir).last("final")
    if event is None:
        raise WorkError("The work ended without a final model.")
    return FinalRecord.model_validate(event)


def largest_difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """max |a - b| / max |a|; infinite where the shapes differ or a value is not finite."""
    import numpy as np

    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float(np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-12))


def _write_reference(run_dir: Path, workspace: Workspace, final: FinalRecord) -> None:
    import numpy as np

    from msip_core.detector.checkpoints import load_model

    work = run_dir / "iterations" / str(final.iteration) / "model.pt"
    source = work if work.is_file() else _saved_model(workspace, final)
    image = fixed_input(final.cost.imgsz)
    outputs = model_outputs(load_model(source), image)
    (run_dir / REFERENCE_FILE).parent.mkdir(exist_ok=True)
    np.savez_compressed(run_dir / REFERENCE_FILE, image=image, outputs=outputs)


def fixed_input(imgsz: int) -> NDArray[np.float32]:
    """One noise image (1, 3, imgsz, imgsz) in [0, 1], the same everywhere."""
    import numpy as np

    values = np.random.default_rng(0).random((1, 3, imgsz, imgsz), dtype=np.float32)
    return values.astype(np.float32)


def model_outputs(model: Any, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Decoded predictions (1, 4 + classes, anchors) of a detection model on the CPU."""
    import torch

    model = model.float().cpu().eval()
    with torch.inference_mode():
        found = model(torch.from_numpy(image))
    tensor = found[0] if isinstance(found, list | tuple) else found
    outputs: NDArray[np.float32] = tensor.numpy()
    return outputs


def _saved_model(workspace: Workspace, final: FinalRecord) -> Path:
    return workspace.model_dir(final.model_id) / "model.pt"


def main(arguments: list[str] | None = None) -> int:
    """The fresh process: load, compare, time, write model/check.json."""
    parser = argparse.ArgumentParser(prog="msip_core.runs.verify")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    options = parser.parse_args(arguments)
    workspace = Workspace.open(options.workspace)
    workspace.isolate_libraries()
    os.environ.setdefault("YOLO_OFFLINE", "true")  # else its import asks a name server
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "true"  # read at its import: weights only

    final = final_record(options.run_dir)
    path = _saved_model(workspace, final)
    difference = _compare(options.run_dir, path)
    passed = difference <= TOLERANCE
    write_json(
        options.run_dir / CHECK_FILE,
        {
            "model": path.relative_to(workspace.root).as_posix(),
            "largest_difference": difference,
            "tolerance": TOLERANCE,
            "passed": passed,
            **(_latencies(options.run_dir, path, final) if passed else {"latency_ms": {}}),
        },
    )
    if not passed:
        sys.stderr.write(
            f"its outputs differ by {difference:.2g} of the largest output "
            f"(allowed {TOLERANCE:.0e}).\n"
        )
    return 0 if passed else 1


def _compare(run_dir: Path, saved: Path) -> float:
    """Stock Ultralytics opens the file; our own classes play no part in what it computes.

    The file is searched first, and a copy of what was searched is opened, under a plain name and
    by Ultralytics' own weights-only mode: a run folder may have come from elsewhere.
    """
    from msip_core.detector.archives import opened

    reference = read_arrays(run_dir / REFERENCE_FILE)
    with tempfile.TemporaryDirectory(prefix="msip-check-") as folder:
        copy = Path(folder) / "model.pt"
        shutil.copyfile(saved, copy)
        with opened(copy):
            from ultralytics import YOLO

            outputs = model_outputs(YOLO(str(copy)).model, reference["image"])
    return largest_difference(reference["outputs"], outputs)


def _latencies(run_dir: Path, saved: Path, final: FinalRecord) -> dict[str, Any]:
    """Median milliseconds per image by "baseline" and "final", and the way they were measured in:
    what a goal in milliseconds was measured at the end, else PyTorch on the processor."""
    from msip_core.detector.checkpoints import load_model
    from msip_core.detector.latency import measure_latency
    from msip_core.pruning.stopwatch import FILE

    if final.latency_way is not None and final.goal_ratio is not None:
        whole = json.loads((run_dir / FILE).read_text(encoding="utf-8"))["baseline_ms"]
        found = {"baseline": round(whole, 3), "final": round(final.goal_ratio * whole, 3)}
        return {"latency_ms": found, "latency_way": final.latency_way.as_dict()}
    baseline = run_dir / "iterations" / "0" / "model.pt"
    files = {"baseline": baseline, "final": saved} if baseline.is_file() else {"final": saved}
    models = {name: load_model(file) for name, file in files.items()}
    measured = measure_latency(models, final.cost.imgsz, runs=_LATENCY_RUNS, formats=("pytorch",))
    return {
        "latency_ms": {one.name: round(one.median_ms, 3) for one in measured},
        "latency_way": measured[0].way.as_dict(),
    }


if __name__ == "__main__":
    sys.exit(main())
