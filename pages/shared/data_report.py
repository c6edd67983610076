"""What a dataset holds and what happened on its way in."""

from __future__ import annotations

import streamlit as st

from msip_core.data.dataset import Dataset
from msip_core.data.manifest import SPLITS, Problem
from msip_core.views.wording import plural
from pages.shared.layout import Fact, facts

_SPLIT_WORDS = {"train": "to learn from", "val": "to check progress", "test": "for the final test"}


def readiness(dataset: Dataset) -> bool:
    """The badge: ready to train on, or the one thing that is missing."""
    ready, missing = dataset.readiness()
    with st.container(horizontal=True, vertical_alignment="center"):
        if ready:
            st.badge("Ready", icon=":material/check:", color="green")
        else:
            st.badge("Not ready", icon=":material/error:", color="orange")
        if dataset.drawn:
            st.badge("Drawn by computer", icon=":material/draw:", color="blue")
        st.caption(missing or dataset.report.headline(), width="content")
    return ready


def summary(dataset: Dataset) -> None:
    """Images, boxes, split, sizes and pixel size, each with its unit."""
    report = dataset.report
    splits = {name: len(dataset.split(name)) for name in SPLITS}
    facts(
        [
            Fact("Images", f"{len(dataset.images):,}"),
            *(Fact(f"Boxes: {name}", f"{count:,}") for name, count in report.boxes.items()),
            *(
                Fact(_SPLIT_WORDS[name].capitalize(), f"{count:,}", name)
                for name, count in splits.items()
            ),
        ]
    )
    lines = []
    if report.width and report.height:
        lines.append(
            f"Images are {report.width.median:.0f} × {report.height.median:.0f} px (median)."
        )
    if report.box_size:
        lines.append(
            f"Boxes are {report.box_size.low:.0f} to {report.box_size.high:.0f} px wide, "
            f"median {report.box_size.median:.0f} px."
        )
    if dataset.pixel_size_um:
        lines.append(f"One pixel is {dataset.pixel_size_um:.4g} µm.")
    else:
        lines.append("Pixel size is not known: sizes will be in pixels.")
    lines += [report.grouping, *report.notes]
    st.caption(" ".join(_sentence(line) for line in lines if line))


def class_map(dataset: Dataset) -> None:
    """How classes were renamed, merged or dropped on the way in."""
    changed = {old: new for old, new in dataset.report.class_map.items() if old != new}
    if changed:
        words = [f"{old} → {new or 'left out'}" for old, new in changed.items()]
        st.caption("Classes on the way in: " + ", ".join(words) + ".")


def report(dataset: Dataset) -> None:
    """Every file that was left out or mended, by name and with the reason."""
    skipped, repaired = dataset.report.skipped, dataset.report.repaired
    if not skipped and not repaired:
        st.caption("Nothing was left out and nothing had to be mended.")
        return
    title = f"{plural(len(skipped), 'file')} left out, {plural(len(repaired), 'file')} mended"
    with st.expander(title, icon=":material/rule:"):
        st.dataframe(
            [*_rows(skipped, "left out"), *_rows(repaired, "mended")],
            hide_index=True,
            alt="Files that were left out or mended, with the reason",
        )


def _rows(problems: tuple[Problem, ...], what: str) -> list[dict[str, str]]:
    return [{"file": item.file, "what": what, "why": item.what} for item in problems]


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith(".") else text + "."
