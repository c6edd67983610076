"""Make assets/example/ anew: drawn micrographs, a baseline trained on them, one finished run.

    python assets/build.py [--workspace DIR]

Everything that the app shows at first start comes from this command. On two CPU cores it takes
about fifteen minutes. It is not run by the tests.
"""

from __future__ import annotations

import argparse
import json
import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from msip_core.config import RECIPES, CalibrationConfig, PruneConfig, TrainConfig  # noqa: E402
from msip_core.data.synthetic import import_example  # noqa: E402
from msip_core.events import FinalRecord, Record  # noqa: E402
from msip_core.models import open_card, write_card  # noqa: E402
from msip_core.runs.foreground import run_foreground  # noqa: E402
from msip_core.runs.service import RunService  # noqa: E402
from msip_core.workspace import Workspace, write_json  # noqa: E402

IMAGES, SIZE, SEED = 72, 256, 0
TRAIN = TrainConfig(
    name="Example baseline",
    dataset="example",
    weights="yolov8n.yaml",
    imgsz=SIZE,
    batch=8,
    recipe=RECIPES["quick-baseline"].model_copy(
        update={"epochs": 80, "warmup_epochs": 3.0, "close_mosaic": 15}
    ),
)
PRUNE = PruneConfig(
    name="Example run",
    dataset="example",
    model="",
    imgsz=SIZE,
    batch=8,
    keep_macs=0.335,
    iterations=5,
    calibration=CalibrationConfig(batches=3),
    finetune=RECIPES["standard-finetune"].model_copy(
        update={"epochs": 8, "lr0": 5e-3, "mixup": 0.0}
    ),
    max_map50_drop=0.1,
)
COMMAND = "python assets/build.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, help="where to work (default: a temporary one)")
    folder = parser.parse_args().workspace or Path(tempfile.mkdtemp(prefix="msip-example-"))
    workspace = Workspace.open(folder)
    if not (workspace.datasets / "example").is_dir():
        import_example(workspace, "example", images=IMAGES, size=SIZE, seed=SEED)
    baseline = _run(workspace, TRAIN)
    _annotate(workspace, baseline, "Trained from scratch on the drawn example")
    pruned = _run(workspace, PRUNE.model_copy(update={"model": baseline}))
    _annotate(workspace, pruned, "MSIP run on the drawn example")
    _ship(workspace)
    subprocess.run([sys.executable, str(ROOT / "assets" / "answers.py")], check=True)


def _run(workspace: Workspace, config: TrainConfig | PruneConfig) -> str:
    """Work on one run to its end; returns the id of the model it made."""
    finals: list[FinalRecord] = []

    def tell(record: Record) -> None:
        if isinstance(record, FinalRecord):
            finals.append(record)
        sys.stderr.write(f"{record.model_dump_json()[:240]}\n")

    run_foreground(workspace, RunService(workspace).submit(config), tell)
    return finals[-1].model_id


def _annotate(workspace: Workspace, model_id: str, what: str) -> None:
    card = open_card(workspace, model_id)
    origin = {**card.origin, "command": COMMAND}
    note = f"{what} (drawn by computer) by {COMMAND}. For looking around, not for real images."
    write_card(workspace, card.model_copy(update={"origin": origin, "note": note}))


def _ship(workspace: Workspace) -> None:
    """Copy what the app shows, heavy files in one pack; steps of the run go without weights."""
    target = ROOT / "assets" / "example"
    shutil.rmtree(target, ignore_errors=True)
    ignore = shutil.ignore_patterns(
        "*.cache", ".*", "*.lock", "*.npz", "stop.json", "worker.json", "heartbeat*", "speed.json"
    )
    for kind in ("datasets", "models", "runs"):
        shutil.copytree(workspace.root / kind, target / kind, ignore=ignore)
    for provenance in target.glob("runs/*/provenance.json"):
        facts = json.loads(provenance.read_text(encoding="utf-8"))
        write_json(provenance, {**facts, "command": COMMAND.split()})  # not this computer's folders
    workspace.isolate_libraries()
    for weights in target.glob("runs/*/iterations/*/model.pt"):
        weights.unlink()
    for weights in target.glob("models/*/work.pt"):
        _halve(weights)
    # Half-precision numbers are pairs of bytes: lp and pb tell the two apart.
    pack(target, "heavy", ("models/*/*.pt", "datasets/**/*"), lp=1, pb=1)
    pack(target, "runs", ("runs/**/*",))


def pack(example: Path, name: str, patterns: Sequence[str], **options: int) -> None:
    """Move files into one, a third smaller or less, alike for alike content."""
    found = sorted(path for pattern in patterns for path in example.glob(pattern))
    files = [path for path in found if path.is_file()]
    files.sort(key=lambda path: path.suffix)  # alike beside alike
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 25, **options}]
    with (
        lzma.open(example / f"{name}.tar.xz", "wb", filters=filters) as packed,
        tarfile.open(fileobj=packed, mode="w") as pack,
    ):
        for path in files:
            about = tarfile.TarInfo(path.relative_to(example).as_posix())
            about.size = path.stat().st_size
            with path.open("rb") as content:
                pack.addfile(about, content)
    for path in files:
        path.unlink()
    for folder in sorted(example.rglob("*/"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _halve(path: Path) -> None:
    from msip_core.detector.checkpoints import load_model, save_work

    save_work(load_model(path), path, half=True)


if __name__ == "__main__":
    main()
