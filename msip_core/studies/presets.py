"""Studies that can be started by name: the paper's tables and analysis, the whole field, and each
published system (`msip_core.compositions`) beside the rows that any system has to beat.

Each in three sizes: `paper` is the published protocol with three seeds (days on a GPU), `standard`
answers the same question in a night on a GPU, `smoke` shows in minutes on two CPU cores that every
row works; its accuracies mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from msip_core.bounded import at_home
from msip_core.catalog import ALLOCATIONS, CRITERIA, GRANULARITIES, RECOVERIES
from msip_core.compositions import COMPOSITIONS, Composition
from msip_core.config import WEIGHT_PRESETS, After
from msip_core.errors import ConfigError
from msip_core.measures import MeasureOptions
from msip_core.messages import mark, msg
from msip_core.recipes import RECIPES, TrainingRecipe
from msip_core.studies.plan import BaselinePlan, Row, StudyPlan, parse_plan
from msip_core.ways import share_left

Size = Literal["paper", "standard", "smoke"]
SIZES: tuple[Size, ...] = get_args(Size)


class Preset(NamedTuple):
    """A table: what it asks, and its rows."""

    title: str
    question: str
    rows: tuple[Row, ...]
    published: str = ""
    weights: str = ""  # description of the network that it is about; "" takes any


def _msip(key: str, label: str, *, differs: str = "", **settings: Any) -> Row:
    return Row(key=key, label=label, settings={"method": "msip", **settings}, differs=differs)


def _fixed(weights: str) -> dict[str, object]:
    """Fixed weights: what is asked is what they give, not what feedback makes of them."""
    return {"weights": WEIGHT_PRESETS[weights].model_dump(), "dynamic_weights": False}


_PRINTED = {"gradient": "grad2", "geometry": "lp", "sparsity": "weight"}
_PUBLISHED = Row(
    # Its scheme has no switches; they are named for whoever reads the plan.
    key="msip-published",
    label=mark("MSIP as published"),
    settings={"method": "msip-published", "msip": _PRINTED},
)
_SUMS = (
    Row(
        key="msip-literal",
        label=mark("MSIP, the paper's sum of the printed terms"),
        settings={"method": "msip-literal", "msip": _PRINTED},
    ),
    Row(
        key="msip-sum",
        label=mark("MSIP, the paper's sum of our terms"),
        settings={"method": "msip-literal"},
    ),
)
_HALF = "half-epochs"
# The strongest criteria of benchmarks/every_method and benchmarks/repair beside MSIP: by the loss,
# per multiply-add.
_RIVALS = tuple(
    Row(key=f"{name}-per-mac", label=label, settings={"method": name, "allocation": "msip"})
    for name, label in (
        ("taylor", mark("Taylor, per MAC")),
        ("taylor-abs", mark("Taylor, absolute, per MAC")),
        ("taylor-2", mark("Taylor, second order, per MAC")),
        ("obs", mark("OBS, after compensation, per MAC")),
    )
)
_LAMP = Row(key="lamp", label="LAMP", settings={"method": "lamp"})
_TABLE_3_1 = (
    Row(key="l2", label="L2 norm", settings={"method": "l2"}),
    _LAMP,
    Row(key="bnscale", label=mark("BN scale"), settings={"method": "bnscale"}),
    Row(
        key="slim",
        label=mark("Network Slimming"),
        settings={"method": "slim", "recovery": "sparse"},
        differs=mark("trained sparse before cutting"),
    ),
    Row(key="fpgm", label="FPGM", settings={"method": "fpgm"}),
    *_RIVALS,
    _PUBLISHED,
    *_SUMS,
    _msip("msip", "MSIP"),
)
_TABLE_3_2 = (
    _msip("gradient-only", mark("gradient only"), msip=_fixed("gradient-only")),
    _msip("geometry-only", mark("geometry only"), msip=_fixed("geometry-only")),
    _msip("sparsity-only", mark("sparsity only"), msip=_fixed("sparsity-only")),
    _msip("information-only", mark("information only"), msip=_fixed("information-only")),
    _msip("equal-weights", mark("equal weights"), msip=_fixed("equal")),
    _msip("no-threshold", mark("without adaptive threshold"), adaptive_threshold=False),
    _msip("no-finetune", mark("without fine-tuning"), differs=mark("no fine-tuning")),
    _msip(_HALF, mark("half the fine-tuning epochs"), differs=mark("half the fine-tuning")),
    *_RIVALS,
    _PUBLISHED,
    _msip("msip", "MSIP"),
)


def _schemes() -> tuple[Row, ...]:
    """Static, dynamic and gradient-heavy weights, in our scheme and in the paper's."""
    rows = []
    for method, ending, words in (
        ("msip", "", ""),
        ("msip-published", "-published", ", as published"),
    ):
        for key, options in (
            ("static", {"dynamic_weights": False}),
            ("dynamic", {"dynamic_weights": True}),
            ("gradient-heavy", _fixed("gradient-heavy")),
        ):
            rows.append(
                Row(
                    key=f"{key}{ending}",
                    label=f"{key} weights{words}",
                    settings={"method": method, "msip": options},
                )
            )
    return (*rows, *_RIVALS, _LAMP)


