"""The one schema of form, command line, JSON and report: frozen, checked, no torch.

A run is one of these configs in and a stream of events (msip_core.events) out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from msip_core.catalog import RECOVERIES
from msip_core.counts import CountConfig
from msip_core.errors import ConfigError
from msip_core.messages import msg
from msip_core.recipes import RECIPES, DistillOptions, Frozen, TrainingRecipe
from msip_core.run_base import (
    MAX_SEED,  # noqa: F401 - asked for here by other programs, as are the three below
    Loader,  # noqa: F401
    Precision,  # noqa: F401
    RunBase,
    Tiles,  # noqa: F401
    Word,
)
from msip_core.scoring import (
    TERMS,  # noqa: F401 - asked for here by other programs, as are the two below
    WEIGHT_PRESETS,  # noqa: F401
    AllocationOptions,
    CalibrationConfig,
    GoalKind,
    MsipOptions,
    MsipWeights,  # noqa: F401
    SearchOptions,
)
from msip_core.ways import LatencyFormat, LatencyPrecision, Way, refusal, wanted_way
from msip_core.wrong_settings import explain

# --- data ---------------------------------------------------------------------


class ImageRecipe(Frozen):
    """How a micrograph of any depth becomes 8-bit RGB; stored with dataset and model.

    `low_value`/`high_value` are filled at import when `scope` is "dataset": every image,
    and every image predicted later, is then scaled by the same two grey values.

    Attributes:
        scope: "dataset" (two values for all images) or "image" (each by its own percentiles).
        low_percentile, high_percentile: grey levels that become 0 and 255 (only for
            images deeper than 8 bit, unless `normalise` is set).
        normalise: stretch 8-bit images too.
        clahe: contrast-limited adaptive histogram equalisation on lightness.
        channel: number (from 1) or name, in files of several; None takes the one whose name says
            brightfield, phase contrast or DIC.
    """

    scope: Literal["dataset", "image"] = "dataset"
    low_percentile: float = Field(default=1.0, ge=0, lt=50)
    high_percentile: float = Field(default=99.8, gt=50, le=100)
    low_value: float | None = None
    high_value: float | None = None
    normalise: bool = False
    clahe: bool = False
    clahe_clip: float = Field(default=2.0, gt=0, le=40)
    clahe_tiles: int = Field(default=8, ge=1, le=64)
    channel: str | None = Field(default=None, min_length=1, max_length=100)


class SplitConfig(Frozen):
    """8:2 train/test, then a tenth of train for validation (the paper's protocol)."""

    test_fraction: float = Field(default=0.2, gt=0, lt=0.9)
    val_fraction: float = Field(default=0.1, gt=0, lt=0.9, description="share of train")
    seed: int = 0
    group_pattern: str | None = Field(
        default=None,
        description="regular expression whose first group names the plate, well or donor; "
        "None finds one by itself; '' turns grouping off",
    )
    keep_existing: bool = Field(
        default=False, description="use train/val/test folders where the source has them"
    )


# The sharpest plane (variance of the Laplacian), the middle one, the brightest or darkest values.
STACK_WAYS = ("sharpest", "middle", "max", "min")


class ImportConfig(Frozen):
    """Bring a folder or zip of micrographs and labels into the workspace."""

    source: Path
    name: str
    class_map: dict[str, str | None] = Field(
        default_factory=dict, description="old name -> new name; None drops the class"
    )
    pixel_size_um: float | None = Field(default=None, gt=0)
    stack: str = Field(
        default="sharpest",
        pattern=r"^(sharpest|middle|max|min|[0-9]{1,5})$",
        description="of a z-stack: one of STACK_WAYS, or the number of a plane",
    )
    every: int | None = Field(
        default=None, ge=1, description="every n-th time point; None the first of a file"
    )
    recipe: ImageRecipe = ImageRecipe()
    split: SplitConfig = SplitConfig()
    keep_unlabelled: bool = Field(
        default=False, description="images without a label too, for somebody to label"
    )


# --- runs -------------------------------------------------------------------

BATCHES = (1, 2, 4, 8, 16, 32, 64)  # that the pages offer; any number can be typed


class TrainConfig(RunBase):
    """Train a YOLOv8 baseline.

    Attributes:
        weights: a .pt file, a model id of the workspace, or a YOLOv8 yaml name (from scratch).
        pretrain: optional schedule before `recipe` (the paper's 50 epochs).
    """

    kind: Literal["train"] = "train"
    weights: Word
    recipe: TrainingRecipe = RECIPES["quick-baseline"]
    pretrain: TrainingRecipe | None = None

    @model_validator(mode="after")
    def _no_group_term(self) -> TrainConfig:
        for recipe in filter(None, (self.recipe, self.pretrain)):
            for name in ("group_l2", "soft_mask"):
                if getattr(recipe, name):
                    raise ValueError(
                        msg(
                            "{name} needs coupled channels: use it to pre-train a pruning run",
                            name=name,
                        )
                    )
        return self


# --- pruning ------------------------------------------------------------------

ModuleType = Literal["C2f", "SPPF", "Detect", "Conv"]
Repair = Literal["auto", "refit", "absorb", "recalibrate", "none"]
After = Literal["every-cut", "last-cut"]
Average = Literal["restart", "carry"]
# Of a refit, as a share of the mean square of what a convolution reads; validation chooses.
RIDGES = (0.01, 0.1, 1.0)
_OLD_REPAIRS = {"always": "recalibrate", "never": "none", "auto": "auto"}


class PruneConfig(RunBase):
    """Make a baseline lighter: `iterations` times score, prune, fine-tune.

    Attributes:
        model: id of the baseline in the workspace, or a .pt file.
        method: name of an importance criterion in the catalog.
        allocation: name of an allocation in the catalog; None takes the method's own.
        granularity: name of a granularity in the catalog: what a cut may take away.
        modules: granularity "modules" removes channels in modules of these types alone.
        blocks: granularity "mixed" removes so many bottlenecks before it turns to channels.
        block_score: which bottleneck goes first: the one whose removal costs least mAP50 on
            validation (untuned), whose last batch norm is smallest, or whose output is nearest
            to its input.
        layerdrop_rule: granularity "layerdrop" removes every other shortcut bottleneck, or by
            `block_score`.
        keep_macs: MACs left at the end, as a share of the baseline's.
        keep_params: parameters left at the end, as a share; takes the place of `keep_macs`.
        keep_latency: milliseconds per image left at the end, as a share, measured in the way that
            the four below say; takes the place of `keep_macs`.
        latency_device: on what: "cpu" (the processor), "auto" (where the run runs), or a GPU
            ("cuda", "cuda:0"), which must be the one that the run runs on.
        latency_format: by what; "auto" is ONNX Runtime on the processor and a CUDA graph of
            PyTorch on a GPU.
        latency_precision: "fp16" on GPUs alone.
        latency_batch: images at a time.
        prox: soft-thresholds the weights that opening C2f copies by this, as a proximal step of
            their L1 norm; 0 copies them exactly.
        pretrain: optional schedule of the C2f_v2 model before the first iteration.
        distill: how the unpruned network teaches, for recoveries with a teacher.
        adaptive_threshold: False gives every group the same local ratio (an ablation).
        max_map50_drop: guard rail; stop when mAP50 after fine-tuning falls by more than
            this below the baseline, and keep the last good model. None turns it off, as it is by
            default where training waits for the last cut: before it there is no such accuracy.
        repair: what is done right after a cut, before any training: "none"; "recalibrate" (fresh
            batch-norm statistics); "absorb" (what removed channels gave at rest, act(beta), goes
            on in the layers that read them); "refit" (weights by least squares on the calibration
            images, the best of RIDGES by validation); "auto" measures all of these on validation
            and keeps the best. Older configs say `bn_recalibration`.
        search: how an allocation that searches does it.
        finetune_after: train after every cut, or only after the last one.
        average: the running average of the weights that a fine-tune ends with follows the weights
            closely at first and slowly after thousands of steps: "restart" counts the steps of
            this fine-tune, "carry" those of all iterations.
    """

    kind: Literal["prune"] = "prune"
    model: Word
    method: Word = "msip"
    allocation: Word | None = None
    granularity: Word = "channels"
    modules: tuple[ModuleType, ...] = Field(default=("C2f",), min_length=1)
    blocks: int = Field(default=2, ge=1, le=100)
    block_score: Literal["map50", "gamma", "cosine"] = "map50"
    layerdrop_rule: Literal["every-other", "score"] = "every-other"
    recovery: Word = "finetune"
    msip: MsipOptions = MsipOptions()
    limits: AllocationOptions = AllocationOptions()
    search: SearchOptions = SearchOptions()
    calibration: CalibrationConfig = CalibrationConfig()
    keep_macs: float = Field(default=0.335, gt=0.02, lt=1)
    keep_params: float | None = Field(default=None, gt=0.02, lt=1)
    keep_latency: float | None = Field(default=None, gt=0.02, lt=1)
    latency_device: Word = "cpu"
    latency_format: LatencyFormat | Literal["auto"] = "onnx"
    latency_precision: LatencyPrecision = "fp32"
    latency_batch: int = Field(default=1, ge=1, le=1024)
    iterations: int = Field(default=16, ge=1, le=200)
    finetune: TrainingRecipe = RECIPES["paper-finetune"]
    prox: float = Field(default=0.0, ge=0, le=0.1)
    pretrain: TrainingRecipe | None = None
    distill: DistillOptions = DistillOptions()
    adaptive_threshold: bool = True
    max_map50_drop: float | None = Field(default=0.03, gt=0, lt=1)
    repair: Repair = "auto"
    finetune_after: After = "every-cut"
    average: Average = "restart"

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_called(cls, value: Any) -> Any:
        """Before the refit there was `bn_recalibration`: always, never, or auto (the better of
        these two by validation, which is now the best of all repairs)."""
        if not isinstance(value, dict) or "bn_recalibration" not in value:
            return value
        old = value["bn_recalibration"]
        if "repair" in value or not isinstance(old, str) or old not in _OLD_REPAIRS:
            return value  # refused as a setting that there is not
        rest = {key: item for key, item in value.items() if key != "bn_recalibration"}
        return {**rest, "repair": _OLD_REPAIRS[old]}

    @model_validator(mode="before")
    @classmethod
    def _no_guard_while_training_waits(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("finetune_after") != "last-cut":
            return value
        return {"max_map50_drop": None, **value}

    @model_validator(mode="before")
    @classmethod
    def _format_of_the_device(cls, value: Any) -> Any:
        """Whoever names a device and no format means the usual one there."""
        if not isinstance(value, dict) or value.get("latency_device", "cpu") == "cpu":
            return value
        return {"latency_format": "auto", **value}

    @model_validator(mode="after")
    def _a_way_that_there_is(self) -> PruneConfig:
        device = self.latency_device
        if device not in ("cpu", "auto") and not _GPU.fullmatch(device):
            raise ValueError(
                msg(
                    "milliseconds are measured on 'cpu', 'auto' (where the run runs), or a GPU "
                    "such as 'cuda:0', not on '{device}'",
                    device=device,
                )
            )
        if why := refusal(device, self.latency_format, self.latency_precision):
            raise ValueError(why)
        if device not in ("cpu", "auto") and not _same_gpu(device, self.device):
            raise ValueError(
                msg(
                    "milliseconds on a GPU are measured where the run runs, on '{device}': set "
                    "latency_device to 'auto', or device to '{device2}'",
                    device=self.device,
                    device2=device,
                )
            )
        return self

    @model_validator(mode="after")
    def _one_goal(self) -> PruneConfig:
        if self.keep_params is not None and self.keep_latency is not None:
            raise ValueError(
                msg(
                    "a run has one goal: give a share of the parameters or of the milliseconds, "
                    "not both"
                )
            )
        return self

    @model_validator(mode="after")
    def _no_guard_between_untuned_cuts(self) -> PruneConfig:
        if self.finetune_after == "last-cut" and self.max_map50_drop is not None:
            raise ValueError(
                msg(
                    "a run that trains only after the last cut falls deeply before it: turn the "
                    "guard off (max_map50_drop)"
                )
            )
        return self

    def latency_way(self, device: str) -> Way:
        """In which way milliseconds are measured, if the run runs on `device` ("cpu", "cuda:0")."""
        return wanted_way(
            self.latency_device,
            self.latency_format,
            self.latency_precision,
            self.latency_batch,
            device,
        )

    def epochs_after(self, iteration: int) -> int:
        """Epochs of fine-tuning after the cut of this iteration (from 1)."""
        waits = self.finetune_after == "last-cut" and iteration < self.iterations
        return 0 if waits else self.finetune.epochs

    @property
    def bn_recalibration(self) -> str:
        """`repair` as programs from before the refit ask for it: always, never or auto."""
        old = {new: word for word, new in _OLD_REPAIRS.items()}
        return old.get(self.repair, "never")  # a refit leaves batch-norm statistics alone

    @property
    def finetune_epochs(self) -> int:
        """Epochs of fine-tuning of the whole run."""
        return sum(self.epochs_after(t) for t in range(1, self.iterations + 1))

    @property
    def goal(self) -> tuple[GoalKind, float]:
        """What the goal counts, and the share of it that is left at the end."""
        if self.keep_params is not None:
            return "params", self.keep_params
        if self.keep_latency is not None:
            return "latency", self.keep_latency
        return "macs", self.keep_macs

    @property
    def macs_goal(self) -> float | None:
        """Share of the MACs that is the goal; None where the goal counts something else."""
        kind, keep = self.goal
        return keep if kind == "macs" else None

    @property
    def preparation(self) -> TrainingRecipe | None:
        """What the unpruned network is trained by before the first iteration, if at all.

        A recovery that is sparse training brings its own schedule, or makes the one that was asked
        for sparse.
        """
        sparse, asked = RECIPES["sparse-pretrain"], self.pretrain
        recovery = RECOVERIES.get(self.recovery)
        if recovery is None or not recovery.sparse:
            return asked
        if asked is None:
            return sparse
        if asked.is_sparse:
            return asked
        return asked.model_copy(update={"bn_l1": sparse.bn_l1, "bn_l1_decay": sparse.bn_l1_decay})


_GPU = re.compile(r"cuda(:\d+)?")


def _same_gpu(latency: str, device: str) -> bool:
    """Whether a run on `device` may measure on this GPU: "cuda" is any that it gets."""
    own = device.strip().lower()
    own = f"cuda:{own}" if own.isdecimal() else own.replace("gpu", "cuda")
    if latency == "cuda":
        return own == "auto" or own.startswith("cuda")
    return own == latency or (own, latency) == ("cuda", "cuda:0")


AnyRun = TrainConfig | PruneConfig | CountConfig
RunConfig = Annotated[AnyRun, Field(discriminator="kind")]
_RUN_CONFIG: TypeAdapter[AnyRun] = TypeAdapter(RunConfig)


def parse_training_config(value: Mapping[str, object]) -> TrainConfig | PruneConfig:
    """The same of a run that trains or prunes.

    Raises:
        ConfigError: the settings are wrong, or those of a count.
    """
    config = parse_run_config(value)
    if isinstance(config, CountConfig):
        raise ConfigError("These are the settings of a count, which trains nothing: use 'plate'.")
    return config


def parse_run_config(value: Mapping[str, object]) -> AnyRun:
    """Check a run config that came from JSON; one sentence per wrong setting."""
    try:
        return _RUN_CONFIG.validate_python(value)
    except ValidationError as error:
        raise ConfigError(explain(error)) from error


def kept_settings(text: str | bytes) -> dict[str, object]:
    """The settings in the config.json of a run folder.

    Those from before labels could be corrected name no version: there was only the first.

    Raises:
        ValueError: it is no JSON.
    """
    value = json.loads(text)
    if isinstance(value, dict) and value.get("dataset") and value.get("dataset_version") is None:
        value = {**value, "dataset_version": 1}
    settings: dict[str, object] = value
    return settings


def parse_kept_config(text: str | bytes) -> AnyRun:
    """The config of a run folder: config.json.

    Raises:
        ConfigError: a setting is wrong. ValueError: it is no JSON.
    """
    return parse_run_config(kept_settings(text))


# --- presets ------------------------------------------------------------------


# Changes to a config's defaults by the same names on the pages and on the command line.
# "paper" is the protocol of the publication; the others cost less and reach less.
class TrainPreset(TypedDict):
    recipe: TrainingRecipe


class PrunePreset(TypedDict):
    iterations: int
    finetune: TrainingRecipe
    pretrain: NotRequired[TrainingRecipe]
    finetune_after: NotRequired[After]
    average: NotRequired[Average]
    calibration: NotRequired[CalibrationConfig]


TRAIN_PRESETS: dict[str, TrainPreset] = {
    "paper": {"recipe": RECIPES["paper-baseline"]},
    "standard": {"recipe": RECIPES["paper-baseline"].model_copy(update={"epochs": 40})},
    "quick": {"recipe": RECIPES["quick-baseline"]},
}
PRUNE_PRESETS: dict[str, PrunePreset] = {
    "paper": {
        "iterations": 16,
        "finetune": RECIPES["paper-finetune"],
        "pretrain": RECIPES["paper-pretrain"],
    },
    "standard": {
        "iterations": 8,
        "finetune": RECIPES["standard-finetune"],
        "finetune_after": "last-cut",
    },
    "quick": {
        "iterations": 4,
        "finetune": RECIPES["quick-finetune"],
        "calibration": CalibrationConfig(batches=2),
    },
}


def preset(kind: Literal["train", "prune"], name: str) -> Mapping[str, object]:
    """Settings of one preset, or a sentence with the names that exist."""
    presets: Mapping[str, Mapping[str, object]] = (
        TRAIN_PRESETS if kind == "train" else PRUNE_PRESETS
    )
    if name not in presets:
        raise ConfigError(
            "There is no preset '{name}'; known: {presets}.", name=name, presets=", ".join(presets)
        )
    return presets[name]
