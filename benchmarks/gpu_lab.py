"""What the parts of benchmarks/gpu.py share: a workspace with data and a model, clocks, verbs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.quiet import Quiet
from msip_core.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
DATA, BASELINE = "gpu-data", "gpu-baseline"
PROTOCOL = {"rows": 7, "iterations": 16, "epochs": 30}  # of the paper's table 3-1
KEEP = 0.335


class Skipped(Exception):
    """This computer cannot do it; the message says why."""


@dataclass
class Row:
    """One line of the table.

    Attributes:
        found, goal: as a person reads them.
        holds: whether the goal is met; None where there is none.
        details: what was measured, as numbers.
    """

    what: str
    found: str
    goal: str = ""
    holds: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)


class Lab:
    """Data, an unpruned model and a pruned one, on one device."""

    def __init__(self, options: argparse.Namespace, workspace: Workspace) -> None:
        self.options, self.workspace = options, workspace
        self.device, self.small = options.device, options.small
        self.imgsz = 64 if self.small else options.imgsz
        self.batch = 4 if self.small else options.batch
        self.found: dict[str, Any] = {}  # what later parts take from earlier ones

    @classmethod
    def open(cls, options: argparse.Namespace) -> Lab:
        """Import the data and register the model, unless DIR has them already."""
        workspace = Workspace.open(options.out / "workspace")
        workspace.isolate_libraries()
        lab = cls(options, workspace)
        lab._import()
        lab._register()
        return lab

    @property
    def on_gpu(self) -> bool:
        return bool(self.device.startswith("cuda"))

    @cached_property
    def machine(self) -> dict[str, Any]:
        """What the figures are from."""
        import platform

        import torch
        import ultralytics

        from msip_core.detector.devices import describe_device

        return {
            "device": describe_device(self.device).name, "processor cores": os.cpu_count(),
            "python": platform.python_version(), "torch": torch.__version__,
            "ultralytics": ultralytics.__version__, "network": self.network, "px": self.imgsz,
            "batch": self.batch, "training images": len(self.dataset.split("train")),
        }  # fmt: skip

    @property
    def network(self) -> str:
        return "a thin YOLOv8" if self.small else Path(self.options.weights).stem

    @property
    def weights(self) -> str:
        """The .pt file, or the name of the yaml, that the baseline was made from."""
        return "yolov8p.yaml" if self.small else str(self.options.weights)

    @property
    def pruned(self) -> str:
        """The newest model that the part "runs" has made."""
        from msip_core.models import list_models

        made = [card for card in list_models(self.workspace) if card.kind == "pruned"]
        if not made:
            raise Skipped("no model was pruned before it")
        return max(made, key=lambda card: card.created).id

    @cached_property
    def dataset(self) -> Any:
        from msip_core.data.dataset import open_dataset

        return open_dataset(self.workspace, DATA)

    def model(self, model_id: str = BASELINE) -> Any:
        """A fresh copy of a registered model, on the processor."""
        from msip_core.detector.checkpoints import load_model
        from msip_core.models import weights_path

        return load_model(weights_path(self.workspace, model_id))

    def context(self, run_id: str) -> Quiet:
        return Quiet(self.workspace, run_id)

    def pool(self, loader: Any = "auto") -> Any:
        from msip_core.detector.pool import DataPool

        return DataPool(
            self.dataset, imgsz=self.imgsz, batch=self.batch, device=self.device, loader=loader
        )

    def wait(self) -> None:
        """Until the device has done what it was given."""
        import torch

        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any]) -> float:
        """Of the clock, the device's work waited for."""
        self.wait()
        started = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - started

    def in_turn(self, works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
        """Median seconds of each, after one round that is not counted."""
        found: dict[str, list[float]] = {name: [] for name in works}
        for turn in range(rounds + 1):
            for name, work in works.items():
                seconds = self.seconds(work)
                if turn:
                    found[name].append(seconds)
        return {name: median(values) for name, values in found.items()}

    def verb(self, *words: str) -> tuple[float, dict[str, Any]]:
        """Seconds of a verb of the command line, started afresh, and the document it printed."""
        started = time.perf_counter()
        done = subprocess.run(
            self.command(*words), cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)} failed: {done.stderr[-2000:]}")
        return time.perf_counter() - started, json.loads(done.stdout)

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """A verb in a process of its own, which is not waited for."""
        return subprocess.Popen(
            self.command(*words), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def command(self, *words: str) -> list[str]:
        return [
            sys.executable, "-m", "msip_core", *words,
            "--json", "--workspace", str(self.workspace.root),
        ]  # fmt: skip

    def _import(self) -> None:
        from msip_core.config import ImportConfig
        from msip_core.data.importing import import_dataset
        from msip_core.data.synthetic import import_example

        if (self.workspace.dataset_dir(DATA) / "dataset.json").exists():
            return
        if self.options.data:
            import_dataset(self.workspace, ImportConfig(source=self.options.data, name=DATA))
        else:
            count = 24 if self.small else 400
            import_example(self.workspace, DATA, images=count, size=min(self.imgsz, 256))

    def _register(self) -> None:
        from msip_core.detector.build import adapt_classes, build_model, register_model
        from msip_core.detector.checkpoints import load_model

        if (self.workspace.model_dir(BASELINE) / "model.json").exists():
            return
        classes = self.dataset.classes
        if self.weights.endswith(".pt"):
            model = adapt_classes(load_model(Path(self.weights)), classes).model
        else:
            model = build_model(self.weights, classes)
        register_model(
            self.workspace, model, name="baseline", kind="baseline", imgsz=self.imgsz,
            model_id=BASELINE, dataset=self.dataset,
        )  # fmt: skip
