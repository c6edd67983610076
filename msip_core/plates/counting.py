"""The work of a count: every picture of a source shown to one model, or to two side by side."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch

from msip_core.boxes import Detection
from msip_core.config import CountConfig, ImageRecipe
from msip_core.data.object_sizes import SeenImage
from msip_core.data.regions import Field
from msip_core.detector.devices import resolve_device
from msip_core.detector.prediction import Predictor, one_class_each
from msip_core.detector.sources import load_source_model
from msip_core.detector.tiles import TileChoice, in_tiles
from msip_core.errors import DatasetError
from msip_core.events import (
    CountedRecord,
    MilestoneRecord,
    ProgressRecord,
    RunContext,
    Stage,
    StageRecord,
)
from msip_core.messages import msg
from msip_core.plates import folder
from msip_core.plates.folder import PLAN_FILE, SHEET, Facts, ModelFacts, write_facts
from msip_core.plates.journal import Journal, image_rows
from msip_core.plates.making import Found, failed_row, image_row, object_rows
from msip_core.plates.pictures import source_of
from msip_core.plates.plan import CountPlan, plan_count
from msip_core.plates.reading import Numbered, TakenPicture, reading_ahead
from msip_core.plates.rows import ImageRow, ObjectRow, Role
from msip_core.questions.sources import model_named
from msip_core.workspace import Workspace, write_text

_AHEAD = "ahead"  # below the run's folder: pictures that were read and not seen yet
_RECENT, _FEWEST = 30.0, 8  # seconds, and steps at least, that say how long the rest takes
_ROUNDS = 2  # of a picture for each thread, between two looks at whether to stop
_NAMED = 10  # files that could not be read, in the diary; the table has all


def run(config: CountConfig, ctx: RunContext) -> None:
    """Count, or go on where counting stopped.

    Raises:
        Stopped: a person asked for it; what is counted is kept.
        MsipError: the run failed; the message says what to do.
    """
    ctx.emit(StageRecord(stage=Stage.LOOKING))
    plan = _plan(config, ctx)
    with _device(config) as device:
        looks = _looks(config, ctx.workspace, device)
        _begin(config, ctx, plan, looks)
        ctx.emit(StageRecord(stage=Stage.COUNTING))
        clock = _count(config, ctx, plan, looks, device)
    for role, look in looks.items():
        _tell(look, role, ctx, clock)


@dataclass(frozen=True)
class _Look:
    """One model, ready to look at pictures that were scaled by its recipe; None for those of a
    dataset, which were scaled when they came in."""

    facts: ModelFacts
    predictor: Predictor
    choice: TileChoice
    recipe: ImageRecipe | None


Looks = dict[Role, _Look]


class _Device(NamedTuple):
    """Where the models look.

    Attributes:
        together: pictures that it looks at in the same time.
        batch: those of them whose results may hang on each other in the last digits.
    """

    name: str
    together: int
    batch: int

    @property
    def group(self) -> int:
        """Pictures that are taken at a time: several rounds where nothing hangs on it."""
        return self.batch if self.batch > 1 else _ROUNDS * self.together


# --- before --------------------------------------------------------------------


def _plan(config: CountConfig, ctx: RunContext) -> CountPlan:
    """Made once: a run that goes on counts the same pictures in the same order."""
    known = folder.read_plan(ctx.run_dir)
    if known is not None:
        return known
    unpacked = ctx.run_dir / _AHEAD
    unpacked.mkdir(parents=True, exist_ok=True)
    plan = plan_count(ctx.workspace, config, unpacked)
    write_text(ctx.run_dir / PLAN_FILE, plan.model_dump_json())
    for sentence in (plan.wells, *plan.notes):
        ctx.emit(MilestoneRecord(message=sentence))
    if plan.left_out:
        first = plan.left_out[0]
        ctx.emit(
            MilestoneRecord(
                message=msg(
                    "Files that are not counted: {n} (the first is {file}: {what}).",
                    n=len(plan.left_out),
                    file=first.file,
                    what=first.what,
                )
            )
        )
    return plan


@contextmanager
def _device(config: CountConfig) -> Iterator[_Device]:
    """The device, and how many pictures it takes together. On a processor each thread of torch has
    a picture of its own: faster, and what is found does not depend on how many threads there are.
    """
    name = resolve_device(config.device)
    if name != "cpu":
        together = max(1, config.batch // config.parts)
        yield _Device(name, together, together)
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield _Device(name, threads, 1)
    finally:
        torch.set_num_threads(threads)


def _looks(config: CountConfig, workspace: Workspace, device: _Device) -> Looks:
    """The models, each at the size that it was trained for unless one is asked for."""
    wanted: dict[Role, str | None] = {"model": config.model, "baseline": config.baseline}
    looks: Looks = {}
    for role, name in wanted.items():
        if name is None:
            continue
        model, facts = load_source_model(workspace, model_named(name))
        imgsz = config.imgsz or facts.imgsz
        looks[role] = _Look(
            facts=ModelFacts(
                model=name,
                name=facts.name,
                classes=facts.classes,
                imgsz=imgsz,
                sizes_known=facts.trained is not None,
            ),
            predictor=Predictor(model, imgsz=imgsz, device=device.name, together=device.together),
            choice=TileChoice.of(
                str(config.tiles), config.tile_overlap, facts.trained, facts.imgsz
            ),
            recipe=None if config.source is None else facts.recipe,
        )
    return looks


def _begin(config: CountConfig, ctx: RunContext, plan: CountPlan, looks: Looks) -> None:
    """Write down what holds for the whole count, beside what was asked for."""
    models = {role: look.facts for role, look in looks.items()}
    source = str(config.source or config.dataset)
    write_facts(
        ctx.run_dir, Facts(source=source, wells=plan.wells, total=len(plan.items), models=models)
    )
    # One that was given later stays.
    if config.sample_sheet is not None and not any(ctx.run_dir.glob(f"{SHEET}.*")):
        shutil.copyfile(
            config.sample_sheet, ctx.run_dir / f"{SHEET}{config.sample_sheet.suffix.lower()}"
        )


# --- counting ------------------------------------------------------------------


def _count(
    config: CountConfig, ctx: RunContext, plan: CountPlan, looks: Looks, device: _Device
) -> _Clock:
    """Count what is not counted yet; the clock of it."""
    journal = Journal(ctx.run_dir, list(looks), together=device.batch)
    todo = list(enumerate(plan.items))[journal.counted :]
    recipes = list(dict.fromkeys(look.recipe for look in looks.values()))
    source = source_of(ctx.workspace, config, recipes)
    clock = _Clock(len(plan.items), journal.counted)
    shown = {row.digest: row.image for row in reversed(image_rows(ctx.run_dir, next(iter(looks))))}
    place = ctx.run_dir / _AHEAD
    with reading_ahead(source, todo, place, ctx.check_stop, at_once=device.group) as ahead:
        try:
            for start in range(0, len(todo), device.group):
                for taken in ahead.take_together(todo[start : start + device.group]):
                    group = _Group(config, ctx, taken, recipes)
                    group.compare(shown)
                    for role, look in looks.items():
                        for image, objects in group.seen_by(look):
                            journal.append(role, image, objects)
                    for number, _ in group.items:
                        ahead.done(number)
                    journal.commit_if_due()
                    ctx.emit(clock.record(len(group.items)))
        finally:
            journal.commit()
    clock.stop()
    return clock


class _Group:
    """Pictures that go through the device together."""

    def __init__(
        self,
        config: CountConfig,
        ctx: RunContext,
        taken: Sequence[tuple[Numbered, TakenPicture]],
        recipes: Sequence[ImageRecipe | None],
    ) -> None:
        self.items = [item for item, _ in taken]
        self._config, self._ctx, self._recipes = config, ctx, recipes
        self._taken = [picture for _, picture in taken]
        self._same: dict[str, str] = {}

    def seen_by(self, look: _Look) -> list[tuple[ImageRow, list[ObjectRow]]]:
        """Rows of every picture, in order, as one model sees them."""
        at = self._recipes.index(look.recipe)
        shown = [
            _Shown(fields[at], self._config.pixel_size_um or read.um_per_px, look)
            for read, fields in self._taken
            if read.problem is None
        ]
        self._find(look, shown)
        left = iter(shown)
        rows: list[tuple[ImageRow, list[ObjectRow]]] = []
        for (_, item), (read, _) in zip(self.items, self._taken, strict=True):
            if read.problem is not None:
                rows.append((failed_row(item, read.problem), []))
                continue
            one, classes = next(left), look.facts.classes
            boxes = one.found
            if self._config.one_class:
                boxes = one_class_each(boxes, self._config.iou)
            same = self._same.get(item.name, "")
            found = Found(boxes, one.um_per_px, classes, one.tiles, one.warning, same)
            rows.append((image_row(item, read, found), object_rows(item, read, found)))
        return rows

    def compare(self, shown: dict[str, str]) -> None:
        """Find pictures that were shown before.

        Args:
            shown: digest -> the first image that has it; filled with those of this group.
        """
        for (_, item), (read, _) in zip(self.items, self._taken, strict=True):
            if read.problem is None:
                first = shown.setdefault(read.digest, item.name)
                if first != item.name:
                    self._same[item.name] = first

    def _find(self, look: _Look, shown: Sequence[_Shown]) -> None:
        limits = {"conf": self._config.conf, "iou": self._config.iou}
        whole = [one for one in shown if one.tiling is None]
        pixels = [one.field.pixels for one in whole]
        for one, found in zip(whole, look.predictor.several(pixels, **limits), strict=True):
            one.found = found
        for one in shown:
            if one.tiling is not None:
                one.found = in_tiles(
                    one.field,
                    one.tiling,
                    look.predictor,
                    **limits,
                    tick=lambda _: self._ctx.check_stop(),
                )
        self._ctx.check_stop()


class _Shown:
    """A picture on its way through one model."""

    def __init__(self, field: Field, um_per_px: float | None, look: _Look) -> None:
        self.field, self.um_per_px, self._look = field, um_per_px, look
        self._seen = SeenImage(field.width, field.height, look.predictor.imgsz, um_per_px)
        self.tiling = look.choice.tiling(self._seen)
        self.found: list[Detection] = []

    @property
    def tiles(self) -> str:
        return self.tiling.words(self.field.width, self.field.height) if self.tiling else ""

    @property
    def warning(self) -> str:
        return self._look.choice.warning(self._seen, self.tiling, self.found) or ""


class _Clock:
    """How far the count is, and how long the rest takes at the pace of the last half a minute: what
    others do on the computer now counts, and what they did before does not."""

    def __init__(self, total: int, before: int) -> None:
        self._total, self._done = total, before
        self.seconds = self.processor_seconds = 0.0
        self._start, self._worked = time.monotonic(), _worked()
        self._recent = deque([(self._start, before)])

    def stop(self) -> None:
        """Behind the last picture, when readers have ended."""
        self.seconds = time.monotonic() - self._start
        self.processor_seconds = _worked() - self._worked

    def record(self, more: int) -> ProgressRecord:
        self._done += more
        now = time.monotonic()
        while len(self._recent) > _FEWEST and now - self._recent[1][0] >= _RECENT:
            self._recent.popleft()
        then, done = self._recent[0]
        self._recent.append((now, self._done))
        return ProgressRecord(
            done=self._done / self._total,
            seconds_left=(now - then) / (self._done - done) * (self._total - self._done),
            message=msg("{done} of {total} images", done=self._done, total=self._total),
        )


def _worked() -> float:
    """Processor seconds of this process and of those of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


