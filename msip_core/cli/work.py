"""`train` and `prune`: one run, in the foreground or handed to the queue."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import typer

from msip_core.changes import read_run_config, with_settings
from msip_core.cli.console import say
from msip_core.cli.early import worker_ready
from msip_core.cli.foreground import hand_over, in_foreground
from msip_core.cli.verbs import Answer, Session, verb
from msip_core.cli.ways import (
    LatencyBatch,
    LatencyDevice,
    LatencyFormatName,
    LatencyPrecisionName,
    gpu_of,
)
from msip_core.combinations import check_combination
from msip_core.compositions import COMPOSITIONS, Composition, find_composition
from msip_core.config import (
    MAX_SEED,
    PRUNE_PRESETS,
    RECIPES,
    TRAIN_PRESETS,
    MsipWeights,
    PruneConfig,
    TrainConfig,
    parse_run_config,
    preset,
)
from msip_core.data.dataset import open_dataset
from msip_core.errors import ConfigError, MsipError
from msip_core.models import open_card
from msip_core.processors import Sample
from msip_core.runs.failures import explain_failure
from msip_core.runs.service import RunService
from msip_core.runs.slots import is_gpu, slot_of
from msip_core.settings import get_settings
from msip_core.views.wording import duration
from msip_core.workspace import Workspace

# Every setting is None unless it was given, so that it is known what a person asked for.
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="JSON", help="All settings from a config.json: repeats a run."
    ),
]
Data = Annotated[str | None, typer.Option("--data", help="Dataset of the workspace.")]
Epochs = Annotated[int | None, typer.Option(min=0, show_default="the preset's")]
ImageSize = Annotated[
    int | None,
    typer.Option("--imgsz", help="Side in pixels, multiple of 32.", show_default="the model's"),
]
Batch = Annotated[int | None, typer.Option(min=1, help="Images per step.", show_default="16")]
Seed = Annotated[int | None, typer.Option(min=0, max=MAX_SEED, show_default="0")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda:0, mps.", show_default="auto")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0, help="Extra processes that load images.", show_default="as the computer has cores"
    ),
]
LoaderName = Annotated[
    str | None,
    typer.Option(
        "--loader",
        help="Who makes the training batches: device (images stay on the GPU), ultralytics "
        "(image by image on the processor), auto.",
        show_default="auto",
    ),
]
Name = Annotated[str | None, typer.Option(help="What the run is called on the pages.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other setting by its name in config.json, such as msip.fusion=rank; repeatable.",
    ),
]
Detach = Annotated[bool, typer.Option("--detach", help="Queue it for the app and return at once.")]
Pretrain = Annotated[
    bool | None, typer.Option(help="The paper's 50 epochs first.", show_default="the preset's")
]


def register(app: typer.Typer) -> None:
    """Add both verbs to the root of the command line."""
    verb(app, "train")(train)
    verb(app, "prune")(prune)


def train(
    session: Session,
    *,
    data: Data = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="A .pt file, a model of the workspace, or yolov8n/s/m.yaml or "
            "yolov8n/s/m-depthwise.yaml (from scratch)."
        ),
    ] = None,
    preset_name: Annotated[
        str | None,
        typer.Option(
            "--preset", help=", ".join(TRAIN_PRESETS), show_default="quick on a CPU, else paper"
        ),
    ] = None,
    epochs: Epochs = None,
    pretrain: Pretrain = None,
    imgsz: ImageSize = None,
    batch: Batch = None,
    seed: Seed = None,
    device: Device = None,
    workers: Workers = None,
    loader: LoaderName = None,
    name: Name = None,
    more: Set = None,
    config: ConfigFile = None,
    detach: Detach = False,
) -> Answer:
    """Train a YOLOv8 baseline."""
    workspace = session.isolated_workspace()
    settings = _given(
        weights=weights, preset=preset_name, epochs=epochs, pretrain=pretrain, dataset=data,
        imgsz=imgsz, batch=batch, seed=seed, workers=workers,
        loader=loader,
    )  # fmt: skip
    place = _given(device=device, name=name)
    if config is not None:
        settings |= _given(set=more)
        return _start(workspace, _from_file(config, "train", settings, place), detach)
    _demand(settings, dataset="--data", weights="--weights")
    place.setdefault("device", get_settings().device)
    on_cpu = slot_of(place["device"]) == "cpu"
    chosen = dict(preset("train", settings.pop("preset", "quick" if on_cpu else "paper")))
    _set_schedule(chosen, "recipe", settings)
    _set_model(workspace, settings, "weights")
    made = TrainConfig(**{**chosen, **settings, **place})
    return _start(workspace, with_settings(made, more or ()), detach)


def prune(
    session: Session,
    *,
    data: Data = None,
    model: Annotated[
        str | None, typer.Option(help="Baseline: a model of the workspace, or a .pt file.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="How channels are scored; see `methods`.", show_default="msip"),
    ] = None,
    composition: Annotated[
        str | None,
        typer.Option(
            help=f"All choices of a published whole: {', '.join(COMPOSITIONS)}. Options given "
            "beside it count more.",
        ),
    ] = None,
    msip_weights: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(
            metavar="GRADIENT GEOMETRY SPARSITY INFORMATION",
            help="Sum to 1; MSIP only.",
            show_default="0.4 0.3 0.2 0.1",
        ),
    ] = None,
    static_weights: Annotated[
        bool, typer.Option("--static-weights", help="Do not let the weights follow validation.")
    ] = False,
    allocation: Annotated[
        str | None,
        typer.Option(help="How many channels each layer loses.", show_default="the method's own"),
    ] = None,
    granularity: Annotated[
        str | None, typer.Option(help="What is taken out.", show_default="channels")
    ] = None,
    recovery: Annotated[
        str | None, typer.Option(help="How it learns again.", show_default="finetune")
    ] = None,
    keep_macs: Annotated[
        float | None,
        typer.Option(
            help="MACs left at the end, as a share of the baseline's.", show_default="0.335"
        ),
    ] = None,
    keep_params: Annotated[
        float | None, typer.Option(help="The goal as a share of the parameters instead.")
    ] = None,
    keep_latency: Annotated[
        float | None,
        typer.Option(
            help="The goal as a share of the milliseconds per image, measured in the way that the "
            "options below say."
        ),
    ] = None,
    speed_up: Annotated[
        float | None,
        typer.Option(
            help="The goal as a measured speed-up instead: 2 is twice as fast.",
        ),
    ] = None,
    latency_device: LatencyDevice = None,
    latency_format: LatencyFormatName = None,
    latency_precision: LatencyPrecisionName = None,
    latency_batch: LatencyBatch = None,
    preset_name: Annotated[
        str | None, typer.Option("--preset", help=", ".join(PRUNE_PRESETS), show_default="paper")
    ] = None,
    iterations: Annotated[int | None, typer.Option(min=1, show_default="the preset's")] = None,
    epochs: Epochs = None,
    round_to: Annotated[
        str | None,
        typer.Option(
            help="Channels in multiples of 1, 4, 8, 16, 32 or 64; auto is 8, or what this computer "
            "or GPU is fastest with where the goal is milliseconds.",
            show_default="auto",
        ),
    ] = None,
    repair: Annotated[
        str | None,
        typer.Option(
            help="What is done right after a cut, before any training: none, recalibrate (batch "
            "norm), refit (weights by least squares), or auto (the best of all by validation).",
            show_default="auto",
        ),
    ] = None,
    finetune_after: Annotated[
        str | None,
        typer.Option(
            help="When it trains: every-cut, or last-cut (once, all its epochs after the last "
            "cut).",
            show_default="the preset's",
        ),
    ] = None,
    average: Annotated[
        str | None,
        typer.Option(
            help="The running average of the weights: restart it after each cut, or carry its "
            "count of steps on.",
            show_default="restart",
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Stop when mAP50 falls more than this after training; 0 turns the guard off, as "
            "it is with last-cut.",
            show_default="0.03",
        ),
    ] = None,
    pretrain: Pretrain = None,
    imgsz: ImageSize = None,
    batch: Batch = None,
    seed: Seed = None,
    device: Device = None,
    workers: Workers = None,
    loader: LoaderName = None,
    name: Name = None,
    more: Set = None,
    config: ConfigFile = None,
    detach: Detach = False,
) -> Answer:
    """Make a baseline lighter: score, prune and fine-tune, several times."""
    workspace = session.isolated_workspace()
    settings = _given(
        model=model, method=method, msip_weights=msip_weights, allocation=allocation,
        granularity=granularity, recovery=recovery, repair=repair,
        finetune_after=finetune_after, average=average,
        static_weights=static_weights or None, keep_macs=keep_macs, preset=preset_name,
        keep_params=keep_params, keep_latency=_latency_goal(keep_latency, speed_up),
        latency_device=latency_device, latency_format=latency_format,
        latency_precision=latency_precision, latency_batch=latency_batch,
        composition=composition,
        iterations=iterations, epochs=epochs, round_to=round_to, max_drop=max_drop,
        pretrain=pretrain, dataset=data, imgsz=imgsz, batch=batch, seed=seed, workers=workers,
        loader=loader,
    )  # fmt: skip
    place = _given(device=device, name=name)
    if config is not None:
        settings |= _given(set=more)
        return _start(workspace, _from_file(config, "prune", settings, place), detach)
    _demand(settings, dataset="--data", model="--model")
    place.setdefault("device", gpu_of(latency_device) or get_settings().device)
    chosen = dict(preset("prune", settings.pop("preset", "paper")))
    if "composition" in settings:
        whole = find_composition(settings.pop("composition"))
        _check_network(workspace, settings["model"], whole)
        chosen |= whole.settings
        if settings.keys() & {"keep_macs", "keep_params"}:  # a goal that is asked for counts more
            chosen.pop("keep_latency", None)
    _set_schedule(chosen, "finetune", settings)
    if settings.get("finetune_after", "last-cut") != chosen.get("finetune_after", "last-cut"):
        chosen.pop("max_map50_drop", None)  # what goes with the other way to train
    _set_model(workspace, settings, "model")
    _set_strategy(settings, chosen)
    made = PruneConfig(**{**chosen, **settings, **place})
    return _start(workspace, with_settings(made, more or ()), detach)


# --- words into settings ------------------------------------------------------


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _demand(settings: dict[str, Any], **options: str) -> None:
    missing = [option for setting, option in options.items() if setting not in settings]
    if missing:
        raise ConfigError(f"Say {' and '.join(missing)}, or give all settings with --config.")


def _from_file(
    path: Path, kind: str, settings: dict[str, Any], place: dict[str, Any]
) -> TrainConfig | PruneConfig:
    """The config of another run; only its name and device may be changed on the way."""
    if settings:
        raise ConfigError(
            f"--config holds all settings of the run: leave out {', '.join(settings)} "
            "(--name and --device may be given)."
        )
    found = read_run_config(path)
    if found.kind != kind:
        raise ConfigError(f"{path} holds the settings of a '{found.kind}' run: use that verb.")
    return parse_run_config({**found.model_dump(mode="json"), **place})


def _latency_goal(keep: float | None, speed_up: float | None) -> float | None:
    """A speed-up as the share of the milliseconds that is left."""
    if speed_up is None:
        return keep
    if keep is not None:
        raise ConfigError("--speed-up and --keep-latency are the same goal: give one of them.")
    if not speed_up > 1:
        raise ConfigError(f"A speed-up is above 1 (2 is twice as fast), not {speed_up:g}.")
    return 1 / speed_up


def _check_network(workspace: Workspace, model: str, whole: Composition) -> None:
    """A system that is about one kind of network is given one of that kind."""
    if not whole.weights or Path(model).suffix == ".pt":
        return
    kind = Path(whole.weights).stem.partition("-")[2]
    architecture = open_card(workspace, model).architecture
    if kind not in architecture:
        raise ConfigError(
            f"'{whole.name}' prunes a {kind} YOLOv8, and model '{model}' is {architecture}: train "
            f"one first with --weights {whole.weights}, or `study run {whole.name}` for all of it."
        )


def _set_schedule(chosen: dict[str, Any], recipe: str, settings: dict[str, Any]) -> None:
    """Put `epochs` and `pretrain` where they belong in the preset."""
    if "epochs" in settings:
        chosen[recipe] = chosen[recipe].model_copy(update={"epochs": settings.pop("epochs")})
    if "pretrain" in settings:
        chosen["pretrain"] = RECIPES["paper-pretrain"] if settings.pop("pretrain") else None


def _set_model(workspace: Workspace, settings: dict[str, Any], key: str) -> None:
    """Check dataset and model now, not in a worker later; take the model's image size.

    A file becomes an absolute path, because the worker runs elsewhere.
    """
    open_dataset(workspace, settings["dataset"])
    model, suffix = settings[key], Path(settings[key]).suffix
    if suffix == ".pt":
        path = Path(model).expanduser().resolve()
        if not path.is_file():
            raise ConfigError(f"There is no weights file {path}.")
        settings[key] = str(path)
    elif suffix not in (".yaml", ".yml"):
        settings.setdefault("imgsz", open_card(workspace, model).imgsz)


def _set_strategy(settings: dict[str, Any], chosen: dict[str, Any]) -> None:
    """Options with other names than their settings."""
    msip: dict[str, Any] = {}
    if "msip_weights" in settings:
        values = dict(zip(MsipWeights.model_fields, settings.pop("msip_weights")))
        msip["weights"] = MsipWeights(**values)
    if settings.pop("static_weights", False):
        msip["dynamic_weights"] = False
    settings["msip"] = msip
    if "round_to" in settings:
        limits, text = chosen.pop("limits", {}), settings.pop("round_to")
        settings["limits"] = {
            **limits,
            "round_to": int(text) if text.isdecimal() else text,
        }
    if "max_drop" in settings:
        settings["max_map50_drop"] = settings.pop("max_drop") or None


def _start(workspace: Workspace, config: TrainConfig | PruneConfig, detach: bool) -> Answer:
    if isinstance(config, PruneConfig):
        check_combination(config)  # before the estimate, which takes seconds
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
