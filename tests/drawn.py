"""The drawn example, drawn and imported once in a test process and copied into each workspace."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

from msip_core.data.dataset import Dataset, open_dataset
from msip_core.data.synthetic import import_example
from msip_core.workspace import Workspace


def copy_example(
    workspace: Workspace, name: str = "example", *, images: int, size: int, seed: int = 0
) -> Dataset:
    """What `import_example` makes, for tests that are about something else: it costs a third of a
    second, a copy of its folder (which names no place outside itself) milliseconds."""
    shutil.copytree(_drawn(name, images, size, seed), workspace.dataset_dir(name))
    return open_dataset(workspace, name)


@cache
def _place() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="msip-drawn-")  # removed when the process ends


@cache
def _drawn(name: str, images: int, size: int, seed: int) -> Path:
    workspace = Workspace.open(Path(_place().name) / f"{name}-{images}-{size}-{seed}")
    import_example(workspace, name, images=images, size=size, seed=seed)
    return workspace.dataset_dir(name)
