"""`train` and `prune`: one run, in the foreground or handed to the queue."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import typer

from msip_core.bounded import real_place
from msip_core.changes import read_run_config, with_settings
from msip_core.cli.console import say
from msip_core.cli.early import worker_ready
from msip_core.cli.foreground import hand_over, in_foreground
from msip_core.cli.verbs import Answer, Session
from msip_core.cli.ways import gpu_of, with_options
from msip_core.combinations import check_combination, idle_settings
from msip_core.compositions import Composition, find_composition
from msip_core.config import PruneConfig, TrainConfig, parse_training_config
from msip_core.data.dataset import open_dataset
from msip_core.errors import ConfigError, MsipError
from msip_core.models import open_card
from msip_core.options import Kind, config_of
from msip_core.processors import Sample
from msip_core.runs.failures import explain_failure
from msip_core.runs.service import RunService
from msip_core.runs.slots import is_gpu, slot_of
from msip_core.settings import get_settings
from msip_core.views.wording import duration
from msip_core.ways import share_left
from msip_core.workspace import Workspace

# Beside the options of the table (msip_core.options), which are None unless they were given.
_MORE: dict[str, tuple[Any, Any, Any]] = {
    "set": (
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other setting by its name in config.json, such as msip.fusion=rank; "
            "repeatable.",
        ),
        None,
    ),
    "config": (
        Path | None,
        typer.Option(
            "--config", metavar="JSON", help="All settings from a config.json: repeats a run."
        ),
        None,
    ),
    "detach": (
        bool,
        typer.Option("--detach", help="Queue it for the app and return at once."),
        False,
    ),
}


def train(session: Session, **given: Any) -> Answer:
    """Train a YOLOv8 baseline."""
    return _run(session, "train", "weights", given)


def prune(session: Session, **given: Any) -> Answer:
    """Make a baseline lighter: score, prune and fine-tune, several times."""
    given["keep_latency"] = _latency_goal(given["keep_latency"], given.pop("speed_up"))
    return _run(session, "prune", "model", given)


def _run(session: Session, kind: Kind, model: str, given: dict[str, Any]) -> Answer:
    """One run from these words; `model` names the option that holds the network."""
    workspace, detach = session.isolated_workspace(), given.pop("detach")
    path, more = given.pop("config"), given.pop("set")
    asked = {name: value for name, value in given.items() if value is not None}
    if path is not None:
        return _start(
            workspace, _from_file(path, kind, asked | ({"set": more} if more else {})), detach
        )
    _demand(asked, model)
    if "device" not in asked:
        asked["device"] = gpu_of(asked.get("latency_device")) or get_settings().device
    on_cpu = kind == "train" and slot_of(asked["device"]) == "cpu"
    asked.setdefault("preset", "quick" if on_cpu else "paper")
    if "composition" in asked:
        _check_network(workspace, asked["model"], find_composition(asked["composition"]))
    _set_model(workspace, asked, model)
    return _start(workspace, with_settings(config_of(kind, asked), more or ()), detach)


# --- words into settings ------------------------------------------------------


def _demand(asked: Mapping[str, object], model: str) -> None:
    flags = {"dataset": "--data", model: f"--{model}"}
    missing = [flag for name, flag in flags.items() if name not in asked]
    if missing:
        raise ConfigError(
            "Say {missing}, or give all settings with --config.", missing=" and ".join(missing)
        )


def _from_file(path: Path, kind: Kind, asked: Mapping[str, object]) -> TrainConfig | PruneConfig:
    """The config of another run; only its name and device may be changed on the way."""
    place = {name: asked[name] for name in asked if name in ("device", "name")}
    asked = {name: value for name, value in asked.items() if name not in place}
    if asked:
        raise ConfigError(
            "--config holds all settings of the run: leave out {asked} "
            "(--name and --device may be given).",
            asked=", ".join(asked),
        )
    found = read_run_config(path)
    if found.kind != kind:
        raise ConfigError(
            "{path} holds the settings of a '{kind}' run: use that verb.",
            path=path,
            kind=found.kind,
        )
    return parse_training_config({**found.model_dump(mode="json"), **place})


def _latency_goal(keep: float | None, speed_up: float | None) -> float | None:
    """A speed-up as the share of the milliseconds that is left."""
    if speed_up is None:
        return keep
    if keep is not None:
        raise ConfigError("--speed-up and --keep-latency are the same goal: give one of them.")
    return share_left(speed_up)


def _check_network(workspace: Workspace, model: str, whole: Composition) -> None:
    """A system that is about one kind of network is given one of that kind."""
    if not whole.weights or Path(model).suffix == ".pt":
        return
    kind = Path(whole.weights).stem.partition("-")[2]
    architecture = open_card(workspace, model).architecture
    if kind not in architecture:
        raise ConfigError(
            "'{name}' prunes a {kind} YOLOv8, and model '{model}' is {architecture}: train one "
            "first with --weights {weights}, or `study run {name}` for all of it.",
            name=whole.name,
            kind=kind,
            model=model,
            architecture=architecture,
            weights=whole.weights,
        )


def _set_model(workspace: Workspace, settings: dict[str, Any], key: str) -> None:
    """Check dataset and model now, not in a worker later; take the model's image size.

    A file becomes an absolute path, because the worker runs elsewhere.
    """
    open_dataset(workspace, settings["dataset"])
    model, suffix = settings[key], Path(settings[key]).suffix
    if suffix == ".pt":
        path = real_place(model)
        if not path.is_file():
            raise ConfigError("There is no weights file {path}.", path=path)
        settings[key] = str(path)
    elif suffix not in (".yaml", ".yml"):
        settings.setdefault("imgsz", open_card(workspace, model).imgsz)


def _start(workspace: Workspace, config: TrainConfig | PruneConfig, detach: bool) -> Answer:
    if isinstance(config, PruneConfig):
        check_combination(config)  # before the estimate, which takes seconds
        if idle := idle_settings(config):
            say(f"Without effect here, since nothing that was chosen reads it: {', '.join(idle)}.")
    if detach:
        return hand_over(workspace, RunService(workspace).submit(config))
    begin_now = isinstance(config, PruneConfig)  # it loads torch while the estimate does
    with worker_ready(workspace, begin_now=begin_now) as executor:
        if isinstance(config, PruneConfig):
            _estimate(workspace, config)
        return in_foreground(workspace, RunService(workspace).submit(config), executor=executor)


def _estimate(workspace: Workspace, config: PruneConfig) -> None:
    """Before the run. Beside it on a GPU, where the run need not wait these seconds; on a
    processor both would want its cores."""
    if is_gpu(slot_of(config.device)):
        Thread(target=_say_estimate_beside, args=(workspace, config), daemon=True).start()
    else:
        _say_estimate(workspace, config)


def _say_estimate_beside(workspace: Workspace, config: PruneConfig) -> None:
    """While the run has begun already; what refuses it there is said by the run too."""
    try:
        _say_estimate(workspace, config)
    except (MsipError, RuntimeError, OSError) as error:
        say(f"There is no estimate: {explain_failure(error, log='the log of the run').message}")


def _say_estimate(workspace: Workspace, config: PruneConfig) -> None:
    from msip_core.pruning.estimate import estimate

    sample = Sample()
    expected = estimate(config, workspace)
    busy = sample.look().sentence()
    say(
        f"Expected: about {duration(expected.seconds)}, {expected.memory_gb:.1f} GB of memory, "
        f"{expected.disk_gb:.1f} GB of disk. {expected.note}"
    )
    for sentence in filter(None, (expected.speed, busy)):
        say(sentence)


VERBS = (with_options(train, "train", _MORE), with_options(prune, "prune", _MORE))
