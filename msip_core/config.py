"""The one schema of form, command line, JSON and report: frozen, checked, no torch.

A run is one of these configs in and a stream of events (msip_core.events) out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from msip_core.bounded import plain_text
from msip_core.distilling import DistillOptions
from msip_core.errors import ConfigError
from msip_core.measures import MeasureOptions
from msip_core.recipes import RECIPES, Frozen, TrainingRecipe
from msip_core.scoring import (
    TERMS,  # noqa: F401 - asked for here by other programs, as are the two below
    WEIGHT_PRESETS,  # noqa: F401
    AllocationOptions,
    CalibrationConfig,
    GoalKind,
    MsipOptions,
    MsipWeights,  # noqa: F401
)
from msip_core.searching import SearchOptions
from msip_core.ways import LatencyFormat, LatencyPrecision, Way, refusal, wanted_way

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


class ImportConfig(Frozen):
    """Bring a folder or zip of micrographs and labels into the workspace."""

    source: Path
    name: str
    class_map: dict[str, str | None] = Field(
        default_factory=dict, description="old name -> new name; None drops the class"
    )
    pixel_size_um: float | None = Field(default=None, gt=0)
    recipe: ImageRecipe = ImageRecipe()
    split: SplitConfig = SplitConfig()


# --- runs -------------------------------------------------------------------

# Words that become names, ids and paths.
Word = Annotated[str, AfterValidator(plain_text)]
MAX_SEED = 2**32 - 1  # what NumPy takes

BATCHES = (1, 2, 4, 8, 16, 32, 64)  # that the pages offer; any number can be typed


Precision = Literal["auto", "fp32"]
Loader = Literal["auto", "device", "ultralytics"]


class RunBase(Frozen):
    """What every run needs.

    Attributes:
        parts: a batch of training goes to the device in so many parts, whose gradients are added:
            less memory, the same steps of the optimizer. Divides `batch`.
        precision: of training; "auto" takes bfloat16 where the device multiplies in it.
        loader: of training: "device" keeps the images there and augments a whole batch at once,
            "ultralytics" augments image by image on the processor, "auto" takes the first on an
            NVIDIA GPU, else the second, which is faster there.
    """

    name: Word = ""
    dataset: Word
    imgsz: int = Field(default=640, ge=32, le=4096, multiple_of=32)
    batch: int = Field(default=16, ge=1, le=1024)
    parts: int = Field(default=1, ge=1, le=1024, description="a batch is worked through in")
    workers: int | None = Field(
        default=None,
        ge=0,
        le=64,
        description="data-loading processes; None chooses by the computer",
    )
    device: Word = "auto"
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    precision: Precision = "auto"
    loader: Loader = "auto"
    measure: MeasureOptions | None = Field(
        default=None, description="what a study measures of the finished model"
    )

    @model_validator(mode="after")
    def _equal_parts(self) -> Self:
        if self.batch % self.parts:
            raise ValueError(
                f"a batch of {self.batch} images cannot be cut into {self.parts} equal parts"
            )
        return self


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
                        f"{name} needs coupled channels: use it to pre-train a pruning run"
                    )
        return self


# --- pruning ------------------------------------------------------------------

ModuleType = Literal["C2f", "SPPF", "Detect", "Conv"]
Repair = Literal["auto", "refit", "recalibrate", "none"]
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
        pretrain: optional schedule of the C2f_v2 model before the first iteration.
        distill: how the unpruned network teaches, for recoveries with a teacher.
        adaptive_threshold: False gives every group the same local ratio (an ablation).
        max_map50_drop: guard rail; stop when mAP50 after fine-tuning falls by more than
            this below the baseline, and keep the last good model. None turns it off, as it is by
            default where training waits for the last cut: before it there is no such accuracy.
        repair: what is done right after a cut, before any training: "none"; "recalibrate" (fresh
            batch-norm statistics); "refit" (weights by least squares on the calibration images,
            the best of RIDGES by validation); "auto" measures all of these on validation and
            keeps the best. Older configs say `bn_recalibration`.
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
                "milliseconds are measured on 'cpu', 'auto' (where the run runs), or a GPU such as "
                f"'cuda:0', not on '{device}'"
            )
        if why := refusal(device, self.latency_format, self.latency_precision):
            raise ValueError(why)
        if device not in ("cpu", "auto") and not _same_gpu(device, self.device):
            raise ValueError(
                f"milliseconds on a GPU are measured where the run runs, on '{self.device}': set "
                f"latency_device to 'auto', or device to '{device}'"
            )
        return self

    @model_validator(mode="after")
    def _one_goal(self) -> PruneConfig:
        if self.keep_params is not None and self.keep_latency is not None:
            raise ValueError(
                "a run has one goal: give a share of the parameters or of the milliseconds, not "
                "both"
            )
        return self

    @model_validator(mode="after")
    def _no_guard_between_untuned_cuts(self) -> PruneConfig:
        if self.finetune_after == "last-cut" and self.max_map50_drop is not None:
            raise ValueError(
                "a run that trains only after the last cut falls deeply before it: turn the guard "
                "off (max_map50_drop)"
            )
        return self

    def latency_way(self, device: str) -> Way:
        """In which way milliseconds are measured, if the run runs on `device` ("cpu", "cuda:0")."""
        return wanted_way(
            self.latency_device, self.latency_format, self.latency_precision, self.latency_batch,
            device,
        )  # fmt: skip

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

        The recovery "sparse" is sparse training: it brings its own schedule, or makes the one that
        was asked for sparse.
        """
        sparse, asked = RECIPES["sparse-pretrain"], self.pretrain
        if self.recovery != "sparse":
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


