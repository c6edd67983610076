"""The settings of a pruning run, in the order in which a person decides them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from msip_core.catalog import CRITERIA
from msip_core.combinations import check_combination
from msip_core.compositions import Composition
from msip_core.config import AllocationOptions, GoalKind, MsipOptions, PruneConfig, parse_run_config
from msip_core.data.dataset import DatasetSummary
from msip_core.errors import ConfigError
from msip_core.language import mark, t, told
from msip_core.markdown import md
from msip_core.models import ModelCard
from msip_core.views import wording
from pages.kit.run_fields import batch_size, choice_field, device_field, image_size, seed_field
from pages.kit.ways import misplaced, way_fields
from pages.kit.words import labelled
from pages.new_run.checks import Refusal, size_refusal
from pages.new_run.schedule import schedule, trains_once
from pages.new_run.strategies import composition, strategies
from pages.new_run.weights import weight_sliders

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


@dataclass(frozen=True, slots=True)
class Choice:
    """What is made lighter, and on which images."""

    model: ModelCard
    dataset: DatasetSummary


def prune_settings(choice: Choice) -> PruneConfig | Refusal:
    """Draw all settings; return the config they make, or why they make none."""
    main = st.container(border=True)
    with st.expander(t("Advanced"), icon=":material/tune:"):
        details, channels, moments, places = (st.container() for _ in range(4))
    with main:
        usual, goal = _goal(choice.model, details)
        how_patiently = schedule(moments)
    with channels:
        st.subheader(t("Which channels go first"), anchor=False)
        method, msip = _method()
        rules = strategies(method)
        whole = composition()
    with places:
        st.subheader(t("Name, device, image size, seed"), anchor=False)
        name = st.text_input(
            t("Name of the run"),
            placeholder=usual,
            max_chars=80,
            key="new:name",
            persist_state="session",
        )
        try:
            place = _place(choice.model)
        except ConfigError as error:
            return Refusal(told(error.message))
    refusal = size_refusal(place["imgsz"])
    if refusal:
        return refusal
    settings: dict[str, object] = {
        "name": name.strip() or usual,
        "dataset": choice.dataset.name,
        "model": choice.model.id,
        "method": method,
        "msip": msip,
        **rules,
        **goal,
        **how_patiently,
        **place,
    }
    try:
        config = _made(settings, whole)
        if why := misplaced(config):
            return Refusal(why)
        check_combination(config)
    except ConfigError as error:
        return Refusal(told(error.message))
    return config


def _made(settings: Mapping[str, object], whole: Composition | None) -> PruneConfig:
    """The config of these settings; a published whole puts its own in their place.

    Raises:
        ConfigError: one of them cannot be.
    """
    config = parse_run_config({"kind": "prune", **settings})
    assert isinstance(config, PruneConfig)
    if whole is None:
        return config
    own = dict(whole.settings)
    own["limits"] = {**config.limits.model_dump(), **own.get("limits", {})}
    config = parse_run_config({**dict(config), **own})
    assert isinstance(config, PruneConfig)
    return config


def _usual_name(model: ModelCard, kind: GoalKind, keep: float) -> str:
    """What the run is called if nobody names it; a name is a name in every language."""
    words = {"params": " of the parameters", "latency": " of the milliseconds"}.get(kind, "")
    return f"{model.name} to {keep:.0%}{words}"


def _counted() -> tuple[GoalKind, Mapping[str, object]]:
    """What the goal counts; milliseconds in which way to run."""
    kind: Any = st.segmented_control(
        md(labelled(t("The goal counts"), t("budget"))),
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


def _goal(model: ModelCard, details: DeltaGenerator) -> tuple[str, Mapping[str, object]]:
    """How light: one slider; what it counts, and the guard rail, in `details`. The usual name of
    such a run, and its settings."""
    with details:
        st.subheader(t("What the goal counts, and when to stop"), anchor=False)
        kind, more = _counted()
    left, right = details.columns(2, gap="large")
    st.subheader(t("How light"), anchor=False)
    keep = st.slider(
        md(labelled(t(_COUNTS[kind][1]), t(_COUNTS[kind][2]))),
        5,
        95,
        60,
        format="%d %%",
        key="new:keep",
        help=t("60 % is a mild goal. The paper goes to 33.5 %."),
        persist_state="session",
    )
    st.caption(md(_goal_words(model, kind, keep / 100, more)))
    guard = _guard(left)
    # Five buttons are wider than half a card.
    widths: Any = right.selectbox(
        md(labelled(t("Channels in multiples of"), t("per layer"))),
        ["auto", 1, 4, 8, 16, 32, 64],
        key="new:round",
        help=t(
            "Hardware likes 8: the same work then takes less time. “auto” is 8; where the goal is "
            "milliseconds, the run measures whether 16, or on a GPU 32 or 64, is faster there."
        ),
        persist_state="session",
    )
    return _usual_name(model, kind, keep / 100), {
        f"keep_{kind}": keep / 100,
        **more,
        "max_map50_drop": guard,
        "limits": AllocationOptions(round_to=widths),
    }


def _guard(place: DeltaGenerator) -> float | None:
    """The mAP50 that may be lost; None where nothing stops the run."""
    off = trains_once()
    drop = place.slider(
        md(labelled(t("Stop if accuracy falls by more than"), t("mAP50, guard rail"))),
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
    return None if off else drop or None


def _goal_words(model: ModelCard, kind: GoalKind, keep: float, more: Mapping[str, object]) -> str:
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
    method = choice_field(
        "new:method",
        t("Method"),
        CRITERIA,
        lambda name: f"{told(CRITERIA[name].label)}: {told(CRITERIA[name].description)}",
    )
    entry = CRITERIA[method]
    if entry.needs_data:
        st.caption(
            md(t("Source: {paper}. Looks at training images first.", paper=told(entry.paper)))
        )
    else:
        st.caption(md(t("Source: {paper}. Looks at weights only.", paper=told(entry.paper))))
    if not entry.has_term_weights:
        return method, MsipOptions()
    if entry.loss_unit:
        # The README's "Methods on OrgaQuant", and benchmarks/before_tuning.py.
        st.caption(
            t(
                "On the micrographs of OrgaQuant (five seeds) it cannot be told from Taylor and "
                "OBS once the network has trained again. Before that, OBS keeps clearly more: "
                "choose it where there is hardly time to train."
            )
        )
    weights = weight_sliders()
    dynamic = st.toggle(
        md(labelled(t("Let the weights follow what validation says"), t("dynamic weights"))),
        value=True,
        key="new:dynamic",
        persist_state="session",
    )
    return method, MsipOptions(weights=weights, dynamic_weights=dynamic)


def _place(model: ModelCard) -> dict[str, Any]:
    """Of a PruneConfig, what says how and where it is worked on."""
    columns = st.columns(4)
    with columns[0]:
        imgsz = image_size(model.imgsz, f"new:{model.id}")
    with columns[1]:
        batch = batch_size("new")
    with columns[2]:
        seed = seed_field("new")
    with columns[3]:
        device = device_field("new")
    return {"imgsz": imgsz, "batch": batch, "seed": seed, "device": device}
