"""Interactive work around pruning, for the compute process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msip_core.config import PruneConfig, parse_run_config
from msip_core.errors import ConfigError
from msip_core.pruning.estimate import estimate
from msip_core.pruning.preview import preview
from msip_core.workspace import Workspace


def estimate_job(
    workspace: Workspace, params: dict[str, Any], out: Path, progress: Callable[[float, str], None]
) -> dict[str, Any]:
    """Time, memory and disk of a run.

    Params: config, a PruneConfig as JSON.

    Returns:
        seconds, memory_gb, disk_gb, note.
    """
    config = _pruning(params)
    progress(0.0, "Measuring a few steps on this computer")
    return estimate(config, workspace)._asdict()


def preview_job(
    workspace: Workspace, params: dict[str, Any], out: Path, progress: Callable[[float, str], None]
) -> dict[str, Any]:
    """Which layers would shrink, without training.

    Params: config, a PruneConfig as JSON; only what decides the cut should be in it, since every
    other setting would make it a new question.

    Returns:
        A `Preview` as JSON.
    """
    return preview(_pruning(params), workspace, progress).model_dump(mode="json")


def _pruning(params: dict[str, Any]) -> PruneConfig:
    config = parse_run_config(params["config"])
    if not isinstance(config, PruneConfig):
        raise ConfigError("Only pruning runs can be looked at in advance; this is a training run.")
    return config
