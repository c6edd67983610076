"""The options of `train` and `prune`, in one table: option <-> setting. No typer, no torch.

    config_of(kind, given)    what the command line makes of the options that were given
    options_of(config)        the options that make this config, and no more than it takes
    command_line(config)      these as a line; `--set` says what has no option

Names, help and readers stand here once; defaults and limits are those of the config.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from msip_core.compositions import COMPOSITIONS, find_composition
from msip_core.config import (
    MAX_SEED,
    PRUNE_PRESETS,
    RECIPES,
    TRAIN_PRESETS,
    AnyRun,
    CountConfig,
    MsipWeights,
    PruneConfig,
    TrainConfig,
    parse_training_config,
    preset,
)
from msip_core.counts import count_command
from msip_core.errors import ConfigError

Kind = Literal["train", "prune"]
Given = Mapping[str, Any]  # name of an option -> what was given
PRESETS: Mapping[str, Mapping[str, Mapping[str, object]]] = MappingProxyType(
    {"train": TRAIN_PRESETS, "prune": PRUNE_PRESETS}
)
CONFIGS: Mapping[str, type[TrainConfig | PruneConfig]] = MappingProxyType(
    {"train": TrainConfig, "prune": PruneConfig}
)


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: as it is given; the flag is made of it where none is named.
        path: of the setting, with dots; "" for what is no single setting.
        shown: the default in words, where it is not that of the setting.
        least, most: of a number.
        read: the setting, of what was given.
        write: what to give for a setting; None gives nothing.
        always: stands in every command line.
    """

    name: str
    path: str
    help: str | None = None
    type: Any = str
    flag: str = ""
    metavar: str | None = None
    shown: str = ""
    least: int | None = None
    most: int | None = None
    read: Callable[[Any], Any] = _same
    write: Callable[[Any], Any] = _same
    always: bool = False

    @property
    def switch(self) -> str:
        """What is typed."""
        return self.flag or f"--{self.name.replace('_', '-')}"

    def words(self, value: Any) -> list[str]:
        """What is typed to give this value."""
        if isinstance(value, bool):
            return [self.switch if value else f"{self.switch[:2]}no-{self.switch[2:]}"]
        values = value if isinstance(value, tuple) else (value,)
        return [self.switch, *(shlex.quote(str(part)) for part in values)]

    def default(self, kind: Kind) -> str | None:
        """The default as help shows it; None where there is nothing to show."""
        value: Any = CONFIGS[kind]
        for part in self.path.split(".") if self.path and not self.shown else ():
            holder: type[BaseModel] = value if isinstance(value, type) else type(value)
            value = holder.model_fields[part].get_default()
        value = self.shown or (None if value in (None, CONFIGS[kind]) else self.write(value))
        if value in (None, PydanticUndefined) or isinstance(value, bool):
            return None
        return " ".join(map(str, value)) if isinstance(value, tuple) else str(value) or None


def _epochs(recipe: str) -> Option:
    return Option("epochs", f"{recipe}.epochs", type=int, least=0, shown="the preset's")


