"""A run is completed only after its saved model, loaded in a fresh process by stock Ultralytics,
gives the outputs of the model that was measured.

The worker computes the outputs of the working copy on one fixed input; a fresh process
(`python -m msip_core.runs.verify RUN_DIR --workspace ROOT`) that has never seen the working copy
opens model.pt and compares. It is started before the run's work has ended (`prepare`), so that its
imports cost no time of the run's; each of both computes while the other does.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from msip_core.arrays import read_arrays, write_arrays
from msip_core.documents import Check, facts_in
from msip_core.errors import WorkError
from msip_core.events import FinalRecord
from msip_core.leaving import leave
from msip_core.messages import msg
from msip_core.runs.context import WorkerContext
from msip_core.runs.events_log import EventLog
from msip_core.runs.fresh_process import GO_ON, FreshProcess
from msip_core.runs.summary import CHECK_FILE
from msip_core.speeds import ask_after_run
from msip_core.workspace import Workspace, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


logger = logging.getLogger("msip_core.worker")

REFERENCE_FILE = "model/reference.npz"
# Largest difference allowed, as a share of the largest output: a box corner at 640 px may then
# move by a fifteenth of a pixel. fp32 layers that were folded or unrolled differ by about 1e-6.
TOLERANCE = 1e-4
_ROOM_AHEAD = 2e9  # bytes of free memory from which the fresh process may wait beside the run


def prepare(context: WorkerContext) -> None:
    """Start the fresh process ahead: the run is about to end. Not where memory is short."""
    if psutil.virtual_memory().available > _ROOM_AHEAD:
        try:
            context.fresh = FreshProcess(context.run_dir, context.workspace)
        except OSError as error:  # it is tried again when it is needed
            logger.warning("The process that checks the saved model cannot start yet: %s", error)


def check_saved_model(context: WorkerContext) -> None:
    """Compare the final model of a run with what a fresh process loads.

    Raises:
        WorkError: the file cannot be loaded, or its outputs differ.
    """
    final = final_record(context.run_dir)
    fresh = context.fresh or FreshProcess(context.run_dir, context.workspace)
    context.fresh = None
    try:
        fresh.go_on()  # it opens the saved file while the reference is made
        _write_reference(context.run_dir, context.workspace, final)
        fresh.go_on()
        code, said = fresh.end()
    finally:
        fresh.kill()
    if code != 0:
        raise WorkError(
            "The saved model was loaded again in a fresh process and did not pass: {said}",
            said=_as_message(context.run_dir, said) or msg("exit code {code}", code=code),
        )
    ask_after_run(context.workspace, context.run_dir, final.model_id, final.cost.imgsz)


def _differ(difference: float) -> str:
    return msg(
        "its outputs differ by {difference:.2g} of the largest output (allowed {tolerance:.0e}).",
        difference=difference,
        tolerance=TOLERANCE,
    )


def _as_message(run_dir: Path, said: str) -> str:
    """The last words of the fresh process, which came as plain text."""
    found = facts_in(run_dir / CHECK_FILE, Check)
    if "largest_difference" not in found:  # it did not come so far
        return said
    differ = _differ(found["largest_difference"])
    return differ if differ == said else said


def final_record(run_dir: Path) -> FinalRecord:
    """The FinalRecord of the run's history."""
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

    from msip_core.detector.checkpoints import load_model

    work = run_dir / "iterations" / str(final.iteration) / "model.pt"
    source = work if work.is_file() else _saved_model(workspace, final)
    image = fixed_input(final.cost.imgsz)
    outputs = model_outputs(load_model(source), image)
    (run_dir / REFERENCE_FILE).parent.mkdir(exist_ok=True)
    write_arrays(run_dir / REFERENCE_FILE, {"image": image, "outputs": outputs})


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
    """The fresh process: load, compare, write model/check.json."""
    parser = argparse.ArgumentParser(prog="msip_core.runs.verify")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--step-by-step", action="store_true", help="wait for a line on stdin")
    options = parser.parse_args(arguments)
    workspace = Workspace.open(options.workspace)
    workspace.isolate_libraries()
    os.environ.setdefault("YOLO_OFFLINE", "true")  # else its import asks a name server
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "true"  # read at its import: weights only
    if options.step_by_step:
        for module in _AHEAD:
            import_module(module)
        if not _told():
            return 1
    final = final_record(options.run_dir)
    path = _saved_model(workspace, final)
    outputs = _stock_outputs(path, fixed_input(final.cost.imgsz))
    if options.step_by_step and not _told():
        return 1
    reference = read_arrays(options.run_dir / REFERENCE_FILE)["outputs"]
    difference = largest_difference(reference, outputs)
    passed = difference <= TOLERANCE
    write_json(
        options.run_dir / CHECK_FILE,
        {
            "model": path.relative_to(workspace.root).as_posix(),
            "largest_difference": difference,
            "tolerance": TOLERANCE,
            "passed": passed,
        },
    )
    if not passed:
        sys.stderr.write(f"{_differ(difference)}\n")
    return 0 if passed else 1


# What the fresh process loads while the run still works.
_AHEAD = ("torch", "ultralytics.models", "msip_core.detector.archives")


def _told() -> bool:
    """Wait until the worker says so; False if it is gone."""
    return sys.stdin.readline() == GO_ON


def _stock_outputs(saved: Path, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stock Ultralytics opens the file; our own classes play no part in what it computes.

    The file is searched first, and a copy of what was searched is opened, under a plain name and
    by Ultralytics' own weights-only mode: a run folder may have come from elsewhere.
    """
    from msip_core.detector.archives import opened

    with tempfile.TemporaryDirectory(prefix="msip-check-") as folder:
        copy = Path(folder) / "model.pt"
        shutil.copyfile(saved, copy)
        with opened(copy):
            from ultralytics import YOLO

            return model_outputs(YOLO(str(copy)).model, image)


if __name__ == "__main__":
    leave(main())
