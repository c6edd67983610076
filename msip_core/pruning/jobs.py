"""Interactive work around pruning, for the compute process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msip_core.config import PruneConfig, parse_run_config
from msip_core.errors import ConfigError
from msip_core.pruning.estimate import estimate
from msip_core.workspace import Workspace


def estimate_job(
    workspace: Workspace, params: dict[str, Any], out: Path, progress: Callable[[float, str], None]
) -> dict[str, Any]:
    """Time, memory and disk of a run.

    Params: config, a PruneConfig as JSON.

    Returns:
        seconds, memory_gb, disk_gb, note.
    """
    config = parse_run_config(params["config"])
    if not isinstance(config, PruneConfig):
        raise ConfigError("Only pruning runs can be estimated; this is a training run.")
    progress(0.0, "Measuring a few steps on this computer")
    return estimate(config, workspace)._asdict()
