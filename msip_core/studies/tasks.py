"""From a plan to its runs: which config each row and seed stands for.

baseline          trained once, or only measured where the plan brings one
more-epochs       the baseline, trained on for all fine-tuning epochs together
smaller-model     the next smaller model, trained for the whole budget
smaller-image     the baseline, tuned as long at the image size that costs as many MACs
int8              the baseline, quantised: nothing is trained
random, and rows  pruned from the baseline
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

from msip_core.config import PruneConfig, TrainConfig
from msip_core.messages import msg
from msip_core.recipes import RECIPES, TrainingRecipe
from msip_core.studies.plan import BASELINE, HONEST, RANDOM, StudyPlan

_MEASURED_ONLY = TrainingRecipe(epochs=0)


@dataclass(frozen=True, slots=True)
class Task:
    """One run of a study.

    Attributes:
        row, seed: what it is for; `key` is both in one word.
    """

    row: str
    seed: int

    @property
    def key(self) -> str:
        return f"{self.row}-s{self.seed}"


def tasks(plan: StudyPlan) -> list[Task]:
    """All runs of the plan: the baseline first, then seed by seed, so that early tables are whole.

    Baseline and int8 come once: nothing in them depends on a seed.
    """
    found, first = [Task(BASELINE, plan.seeds[0])], plan.seeds[0]
    every = dict.fromkeys(seed for key in plan.repeatable for seed in plan.seeds_of(key))
    for seed in every or (first,):
        for row in (*plan.honest, *(row.key for row in plan.rows)):
            if seed == first if row == "int8" else seed in plan.seeds_of(row):
                found.append(Task(row, seed))
    return found


def labels(plan: StudyPlan) -> dict[str, str]:
    """Row key -> what the table calls it, in the order of the table."""
    rows = {row.key: row.label for row in plan.rows}
    return {BASELINE: msg("unpruned baseline"), **{key: HONEST[key] for key in plan.honest}, **rows}


def run_id(study_id: str, task: Task) -> str:
    """The run of a task: the same whenever it is asked for, so that nothing is done twice."""
    name = f"{study_id}-{task.key}"
    if len(name) <= 56:  # a model's id puts "pruned-" before it
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[:47]}-{digest}"


def config_of(plan: StudyPlan, task: Task, baseline: str | None) -> TrainConfig | PruneConfig:
    """The run's settings.

    Args:
        baseline: model of the finished baseline; the baseline itself needs none.

    Raises:
        ConfigError: the row's settings do not go together.
    """
    if task.row == BASELINE:
        return _baseline(plan)
    if baseline is None:
        raise ValueError(msg("Every row but the baseline starts from it."))
    measure = plan.measure.model_copy(update={"beside": baseline, "beside_imgsz": plan.imgsz})
    if task.row in HONEST and task.row != "random":
        settings = _honest(plan, task.row, baseline)
        if task.row == "int8":
            measure = measure.model_copy(update={"int8": True})
        label = labels(plan)[task.row]
        shared = plan.shared(task.seed) | {"name": f"{plan.name}: {label}, seed {task.seed}"}
        return TrainConfig.model_validate({**shared, **settings, "measure": measure})
    row = next(row for row in (*plan.rows, RANDOM) if row.key == task.row)
    config = plan.pruning(row, model=baseline, seed=task.seed)
    return config.model_copy(update={"measure": measure})


def _baseline(plan: StudyPlan) -> TrainConfig:
    asked, shared = plan.baseline, plan.shared(plan.seeds[0]) | {"name": f"{plan.name}: baseline"}
    if asked.model is not None:
        trained = {"weights": asked.model, "recipe": _MEASURED_ONLY}
    else:
        trained = {key: getattr(asked, key) for key in ("weights", "recipe", "pretrain")}
    return TrainConfig.model_validate({**shared, **trained, "measure": plan.measure})


def _honest(plan: StudyPlan, row: str, baseline: str) -> dict[str, object]:
    """What an honest row trains from, and by which schedule."""
    whole = one_schedule(plan)
    match row:
        case "more-epochs":
            return {"weights": baseline, "recipe": whole}
        case "smaller-model":
            return {"weights": plan.smaller, "recipe": _smaller_recipe(plan)}
        case "smaller-image":
            return {"weights": baseline, "recipe": whole, "imgsz": equal_size(plan)}
        case _:
            return {"weights": baseline, "recipe": _MEASURED_ONLY}


def one_schedule(plan: StudyPlan) -> TrainingRecipe:
    """All fine-tuning epochs of a pruning run as one schedule, its preparation included."""
    config = plan.pruning(RANDOM, model=BASELINE, seed=plan.seeds[0])
    before = config.preparation.epochs if config.preparation else 0
    epochs = before + config.finetune_epochs
    return config.finetune.model_copy(update={"epochs": epochs})


def _smaller_recipe(plan: StudyPlan) -> TrainingRecipe:
    """The baseline's recipe, for its epochs and the fine-tuning's together."""
    trained = plan.baseline.recipe if plan.baseline.model is None else RECIPES["paper-baseline"]
    own = 0 if plan.baseline.model else plan.baseline.epochs
    epochs = plan.smaller_epochs or own + one_schedule(plan).epochs
    return trained.model_copy(update={"epochs": epochs})


def equal_size(plan: StudyPlan) -> int:
    """Image side whose square holds the kept share of the pixels: MACs go with them.

    The multiple of 32 whose MACs differ from the goal by the smallest factor, at least 32. It may
    cost more than the goal, in favour of the row that MSIP has to beat.
    """
    keep = plan.pruning(RANDOM, model=BASELINE, seed=plan.seeds[0]).keep_macs
    exact = plan.imgsz * math.sqrt(keep) / 32
    low = max(1, math.floor(exact))
    return 32 * (low + 1 if exact**2 > low * (low + 1) else low)


def epochs_of(plan: StudyPlan) -> Iterator[tuple[Task, int]]:
    """Each run and how many epochs it trains: what the work of a study is weighed by."""
    pruning = one_schedule(plan).epochs
    for task in tasks(plan):
        if task.row == BASELINE:
            yield task, 0 if plan.baseline.model else plan.baseline.epochs
        elif task.row == "smaller-model":
            yield task, _smaller_recipe(plan).epochs
        else:
            yield task, 0 if task.row == "int8" else pruning
