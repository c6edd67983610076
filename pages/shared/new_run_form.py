"""The settings of a pruning run, in the order in which a person decides them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from msip_core.catalog import CRITERIA
from msip_core.combinations import check_combination
from msip_core.config import (
    PRUNE_PRESETS,
    AllocationOptions,
    GoalKind,
    MsipOptions,
    PruneConfig,
)
from msip_core.data.dataset import DatasetSummary
from msip_core.errors import ConfigError
from msip_core.language import mark, say, t
from msip_core.markdown import md
from msip_core.models import ModelCard
from msip_core.runs.slots import slot_of
from msip_core.settings import get_settings
from msip_core.views import wording
from pages.shared.choose import asked, remember
from pages.shared.model_forms import batch_size, device_field, image_size
from pages.shared.new_run_checks import Refusal, size_refusal
from pages.shared.strategies import composition, strategies
from pages.shared.ways import misplaced, way_fields
from pages.shared.weights import weight_sliders
from pages.shared.words import termed

# schedule: name, and what it is for
_PRESETS = {
    "quick": (mark("Quick"), mark("4 steps with 2 epochs each: a first look, also without a GPU.")),
    "standard": (
        mark("Standard"),
        mark(
            "8 steps, repaired after each, then 80 epochs: overnight without a GPU, an hour or so "
            "with one."
        ),
    ),
    "paper": (
        mark("Paper"),
        mark("16 steps with 30 epochs each, after 50 epochs of pre-training: for a GPU."),
    ),
}


# what the goal counts: on the button; the slider's words, plain and precise
_COUNTS: dict[GoalKind, tuple[str, str, str]] = {
    "macs": (mark("Work"), mark("Keep this much of the work"), mark("share of MACs")),
    "params": (
        mark("Parameters"),
        mark("Keep this much of the weights"),
        mark("share of parameters"),
    ),
    "latency": (
        mark("Time"),
        mark("Keep this much of the time per image"),
        mark("share of milliseconds"),
    ),
}
_MOST_STEPS = 200
# when it trains
_MOMENTS: dict[str, str] = {
    "every-cut": mark("after every step"),
    "last-cut": mark("once, after the last step"),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is made lighter, and on which images."""

    model: ModelCard
    dataset: DatasetSummary


def prune_settings(choice: Choice) -> PruneConfig | Refusal:
    """Draw all settings; return the config they make, or why they make none."""
    with st.container(border=True):
        st.subheader(t("How light"), anchor=False)
        goal = _goal(choice.model)
    with st.container(border=True):
        st.subheader(t("Which channels go first"), anchor=False)
        method, msip = _method()
        rules = strategies(method)
        whole = composition()
    with st.container(border=True):
        st.subheader(t("How patiently"), anchor=False)
        schedule = _schedule()
    with st.expander(t("Device, image size, seed"), icon=":material/tune:"):
        place = _place(choice.model)
    usual = _usual_name(choice.model, goal)
    name = st.text_input(
        t("Name of the run"),
        placeholder=usual,
        max_chars=80,
        key="new:name",
        persist_state="session",
    )
    refusal = size_refusal(place["imgsz"])
    if refusal:
        return refusal
    config = PruneConfig(
        name=name or usual,
        dataset=choice.dataset.name,
        model=choice.model.id,
        method=method,
        msip=msip,
        **rules,
        **goal,
        **schedule,
        **place,
    )
    if whole is not None:
        settings = dict(whole.settings)
        settings["limits"] = {**config.limits.model_dump(), **settings.get("limits", {})}
        config = PruneConfig.model_validate({**dict(config), **settings})
    if why := misplaced(config):
        return Refusal(why)
    try:
        check_combination(config)
    except ConfigError as error:
        return Refusal(say(error.message))
    return config


def _usual_name(model: ModelCard, goal: dict[str, Any]) -> str:
    """What the run is called if nobody names it; a name is a name in every language."""
    for setting, words in (("keep_params", "parameters"), ("keep_latency", "milliseconds")):
        if goal.get(setting):
            return f"{model.name} to {goal[setting]:.0%} of the {words}"
    return f"{model.name} to {goal['keep_macs']:.0%}"


