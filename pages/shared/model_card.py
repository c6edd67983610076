"""Models as a table, and one model's card: what it scores, what it costs, where it came from."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from msip_core.events import Cost, Metrics
from msip_core.models import ModelCard
from msip_core.views import wording
from pages.shared.layout import Fact, facts
from pages.shared.words import known, when

_KINDS = {"baseline": "Baseline", "pruned": "Lighter", "uploaded": "Uploaded"}


def cards_table(cards: Sequence[ModelCard]) -> None:
    """All models side by side; numbers in columns that can be sorted."""
    rows = [
        {
            "Model": card.name,
            "Kind": _KINDS[card.kind],
            "Network": card.architecture,
            "Accuracy": card.val.map50 if card.val else None,
            "Test": card.test.map50 if card.test else None,
            "GMACs": card.cost.macs / 1e9,
            "Parameters": card.cost.params / 1e6,
            "MB": card.cost.size_mb,
            "Dataset": card.dataset or "—",
            "Made": when(card.created),
        }
        for card in cards
    ]
    number = st.column_config.NumberColumn
    st.dataframe(
        rows,
        hide_index=True,
        height=min(35 * len(rows) + 38, 320),
        column_config={
            "Accuracy": number("mAP50 (val)", format="%.3f", help="Validation images"),
            "Test": number("mAP50 (test)", format="%.3f", help="Test images, seen once at the end"),
            "GMACs": number("Work (GMACs)", format="%.2f", help="Multiply-adds per image"),
            "Parameters": number("Parameters (M)", format="%.2f"),
            "MB": number("Size (MB)", format="%.1f"),
        },
        alt="Models of this lab with accuracy, work, parameters and size",
    )


def card_details(card: ModelCard) -> None:
    """One model in numbers and facts."""
    facts([*accuracy_facts(card.val), *cost_facts(card.cost, card.macs_ratio)])
    left, right = st.columns(2)
    with left:
        st.markdown("**What it finds**")
        st.caption(", ".join(card.classes))
        for metrics in (card.val, card.test):
            if metrics and metrics.per_class:
                each = ", ".join(
                    f"{name} {wording.accuracy(value)}" for name, value in metrics.per_class.items()
                )
                st.caption(f"AP50 per class on {metrics.split} ({metrics.images} images): {each}")
    with right:
        st.markdown("**Where it came from**")
        st.caption(
            f"{_KINDS[card.kind]} {card.architecture}, {card.imgsz} px, "
            + (f"dataset {card.dataset}, " if card.dataset else "no dataset, ")
            + f"made {when(card.created)}."
        )
        if card.note:
            st.caption(card.note)
        if "command" in card.origin:
            st.code(str(card.origin["command"]), language="bash", wrap_lines=True)
    with st.expander("All facts of this model", icon=":material/data_object:"):
        st.json(card.model_dump(mode="json"), expanded=1)


def accuracy_facts(metrics: Metrics | None) -> list[Fact]:
    """mAP50 and mAP50-95 of one split."""
    split = f" {metrics.split}" if metrics else ""
    return [
        Fact(
            "Accuracy", known(metrics.map50 if metrics else None, wording.accuracy), f"mAP50{split}"
        ),
        Fact(
            "Strict accuracy",
            known(metrics.map50_95 if metrics else None, wording.accuracy),
            "mAP50-95",
        ),
    ]


def cost_facts(cost: Cost, ratio: float | None = None) -> list[Fact]:
    """MACs, parameters, size."""
    row = [Fact("Work per image", wording.macs(cost.macs), f"MACs at {cost.imgsz} px")]
    if ratio is not None:
        row.append(Fact("Work kept", wording.percent(ratio, 1), "of the baseline"))
    return [
        *row,
        Fact("Parameters", wording.params(cost.params)),
        Fact("File", wording.megabytes(cost.size_mb)),
    ]
