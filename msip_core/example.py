"""The drawn example at first start: dataset, baseline and finished run, copied from assets/.

    assets/example/{datasets,models,runs,cache}/<name>/    the same layout as a workspace

The cache holds the answers to what the pages ask at first, so that none of them opens empty.

Copied once, into an empty workspace only. A marker file remembers it, so that an example that a
person deleted does not come back, and a copy that was cut off is finished at the next start.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from pathlib import Path

from msip_core.runs.service import RunService
from msip_core.workspace import Workspace, write_text

log = logging.getLogger(__name__)

_MARKER = ".example"
_BEGUN, _DONE = "copying\n", "installed\n"
_KINDS = ("datasets", "models", "runs", "cache")


def install_example(workspace: Workspace, assets: Path) -> bool:
    """Copy the example where the workspace is still empty, then put its runs into the index.

    Every folder appears under its name only when it is whole.

    Args:
        assets: folder with datasets/, models/, runs/ and cache/; if it is not there, nothing
            happens.

    Returns:
        True if this call finished an installation.
    """
    marker = workspace.root / _MARKER
    begun = marker.is_file() and marker.read_text(encoding="utf-8") == _BEGUN
    sources = [
        folder
        for kind in _KINDS
        for folder in sorted((assets / kind).glob("*"))
        if folder.is_dir() and not folder.name.startswith(".")
    ]
    if not sources or (not begun and (marker.is_file() or not _is_empty(workspace))):
        return False
    write_text(marker, _BEGUN)
    for source in sources:
        _copy_whole(source, workspace.root / source.parent.name / source.name)
    RunService(workspace).reindex()
    write_text(marker, _DONE)
    log.info("The drawn example is ready in %s.", workspace.root)
    return True


def _is_empty(workspace: Workspace) -> bool:
    folders = (workspace.datasets, workspace.models, workspace.runs)
    return not any(item.is_dir() for folder in folders for item in folder.iterdir())


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a folder beside its place, then rename it there; what is there already stays."""
    if target.exists():
        return
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        shutil.copytree(source, temporary)
        os.replace(temporary, target)
    except OSError:
        # Another server process may have put it there between the look and the rename.
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
