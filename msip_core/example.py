"""The drawn example at first start: dataset, baseline and finished run, copied from assets/.

    assets/example/{datasets,models,runs,cache}/<name>/    the same layout as a workspace
                  /*.tar.xz                                packs of files, at their places in it

The cache holds the answers to what the pages ask at first, so that none of them opens empty. The
steps of the run between its first and its last come without weights.

Copied once, into an empty workspace only. A marker file remembers it, so that an example that a
person deleted does not come back, and a copy that was cut off is finished at the next start.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msip_core.language import mark
from msip_core.runs.service import RunService
from msip_core.workspace import Workspace, write_text

log = logging.getLogger(__name__)

EXAMPLE = Path(__file__).resolve().parents[1] / "assets" / "example"  # as it is shipped
PACKS = "*.tar.xz"
_MARKER = ".example"
_BEGUN, _DONE = "copying\n", "installed\n"
_KINDS = ("datasets", "models", "runs", "cache")
# The report of the example's images was written before messages kept their templates, and answers
# hang on that file: its sentences stand in the catalog as they are.
SAID = (
    mark("Images of one well were kept together: 36 groups of 2 to 2 images."),
    mark("Outlines are known for 828 of 828 boxes."),
)


def install_example(workspace: Workspace, assets: Path) -> bool:
    """Copy the example where the workspace is still empty, then put its runs into the index.

    Every folder appears under its name only when it is whole.

    Args:
        assets: the shipped folder; if it is not there, nothing happens.

    Returns:
        True if this call finished an installation.
    """
    marker = workspace.root / _MARKER
    begun = marker.is_file() and marker.read_text(encoding="utf-8") == _BEGUN
    is_there = any((assets / kind).is_dir() for kind in _KINDS)
    if not is_there or (not begun and (marker.is_file() or not _is_empty(workspace))):
        return False
    write_text(marker, _BEGUN)
    whole = workspace.root / f".example.{os.getpid()}-{secrets.token_hex(4)}"
    try:
        unpack(assets, whole)
        for folder in sorted(whole.glob("*/*")):
            _settle(folder, workspace.root / folder.parent.name / folder.name)
    finally:
        shutil.rmtree(whole, ignore_errors=True)
    RunService(workspace).reindex()
    write_text(marker, _DONE)
    log.info("The drawn example is ready in %s.", workspace.root)
    return True


def unpack(assets: Path, to: Path, kinds: Sequence[str] = _KINDS) -> None:
    """The whole example, or these folders of it, below `to`."""
    for kind in kinds:
        if (assets / kind).is_dir():
            # As new as the copy: answers that nobody has looked at for long are cleared away.
            shutil.copytree(
                assets / kind, to / kind, copy_function=shutil.copyfile, dirs_exist_ok=True
            )
    for file in sorted(assets.glob(PACKS)):
        with tarfile.open(file) as pack:
            wanted = [m for m in pack.getmembers() if m.name.split("/")[0] in kinds]
            # Python before 3.11.4 has no filters.
            safe: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            for member in wanted:
                member.mtime = time.time()
            pack.extractall(to, wanted, **safe)


def _is_empty(workspace: Workspace) -> bool:
    folders = (workspace.datasets, workspace.models, workspace.runs)
    return not any(item.is_dir() for folder in folders for item in folder.iterdir())


def _settle(folder: Path, place: Path) -> None:
    """Put a folder to its place; what is there already stays."""
    try:
        if not place.exists():
            os.replace(folder, place)
    except OSError:
        # Another server process may have put it there between the look and the rename.
        if not place.is_dir():
            raise
