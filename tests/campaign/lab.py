"""A small lab to be attacked: a dataset, a baseline, a finished pruning run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from msip_core.workspace import Workspace
from tests.fresh import ROOT

_TRAIN = ("train", "--data", "drawn", "--weights", "yolov8n.yaml", "--epochs", "1", "--imgsz", "64")
_PRUNE = ("prune", "--data", "drawn", "--iterations", "2", "--epochs", "2", "--imgsz", "64",
          "--preset", "quick", "--max-drop", "0", "--batch", "8")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lab:
    """Where everything of a finished run lies."""

    root: Path

    @property
    def workspace(self) -> Workspace:
        return Workspace.open(self.root)

    @property
    def dataset(self) -> str:
        return "drawn"

    @property
    def images(self) -> Path:
        return self.root / "datasets" / self.dataset / "images"

    @property
    def image(self) -> Path:
        return min(self.images.iterdir())

    @property
    def run(self) -> Path:
        return next(self.root.joinpath("runs").glob("prune-*"))

    @property
    def baseline(self) -> str:
        return next(self.root.joinpath("models").glob("model-*")).name

    @property
    def pruned(self) -> str:
        return next(self.root.joinpath("models").glob("pruned-*")).name

    def copy(self, target: Path) -> Lab:
        """A lab of its own for one case; large files are linked, and so must be replaced whole."""

        def take(source: str, destination: str) -> str:
            if os.path.getsize(source) > 200_000:
                os.link(source, destination)
                return destination
            return str(shutil.copy2(source, destination))

        shutil.copytree(self.root, target, copy_function=take)
        return Lab(target)


def make_lab(root: Path) -> Lab:
    """Draw, train and prune: half a minute on a core."""
    command(root, "data", "example", "--name", "drawn", "--images", "30", "--size", "64")
    command(root, *_TRAIN)
    lab = Lab(root)
    command(root, *_PRUNE, "--model", lab.baseline)
    return lab


def command(root: Path, *words: str, timeout: float = 600) -> str:
    """stdout of one command line; fails with what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "msip_core", *words, "--workspace", str(root)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
