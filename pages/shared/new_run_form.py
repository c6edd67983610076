"""The settings of a pruning run, in the order in which a person decides them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from msip_core.catalog import CRITERIA
from msip_core.config import (
    PRUNE_PRESETS,
    AllocationOptions,
    MsipOptions,
    PruneConfig,
)
from msip_core.data.dataset import DatasetSummary
from msip_core.models import ModelCard
from msip_core.runs.slots import slot_of
from msip_core.settings import get_settings
from msip_core.views import wording
from pages.shared.jobs import job_panel
from pages.shared.layout import Fact, facts
from pages.shared.model_forms import batch_size, device_field, image_size
from pages.shared.weights import weight_sliders
from pages.shared.words import small

_PRESET_WORDS = {
    "quick": "Quick: 4 steps, for a first look, also without a GPU",
    "standard": "Standard: 8 steps with 10 epochs each",
    "paper": "Paper: 16 steps with 30 epochs each, for a GPU",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is made lighter, and on which images."""

    model: ModelCard
    dataset: DatasetSummary


def prune_settings(choice: Choice) -> PruneConfig:
    """Draw all settings; return the config they make."""
    _fit(choice)
    with st.container(border=True):
        st.subheader("How light", anchor=False)
        goal = _goal(choice.model)
    with st.container(border=True):
        st.subheader("Which channels go first", anchor=False)
        method, msip = _method()
    with st.container(border=True):
        st.subheader("How patiently", anchor=False)
        schedule = _schedule()
    with st.expander("Device, image size, seed", icon=":material/tune:"):
        place = _place(choice.model)
    name = st.text_input(
        "Name of the run",
        placeholder=f"{choice.model.name} to {goal['keep_macs']:.0%}",
        max_chars=80,
        key="new:name",
        persist_state="session",
    )
    return PruneConfig(
        name=name or f"{choice.model.name} to {goal['keep_macs']:.0%}",
        dataset=choice.dataset.name,
        model=choice.model.id,
        method=method,
        msip=msip,
        **goal,
        **schedule,
        **place,
    )


def _fit(choice: Choice) -> None:
    """Say when detector and images do not belong together."""
    known, there = set(choice.model.classes), set(choice.dataset.classes)
    if known != there:
        st.warning(
            f"The detector knows {', '.join(sorted(known))}; the images have "
            f"{', '.join(sorted(there))}. Classes that are missing cannot be checked: choose the "
            "dataset that the detector was trained on, or train a baseline on this one.",
            icon=":material/warning:",
        )


def _goal(model: ModelCard) -> dict[str, Any]:
    left, right = st.columns(2, gap="large")
    keep = left.slider(
        f"Keep this much of the work {small('share of MACs')}",
        5,
        95,
        60,
        format="%d %%",
        key="new:keep",
        help="60 % is a mild goal. The paper goes to 33.5 %.",
        persist_state="session",
    )
    left.caption(
        f"{wording.macs(model.cost.macs)} → {wording.macs(model.cost.macs * keep / 100)} "
        f"multiply-adds per image of {model.cost.imgsz} px. Work is not speed: speed is measured "
        "after the run."
    )
    guard = right.slider(
        f"Stop if accuracy falls by more than {small('mAP50, guard rail')}",
        0.0,
        0.2,
        0.03,
        0.005,
        format="%.3f",
        key="new:guard",
        help="The last good model is kept. 0 turns the guard off.",
        persist_state="session",
    )
    widths: Any = right.segmented_control(
        f"Channels in multiples of {small('per layer')}",
        [1, 4, 8, 16],
        default=8,
        key="new:round",
        required=True,
        help="Hardware likes 8: the same work then takes less time.",
        persist_state="session",
    )
    return {
        "keep_macs": keep / 100,
        "max_map50_drop": guard or None,
        "limits": AllocationOptions(round_to=widths),
    }


def _method() -> tuple[str, MsipOptions]:
    method = st.selectbox(
        "Method",
        list(CRITERIA),
        format_func=lambda name: f"{CRITERIA[name].label}: {CRITERIA[name].description}",
        key="new:method",
        persist_state="session",
    )
    entry = CRITERIA[method]
    st.caption(
        f"Source: {entry.paper}. "
        + ("Looks at training images first." if entry.needs_data else "Looks at weights only.")
    )
    if not method.startswith("msip"):
        return method, MsipOptions()
    weights = weight_sliders()
    dynamic = st.toggle(
        f"Let the weights follow what validation says {small('dynamic weights')}",
        value=True,
        key="new:dynamic",
        persist_state="session",
    )
    return method, MsipOptions(weights=weights, dynamic_weights=dynamic)


def _schedule() -> dict[str, Any]:
    presets = list(reversed(PRUNE_PRESETS))
    on_cpu = slot_of(get_settings().device) == "cpu"
    preset = st.radio(
        "Schedule",
        presets,
        index=presets.index("quick" if on_cpu else "standard"),
        format_func=lambda name: _PRESET_WORDS.get(name, name),
        key="new:preset",
        persist_state="session",
    )
    settings = dict(PRUNE_PRESETS[preset])
    left, right = st.columns(2, gap="large")
    iterations = left.number_input(
        f"Steps {small('iterations')}",
        min_value=1,
        max_value=200,
        value=settings["iterations"],
        key=f"new:iterations:{preset}",
        help="More and smaller steps keep more accuracy.",
        persist_state="session",
    )
    epochs = right.number_input(
        f"Training after each step {small('epochs')}",
        min_value=0,
        max_value=1000,
        value=settings["finetune"].epochs,
        key=f"new:epochs:{preset}",
        persist_state="session",
    )
    settings["iterations"] = iterations
    settings["finetune"] = settings["finetune"].model_copy(update={"epochs": epochs})
    return settings


def _place(model: ModelCard) -> dict[str, Any]:
    columns = st.columns(4)
    with columns[0]:
        imgsz = image_size(model.imgsz, f"new:{model.id}")
    with columns[1]:
        batch = batch_size("new")
    with columns[2]:
        seed = st.number_input(
            "Seed", min_value=0, value=0, key="new:seed", persist_state="session"
        )
    with columns[3]:
        device = device_field("new")
    return {"imgsz": imgsz, "batch": batch, "seed": seed, "device": device}


def estimate(config: PruneConfig) -> None:
    """Time, memory and disk, measured on this computer before Start."""
    result = job_panel(
        "estimate",
        {"config": config.model_dump(mode="json", exclude={"name"}) | {"name": ""}},
        label="Estimate time and memory",
        place="estimate",
        note="Measures a few steps on this computer.",
        quiet=True,
    )
    if result is None:
        return
    facts(
        [
            Fact("Expected time", wording.duration(result["seconds"])),
            Fact("Memory", f"{result['memory_gb']:.1f} GB"),
            Fact("Disk", f"{result['disk_gb']:.1f} GB"),
        ]
    )
    if result.get("note"):
        st.caption(str(result["note"]))