def _counted() -> tuple[GoalKind, dict[str, Any]]:
    """What the goal counts; milliseconds in which way to run."""
    kind: Any = st.segmented_control(
        md(termed(t("The goal counts"), t("budget"))),
        list(_COUNTS),
        format_func=lambda name: md(t(_COUNTS[name][0])),
        default="macs",
        key="new:counts",
        required=True,
        persist_state="session",
    )
    if kind != "latency":
        return kind, {}
    return kind, way_fields()


def _goal(model: ModelCard) -> dict[str, Any]:
    kind, more = _counted()
    left, right = st.columns(2, gap="large")
    keep = left.slider(
        md(termed(t(_COUNTS[kind][1]), t(_COUNTS[kind][2]))),
        5,
        95,
        60,
        format="%d %%",
        key="new:keep",
        help=t("60 % is a mild goal. The paper goes to 33.5 %."),
        persist_state="session",
    )
    left.caption(md(_goal_words(model, kind, keep / 100, more)))
    off = _trains_once()
    guard = right.slider(
        md(termed(t("Stop if accuracy falls by more than"), t("mAP50, guard rail"))),
        0.0,
        0.2,
        0.03,
        0.005,
        format="%.3f",
        key="new:guard",
        help=t("The last good model is kept. 0 turns the guard off.")
        if not off
        else t("Off: it trains once, after the last step, and before that nothing can be judged."),
        disabled=off,
        persist_state="session",
    )
    # Five buttons are wider than half a card.
    widths: Any = right.selectbox(
        md(termed(t("Channels in multiples of"), t("per layer"))),
        ["auto", 1, 4, 8, 16, 32, 64],
        key="new:round",
        help=t(
            "Hardware likes 8: the same work then takes less time. “auto” is 8; where the goal is "
            "milliseconds, the run measures whether 16, or on a GPU 32 or 64, is faster there."
        ),
        persist_state="session",
    )
    return {
        f"keep_{kind}": keep / 100,
        **more,
        "max_map50_drop": None if off else guard or None,
        "limits": AllocationOptions(round_to=widths),
    }


def _goal_words(model: ModelCard, kind: GoalKind, keep: float, more: dict[str, Any]) -> str:
    if kind == "latency" and more.get("latency_device") == "auto":
        return t(
            "Milliseconds per image on the GPU that the run gets, measured before the first cut "
            "and after each. Single layers are timed there first: a minute or so."
        )
    if kind == "latency":
        return t(
            "Milliseconds per image on this computer's processor, measured before the first cut "
            "and after each."
        )
    if kind == "params":
        return t(
            "{before} → {after} parameters. Fewer parameters make a smaller file, not always a "
            "faster model.",
            before=wording.params(model.cost.params),
            after=wording.params(model.cost.params * keep),
        )
    return t(
        "{before} → {after} multiply-adds per image of {px} px. Work is not speed: speed is "
        "measured after the run.",
        before=wording.macs(model.cost.macs),
        after=wording.macs(model.cost.macs * keep),
        px=model.cost.imgsz,
    )


def _method() -> tuple[str, MsipOptions]:
    method = st.selectbox(
        t("Method"),
        list(CRITERIA),
        format_func=lambda name: f"{say(CRITERIA[name].label)}: {say(CRITERIA[name].description)}",
        key="new:method",
        persist_state="session",
    )
    entry = CRITERIA[method]
    if entry.needs_data:
        st.caption(
            md(t("Source: {paper}. Looks at training images first.", paper=say(entry.paper)))
        )
    else:
        st.caption(md(t("Source: {paper}. Looks at weights only.", paper=say(entry.paper))))
    if not entry.adapted:
        return method, MsipOptions()
    weights = weight_sliders()
    dynamic = st.toggle(
        md(termed(t("Let the weights follow what validation says"), t("dynamic weights"))),
        value=True,
        key="new:dynamic",
        persist_state="session",
    )
    return method, MsipOptions(weights=weights, dynamic_weights=dynamic)


