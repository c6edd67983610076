"""Files to take home: the model in several formats with its card, and one zip of the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import streamlit as st

from msip_core.language import mark, t, tn
from msip_core.markdown import md, rich
from msip_core.models import list_models, open_card
from msip_core.questions.detecting import Export
from msip_core.questions.sources import SavedModel
from msip_core.runs.state import RunState
from msip_core.views.card_text import CardFacts, below_headings, card_text, read_card_facts
from msip_core.views.citations import bibliography, references_of
from msip_core.views.history import read_history
from msip_core.views.methods import methods_text
from msip_core.views.sentences import LEARNED, SMALL_SAMPLE, has_learned
from msip_core.views.wording import accuracy, megabytes
from pages.export.panels import measured_latency
from pages.kit.choose import choose
from pages.kit.jobs import ask, job_folder
from pages.kit.lab import lab
from pages.kit.layout import facts
from pages.kit.model_card import accuracy_facts, cost_facts
from pages.kit.pair import ModelPair
from pages.kit.saving import save_button
from pages.kit.words import strong, termed

_EXPORTS = {
    "onnx": ("ONNX", mark("ONNX Runtime, Netron, many programs")),
    "openvino": ("OpenVINO", mark("fast on Intel CPUs")),
    "torchscript": ("TorchScript", mark("C++ and mobile")),
}

_CODE = 'YOLO("model.pt").predict("image.png")'


def model_files(pair: ModelPair) -> None:
    """model.pt as it is, its card, and other formats made on demand."""
    offered = _models(pair)
    if not offered:
        done = pair.run.state is RunState.COMPLETED
        text = (
            t("The models of this run were deleted since.")
            if done
            else t("The lighter model can be taken home once the run is done.")
        )
        st.info(md(text), icon=":material/delete:" if done else ":material/hourglass:")
        return
    cards = {model_id: open_card(lab().workspace, model_id) for model_id in offered}
    card = cards[choose(t("Model"), offered, "model", words=lambda i: cards[i].name)]
    facts([*accuracy_facts(card.val), *cost_facts(card.cost, card.macs_ratio)])
    weights = lab().workspace.model_dir(card.id) / "model.pt"
    st.markdown(md(strong(t("For Ultralytics"), "model.pt")))
    st.caption(md(rich("{words} `{code}`.", words=t("Opens in stock Ultralytics:"), code=_CODE)))
    if card.is_narrow:
        further = t(
            "To train it further, bring it here: stock Ultralytics' training rebuilds the full "
            "network, and what was pruned grows back."
        )
        st.caption(md(further))
    download(weights, f"{card.id}.pt", t("Download {name}", name="model.pt"), place="pt")
    _card(pair, card.id)
    st.markdown(md(strong(t("For other programs"))))
    for form, (word, where) in _EXPORTS.items():
        with st.container(border=True):
            st.markdown(md(termed(word, t(where))))
            _export(card.id, form, word)


def _models(pair: ModelPair) -> list[str]:
    """The lighter one first; one that was deleted since is left out."""
    here = {card.id for card in list_models(lab().workspace)}
    return [one for one in (pair.run.model_id, pair.config.model) if one and one in here]


def _card(pair: ModelPair, model_id: str) -> None:
    """What the model finds, what it was made from, what it can do: a page to send along."""
    known = read_card_facts(lab().workspace, model_id)
    text = card_text(known, file=f"{model_id}.pt", latency=measured_latency(pair))
    st.markdown(md(strong(t("Model card"), t("what it finds, made from what, how good; Markdown"))))
    for warning in _careful(known):
        st.caption(md(rich(":material/warning: {words}", words=warning)))
    label, name = t("Download the model card"), f"{model_id}.md"
    save_button(label, text, name, key="download:card", icon="description")
    with st.expander(t("Read the card"), icon=":material/visibility:"):
        st.markdown(md(below_headings(text)))


def _careful(known: CardFacts) -> list[str]:
    """What the card warns of, in the reader's language."""
    found: list[str] = []
    shown = known.card.test or known.card.val
    if shown is None:
        found.append(t("The accuracy of this model was not measured here."))
    elif 0 < shown.images < SMALL_SAMPLE:
        found.append(
            tn(
                "Its accuracy was measured on only {n} image: small differences may be chance.",
                "Its accuracy was measured on only {n} images: small differences may be chance.",
                shown.images,
            )
        )
    if shown is not None and not has_learned(shown):
        found.append(
            t(
                "It has not learned its task (mAP50 {value}, below {level}): most of what it marks "
                "is wrong or missed.",
                value=accuracy(shown.map50),
                level=f"{LEARNED:.2f}",
            )
        )
    if known.dataset.get("drawn"):
        found.append(t("Its images were drawn by computer: the numbers say nothing about tissue."))
    return found


def _export(model_id: str, form: str, word: str) -> None:
    question = Export(model=SavedModel(model=model_id), format=form)
    result = ask(
        question, label=t("Make the {form} file", form=word), place=f"export:{form}", quiet=True
    )
    if result is None:
        return
    path = job_folder(question) / result.path
    download(path, f"{model_id}-{path.name}", t("Download {name}", name=path.name), place=form)


def run_zip(pair: ModelPair) -> None:
    """Settings, data manifest, models and metrics: all that is needed to repeat the run."""
    st.markdown(md(strong(t("Whole run"), t("one zip, a small workspace of its own"))))
    if pair.run.state is not RunState.COMPLETED:
        st.caption(t("The run is not done: the zip holds what there is so far."))
    images = st.toggle(t("With the images"), value=True, key="share:images")
    name = f"{pair.run.id}{'' if images else '-without-images'}.zip"
    target = lab().workspace.cache / "exports" / name

    def write() -> BinaryIO:
        packed = lab().runs.export(pair.run.id, target, with_images=images, texts=_texts(pair))
        return packed.open("rb")

    save_button(t("Download the whole run"), write, name, key="share:zip", icon="folder_zip")
    st.caption(
        t(
            "Packed when you click, with model cards and the methods paragraph; with many images "
            "this takes a while."
        )
    )


def _texts(pair: ModelPair) -> Mapping[str, str]:
    """Card of each model, beside it, and the methods of the run with its references."""
    latency = measured_latency(pair)
    history = read_history(lab().workspace, lab().runs, pair.run.id)
    texts: dict[str, str] = {
        f"models/{model_id}/README.md": card_text(
            read_card_facts(lab().workspace, model_id), latency=latency
        )
        for model_id in _models(pair)
    }
    methods = methods_text(history, latency=latency)
    texts[f"runs/{pair.run.id}/methods.txt"] = methods
    texts[f"runs/{pair.run.id}/references.bib"] = bibliography(references_of(history.config), "bib")
    return texts


def download(path: Path, name: str, label: str, *, place: str) -> None:
    """A file of the disk as a download; read only when it is clicked."""

    def read() -> Any:
        return path.open("rb")

    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            md(label),
            read,
            file_name=name,
            mime="application/octet-stream",
            icon=":material/download:",
            on_click="ignore",
            key=f"download:{place}",
        )
        st.caption(md(megabytes(path.stat().st_size / 1e6)), width="content")
