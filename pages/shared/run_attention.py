"""Attention beside the curves: does it stay on the crypt border while the model shrinks?

One micrograph, one labelled object, one step: Grad-CAM and SHAP of the baseline and of that step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from msip_core.boxes import Box
from msip_core.config import PruneConfig
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.runs.store import RunRow
from pages.shared.choose import choose
from pages.shared.explain import Subject, honesty, load_map, score_rows, shap_map
from pages.shared.jobs import job_folder, job_panel
from pages.shared.lab import dataset, lab
from pages.shared.layout import picture
from pages.shared.words import small

_MOST = 500  # micrographs offered here; the page "Where it looks" offers all


def attention(run: RunRow) -> None:
    """Choose micrograph, object and step; then the pictures and the border numbers."""
    st.markdown(f"**Attention** {small('Grad-CAM and SHAP')}")
    steps = [record.index for record in lab().runs.iterations(run.id)]
    if not steps or not isinstance(run.config, PruneConfig):
        st.caption(
            "After the first finished step you can see here where the model looks on a micrograph."
        )
        return
    data = dataset(run.config.dataset)
    record = _micrograph(data)
    if record is None:
        st.caption("No micrograph of this dataset has a labelled object.")
        return
    left, right = st.columns(2)
    with left:
        box = _object(data, record)
    with right:
        step = int(
            choose(
                "Step",
                [str(index) for index in steps],
                "step",
                words=lambda index: f"{index} of {steps[-1]}",
                default=str(steps[-1]),
            )
        )
    subject = Subject(data, record, box, run.config.imgsz)
    params = subject.question({"run": run.id, "iteration": step})
    result = job_panel(
        "attention",
        params,
        label=f"Show attention at step {step}",
        place="attention",
        note="Baseline and this step; SHAP takes the most time.",
    )
    if result is not None:
        _show(subject, job_folder("attention", params), result, step)


def _micrograph(data: Dataset) -> ImageRecord | None:
    with_objects = [
        record for part in ("val", "test", "train") for record in data.split(part) if record.counts
    ][:_MOST]
    asked = st.query_params.get("image")
    records = {record.id: record for record in with_objects}
    if asked and asked not in records and any(r.id == asked for r in data.images):
        records[asked] = data.image(asked)
    if not records:
        return None
    chosen = choose(
        "Micrograph",
        list(records),
        "image",
        words=lambda i: f"{i} ({', '.join(f'{n} {c}' for c, n in records[i].counts.items())})",
    )
    return records[chosen]


def _object(data: Dataset, record: ImageRecord) -> Box:
    boxes = {str(number): box for number, box in enumerate(data.boxes(record), start=1)}
    largest = max(boxes, key=lambda n: (boxes[n].x2 - boxes[n].x1) * (boxes[n].y2 - boxes[n].y1))
    number = choose(
        "Object",
        list(boxes),
        "object",
        words=lambda n: f"{n}: {data.classes[boxes[n].cls]}",
        default=largest,
    )
    return boxes[number]


def _show(subject: Subject, folder: Path, result: dict[str, Any], step: int) -> None:
    sides = (("baseline", "Baseline"), ("pruned", f"Step {step}"))
    for kind, title in (("gradcam", "Grad-CAM"), ("shap", "SHAP")):
        for column, (side, word) in zip(st.columns(2), sides):
            part = result[side][kind]
            if kind == "gradcam":
                drawn = subject.heat_picture(load_map(folder / part["heat"], "heat"))
            else:
                drawn = subject.shap_picture(shap_map(folder, part))
            with column:
                alt = f"{title} of {word} on {subject.record.id}"
                picture(drawn, caption=f"{word}: {title}", alt=alt)
    scores = {word: result[side]["gradcam"] for side, word in sides}
    st.dataframe(score_rows(scores), hide_index=True, alt="Border scores of both heat maps")
    honesty(scores["Baseline"]["scores"])
