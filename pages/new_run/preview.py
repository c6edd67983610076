"""What the run would take away and what it needs, before anything is trained."""

from __future__ import annotations

import streamlit as st

from msip_core.config import PruneConfig
from msip_core.language import t, tn, told
from msip_core.markdown import md
from msip_core.questions.planning import Effort, Estimate, Outlook, PlannedCut, Preview
from msip_core.views import wording
from msip_core.views.channels import channels_info, layer_rows, network_figure
from pages.kit.jobs import ask, job_state
from pages.kit.layout import Fact, chart, facts
from pages.kit.machine import seconds_now
from pages.kit.ways import way_words
from pages.kit.words import small, spent


def preview(config: PruneConfig) -> PlannedCut | None:
    """Numbers of one cut; None while they are being worked out."""
    st.subheader(t("What would be left"), anchor=False)
    found = ask(
        Preview.of(config),
        label=t("Preview the cut"),
        place="preview",
        note=t("Looks at a few training images once; trains nothing."),
        auto=True,
        quiet=True,
    )
    if found is None:
        return None
    (macs, macs_after), (params, params_after) = found.macs, found.params
    size, size_after = found.size_mb
    text = t(
        "**{before} → {after}** multiply-adds per image {term}, **{size} → {size_after}** "
        "as a file.",
        before=wording.macs(macs),
        after=wording.macs(macs_after),
        term=small(t("MACs at {px} px", px=config.imgsz)),
        size=wording.megabytes(size),
        size_after=wording.megabytes(size_after),
    )
    st.markdown(md(text))
    facts(
        [
            Fact(t("Work kept"), wording.percent(macs_after / macs, 1), "MACs"),
            Fact(
                t("Parameters"),
                wording.params(params_after),
                t("of {before}", before=wording.params(params)),
            ),
            Fact(t("File"), wording.megabytes(size_after), t("half precision")),
        ]
    )
    _honest(config, found)
    return found


def _honest(config: PruneConfig, found: PlannedCut) -> None:
    looked = (
        tn("Scored on {n} training image.", "Scored on {n} training images.", found.images)
        if found.images
        else t("Scored by the weights alone.")
    )
    text = tn(
        "One cut, untrained. The run goes there in {n} step and decides anew.",
        "One cut, untrained. The run goes there in {n} steps and decides anew at each, so its "
        "layers will differ.",
        config.iterations,
    )
    st.caption(md(f"{text} {looked}"))
    if found.other_than_gradient is not None:
        st.caption(md(_what_weights_do(found.other_than_gradient)))
    if found.outlook:
        st.warning(md(_time_on_gpu(found.outlook)), icon=":material/speed:")
    if found.note:
        st.info(md(told(found.note)), icon=":material/info:")


def _time_on_gpu(outlook: Outlook) -> str:
    """That multiply-adds are not time on a GPU, and how much of it this cut saves there."""
    before, after = outlook.before_ms, outlook.after_ms
    if not before or after is None:
        return t(
            "On a GPU multiply-adds predict little of the time. To be faster there, let the goal "
            "count time."
        )
    return t(
        "On a GPU multiply-adds predict little of the time: this cut leaves about **{share}** of "
        "it, {before} → {after} per image, added up from single layers ({way}). To be faster "
        "there, let the goal count time.",
        share=wording.percent(after / before),
        before=wording.milliseconds(before),
        after=wording.milliseconds(after),
        way=way_words(outlook.way),
    )


def _what_weights_do(other: float) -> str:
    """In words how far the four weights matter for what goes."""
    if round(other, 2) == 0:
        return t("These weights remove the same channels as the gradient alone would.")
    return t(
        "These weights remove {share} other channels than the gradient alone would.",
        share=wording.percent(other),
    )


def layers(found: PlannedCut) -> None:
    """The channels of every layer before and after."""
    info = channels_info(found.layers)
    st.subheader(t("Which layers would shrink"), anchor=False)
    chart(
        network_figure(info, revision="preview"),
        "preview",
        t("The network from left to right: channels of every layer before the cut and after it"),
    )
    with st.expander(t("Channels of every layer"), icon=":material/table:"):
        st.dataframe(
            layer_rows(info), hide_index=True, alt=t("Channels of every layer before and after")
        )


def needs(config: PruneConfig, found: PlannedCut, busy: str | None = None) -> Effort | None:
    """Time on this device (measured), memory and disk; None while the time is measured.

    Args:
        busy: a stored sentence, where other work slows the computer down now.
    """
    result = ask(
        Estimate.of(config),
        label=t("Estimate the time"),
        place="estimate",
        note=t("Measures a few steps on this computer."),
        auto=True,
        quiet=True,
    )
    memory = memory_gb(found, config.batch)
    facts(
        [
            Fact(t("Expected time"), spent(seconds_now(result)) if result else "…"),
            Fact(t("Memory"), f"{memory:.1f} GB", t("at the peak")),
            Fact(t("Disk"), f"{found.disk_gb:.1f} GB"),
        ]
    )
    if result:
        st.caption(
            t(
                "From a few measured steps and what else this computer does now, to the very end: "
                "final test, saving and checking included."
            )
        )
    if busy:
        st.info(md(told(busy)), icon=":material/hourglass_top:")
    return result


def memory_gb(found: PlannedCut, batch: int) -> float:
    """Peak memory of a training step with so many images at a time."""
    known = found.memory_gb
    return known[min(known, key=lambda size: abs(size - batch))]


def largest_batch(found: PlannedCut, free_gb: float) -> int | None:
    """The largest batch that fits into so much memory, or None."""
    fitting = [batch for batch, gb in found.memory_gb.items() if gb <= free_gb]
    return max(fitting, default=None)


def is_busy(config: PruneConfig) -> bool:
    """The preview is being worked out, so its refusals are not known yet."""
    return job_state(Preview.of(config)) in ("queued", "running")


def has_failed(config: PruneConfig) -> bool:
    return job_state(Preview.of(config)) == "failed"