# --- afterwards ----------------------------------------------------------------


def _tell(look: _Look, role: Role, ctx: RunContext, clock: _Clock) -> None:
    """What this model found, in numbers.

    Raises:
        DatasetError: not one picture could be read.
    """
    images = image_rows(ctx.run_dir, role)
    failed = [image for image in images if image.state == "failed"]
    if len(failed) == len(images):
        first = failed[0]
        raise DatasetError(
            "No image could be read (the first, {image}: {reason}).",
            image=first.image,
            reason=first.reason,
        )
    counts: Counter[str] = Counter()
    for image in images:
        counts.update(image.counts)
    ctx.emit(
        CountedRecord(
            role=role,
            model=look.facts.model,
            images=len(images) - len(failed),
            empty=sum(image.state == "empty" for image in images),
            failed=len(failed),
            counts={name: counts[name] for name in look.facts.classes},
            seconds=round(clock.seconds, 3),
            processor_seconds=round(clock.processor_seconds, 3),
        )
    )
    for image in failed[:_NAMED]:
        why = msg("{image}: {why}", image=image.image, why=image.reason)
        ctx.emit(MilestoneRecord(message=why, level="warning"))
    if len(failed) > _NAMED:
        more = msg(
            "And {n} more images could not be read: the table names them.", n=len(failed) - _NAMED
        )
        ctx.emit(MilestoneRecord(message=more, level="warning"))
