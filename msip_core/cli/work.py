"""`train` and `prune`: one run, in the foreground or handed to the queue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from msip_core.catalog import find
from msip_core.cli.console import say
from msip_core.cli.foreground import hand_over, in_foreground
from msip_core.cli.verbs import Answer, Session, verb
from msip_core.config import (
    PRUNE_PRESETS,
    RECIPES,
    TRAIN_PRESETS,
    AllocationOptions,
    MsipOptions,
    MsipWeights,
    PruneConfig,
    TrainConfig,
    preset,
)
from msip_core.data.dataset import open_dataset
from msip_core.errors import ConfigError
from msip_core.models import open_card
from msip_core.runs.service import RunService
from msip_core.runs.slots import slot_of
from msip_core.settings import get_settings
from msip_core.views.wording import duration
from msip_core.workspace import Workspace

Data = Annotated[str, typer.Option("--data", help="Dataset of the workspace.")]
Epochs = Annotated[int | None, typer.Option(min=0, show_default="the preset's")]
ImageSize = Annotated[int | None, typer.Option("--imgsz", help="Side in pixels, multiple of 32.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Images per training step.")]
Seed = Annotated[int, typer.Option(min=0)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda:0, mps.")]
Workers = Annotated[int, typer.Option(min=0, help="Extra processes that load images.")]
Name = Annotated[str, typer.Option(help="What the run is called on the pages.")]
Detach = Annotated[bool, typer.Option("--detach", help="Queue it for the app and return at once.")]


def register(app: typer.Typer) -> None:
    """Add both verbs to the root of the command line."""
    verb(app, "train")(train)
    verb(app, "prune")(prune)


def train(
    session: Session,
    *,
    data: Data,
    weights: Annotated[
        str,
        typer.Option(
            help="A .pt file, a model of the workspace, or yolov8n/s/m.yaml (from scratch)."
        ),
    ],
    preset_name: Annotated[
        str | None,
        typer.Option(
            "--preset", help=", ".join(TRAIN_PRESETS), show_default="quick on a CPU, else paper"
        ),
    ] = None,
    epochs: Epochs = None,
    pretrain: Annotated[
        bool, typer.Option("--pretrain", help="The paper's 50 epochs first.")
    ] = False,
    imgsz: ImageSize = None,
    batch: Batch = None,
    seed: Seed = 0,
    device: Device = "",
    workers: Workers = 0,
    name: Name = "",
    detach: Detach = False,
) -> Answer:
    """Train a YOLOv8 baseline."""
    workspace = session.isolated_workspace()
    open_dataset(workspace, data)  # a wrong name is said now, not by a worker later
    device = device or get_settings().device
    chosen = preset("train", preset_name or _preset_for(device))
    recipe = chosen["recipe"]
    settings: dict[str, Any] = {
        **chosen,
        "recipe": recipe if epochs is None else recipe.model_copy(update={"epochs": epochs}),
        "pretrain": RECIPES["paper-pretrain"] if pretrain else None,
        **_given(imgsz=imgsz or _size_of(workspace, weights), batch=batch),
    }
    config = TrainConfig(
        name=name, dataset=data, weights=_weights(weights), device=device, seed=seed,
        workers=workers, **settings,
    )  # fmt: skip
    return _start(workspace, config, detach)


def prune(
    session: Session,
    *,
    data: Data,
    model: Annotated[str, typer.Option(help="Baseline: a model of the workspace, or a .pt file.")],
    method: Annotated[str, typer.Option(help="How channels are scored; see `methods`.")] = "msip",
    msip_weights: Annotated[
        tuple[float, float, float, float],
        typer.Option(metavar="GRADIENT GEOMETRY SPARSITY INFORMATION", help="Sum to 1; MSIP only."),
    ] = MsipWeights().as_tuple(),
    static_weights: Annotated[
        bool, typer.Option("--static-weights", help="Do not let the weights follow validation.")
    ] = False,
    allocation: Annotated[str | None, typer.Option(show_default="the method's own")] = None,
    keep_macs: Annotated[
        float, typer.Option(help="MACs left at the end, as a share of the baseline's.")
    ] = 0.335,
    preset_name: Annotated[str, typer.Option("--preset", help=", ".join(PRUNE_PRESETS))] = "paper",
    iterations: Annotated[int | None, typer.Option(min=1, show_default="the preset's")] = None,
    epochs: Epochs = None,
    round_to: Annotated[int, typer.Option(help="Channels in multiples of 1, 4, 8 or 16.")] = 8,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Stop when mAP50 falls more than this; 0 turns the guard off."),
    ] = 0.03,
    pretrain: Annotated[
        bool | None,
        typer.Option(help="Train the split C2f blocks first.", show_default="the preset's"),
    ] = None,
    imgsz: ImageSize = None,
    batch: Batch = None,
    seed: Seed = 0,
    device: Device = "",
    workers: Workers = 0,
    name: Name = "",
    detach: Detach = False,
) -> Answer:
    """Make a baseline lighter: score, prune and fine-tune, several times."""
    workspace = session.isolated_workspace()
    open_dataset(workspace, data)
    find("criterion", method)
    if allocation is not None:
        find("allocation", allocation)
    settings = dict(preset("prune", preset_name))
    if epochs is not None:
        settings["finetune"] = settings["finetune"].model_copy(update={"epochs": epochs})
    if pretrain is not None:
        settings["pretrain"] = RECIPES["paper-pretrain"] if pretrain else None
    size = imgsz or _size_of(workspace, model)
    settings |= _given(iterations=iterations, imgsz=size, batch=batch)
    gradient, geometry, sparsity, information = msip_weights
    config = PruneConfig(
        name=name,
        dataset=data,
        model=_weights(model),
        method=method,
        allocation=allocation,
        msip=MsipOptions(
            weights=MsipWeights(
                gradient=gradient, geometry=geometry, sparsity=sparsity, information=information
            ),
            dynamic_weights=not static_weights,
        ),
        limits=AllocationOptions.model_validate({"round_to": round_to}),
        keep_macs=keep_macs,
        max_map50_drop=max_drop or None,
        device=device or get_settings().device,
        seed=seed,
        workers=workers,
        **settings,
    )
    if not detach:
        _say_estimate(workspace, config)
    return _start(workspace, config, detach)


def _start(workspace: Workspace, config: TrainConfig | PruneConfig, detach: bool) -> Answer:
    run_id = RunService(workspace).submit(config)
    return hand_over(workspace, run_id) if detach else in_foreground(workspace, run_id)


def _preset_for(device: str) -> str:
    return "quick" if slot_of(device) == "cpu" else "paper"


def _say_estimate(workspace: Workspace, config: PruneConfig) -> None:
    from msip_core.pruning.estimate import estimate

    expected = estimate(config, workspace)
    say(
        f"Expected: about {duration(expected.seconds)}, {expected.memory_gb:.1f} GB of memory, "
        f"{expected.disk_gb:.1f} GB of disk. {expected.note}"
    )


def _weights(given: str) -> str:
    """A file as an absolute path (the worker runs elsewhere); ids and yaml names as they are."""
    if Path(given).suffix != ".pt":
        return given
    path = Path(given).expanduser().resolve()
    if not path.is_file():
        raise ConfigError(f"There is no weights file {path}.")
    return str(path)


def _size_of(workspace: Workspace, model: str) -> int | None:
    """The image size that a model of the workspace was trained at; None for files and yaml."""
    if Path(model).suffix in (".pt", ".yaml"):
        return None
    return open_card(workspace, model).imgsz


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
