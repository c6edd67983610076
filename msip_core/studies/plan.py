"""The plan of a study: one protocol, many models, some seeds. YAML, checked before anything starts.

    name: Table 3-1, small
    dataset: organoids
    imgsz: 256
    seeds: [0, 1, 2]
    more_seeds: {msip: [3, 4]}                                   # beyond those of all rows
    baseline: {weights: yolov8s.yaml, recipe: {epochs: 40}}      # or {model: ID}
    smaller: yolov8n.yaml
    budget: {keep_macs: 0.335, iterations: 4, finetune: {epochs: 2}}
    rows:
      - {key: l2, label: L2 norm, settings: {method: l2}}
      - {key: msip, label: MSIP, settings: {method: msip}}

Every row gets the same baseline, data, image size, iterations and epochs; `settings` are those of a
pruning run and change nothing but the row. The rows that published tables leave out (`honest`) are
always there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from msip_core.bounded import UnreadableError, load_yaml, read_text_file
from msip_core.combinations import check_combination
from msip_core.config import MAX_SEED, Loader, Precision, PruneConfig, Word
from msip_core.errors import ConfigError
from msip_core.measures import MeasureOptions
from msip_core.messages import mark, msg
from msip_core.recipes import RECIPES, Frozen, TrainingRecipe
from msip_core.wrong_settings import explain

# A run takes minutes at least: a thousand of them are a week. More is a typing error.
MAX_RUNS = 1000
_KEY = r"^[a-z0-9][a-z0-9-]{0,29}$"
BASELINE = "baseline"
HonestRow = Literal["more-epochs", "smaller-model", "smaller-image", "int8", "random"]
HONEST: dict[HonestRow, str] = {
    "more-epochs": mark("unpruned, fine-tuned for as many more epochs"),
    "smaller-model": mark("next smaller model, whole budget"),
    "smaller-image": mark("unpruned, smaller images of equal MACs"),
    "int8": mark("unpruned, quantised to int8"),
    "random": mark("random channels"),
}
# What one row may not change: it would no longer be the same protocol.
_SHARED = (
    "dataset", "model", "imgsz", "batch", "parts", "device", "seed", "workers", "precision",
    "loader", "name", "measure",
)  # fmt: skip


class Row(Frozen):
    """One method of the table.

    Attributes:
        key: short name, also in file names.
        settings: of the pruning run, beside the shared budget.
        differs: in words, where a row leaves the shared budget on purpose (an ablation).
    """

    key: str = Field(pattern=_KEY)
    label: Word
    settings: dict[str, object] = {}
    differs: Word = ""


class BaselinePlan(Frozen):
    """The unpruned model: one of the workspace (`model`), or trained first.

    Attributes:
        pretrained: whether the workspace's model started from pretrained weights; None where that
            is not known.
    """

    model: Word | None = None
    weights: Word = "yolov8s.yaml"
    recipe: TrainingRecipe = RECIPES["quick-baseline"]
    pretrain: TrainingRecipe | None = None
    pretrained: bool | None = None

    @property
    def starts_pretrained(self) -> bool | None:
        """Whether its training began from pretrained weights; None where that is not known."""
        return self.pretrained if self.model is not None else is_pretrained(self.weights)

    @property
    def epochs(self) -> int:
        """Of its training, all schedules together."""
        return self.recipe.epochs + (self.pretrain.epochs if self.pretrain else 0)


class StudyPlan(Frozen):
    """A whole study.

    Attributes:
        preset, size: where the plan came from.
        dataset_version: of the dataset's labels, the same for all runs; a study that is created
            takes the newest.
        seeds: of every row; `more_seeds`: row key -> further seeds of that row alone, so that what
            a verdict hangs on can be repeated more often than the rest.
        smaller: weights of the next smaller model; it is trained for the whole budget.
        smaller_epochs: that budget; None takes the baseline's epochs and the fine-tuning's.
        budget: settings of all pruning rows (keep_macs, iterations, finetune, calibration, ...).
        honest: rows that published tables leave out.
        measure: beside accuracy and time: other datasets, noise, attention, SHAP.
        published: name of a published table whose numbers stand beside ours.
    """

    name: Word
    preset: Word = ""
    size: Word = ""
    dataset: Word
    dataset_version: int | None = Field(default=None, ge=1)
    imgsz: int = Field(default=640, ge=32, le=4096, multiple_of=32)
    batch: int = Field(default=16, ge=1)
    device: Word = "auto"
    workers: int | None = Field(default=None, ge=0, le=64)
    precision: Precision = "auto"
    loader: Loader = "auto"
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, max_length=MAX_RUNS)
    more_seeds: dict[str, tuple[int, ...]] = {}
    baseline: BaselinePlan = BaselinePlan()
    smaller: Word = "yolov8n.yaml"
    smaller_epochs: int | None = Field(default=None, ge=1)
    budget: dict[str, object] = {}
    rows: tuple[Row, ...] = Field(min_length=1, max_length=MAX_RUNS)
    honest: tuple[HonestRow, ...] = tuple(HONEST)
    measure: MeasureOptions = MeasureOptions()
    published: Word = ""

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) > MAX_SEED:
            raise ValueError(
                msg("each seed stands once and lies between 0 and {most}", most=MAX_SEED)
            )
        return seeds

    @model_validator(mode="after")
    def _more_seeds_are_of_its_rows(self) -> StudyPlan:
        for key, more in self.more_seeds.items():
            if key not in self.repeatable:
                known = ", ".join(self.repeatable)
                raise ValueError(
                    msg(
                        "no row '{key}' can be repeated: the rows are {known}", key=key, known=known
                    )
                )
            self._each_once((*self.seeds, *more))
        return self

    @model_validator(mode="after")
    def _can_be_run(self) -> StudyPlan:
        rows = len(self.rows) + len(self.honest) + 1
        runs = rows * len(self.seeds) + sum(map(len, self.more_seeds.values()))
        if runs > MAX_RUNS:
            raise ValueError(
                msg(
                    "{rows} rows with {n} seeds and more are {runs} runs, and "
                    "a study has up to {most}: take fewer rows or seeds",
                    rows=rows,
                    n=len(self.seeds),
                    runs=runs,
                    most=MAX_RUNS,
                )
            )
        return self

    @model_validator(mode="after")
    def _rows_differ_in_key(self) -> StudyPlan:
        keys = [BASELINE, *self.honest, *(row.key for row in self.rows)]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(msg("two rows are called {twice}", twice=", ".join(twice)))
        return self

    @model_validator(mode="after")
    def _rows_keep_the_protocol(self) -> StudyPlan:
        for name in _SHARED:
            if name in self.budget:
                raise ValueError(
                    msg("'{name}' stands in the plan itself, not in its budget", name=name)
                )
            for row in self.rows:
                if name in row.settings:
                    raise ValueError(
                        msg(
                            "row '{key}' changes '{name}', which all rows share",
                            key=row.key,
                            name=name,
                        )
                    )
        return self

    @property
    def repeatable(self) -> tuple[str, ...]:
        """Keys of the rows in which a seed changes something: all but baseline and int8."""
        return (*(key for key in self.honest if key != "int8"), *(row.key for row in self.rows))

    def seeds_of(self, key: str) -> tuple[int, ...]:
        """Every seed of one row: those of all rows, then its own."""
        return (*self.seeds, *self.more_seeds.get(key, ()))

    @property
    def smaller_differs(self) -> str:
        """How the next smaller model starts, where the baseline started otherwise; else ""."""
        baseline, own = self.baseline.starts_pretrained, is_pretrained(self.smaller)
        if baseline is None:
            start = msg("from pretrained weights") if own else msg("from scratch")
            return msg("{start}; how the baseline started is not known", start=start)
        if own == baseline:
            return ""
        if baseline:
            return msg("from scratch, while the baseline started from pretrained weights")
        return msg("from pretrained weights, while the baseline started from scratch")

    def pruning(self, row: Row, *, model: str, seed: int) -> PruneConfig:
        """The pruning run of one row and seed.

        Raises:
            ConfigError: settings that no run can have, or that do not go together.
        """
        try:
            config = PruneConfig.model_validate(
                {
                    **self.shared(seed),
                    "max_map50_drop": None,
                    **self.budget,
                    **row.settings,
                    "model": model,
                    "name": f"{self.name}: {row.label}, seed {seed}",
                }
            )
        except ValidationError as error:
            raise ConfigError("Row '{key}': {why}", key=row.key, why=explain(error)) from error
        check_combination(config)
        return config

    def shared(self, seed: int) -> dict[str, object]:
        """What every run of the study has in common."""
        return {
            "dataset": self.dataset, "dataset_version": self.dataset_version,
            "imgsz": self.imgsz,
            "batch": self.batch, "device": self.device, "workers": self.workers,
            "precision": self.precision, "loader": self.loader, "seed": seed,
        }  # fmt: skip

    def check(self) -> None:
        """Raise ConfigError unless every row can be started."""
        for row in (*self.rows, RANDOM):
            self.pruning(row, model=BASELINE, seed=self.seeds[0])


def is_pretrained(weights: str) -> bool:
    """Whether these weights were trained before; a description (yaml) starts from scratch."""
    return not weights.endswith((".yaml", ".yml"))


RANDOM = Row(key="random", label=HONEST["random"], settings={"method": "random"})


def read_plan(path: Path) -> StudyPlan:
    """The plan in a YAML file, checked.

    Raises:
        ConfigError: it cannot be read, or asks for something that cannot be done.
    """
    try:
        value = load_yaml(read_text_file(path))
    except UnreadableError as error:
        raise ConfigError(
            "The plan {path} cannot be read: {error}.", path=path, error=error
        ) from error
    if not isinstance(value, dict):
        raise ConfigError(
            "The plan {path} holds no settings: begin with 'name:' and 'dataset:'.", path=path
        )
    return parse_plan(value, str(path))


def parse_plan(value: Mapping[str, object], source: str = "plan") -> StudyPlan:
    """A checked plan from plain values."""
    try:
        plan = StudyPlan.model_validate(value)
    except ValidationError as error:
        raise ConfigError("{source}: {what}", source=source, what=explain(error)) from error
    plan.check()
    return plan


def write_plan(plan: StudyPlan) -> str:
    """The plan as YAML, in the order of its fields."""
    text: str = yaml.safe_dump(
        plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
    )
    return text
