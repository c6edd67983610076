"""The report of a run: one HTML file, with the pictures that were looked at before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import streamlit as st

from msip_core.data.dataset import Dataset
from msip_core.language import t
from msip_core.markdown import md
from msip_core.questions.detecting import Comparison
from msip_core.questions.looking import GradCam, Shap
from msip_core.views.evidence import (
    ExplainedObject,
    Explanation,
    Micrograph,
    choose_images,
    micrograph_of,
)
from msip_core.views.history import read_history
from msip_core.views.report import render_report
from msip_core.workspace import write_text
from pages.export.panels import FEATURES, SAMPLES, measured_latency
from pages.kit.choose_object import choose_object
from pages.kit.detections import pixels_of
from pages.kit.explain import Subject
from pages.kit.jobs import ask, finished, job_folder
from pages.kit.lab import lab
from pages.kit.pair import ModelPair, choose_image, compare_question, pair_dataset
from pages.kit.saving import save_button
from pages.kit.words import strong

_SIDES = ("Baseline", "Pruned")  # words of the report, which stays English


def report_file(pair: ModelPair) -> None:
    """One HTML file that opens anywhere, without this program."""
    st.markdown(md(strong(t("Report"), t("one HTML file, opens anywhere"))))
    data = pair_dataset(pair)
    compared = finished(compare_question(pair, data))
    if compared is None:
        st.caption(
            t(
                "Counts and pictures of the test images come into the report once they were "
                "counted on the page “Before and after”."
            )
        )
    explained = _explained(pair, data)
    latency = measured_latency(pair)
    out = lab().workspace.cache / "exports" / f"{pair.run.id}-report.html"

    def write() -> BinaryIO:
        history = read_history(lab().workspace, lab().runs, pair.run.id)
        text = render_report(
            history, compare=compared, micrographs=_micrographs(compared, data),
            explained=explained, classes=data.classes, latency=latency,
        )  # fmt: skip
        write_text(out, text)
        return out.open("rb")

    label = t("Download the report")
    save_button(label, write, out.name, key="share:report", icon="article", type="primary")


def _micrographs(compared: Comparison | None, data: Dataset) -> list[Micrograph]:
    return [
        micrograph_of(item, pixels_of(data, data.image(item.id)), data.classes)
        for item in (choose_images(compared.images) if compared else [])
    ]


def _explained(pair: ModelPair, data: Dataset) -> Sequence[ExplainedObject]:
    """Heat maps of one object that the person picks; SHAP where it was already computed."""
    if not st.toggle(t("With heat maps of one object"), key="heat", bind="query-params"):
        return []
    record = choose_image(data)
    box = choose_object(pair, data, record)
    if box is None:
        return []
    subject = Subject(data, record, box, pair.config.imgsz)
    heat: list[Explanation] = []
    shap: list[Explanation] = []
    for word, source in zip(_SIDES, (pair.baseline, pair.pruned)):
        question = GradCam(**subject.asked_of(source))
        result = ask(
            question,
            label=t("Explain: {model}", model=word),
            place=f"report:{word}",
            auto=True,
            quiet=True,
        )
        if result is None:
            continue
        drawn = subject.picture(job_folder(question), result)
        heat.append(Explanation(word, "Grad-CAM", drawn, result))
        asked = Shap(**subject.asked_of(source), samples=SAMPLES, features=FEATURES)
        known = finished(asked)
        if known is not None:
            drawn = subject.picture(job_folder(asked), known)
            shap.append(Explanation(word, "SHAP", drawn, known))
    if len(heat) < 2:
        st.caption(t("Until both heat maps are there, the report comes without them."))
        return []
    title = f"{record.id}: {data.classes[box.cls]}"
    return [ExplainedObject(title, [*heat, *(shap if len(shap) == 2 else [])])]