def _schedule() -> dict[str, Any]:
    preset = _preset()
    settings = dict(PRUNE_PRESETS[preset])
    key = f"new:iterations:{preset}"
    linked = st.query_params.pop("steps", "")  # once: afterwards the field says how many
    if linked.isdecimal() and 1 <= int(linked) <= _MOST_STEPS:
        st.session_state[key] = int(linked)
    st.session_state.setdefault(key, settings["iterations"])
    left, right = st.columns(2, gap="large")
    iterations = left.number_input(
        md(termed(t("Steps"), t("iterations"))),
        min_value=1,
        max_value=_MOST_STEPS,
        key=key,
        help=t("More and smaller steps keep more accuracy."),
        persist_state="session",
    )
    epochs = right.number_input(
        md(termed(t("Training each time"), t("epochs"))),
        min_value=0,
        max_value=1000,
        value=settings["finetune"].epochs,
        key=f"new:epochs:{preset}",
        persist_state="session",
    )
    settings["finetune_after"] = after = _training_moment(preset)
    if after == "every-cut" and iterations > 1:
        settings["average"] = _average()
    settings["iterations"] = iterations
    settings["finetune"] = settings["finetune"].model_copy(update={"epochs": epochs})
    return settings


def _training_moment(preset: str) -> str:
    """When it trains, as the schedule has it or otherwise."""
    key = _moment_key(preset)
    st.session_state.setdefault(key, _usual_moment(preset))
    st.segmented_control(
        md(termed(t("Trains"), t("fine-tuning"))),
        list(_MOMENTS),
        format_func=lambda name: md(t(_MOMENTS[name])),
        key=key,
        required=True,
        help=t(
            "After the last step alone, all training goes to the network that is kept. Between "
            "steps weights are then only repaired, and the guard is off."
        ),
        persist_state="session",
    )
    return str(st.session_state[key])


def _moment_key(preset: str) -> str:
    return f"new:after:{preset}"


def _usual_moment(preset: str) -> str:
    return str(PRUNE_PRESETS[preset].get("finetune_after", "every-cut"))


def _trains_once() -> bool:
    """As it stands in the session: the guard is drawn before the schedule."""
    preset = _wanted_preset()
    return st.session_state.get(_moment_key(preset), _usual_moment(preset)) == "last-cut"


def _average() -> str:
    carries = st.toggle(
        md(termed(t("The average of the weights goes on over the steps"), t("EMA"))),
        key="new:average",
        help=t("It counts the training steps of all steps, and so follows more slowly."),
        persist_state="session",
    )
    return "carry" if carries else "restart"


def _wanted_preset() -> str:
    """From the address, so that the first run can be linked ready to start."""
    on_cpu = slot_of(get_settings().device) == "cpu"
    wanted = asked("preset")
    return wanted if wanted in PRUNE_PRESETS else "quick" if on_cpu else "standard"


def _preset() -> str:
    presets, key = list(reversed(PRUNE_PRESETS)), "new:preset"
    st.session_state[key] = _wanted_preset()

    def changed() -> None:
        remember("preset", st.session_state[key])

    st.radio(
        t("Schedule"),
        presets,
        format_func=lambda name: md(t(_PRESETS[name][0]) if name in _PRESETS else name),
        captions=[md(t(_PRESETS[name][1])) if name in _PRESETS else "" for name in presets],
        key=key,
        on_change=changed,
    )
    return str(st.session_state[key])


def _place(model: ModelCard) -> dict[str, Any]:
    columns = st.columns(4)
    with columns[0]:
        imgsz = image_size(model.imgsz, f"new:{model.id}")
    with columns[1]:
        batch = batch_size("new")
    with columns[2]:
        seed = st.number_input(
            t("Seed"), min_value=0, value=0, key="new:seed", persist_state="session"
        )
    with columns[3]:
        device = device_field("new")
    return {"imgsz": imgsz, "batch": batch, "seed": seed, "device": device}