# What a strategy cannot go below, whole blocks above all (measured on YOLOv8n and s).
_FARTHEST = {
    "modules": (0.8, mark("goal 80% of the MACs")),
    "blocks": (0.85, mark("goal 85% of the MACs")),
    "layerdrop": (0.93, mark("goal 93% of the MACs")),
}


def _field() -> tuple[Row, ...]:
    """One row for every method: each criterion with the allocation it came with, each allocation
    by L2, each granularity and recovery by MSIP."""
    rows = [
        Row(key=name, label=entry.label, settings={"method": name})
        for name, entry in CRITERIA.items()
        if name != "random"  # an honest row already
    ]
    rows += [
        Row(
            key=f"a-{name}",
            label=f"L2, {entry.label}",
            settings={"method": "l2", "allocation": name},
        )
        for name, entry in ALLOCATIONS.items()
    ]
    rows += [
        Row(
            key=f"g-{name}",
            label=f"MSIP, {entry.label}",
            settings={"granularity": name}
            | ({"keep_macs": _FARTHEST[name][0]} if name in _FARTHEST else {}),
            differs=_FARTHEST[name][1] if name in _FARTHEST else "",
        )
        for name, entry in GRANULARITIES.items()
        if name != "channels"
    ]
    rows += [
        Row(key=f"r-{name}", label=f"MSIP, {entry.label}", settings={"recovery": name})
        for name, entry in RECOVERIES.items()
        if name != "finetune"
    ]
    return (*rows, *_RIVALS)


def _system(whole: Composition) -> Preset:
    """One published system beside MSIP and the strongest simple criteria at the same goal.

    A goal in milliseconds is the whole study's; a depthwise system gets a depthwise baseline."""
    goal = {key: whole.settings[key] for key in _GOALS if key in whole.settings}
    others = [
        row.model_copy(update={"settings": {**row.settings, **goal}})
        for row in (_msip("msip", "MSIP"), *_RIVALS, _LAMP)
    ]
    own = Row(key=f"s-{whole.name}", label=whole.label, settings=dict(whole.settings))
    question = msg("What does {label} keep beside MSIP at the same goal?", label=whole.label)
    return Preset(whole.label, question, (own, *others), weights=whole.weights)


_GOALS = ("keep_macs", "keep_latency")
PRESETS: Mapping[str, Preset] = {
    "table-3-1": Preset(
        mark("Table 3-1: methods"), mark("Does MSIP keep more accuracy than other criteria?"),
        _TABLE_3_1, "table-3-1",
    ),
    "table-3-2": Preset(
        mark("Table 3-2: parts of MSIP"), mark("Which part of MSIP does the work?"),
        _TABLE_3_2, "table-3-2",
    ),
    "table-3-3": Preset(
        mark("Table 3-3: weights"), mark("Do weights that follow validation help?"),
        _schemes(), "table-3-3",
    ),
    "analysis": Preset(
        mark("Section 3.5: analysis"),
        mark("Does the pruned model still look at the right thing?"),
        (Row(key="l2", label="L2 norm", settings={"method": "l2"}), _LAMP, *_RIVALS, _PUBLISHED,
         _msip("msip", "MSIP")),
        "analysis",
    ),
    "field": Preset(
        mark("The whole field"), mark("How do all methods compare under one protocol?"),
        _field(), "table-3-1",
    ),
    **{name: _system(whole) for name, whole in COMPOSITIONS.items()},
}  # fmt: skip