RunConfig = Annotated[TrainConfig | PruneConfig, Field(discriminator="kind")]
_RUN_CONFIG: TypeAdapter[TrainConfig | PruneConfig] = TypeAdapter(RunConfig)


def parse_run_config(value: dict[str, Any]) -> TrainConfig | PruneConfig:
    """Check a run config that came from JSON; one sentence per wrong setting."""
    try:
        return _RUN_CONFIG.validate_python(value)
    except ValidationError as error:
        raise ConfigError(explain(error)) from error


def explain(error: ValidationError) -> str:
    """Turn pydantic's report into one sentence that names each setting, value and limit."""
    parts = []
    for item in error.errors()[:_MOST_NAMED]:
        place = ".".join(str(p) for p in item["loc"] if p not in ("train", "prune")) or "settings"
        parts.append(f"{short(place)}: {short(item['msg'], 300)} (got {_got(item.get('input'))})")
    if error.error_count() > _MOST_NAMED:
        parts.append(f"and {error.error_count() - _MOST_NAMED} more")
    return "These settings cannot be used: " + "; ".join(parts) + "."


_MOST_NAMED = 8


def _got(value: Any) -> str:
    """A value that was given, as a person recognises it."""
    if isinstance(value, dict | list | tuple) and len(value) > _MOST_NAMED:
        return f"{len(value)} values"
    try:
        return short(repr(value))
    except (RecursionError, ValueError):  # too deep, or a number of thousands of digits
        return f"a value of type {type(value).__name__}"


def short(text: str, most: int = 80) -> str:
    """One line of what was given, however long it was."""
    line = " ".join(text.split()) or text.strip()
    return line if len(line) <= most else f"{line[:most]}…"


# --- presets ------------------------------------------------------------------

# Changes to a config's defaults by the same names on the pages and on the command line.
# "paper" is the protocol of the publication; the others cost less and reach less.
TRAIN_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"recipe": RECIPES["paper-baseline"]},
    "standard": {"recipe": RECIPES["paper-baseline"].model_copy(update={"epochs": 40})},
    "quick": {"recipe": RECIPES["quick-baseline"]},
}
PRUNE_PRESETS: dict[str, dict[str, Any]] = {
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


def preset(kind: Literal["train", "prune"], name: str) -> dict[str, Any]:
    """Settings of one preset, or a sentence with the names that exist."""
    presets = TRAIN_PRESETS if kind == "train" else PRUNE_PRESETS
    if name not in presets:
        raise ConfigError(f"There is no preset '{name}'; known: {', '.join(presets)}.")
    return presets[name]
