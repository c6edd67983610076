"""What a run that counts left in its folder, and what of it is there while it runs."""

from __future__ import annotations

from pathlib import Path

from msip_core.config import AnyRun, CountConfig, parse_run_config
from msip_core.documents import read_object, read_record
from msip_core.errors import NotFoundError, WorkError
from msip_core.events import Record, RunContext
from msip_core.messages import Telling, Words
from msip_core.plates import journal
from msip_core.plates.plan import CountPlan
from msip_core.plates.rows import Counting, Role
from msip_core.workspace import write_json

FACTS_FILE, PLAN_FILE = "count.json", "plan.json"
SHEET = "sample_sheet"  # with the suffix of the file that was given


class ModelFacts(Record):
    """One model of a count: what settings and people call it, and its classes.

    Attributes:
        sizes_known: how large objects were when it learned; else it cannot be said where those of
            a picture are others.
    """

    model: str
    name: str
    classes: tuple[str, ...]
    imgsz: int
    sizes_known: bool = True


class Facts(Record, Telling):
    """What holds for the whole count.

    Attributes:
        wells: what was taken for wells, in a sentence.
        total: pictures of the source.
    """

    source: str
    wells: Words
    total: int
    models: dict[Role, ModelFacts]


def write_facts(run_dir: Path, facts: Facts) -> None:
    write_json(run_dir / FACTS_FILE, facts.model_dump(mode="json"))


def read_facts(run_dir: Path) -> Facts:
    """Raises NotFoundError where the count has not begun, InputError where its file is damaged."""
    if (facts := read_record(run_dir / FACTS_FILE, Facts)) is None:
        raise NotFoundError(
            "The count {name} has counted nothing yet: wait for it.", name=run_dir.name
        )
    return facts


def read_plan(run_dir: Path) -> CountPlan | None:
    """The pictures of the count, with what was left out of it; None before they are known."""
    return read_record(run_dir / PLAN_FILE, CountPlan)


def read_config(run_dir: Path) -> CountConfig:
    """The settings of a count. Raises NotFoundError where the run is none."""
    config = read_any_config(run_dir)
    if not isinstance(config, CountConfig):
        raise NotFoundError(
            "{name} is no count: 'runs list' says what each run is.", name=run_dir.name
        )
    return config


def read_any_config(run_dir: Path) -> AnyRun:
    """The settings of a run of any kind. Raises NotFoundError where there is none."""
    path = run_dir / "config.json"
    if not path.is_file():
        raise NotFoundError(
            "There is no run '{name}': see 'runs list' for what is there.", name=run_dir.name
        )
    return parse_run_config(read_object(path))


def roles(run_dir: Path) -> tuple[Role, ...]:
    """The models of a count, the one it is about first."""
    return tuple(read_facts(run_dir).models)


def read(run_dir: Path, role: Role = "model") -> Counting:
    """Everything that one model of a count has counted so far.

    Raises:
        NotFoundError: it has not begun, or has no such model.
        WorkError: its files are damaged.
    """
    facts = read_facts(run_dir)
    if role not in facts.models:
        raise NotFoundError(
            "The count {name} has no {role}: it was made with one model.",
            name=run_dir.name,
            role=role,
        )
    model = facts.models[role]
    try:
        images = journal.image_rows(run_dir, role)
        objects = list(journal.object_rows(run_dir, role, images))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WorkError(
            "Rows of the count {name} are damaged: count again.", name=run_dir.name
        ) from error
    return Counting(
        objects=objects,
        images=images,
        classes=model.classes,
        sizes_known=model.sizes_known,
        um_per_px_known=all(i.um_per_px is not None for i in images if i.state != "failed"),
        model=model.model,
        name=model.name,
        source=facts.source,
        wells_taken=facts.wells,
        done=len(images) == facts.total,
        total=facts.total,
        role=role,
    )


def check(ctx: RunContext) -> None:
    """Every picture has a row of every model, and every count its objects.

    Raises:
        WorkError: something is missing.
    """
    facts = read_facts(ctx.run_dir)
    for role in facts.models:
        images = journal.image_rows(ctx.run_dir, role)
        wanted = sum(sum(image.counts.values()) for image in images)
        found = sum(1 for _ in journal.object_rows(ctx.run_dir, role, images))
        if len(images) != facts.total or found != wanted:
            raise WorkError(
                "The files of this count are not whole ({n} of {total} images, "
                "{found} of {wanted} objects): resume it, which counts what is missing.",
                n=len(images),
                total=facts.total,
                found=found,
                wanted=wanted,
            )
