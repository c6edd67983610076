"""Everything that could stop a run, said beside Start: before it, never after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from msip_core.config import PruneConfig
from msip_core.data.dataset import DatasetSummary
from msip_core.errors import DatasetError, InputError
from msip_core.language import t, tn, told
from msip_core.markdown import md
from msip_core.models import ModelCard
from msip_core.questions.planning import PlannedCut
from msip_core.runs.slots import compete, is_gpu, slot_of
from msip_core.runs.state import ALIVE
from msip_core.runs.store import RunRow
from msip_core.settings import get_settings
from msip_core.views import wording
from pages.kit.classes import knows_the_classes, plain_names
from pages.kit.lab import dataset as open_dataset
from pages.kit.lab import lab
from pages.kit.machine import Machine
from pages.new_run.preview import largest_batch, memory_gb


def link_refusal(
    cards: Sequence[ModelCard], sets: Sequence[DatasetSummary]
) -> InputError | DatasetError | None:
    """Why a model or dataset that the address names is here, but not in the menus: it was pruned,
    or is not ready. It is taken out of the address, so that the menus choose."""
    model, name = st.query_params.get("model"), st.query_params.get("dataset")
    card = next((card for card in cards if card.id == model and card.kind == "pruned"), None)
    if card is not None:
        st.query_params.pop("model")
        return InputError(
            "'{name}' is lighter already: choose what it was made from ({baseline}), and a lower "
            "goal.",
            name=card.name,
            baseline=next((c.name for c in cards if c.id == card.pruned_from), card.pruned_from),
        )
    found = next((one for one in sets if one.name == name and not one.ready), None)
    if found is not None:
        st.query_params.pop("dataset")
        return DatasetError(
            "Dataset '{name}' cannot be used yet. {missing}",
            name=found.words,
            missing=found.missing,
        )
    return None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a click would change: button text, widget key, new value."""

    text: str
    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the run cannot start, and what would help: a change, or a page to go to."""

    sentence: str
    offer: Offer | None = None
    page: tuple[str, str] | None = None


def class_refusal(model: ModelCard, data: DatasetSummary) -> Refusal | None:
    """Detector and images must know the same classes, in the same order (case apart)."""
    if knows_the_classes(model, data):
        return None
    own, there = plain_names(model.classes), plain_names(data.classes)
    page = ("pages/models/page.py", t("Train a baseline on these images"))
    missing = [name for name in model.classes if name.strip().lower() not in there]
    if missing and set(there) < set(own):
        return Refusal(
            t(
                "The images have no box of {classes}, which the detector knows: whether it still "
                "finds them could not be checked.",
                classes=", ".join(missing),
            ),
            page=page,
        )
    return Refusal(
        t(
            "The detector knows {own}; the images have {there}, so its answers could not be "
            "checked. Choose the dataset that it was trained on.",
            own=", ".join(model.classes),
            there=", ".join(data.classes) or t("no classes"),
        ),
        page=page,
    )


def unchecked_classes(data: DatasetSummary) -> tuple[str, ...]:
    """Classes without any box in the val part: their accuracy would not be measured."""
    seen = {name for record in open_dataset(data.name).split("val") for name in record.counts}
    return tuple(name for name in data.classes if name not in seen)


def size_refusal(imgsz: int) -> Refusal | None:
    """The network halves an image five times."""
    if imgsz % 32 == 0:
        return None
    near = max(32, round(imgsz / 32) * 32)
    return Refusal(
        t(
            "Images of {px} px cannot be used: the side must be a multiple of 32 px. {near} px is "
            "the nearest.",
            px=imgsz,
            near=near,
        )
    )


def goal_refusal(found: PlannedCut) -> Refusal | None:
    """The caps of the layers end above the goal."""
    if not found.refused:
        return None
    least = min(95, math.ceil(100 * found.least))
    return Refusal(
        told(found.refused), Offer(t("Keep {share} % instead", share=least), "new:keep", least)
    )


def memory_refusal(
    config: PruneConfig, found: PlannedCut, machine: Machine, *, waits: bool
) -> Refusal | None:
    """Batch against memory. A run that waits for another gets that one's memory too."""
    room = machine.room(slot_of(config.device))
    if room is None:
        return None
    free = room[1] if waits else room[0]
    needed = memory_gb(found, config.batch)
    if needed <= free:
        return None
    text = t(
        "{batch} images at a time do not fit: they need {needed} GB of memory, {free} GB are free.",
        batch=config.batch,
        needed=f"{needed:.1f}",
        free=f"{free:.1f}",
    )
    smaller = largest_batch(found, free)
    if smaller is None or smaller >= config.batch:
        return Refusal(text + " " + t("Choose a smaller image size."))
    return Refusal(text, Offer(t("Take {n} at a time", n=smaller), "new:batch", smaller))


def disk_refusal(found: PlannedCut, machine: Machine) -> Refusal | None:
    """What the run keeps, and the room that must be left for everybody."""
    spare = get_settings().min_free_disk_gb
    needed = found.disk_gb + spare
    if needed <= machine.disk_free_gb:
        return None
    return Refusal(
        t(
            "Too little room on the disk: the run needs {needed} GB (of which {spare} GB stay "
            "free), {free} GB are free.",
            needed=f"{needed:.1f}",
            spare=f"{spare:.1f}",
            free=f"{machine.disk_free_gb:.1f}",
        ),
        page=("pages/runs/page.py", t("Delete old runs")),
    )


# --- the queue ------------------------------------------------------------------


def runs_before(config: PruneConfig) -> list[RunRow]:
    """Runs that work on the same device or wait for it."""
    slot = slot_of(config.device)
    return [run for run in lab().runs.list(limit=100, states=ALIVE) if compete(slot, run.slot)]


def starts_beside(
    config: PruneConfig, found: PlannedCut, machine: Machine, before: list[RunRow]
) -> bool:
    """Whether a GPU has memory for this run beside those that work there now."""
    slot = slot_of(config.device)
    room = machine.room(slot)
    if not is_gpu(slot) or get_settings().gpu_runs or room is None:
        return False
    nobody_waits = all(run.state.has_worker for run in before)
    return nobody_waits and memory_gb(found, config.batch) <= room[0]


def queue_sentence(before: list[RunRow], room: int = 1) -> str:
    """The place in the queue, and how long until the device is free where that is known."""
    text = tn(
        "The device is busy: {n} run is before yours, which would wait for it.",
        "The device is busy: {n} runs are before yours, which would wait for them.",
        len(before),
    )
    times = [run.seconds_left for run in before]
    known = [seconds for seconds in times if seconds is not None]
    if known and len(known) == len(times):
        return text + " " + t("That takes about {time}.", time=wording.duration(sum(known) / room))
    if known:
        more = t("The one at work takes {time} more.", time=wording.duration(known[0]))
        return f"{text} {more}"
    return text


# --- drawn ----------------------------------------------------------------------


def show_refusals(refusals: list[Refusal]) -> None:
    """Each reason with what helps."""
    for place, refusal in enumerate(refusals):
        st.error(md(refusal.sentence), icon=":material/block:")
        if refusal.offer:
            st.button(
                md(refusal.offer.text),
                key=f"new:offer:{place}",
                icon=":material/auto_fix_high:",
                on_click=_take,
                args=(refusal.offer,),
            )
        if refusal.page:
            st.page_link(
                refusal.page[0], label=md(refusal.page[1]), icon=":material/arrow_forward:"
            )


def _take(offer: Offer) -> None:
    st.session_state[offer.key] = offer.value
