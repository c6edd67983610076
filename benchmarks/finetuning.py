"""What bfloat16 and rotation do to fine-tuning: two epochs of the example's baseline, four times.

    python benchmarks/finetuning.py --out benchmarks/results/finetuning.json

On the drawn example that MSIP Lab ships; every combination starts from the same weights and seed.
Seconds are of the whole fine-tuning, without validation, in one process.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.quiet import Quiet
from msip_core.example import install_example
from msip_core.models import list_models, weights_path
from msip_core.recipes import RECIPES
from msip_core.workspace import Workspace, write_json

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/finetuning.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.open(folder)
        workspace.isolate_libraries()
        install_example(workspace, ROOT / "assets" / "example")
        rows = _rows(workspace)
    from msip_core.detector.devices import describe_device

    machine = {"processor": describe_device("cpu").name, "cores": os.cpu_count()}
    write_json(options.out, {"machine": machine, "rows": rows})


def _rows(workspace: Workspace) -> list[dict[str, Any]]:
    from msip_core.data.dataset import open_dataset
    from msip_core.detector.checkpoints import load_model
    from msip_core.detector.evaluation import Evaluator
    from msip_core.detector.pool import DataPool
    from msip_core.detector.training import fit

    dataset = open_dataset(workspace, "example")
    card = next(card for card in list_models(workspace) if card.kind == "baseline")
    model = load_model(weights_path(workspace, card.id))
    evaluator, ctx, rows = (
        Evaluator(dataset, "test", card.imgsz),
        Quiet(workspace, "finetuning"),
        [],
    )
    for degrees, precision in product((0.0, 15.0), ("fp32", "auto")):
        recipe = RECIPES["quick-finetune"].model_copy(update={"degrees": degrees})
        result = fit(
            model, recipe, pool=DataPool(dataset, imgsz=card.imgsz, batch=16), seed=0, ctx=ctx,
            workdir=ctx.run_dir / f"{degrees:g}-{precision}", precision=precision,
            phase="finetune", iteration=1, validate_every=0,
        )  # fmt: skip
        found = evaluator(result.model)
        rows.append(
            {"degrees": degrees, "precision": precision, "seconds": round(result.seconds, 2),
             "map50": found.map50, "map50_95": found.map50_95}
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    main()
