"""What a run reads is looked for when it is asked for, not in a worker later."""

from __future__ import annotations

from pathlib import Path

from msip_core.combinations import check_combination
from msip_core.config import AnyRun, CountConfig, PruneConfig, TrainConfig
from msip_core.errors import ConfigError, DatasetError, NotFoundError
from msip_core.messages import msg
from msip_core.models import lacks_weights, step_path, weights_path
from msip_core.settings import get_settings
from msip_core.workspace import Workspace, check_room


def check_inputs(workspace: Workspace, config: AnyRun) -> None:
    """See that everything a run begins with is there.

    Raises:
        DatasetError, NotFoundError, ConfigError: a dataset, model or file is not there, or
            strategies were chosen that do not go together.
    """
    if isinstance(config, CountConfig):
        _check_count(workspace, config)
        return
    if isinstance(config, PruneConfig):
        check_combination(config)
    _check_dataset(workspace, config.dataset)
    source = config.weights if isinstance(config, TrainConfig) else config.model
    if isinstance(config, TrainConfig) and source.endswith((".yaml", ".yml")):
        return
    _check_model(workspace, source)


def check_disk(workspace: Workspace) -> None:
    """See that a run finds the room that it needs at least (MSIP_MIN_FREE_DISK_GB).

    Raises:
        DiskFullError: it does not.
    """
    check_room(workspace.root, get_settings().min_free_disk_gb * 1e9, msg("A run"))


def _check_count(workspace: Workspace, config: CountConfig) -> None:
    if get_settings().executor != "local":
        raise ConfigError(
            "Counting on other computers is not possible, since the images lie on this one: set "
            "MSIP_EXECUTOR to local for it."
        )
    if config.source is None:
        _check_dataset(workspace, config.dataset)
    elif not config.source.exists():
        raise NotFoundError(
            "There is no folder, zip or file at {source}: check the path.", source=config.source
        )
    if config.sample_sheet is not None and not config.sample_sheet.is_file():
        raise NotFoundError(
            "There is no sample sheet at {sample_sheet}: check the path.",
            sample_sheet=config.sample_sheet,
        )
    for model in filter(None, (config.model, config.baseline)):
        run, slash, step = model.partition("/")
        if slash and step.isdecimal() and not model.endswith(".pt"):
            _check_step(workspace, run, int(step))
        else:
            _check_model(workspace, model)


def _check_dataset(workspace: Workspace, name: str) -> None:
    if not (workspace.dataset_dir(name) / "dataset.json").is_file():
        raise DatasetError(
            "There is no dataset '{name}' in {root}: import one first.",
            name=name,
            root=workspace.root,
        )


def _check_model(workspace: Workspace, source: str) -> None:
    path = Path(source) if source.endswith(".pt") else weights_path(workspace, source)
    if not path.is_file():
        raise NotFoundError("There is no weights file {path}.", path=path)


def _check_step(workspace: Workspace, run: str, step: int) -> None:
    if lacks_weights(workspace, run, step) or not step_path(workspace, run, step).is_file():
        raise NotFoundError(
            "There are no weights of step {step} of the run '{run}' here.", step=step, run=run
        )
