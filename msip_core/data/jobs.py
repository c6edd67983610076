"""Looking through and importing a source as jobs of the compute process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from msip_core.config import ImportConfig, explain
from msip_core.data.importing import Progress, import_dataset, inspect_source
from msip_core.data.manifest import summarise
from msip_core.data.synthetic import import_example
from msip_core.errors import ConfigError
from msip_core.workspace import Workspace


def inspect_job(
    workspace: Workspace, params: dict[str, Any], out: Path, progress: Progress
) -> dict[str, Any]:
    """What a folder or zip holds.

    Args:
        params: {"path": folder or zip on the server's disk}.

    Returns:
        A `SourceInfo` as JSON.
    """
    progress(0.0, "Looking through the files")
    return inspect_source(Path(params["path"])).model_dump(mode="json")


def import_job(
    workspace: Workspace, params: dict[str, Any], out: Path, progress: Progress
) -> dict[str, Any]:
    """Import a source as a dataset.

    Args:
        params: an `ImportConfig` as JSON.

    Returns:
        {"dataset": name, "summary": DatasetSummary, "report": ImportReport}.
    """
    try:
        config = ImportConfig.model_validate(params)
    except ValidationError as error:
        raise ConfigError(explain(error)) from error
    dataset = import_dataset(workspace, config, progress)
    return {
        "dataset": dataset.name,
        "summary": summarise(dataset.document).model_dump(mode="json"),
        "report": dataset.report.model_dump(mode="json"),
    }


def draw_job(
    workspace: Workspace, params: dict[str, Any], out: Path, progress: Progress
) -> dict[str, Any]:
    """Draw an example plate and import it.

    Args:
        params: {"name", "images", "size": side in pixels, "seed"}.

    Returns:
        {"dataset": name, "summary": DatasetSummary}.
    """
    dataset = import_example(
        workspace,
        params["name"],
        images=params["images"],
        size=params["size"],
        seed=params["seed"],
        progress=progress,
    )
    return {
        "dataset": dataset.name,
        "summary": summarise(dataset.document).model_dump(mode="json"),
    }
