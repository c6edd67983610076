"""Models as a table, and one model's card: what it scores, what it costs, where it came from."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from msip_core.events import Cost, Metrics
from msip_core.language import mark, t, tn, told
from msip_core.markdown import md
from msip_core.models import ModelCard
from msip_core.speeds import is_wanted, read_speed
from msip_core.views import wording
from pages.kit.lab import datasets, lab
from pages.kit.layout import Fact, facts
from pages.kit.words import known, when

_KINDS = {"baseline": mark("Baseline"), "pruned": mark("Lighter"), "uploaded": mark("Uploaded")}


def cards_table(cards: Sequence[ModelCard]) -> None:
    """All models side by side; numbers in columns that can be sorted."""
    titles = {item.name: item.words for item in datasets()}
    rows = [
        {
            "Model": card.name,
            "Kind": t(_KINDS[card.kind]),
            "Network": card.architecture,
            "Accuracy": card.val.map50 if card.val else None,
            "Test": card.test.map50 if card.test else None,
            "GMACs": card.cost.macs / 1e9,
            "Parameters": card.cost.params / 1e6,
            "MB": card.cost.size_mb,
            "Dataset": titles.get(card.dataset or "", card.dataset) or "—",
            "Made": when(card.created),
        }
        for card in cards
    ]
    number = st.column_config.NumberColumn
    st.dataframe(
        rows,
        hide_index=True,
        placeholder="—",
        height=min(35 * len(rows) + 38, 320),
        column_config={
            "Model": t("Model"),
            "Kind": t("Kind"),
            "Network": t("Network"),
            "Dataset": t("Dataset"),
            "Made": t("Made"),
            "Accuracy": number("mAP50 (val)", format="%.3f", help=t("Validation images")),
            "Test": number(
                "mAP50 (test)", format="%.3f", help=t("Test images, seen once at the end")
            ),
            "GMACs": number(t("Work (GMACs)"), format="%.2f", help=t("Multiply-adds per image")),
            "Parameters": number(t("Parameters (M)"), format="%.2f"),
            "MB": number(t("Size (MB)"), format="%.1f"),
        },
        alt=t("Models of this lab with accuracy, work, parameters and size"),
    )


def card_details(card: ModelCard) -> None:
    """One model in numbers and facts."""
    facts([*accuracy_facts(card.val), *cost_facts(card.cost, card.macs_ratio), *speed_facts(card)])
    titles = {item.name: item.words for item in datasets()}
    left, right = st.columns(2)
    with left:
        st.markdown(t("**What it finds**"))
        st.caption(md(", ".join(card.classes)))
        for metrics in (card.val, card.test):
            if metrics and metrics.per_class:
                each = ", ".join(
                    f"{name} {wording.accuracy(value)}" for name, value in metrics.per_class.items()
                )
                words = tn(
                    "AP50 per class on {split} ({n} image): {each}",
                    "AP50 per class on {split} ({n} images): {each}",
                    metrics.images,
                    split=metrics.split,
                    each=each,
                )
                st.caption(md(words))
    with right:
        st.markdown(t("**Where it came from**"))
        text = t(
            "{kind} {network}, {px} px, dataset {dataset}, made {when}.",
            kind=t(_KINDS[card.kind]),
            network=card.architecture,
            px=card.imgsz,
            dataset=titles.get(card.dataset or "", card.dataset) or t("unknown"),
            when=when(card.created),
        )
        st.caption(md(text))
        if card.note:
            st.caption(md(told(card.note)))
        if "command" in card.origin:
            st.code(str(card.origin["command"]), language="bash", wrap_lines=True)
    with st.expander(t("All facts of this model"), icon=":material/data_object:"):
        st.json(card.model_dump(mode="json"), expanded=1)


def accuracy_facts(metrics: Metrics | None) -> list[Fact]:
    """mAP50 and mAP50-95 of one split."""
    split = f" {metrics.split}" if metrics else ""
    return [
        Fact(
            t("Accuracy"),
            known(metrics.map50 if metrics else None, wording.accuracy),
            f"mAP50{split}",
        ),
        Fact(
            t("Strict accuracy"),
            known(metrics.map50_95 if metrics else None, wording.accuracy),
            "mAP50-95",
        ),
    ]


def cost_facts(cost: Cost, ratio: float | None = None) -> list[Fact]:
    """MACs, parameters, size."""
    row = [Fact(t("Work per image"), wording.macs(cost.macs), t("MACs at {px} px", px=cost.imgsz))]
    if ratio is not None:
        row.append(Fact(t("Work kept"), wording.percent(ratio, 1), t("of the baseline")))
    return [
        *row,
        Fact(t("Parameters"), wording.params(cost.params)),
        Fact(t("File"), wording.megabytes(cost.size_mb)),
    ]


def speed_facts(card: ModelCard) -> list[Fact]:
    """Milliseconds on the processor, while they are being measured a word; nothing where nobody
    asked for them."""
    workspace = lab().workspace
    speed, label = read_speed(workspace, card.id), t("Time per image")
    if is_wanted(workspace, card.id):
        return [Fact(label, t("being measured"), t("on this processor"))]
    if speed is None:
        return []
    if speed.ms is None:
        return [Fact(label, t("not measured"), told(speed.problem))]
    return [Fact(label, f"{speed.ms:.1f} ms", t("on {name}", name=speed.processor or "CPU"))]