_DATA = Option("dataset", "dataset", "Dataset of the workspace.", flag="--data", always=True)
_VERSION = Option(
    "dataset_version",
    "dataset_version",
    "Version of the dataset's labels; see `data versions`.",
    int,
    least=1,
    shown="the newest",
)
_PRETRAIN = Option(
    "pretrain",
    "pretrain",
    "The paper's 50 epochs first.",
    bool,
    shown="the preset's",
    read=lambda wanted: RECIPES["paper-pretrain"] if wanted else None,
    write=lambda recipe: recipe is not None,
)
_SHARED = (
    Option("imgsz", "imgsz", "Side in pixels, multiple of 32.", int, shown="the model's",
           always=True),
    Option("batch", "batch", "Images per step.", int, least=1, always=True),
    Option("seed", "seed", type=int, least=0, most=MAX_SEED, always=True),
    Option("device", "device", "auto, cpu, cuda:0, mps."),
    Option("workers", "workers", "Extra processes that load images.", int, least=0,
           shown="as the computer has cores"),
    Option("loader", "loader", "Who makes the training batches: device (images stay on the GPU), "
           "ultralytics (image by image on the processor), auto."),
    Option("name", "name", "What the run is called on the pages.",
           write=lambda name: name or None),
)  # fmt: skip
_TRAIN = (
    _DATA, _VERSION,
    Option("weights", "weights", "A .pt file, a model of the workspace, or yolov8n/s/m.yaml or "
           "yolov8n/s/m-depthwise.yaml (from scratch).", always=True),
    Option("preset", "", ", ".join(TRAIN_PRESETS), shown="quick on a CPU, else paper"),
    _epochs("recipe"), _PRETRAIN, *_SHARED,
)  # fmt: skip
_PRUNE = (
    _DATA, _VERSION,
    Option("model", "model", "Baseline: a model of the workspace, or a .pt file.", always=True),
    Option("method", "method", "How channels are scored; see `methods`.", always=True),
    Option("composition", "", f"All choices of a published whole: {', '.join(COMPOSITIONS)}. "
           "Options given beside it count more."),
    Option("msip_weights", "msip.weights", "Sum to 1; MSIP only.",
           tuple[float, float, float, float], metavar="GRADIENT GEOMETRY SPARSITY INFORMATION",
           read=lambda weights: dict(zip(MsipWeights.model_fields, weights)),
           write=lambda weights: weights.as_tuple()),
    Option("static_weights", "msip.dynamic_weights", "Do not let the weights follow validation.",
           bool, flag="--static-weights", read=lambda static: not static,
           write=lambda follow: None if follow else True),
    Option("allocation", "allocation", "How many channels each layer loses.",
           shown="the method's own"),
    Option("granularity", "granularity", "What is taken out."),
    Option("recovery", "recovery", "How it learns again."),
    Option("keep_macs", "keep_macs", "MACs left at the end, as a share of the baseline's.", float,
           always=True),
    Option("keep_params", "keep_params", "The goal as a share of the parameters instead.", float),
    Option("keep_latency", "keep_latency", "The goal as a share of the milliseconds per image, "
           "measured in the way that the options below say.", float),
    Option("speed_up", "", "The goal as a measured speed-up instead: 2 is twice as fast.", float),
    Option("latency_device", "latency_device",
           "Where milliseconds are measured: cpu, auto (where the run runs), cuda:0."),
    Option("latency_format", "latency_format", "What is timed: pytorch, onnx, openvino; on a GPU "
           "pytorch, cudagraph, onnx, tensorrt; or auto.", shown="onnx, on a GPU cudagraph"),
    Option("latency_precision", "latency_precision", "fp32, or on a GPU fp16."),
    Option("latency_batch", "latency_batch", "Images at a time when it is timed.", int, least=1),
    Option("preset", "", ", ".join(PRUNE_PRESETS), shown="paper"),
    Option("iterations", "iterations", type=int, least=1, shown="the preset's"),
    _epochs("finetune"),
    Option("round_to", "limits.round_to", "Channels in multiples of 1, 4, 8, 16, 32 or 64; auto is "
           "8, or what this computer or GPU is fastest with where the goal is milliseconds.",
           read=lambda text: int(text) if str(text).isdecimal() else text),
    Option("repair", "repair", "What is done right after a cut, before any training: none, "
           "recalibrate (batch norm), absorb (what lost channels gave at rest), refit (weights by "
           "least squares), or auto (the best of all by validation)."),
    Option("prox", "prox", "Soft-threshold of the weights that opening C2f copies, such as 1e-4; "
           "0 copies them exactly.", float),
    Option("finetune_after", "finetune_after", "When it trains: every-cut, or last-cut (once, all "
           "its epochs after the last cut).", shown="the preset's"),
    Option("average", "average", "The running average of the weights: restart it after each cut, "
           "or carry its count of steps on."),
    Option("max_drop", "max_map50_drop", "Stop when mAP50 falls more than this after training; 0 "
           "turns the guard off, as it is with last-cut.", float,
           read=lambda drop: drop or None, write=lambda drop: drop or 0),
    _PRETRAIN, *_SHARED,
)  # fmt: skip
OPTIONS: Mapping[str, tuple[Option, ...]] = MappingProxyType({"train": _TRAIN, "prune": _PRUNE})