class _Protocol(NamedTuple):
    """What a size fixes for every table."""

    weights: str
    imgsz: int
    seeds: tuple[int, ...]
    baseline: TrainingRecipe
    pretrain: TrainingRecipe | None
    iterations: int
    finetune: TrainingRecipe
    after: After
    calibration: dict[str, int]
    search: dict[str, object]
    measure: MeasureOptions
    attention: MeasureOptions


_NOISE = (0.01, 0.02, 0.05, 0.1, 0.2)
_SMALL_SEARCH = {
    "images": 12, "recalibration": 8, "grid": (0.3, 0.6), "trials": 3, "finalists": 1,
    "episodes": 3, "random_episodes": 2, "candidates": 1, "first_step": 0.3, "short_steps": 1,
}  # fmt: skip
_PROTOCOLS: dict[Size, _Protocol] = {
    "paper": _Protocol(
        "yolov8s.yaml", 640, (0, 1, 2), RECIPES["paper-baseline"], RECIPES["paper-pretrain"],
        16, RECIPES["paper-finetune"], "every-cut", {}, {}, MeasureOptions(),
        MeasureOptions(noise=_NOISE, attention=100, shap=50, shap_features=100,
                       shap_samples=8192),
    ),
    "standard": _Protocol(
        "yolov8s.yaml", 640, (0, 1, 2),
        RECIPES["paper-baseline"].model_copy(update={"epochs": 40}),
        RECIPES["paper-pretrain"].model_copy(update={"epochs": 10}),
        8, RECIPES["standard-finetune"], "last-cut", {}, {}, MeasureOptions(),
        MeasureOptions(noise=_NOISE, attention=50, shap=50, shap_samples=2048),
    ),
    "smoke": _Protocol(
        "yolov8s.yaml", 128, (0,),
        RECIPES["quick-baseline"].model_copy(update={"epochs": 2, "close_mosaic": 1}), None,
        2, RECIPES["quick-finetune"].model_copy(update={"epochs": 1}), "every-cut",
        {"batches": 1, "batch": 8}, _SMALL_SEARCH,
        MeasureOptions(latency_runs=10, resamples=200),
        MeasureOptions(
            latency_runs=10, resamples=200, noise=(0.05,), attention=4, shap=2, shap_features=25,
            shap_samples=125,
        ),
    ),
}  # fmt: skip


# What is trained beside a brought baseline as the next smaller model; "p" is ours, half of n.
_SMALLER = {"n": "p", "s": "n", "m": "s", "l": "m", "x": "l"}


def next_smaller(name: str, of: str | None = None) -> str:
    """What the model below one starts from: "yolov8s", "yolov8s.pt" -> "yolov8n.yaml".

    Args:
        of: what the larger model was trained from. Where that is a file of pretrained weights and
            the smaller model's lies beside it, that one: both then start alike.
    """
    scale = re.search(r"yolov8([nsmlx])", name)
    below = f"yolov8{_SMALLER[scale[1]] if scale else 'n'}"
    if of and of.endswith(".pt"):
        beside = at_home(of).with_name(f"{below}.pt")
        if beside.is_file():
            return str(beside)
    return f"{below}.yaml"


def preset_plan(
    name: str, size: Size, dataset: str, *, model: str | None = None, weights: str | None = None,
    smaller: str | None = None, pretrained: bool | None = None, speed_up: float | None = None,
    latency: Mapping[str, Any] | None = None, **changes: Any,
) -> StudyPlan:  # fmt: skip
    """The plan of a preset for a dataset of the workspace.

    Args:
        model: baseline of the workspace; None trains one.
        weights, smaller: what the baseline and the next smaller model start from: a .pt file, or
            a yaml name (from scratch).
        pretrained: whether the workspace's model began from pretrained weights; None: not known.
        speed_up: the goal of every row as a measured speed-up instead.
        latency: in which way time is measured, in the goal and in the table: latency_device,
            latency_format, latency_precision, latency_batch.
        changes: other fields of the plan (imgsz, seeds, device, batch, ...).

    Raises:
        ConfigError: no such preset or size, or a change that no plan can have.
    """
    if name not in PRESETS:
        raise ConfigError(
            "There is no study '{name}'; known: {presets}.", name=name, presets=", ".join(PRESETS)
        )
    if size not in SIZES:
        raise ConfigError(
            "There is no size '{size}'; known: {sizes}.", size=size, sizes=", ".join(SIZES)
        )
    chosen, protocol = PRESETS[name], _PROTOCOLS[size]
    if any(row.key == _HALF for row in chosen.rows) and protocol.finetune.epochs < 2:
        # One epoch has no half that could be trained.
        two = protocol.finetune.model_copy(update={"epochs": 2})
        protocol = protocol._replace(finetune=two)
    weights = weights or chosen.weights or protocol.weights
    baseline = BaselinePlan(
        model=model, weights=weights, recipe=protocol.baseline, pretrained=pretrained
    )
    budget = _budget(protocol, speed_up, latency or {})
    plan = {
        "name": f"{chosen.title} ({size})", "preset": name, "size": size, "dataset": dataset,
        "imgsz": protocol.imgsz, "seeds": protocol.seeds, "baseline": baseline,
        "smaller": smaller or next_smaller(weights, weights), "budget": budget,
        "rows": [_in_budget(row, protocol) for row in chosen.rows],
        "measure": _timed(protocol.attention if name == "analysis" else protocol.measure, latency),
        "published": chosen.published,
    }  # fmt: skip
    return parse_plan({**plan, **changes}, f"Study '{name}'")


