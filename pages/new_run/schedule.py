"""How patiently a network is made lighter: a schedule, its numbers, and when it trains."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from msip_core.config import PRUNE_PRESETS, After, Average, PrunePreset
from msip_core.language import mark, t
from msip_core.markdown import md, rich
from msip_core.runs.slots import slot_of
from msip_core.settings import get_settings
from pages.kit.choose import asked, remember
from pages.kit.run_fields import number_field
from pages.kit.words import labelled

# schedule: name, and what it is for
_PRESETS = {
    "quick": (mark("Quick"), mark("A first look, also without a GPU.")),
    "standard": (mark("Standard"), mark("Overnight without a GPU, an hour or so with one.")),
    "paper": (mark("Paper"), mark("For a GPU; 50 epochs of pre-training come first.")),
}
_MOST_STEPS = 200
# when it trains
_MOMENTS: dict[str, str] = {
    "every-cut": mark("after every step"),
    "last-cut": mark("once, after the last step"),
}


def schedule(details: DeltaGenerator) -> PrunePreset:
    """How patiently: a schedule and its two numbers; when it trains, in `details`."""
    st.subheader(t("How patiently"), anchor=False)
    choice, preset = st.container(), _wanted_preset()  # drawn when the numbers are known
    settings = PRUNE_PRESETS[preset].copy()
    key = f"new:iterations:{preset}"
    linked = st.query_params.pop("steps", "")  # once: afterwards the field says how many
    if linked.isdecimal() and 1 <= int(linked) <= _MOST_STEPS:
        st.session_state[key] = int(linked)
    st.session_state.setdefault(key, settings["iterations"])
    left, right = st.columns(2, gap="large")
    iterations = left.number_input(
        md(labelled(t("Steps"), t("iterations"))),
        min_value=1,
        max_value=_MOST_STEPS,
        key=key,
        help=t("More and smaller steps keep more accuracy."),
        persist_state="session",
    )
    with right:
        label, usual = labelled(t("Training each time"), t("epochs")), settings["finetune"].epochs
        epochs = number_field(f"new:epochs:{preset}", label, usual, (0, 1000))
    with details:
        st.subheader(t("When it trains"), anchor=False)
        settings["finetune_after"] = after = _training_moment(preset)
        if after == "every-cut" and iterations > 1:
            settings["average"] = _average()
    with choice:
        _preset(_numbers(iterations, epochs, after))
    settings["iterations"] = iterations
    settings["finetune"] = settings["finetune"].model_copy(update={"epochs": epochs})
    return settings


def _training_moment(preset: str) -> After:
    """When it trains, as the schedule has it or otherwise."""
    key = _moment_key(preset)
    st.session_state.setdefault(key, _usual_moment(preset))
    st.segmented_control(
        md(labelled(t("Trains"), t("fine-tuning"))),
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
    moment: After = st.session_state[key]
    return moment


def _moment_key(preset: str) -> str:
    return f"new:after:{preset}"


def _usual_moment(preset: str) -> After:
    return PRUNE_PRESETS[preset].get("finetune_after", "every-cut")


def trains_once() -> bool:
    """As it stands in the session: the guard is drawn before the schedule."""
    preset = _wanted_preset()
    return st.session_state.get(_moment_key(preset), _usual_moment(preset)) == "last-cut"


def _average() -> Average:
    carries = st.toggle(
        md(labelled(t("The average of the weights goes on over the steps"), t("EMA"))),
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


def _numbers(iterations: int, epochs: int, after: str) -> str:
    """A schedule in numbers."""
    if after == "last-cut":
        return t("Steps: {n}; epochs after the last: {epochs}.", n=iterations, epochs=epochs)
    return t("Steps: {n}; epochs after each: {epochs}.", n=iterations, epochs=epochs)


def _usual_numbers(preset: str) -> str:
    settings = PRUNE_PRESETS[preset]
    return _numbers(settings["iterations"], settings["finetune"].epochs, _usual_moment(preset))


def _preset(now: str) -> None:
    """The schedules; that of the choice says in numbers what the fields hold `now`."""
    presets, key = list(reversed(PRUNE_PRESETS)), "new:preset"
    st.session_state[key] = chosen = _wanted_preset()

    def changed() -> None:
        remember("preset", st.session_state[key])

    st.radio(
        t("Schedule"),
        presets,
        format_func=lambda name: md(t(_PRESETS[name][0]) if name in _PRESETS else name),
        captions=[
            md(
                rich(
                    "{numbers} {use}",
                    numbers=now if name == chosen else _usual_numbers(name),
                    use=t(_PRESETS[name][1]) if name in _PRESETS else "",
                )
            )
            for name in presets
        ],
        key=key,
        on_change=changed,
    )