def config_of(kind: Kind, given: Given) -> TrainConfig | PruneConfig:
    """What these options make; the preset is one of them.

    Raises:
        ConfigError: an unknown preset or composition, or settings that cannot be used.
    """
    settings = dict(preset(kind, given["preset"]))
    if "composition" in given:
        settings |= find_composition(given["composition"]).settings
        if given.keys() & {"keep_macs", "keep_params"}:  # a goal that is asked for counts more
            settings.pop("keep_latency", None)
    usual = settings.get("finetune_after")
    if given.get("finetune_after", usual) != usual:
        settings.pop("max_map50_drop", None)  # what goes with the other way to train
    for option in OPTIONS[kind]:
        if option.path and option.name in given:
            _put(settings, option.path, option.read(given[option.name]))
    return parse_training_config({"kind": kind, **settings})


def options_of(config: TrainConfig | PruneConfig) -> dict[str, object]:
    """Options that make this config, as far as options can; none that changes nothing."""
    kind: Kind = config.kind
    given: dict[str, object] = {"preset": _nearest_preset(config)}
    for option in OPTIONS[kind]:
        value = option.write(_get(config, option.path)) if option.path else None
        if value is not None:
            given[option.name] = value
    made = config_of(kind, given)
    for option in OPTIONS[kind]:
        rest = {name: value for name, value in given.items() if name != option.name}
        if not option.always and option.path and _makes(kind, rest, made):
            given = rest
    return given


def command_line(config: AnyRun) -> str:
    """The verb with the options that differ from their defaults; `--set` says what has none."""
    if isinstance(config, CountConfig):
        return count_command(config)
    given = options_of(config)
    words = ["python", "-m", "msip_core", config.kind]
    for option in OPTIONS[config.kind]:
        if option.name in given:
            words += option.words(given[option.name])
    whole, said = (c.model_dump(mode="json") for c in (config, config_of(config.kind, given)))
    for path, value in _different(whole, said):
        text = value if isinstance(value, str) else json.dumps(value)
        words += ["--set", shlex.quote(f"{path}={text}")]
    return " ".join(words)


def repeat_command(config: AnyRun, run_id: str) -> str:
    """The line that repeats the run exactly, from inside the workspace."""
    if isinstance(config, CountConfig):  # its images lie elsewhere, or in the dataset
        return f"{count_command(config)} --workspace ."
    path = f"runs/{run_id}/config.json"
    return f"python -m msip_core {config.kind} --config {path} --workspace ."


def _makes(kind: Kind, given: Given, config: TrainConfig | PruneConfig) -> bool:
    try:
        return config_of(kind, given) == config
    except ConfigError:
        return False


def _nearest_preset(config: TrainConfig | PruneConfig) -> str:
    """The preset with the most settings in common; its number of epochs may differ."""
    whole = config.model_dump(mode="json")

    def differences(settings: Mapping[str, object]) -> int:
        shown = config.model_copy(update=settings).model_dump(mode="json")
        return len(list(_different(whole, shown)))

    presets = PRESETS[config.kind]
    return min(presets, key=lambda name: differences(presets[name]))


def _put(settings: dict[str, Any], path: str, value: Any) -> None:
    """Set what a dotted path names, beside what is set there already."""
    first, _, rest = path.partition(".")
    if rest:
        inner = settings.get(first, {})
        inner = dict(inner.model_dump() if isinstance(inner, BaseModel) else inner)
        _put(inner, rest, value)
        value = inner
    settings[first] = value


def _get(config: Any, path: str) -> Any:
    for part in path.split("."):
        config = getattr(config, part)
    return config


def _different(one: Any, other: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, value in the first) of the settings in which the second differs."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one:
            yield from _different(one[key], other.get(key), f"{place}.{key}".lstrip("."))
    elif one != other:
        yield place, one
