"""Grad-CAM and SHAP of one object for both models, with the numbers on its border."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from msip_core.views import sentences
from msip_core.views.wording import duration, percent
from pages.shared.choose import choose_view
from pages.shared.explain import Subject, honesty, load_map, score_rows, shap_map
from pages.shared.jobs import job_folder, job_panel
from pages.shared.layout import picture
from pages.shared.pair import ModelPair
from pages.shared.words import known, small

_METHODS = {"gradcam": "Grad-CAM", "layercam": "LayerCAM", "eigencam": "EigenCAM"}


def grad_maps(pair: ModelPair, subject: Subject) -> None:
    """Two heat maps and their border scores; cheap, so they are asked at once."""
    st.subheader("Heat map", anchor=False)
    method = choose_view(_METHODS, "gradcam", "look", param="method", label="Kind of map")
    scores: dict[str, dict[str, Any]] = {}
    for column, (side, word) in zip(st.columns(2), pair.sides()):
        params = {**subject.question(side), "method": method}
        with column:
            result = job_panel(
                "gradcam", params, label=f"Explain: {word}", place=f"cam:{word}", auto=True
            )
            if result is None:
                continue
            heat = load_map(job_folder("gradcam", params) / result["heat"], "heat")
            layers = ", ".join(str(layer) for layer in result["layers"])
            picture(
                subject.heat_picture(heat),
                caption=f"{word}: {_METHODS[method]}, layers {layers}",
                alt=f"{_METHODS[method]} of {word} on {subject.record.id}",
            )
            scores[word] = result
    if scores:
        st.dataframe(score_rows(scores), hide_index=True, alt="Border scores of both heat maps")
        st.markdown(_compared(scores))
        honesty(next(iter(scores.values()))["scores"])


def shap_maps(pair: ModelPair, subject: Subject) -> None:
    """SHAP on patches: slow, so it is started by hand, with its time said before."""
    st.subheader("What each patch adds", anchor=False)
    left, right = st.columns(2)
    samples = left.select_slider(
        f"Evaluations {small('more: finer and slower')}",
        [128, 256, 512, 1024, 2048],
        512,
        key="samples",
        bind="query-params",
    )
    features = right.select_slider(
        f"Patches {small('super-pixels')}",
        [25, 50, 100, 200],
        100,
        key="patches",
        bind="query-params",
    )
    expected = _expected(pair, subject, samples)
    for column, (side, word) in zip(st.columns(2), pair.sides()):
        params = {**subject.question(side), "samples": samples, "features": features}
        with column:
            result = job_panel(
                "shap",
                params,
                label=f"Compute SHAP: {word}",
                place=f"shap:{word}",
                note=expected,
            )
            if result is not None:
                _draw_shap(subject, job_folder("shap", params), result, word)
    st.caption("Orange patches add to the score, purple patches take from it.")


def _compared(scores: dict[str, dict[str, Any]]) -> str:
    """The border shares of both models in one sentence, once both are there."""
    if len(scores) < 2:
        return ""
    before, after = (result["scores"] for result in scores.values())
    return sentences.attention_sentence(before, after)


def _draw_shap(subject: Subject, folder: Path, result: dict[str, Any], word: str) -> None:
    picture(
        subject.shap_picture(shap_map(folder, result)),
        caption=f"{word}: SHAP on {len(result['values'])} patches",
        alt=f"SHAP contributions of {word} on {subject.record.id}",
    )
    st.caption(
        f"Score {result['score']:.2f}, {result['base']:.2f} on the blurred image. The strongest "
        f"tenth of the patches carries {known(result['c_at_10'], percent)} {small('C@10')}."
    )


def _expected(pair: ModelPair, subject: Subject, samples: int) -> str:
    """Time of one SHAP map, from a few forward passes of the baseline timed here."""
    params = {**subject.question(pair.baseline), "estimate": True}
    timed = job_panel("shap", params, label="Timing", place="shap:estimate", auto=True)
    if timed is None:
        return f"{samples} evaluations of the model."
    return f"About {duration(timed['per_evaluation'] * samples)} for {samples} evaluations."