def _budget(
    protocol: _Protocol, speed_up: float | None, latency: Mapping[str, object]
) -> dict[str, object]:
    """What all rows have in common."""
    budget: dict[str, object] = {
        "keep_macs": 0.335,
        "iterations": protocol.iterations,
        "finetune": protocol.finetune,
        "pretrain": protocol.pretrain,
        "calibration": protocol.calibration,
        "search": protocol.search,
        "finetune_after": protocol.after,
        **({} if speed_up is None else {"keep_latency": share_left(speed_up)}),
        **latency,
    }
    if protocol.iterations < 4:  # few cuts have to take more each
        budget["limits"] = {"max_removed_per_iteration": 0.7}
    return budget


def _timed(measure: MeasureOptions, latency: Mapping[str, Any] | None) -> dict[str, object]:
    """The same measurements with the time taken in this way, on the GPU that a row runs on."""
    on_gpu = (latency or {}).get("latency_device", "cpu") != "cpu"
    given = {**(latency or {}), **({"latency_device": "auto"} if on_gpu else {})}
    return {**measure.model_dump(exclude={"latency_format"} if on_gpu else None), **given}


def _in_budget(row: Row, protocol: _Protocol) -> Row:
    """Rows that train for less, or otherwise, than the protocol: in its own numbers."""
    settings = dict(row.settings)
    recovery = RECOVERIES.get(str(settings.get("recovery", "")))
    if recovery and recovery.sparse and not settings.get("pretrain") and not protocol.pretrain:
        settings["pretrain"] = RECIPES["sparse-pretrain"]
    if row.key.startswith("s-"):
        settings |= _system_in_budget(settings, protocol)
    if isinstance(recipe := settings.get("pretrain"), TrainingRecipe):
        # Each brings 50 epochs of its own, whatever the protocol prepares by.
        epochs = (protocol.pretrain or protocol.baseline).epochs
        close = min(recipe.close_mosaic, epochs // 2)
        settings["pretrain"] = recipe.model_copy(update={"epochs": epochs, "close_mosaic": close})
    less = {"no-finetune": 0, _HALF: max(1, protocol.finetune.epochs // 2)}
    if row.key in less:
        settings["finetune"] = protocol.finetune.model_copy(update={"epochs": less[row.key]})
    return row.model_copy(update={"settings": settings})


def _system_in_budget(settings: Mapping[str, Any], protocol: _Protocol) -> dict[str, object]:
    """A published system with as many epochs after its cuts as every other row, in the cuts that
    it makes, and a search as long as the protocol's."""
    cuts = min(settings.get("iterations", protocol.iterations), protocol.iterations)
    at_last = settings.get("finetune_after", protocol.after) == "last-cut"
    times = protocol.iterations if protocol.after == "every-cut" else 1
    epochs = times * protocol.finetune.epochs // (1 if at_last else cuts)
    found: dict[str, object] = {
        "iterations": cuts,
        "finetune": protocol.finetune.model_copy(update={"epochs": epochs}),
    }
    if "search" in settings:
        found["search"] = {**protocol.search, **settings["search"]}
    if cuts < 4:  # few cuts have to take more each
        found["limits"] = {"max_removed_per_iteration": 0.7}
    return found
