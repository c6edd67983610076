"""Grad-CAM and SHAP of one object for both models, with the numbers on its border."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import streamlit as st

from msip_core.catalog import HEAT_MAPS
from msip_core.catalog import HeatMap as Method
from msip_core.language import mark, t, tn, told
from msip_core.markdown import md, rich
from msip_core.questions.looking import (
    BoundaryScores,
    GradCam,
    HeatMap,
    RandomisedCheck,
    Shap,
    ShapValues,
    TimeShap,
)
from msip_core.views.evidence import ENRICHED, is_hardly_on_border
from msip_core.views.wording import duration, percent, signed
from pages.kit.choose import choose_view
from pages.kit.components.media import png
from pages.kit.explain import (
    SHAP_PATCHES,
    SHAP_SAMPLES,
    Subject,
    honesty,
    score_rows,
)
from pages.kit.jobs import ask, finished, job_state
from pages.kit.lab import lab
from pages.kit.layout import picture
from pages.kit.pair import ModelPair
from pages.kit.words import known, labelled, small

_SIDES = ("baseline", "pruned")  # parts of widget keys: not translated
_METHODS: dict[Method, str] = {name: HEAT_MAPS[name].label for name in get_args(Method)}
_LAYERS = {
    "all": mark("All layers"),
    "P3": mark("P3, fine"),
    "P4": mark("P4, middle"),
    "P5": mark("P5, coarse"),
}
_SAME_BOX = 0.5  # overlap (IoU) from which a box is the chosen one
_SLOW = 120.0  # seconds of SHAP from which a shorter way is offered
_FEW = SHAP_SAMPLES[0]


def grad_maps(pair: ModelPair, subject: Subject) -> None:
    """Two heat maps and their border scores; cheap, so they are asked at once."""
    st.subheader(t("Heat map"), anchor=False)
    with st.container(horizontal=True, gap="medium"):
        method = choose_view(_METHODS, "gradcam", "look", param="method", label=t("Kind of map"))
        layers = {name: t(words) for name, words in _LAYERS.items()}
        layer = choose_view(layers, "all", "look", param="layer", label=t("Layer looked at"))
    st.caption(md(told(HEAT_MAPS[method].caption)))
    maps: dict[str, HeatMap] = {}
    for side, column, (source, word) in zip(_SIDES, st.columns(2), pair.sides()):
        question = GradCam(
            **subject.asked_of(source), method=method, layers=None if layer == "all" else (layer,)
        )
        with column:
            label = t("Explain: {model}", model=word)
            found = ask(question, label=label, place=f"cam:{side}", auto=True)
            if found is not None:
                _draw_heat(subject, question, found, f"{word}: {_METHODS[method]}")
                maps[word] = found
            elif job_state(question) == "failed":
                _advice(subject, layers[layer])
    if maps:
        st.dataframe(score_rows(maps), hide_index=True, alt=t("Border scores of both heat maps"))
        scores = [found.scores for found in maps.values()]
        st.markdown(md(" ".join([_compared(scores), _meaning(subject, scores[0])]).strip()))
        honesty(scores[0].contour)


def shap_maps(pair: ModelPair, subject: Subject) -> None:
    """SHAP on patches: slow, so it is started by hand, with its time said before."""
    st.subheader(t("What each patch adds"), anchor=False)
    left, right = st.columns(2)
    samples = left.select_slider(
        md(labelled(t("Evaluations"), t("at most: it ends when two estimates agree"))),
        SHAP_SAMPLES,
        1024,
        key="samples",
        bind="query-params",
    )
    features = right.select_slider(
        md(labelled(t("Patches"), t("super-pixels"))),
        SHAP_PATCHES,
        50,
        key="patches",
        bind="query-params",
    )
    asked = {
        word: Shap(**subject.asked_of(source), samples=samples, features=features)
        for source, word in pair.sides()
    }
    missing = [word for word, question in asked.items() if finished(question) is None]
    expected = _expected(pair, subject, samples) if missing else ""
    for side, column, (word, question) in zip(_SIDES, st.columns(2), asked.items()):
        with column:
            label = t("Compute SHAP: {model}", model=word)
            found = ask(question, label=label, place=f"shap:{side}", note=expected)
            if found is not None:
                _draw_shap(subject, question, found, word)
            elif job_state(question) == "failed":
                _advice(subject, None)
    st.caption(
        md(
            t("Orange patches add to the score, blue patches take from it.")
            + " "
            + t(
                "A patch is “absent” when it is blurred; what blurring does not change counts "
                "nothing."
            )
        )
    )


def _advice(subject: Subject, layer: str | None) -> None:
    """Below an error: what was asked, and what else can be tried."""
    name = subject.data.classes[subject.box.cls]
    if layer is None:
        words = t(
            "Asked for: {name} on {image}. Try fewer evaluations, or another object.",
            name=name,
            image=subject.record.id,
        )
        st.caption(md(words))
        return
    text = t(
        "Asked for: {name} on {image}, layer “{layer}”. Try another layer, or another kind of map.",
        name=name,
        image=subject.record.id,
        layer=layer,
    )
    st.caption(md(text))


@st.cache_data(max_entries=128, show_spinner=False)
def _png(key: str, _subject: Subject, _found: HeatMap | ShapValues) -> bytes:
    return png(_subject.picture(lab().compute.folder(key), _found))


def _draw_heat(subject: Subject, question: GradCam, found: HeatMap, title: str) -> None:
    drawn = _png(lab().compute.key(question), subject, found)
    layers = ", ".join(found.layers) or t("none")
    picture(
        drawn,
        caption=t("{title}, layers {layers}", title=title, layers=layers),
        alt=t("{title} on {image}", title=title, image=subject.record.id),
    )
    if not found.layers:
        st.warning(
            t("No layer gave a map for this object: choose another layer or another kind of map."),
            icon=":material/layers_clear:",
        )
    elif note := _note(found):
        st.info(md(note), icon=":material/info:")
    left_out = [
        t("{layer} is left out: {reason}.", layer=item.layer, reason=t(item.reason))
        for item in found.skipped
    ]
    if left_out:
        st.caption(md(" ".join(left_out)))
    if found.layers:
        _verdict(found.randomised, found.scores)


def _note(found: HeatMap) -> str:
    """What a reader must know about the choice of what was explained."""
    overlap = found.target.best_iou
    if not found.note or overlap >= _SAME_BOX:
        return told(found.note)
    return t(
        "This model draws no box here that matches the chosen one (best overlap {overlap:.2f}): "
        "the map explains its nearest candidate.",
        overlap=overlap,
    )


def _two_digits(value: float) -> str:
    return signed(value, 2)


def _verdict(check: RandomisedCheck | None, scores: BoundaryScores) -> None:
    """The randomised-weights check in plain words, with its number beside them."""
    if not check:
        return
    if check.correlation is None:
        st.caption(
            t(
                "Whether the map depends on what was learned could not be checked: shuffled "
                "weights give an empty map for this object, so there is nothing to compare."
            )
        )
        return
    term = small(
        t(
            "rank correlation with shuffled weights {value} ({low} to {high}), alike from 0.50",
            value=signed(check.correlation, 2),
            low=known(check.low, _two_digits),
            high=known(check.high, _two_digits),
        )
    )
    if check.passed:
        words = t(
            "The map changes when the weights are shuffled: it depends on what the model learned."
        )
        _trusted(words, term, scores)
    elif check.passed is None:
        words = t(
            "Whether the map changes when the weights are shuffled is not clear: read it with care."
        )
        st.markdown(md(rich(":material/help: {words} {term}", words=words, term=term)))
    else:
        words = t("The map does not change when the weights are shuffled: do not trust it.")
        st.warning(md(rich("{words} {term}", words=words, term=term)), icon=":material/warning:")


def _trusted(words: str, term: str, scores: BoundaryScores) -> None:
    """A tick only where the map also lies on the border more than an even map would."""
    if not is_hardly_on_border(scores):
        st.markdown(md(rich(":material/check_circle: {words} {term}", words=words, term=term)))
        return
    st.markdown(md(rich("{words} {term}", words=words, term=term)))
    text = t(
        "The map has {times:.2f} times the heat of an even map on the border, below "
        "{level}: it does not show that the model looks at the border.",
        times=scores.enrichment,
        level=ENRICHED,
    )
    st.warning(md(text), icon=":material/blur_on:")


def _compared(scores: Sequence[BoundaryScores]) -> str:
    """The border shares of both models in one sentence, once both are there."""
    if len(scores) < 2:
        return ""
    before, after = scores
    if before.ber is None or after.ber is None:
        return t("One of the maps is empty, so the border shares cannot be compared.")
    return t(
        "{after} of the lighter model's heat lies on the border of this object, {before} of the "
        "baseline's.",
        after=percent(after.ber),
        before=percent(before.ber),
    )


def _meaning(subject: Subject, scores: BoundaryScores) -> str:
    """What the border number says: the width of the band, and what an even map would have."""
    pixel = subject.record.pixel_size_um or subject.data.pixel_size_um
    reach = scores.band_px * (pixel or 1)
    width = f"{reach:.1f} {'µm' if pixel else 'px'}"
    if not scores.ber or not scores.enrichment:
        return t("The border band (broken lines) reaches {width} to both sides.", width=width)
    return t(
        "The border band (broken lines) reaches {width} to both sides; a map spread evenly over "
        "the picture would have {even} of its heat there.",
        width=width,
        even=percent(scores.ber / scores.enrichment, 1),
    )


def _draw_shap(subject: Subject, question: Shap, found: ShapValues, word: str) -> None:
    patches = len(found.values)
    words = tn("{model}: SHAP on {n} patch", "{model}: SHAP on {n} patches", patches, model=word)
    picture(
        _png(lab().compute.key(question), subject, found),
        caption=words,
        alt=t("SHAP contributions of {model} on {image}", model=word, image=subject.record.id),
    )
    numbers = {"score": found.score, "base": found.base}
    if found.c_at_10 is None:
        text = t("Score {score:.2f}, {base:.2f} on the blurred image.", **numbers)
    else:
        text = t(
            "Score {score:.2f}, {base:.2f} on the blurred image. The strongest tenth of the "
            "patches carries {share} {term}.",
            **numbers,
            share=percent(found.c_at_10),
            term=small("C@10"),
        )
    st.caption(md(text))
    if found.converged and found.c_at_10 is not None:
        st.caption(
            md(t("Two independent estimates agree after {n} evaluations.", n=found.evaluations))
        )
    if found.note:
        st.info(md(told(found.note)), icon=":material/info:")


def _expected(pair: ModelPair, subject: Subject, samples: int) -> str:
    """Time of one SHAP map, from a few forward passes of the baseline timed here."""
    question = TimeShap(**subject.asked_of(pair.baseline))
    timed = ask(question, label=t("Timing"), place="shap:estimate", auto=True)
    if timed is None:
        return t("{samples} evaluations of the model.", samples=samples)
    seconds = timed.per_evaluation * samples
    if seconds > _SLOW and samples > _FEW:
        _offer_fewer(timed.per_evaluation * _FEW)
    return t(
        "About {time} for {samples} evaluations, at most.", time=duration(seconds), samples=samples
    )


def _offer_fewer(seconds: float) -> None:
    """A long wait is said before it begins, with the shorter way."""

    def fewer() -> None:
        st.session_state["samples"] = _FEW

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            md(t("Fewer: {n} evaluations, about {time}", n=_FEW, time=duration(seconds))),
            key="shap:fewer",
            icon=":material/speed:",
            on_click=fewer,
        )
        st.caption(
            t("It goes on while you look at other pages; the result is kept."), width="content"
        )
