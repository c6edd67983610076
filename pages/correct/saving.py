"""What is done with the boxes that the editor sends: saved as a new version, or kept as a draft."""

from __future__ import annotations

import getpass
from dataclasses import dataclass

import streamlit as st

from msip_core.data.correcting import Saved, save_labels
from msip_core.data.dataset import Dataset
from msip_core.data.versions import Version
from msip_core.language import t, tn
from msip_core.markdown import Text, joined, md
from pages.correct.editor import Edited
from pages.correct.queue import Queue
from pages.kit.choose import remember
from pages.kit.lab import lab

_WHO = "correct:who"
_SAID = "correct:said"
ACK = "correct:ack"


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a person works: the dataset, the classes that boxes count in, the order."""

    data: Dataset
    classes: tuple[str, ...]
    queue: Queue


def who_field() -> str:
    """Who corrects: for the history of the dataset."""
    known = str(st.user.get("name") or st.user.get("email") or "") or getpass.getuser()
    name = st.text_input(
        t("Your name"),
        value=known,
        max_chars=80,
        key=_WHO,
        persist_state="session",
        help=t("The history of the dataset tells the others who corrected what."),
    )
    return name.strip()


def take_in(desk: Desk, who: str, edited: Edited) -> None:
    """Save, say what became of it, and go where the person wants to."""
    st.session_state.pop(_SAID, None)
    if edited.boxes is not None:
        saved = save_labels(
            lab().workspace,
            desk.data.name,
            {edited.image: edited.boxes},
            seen=edited.seen,
            who=who,
            classes=desk.classes,
        )
        st.session_state[_SAID] = (desk.data.name, *_said(edited.image, saved))
        st.session_state[ACK] = edited.token
    if edited.to != "stay":
        remember("image", desk.queue.beside(1 if edited.to == "next" else -1))


def _said(image: str, saved: Saved) -> tuple[str, Text]:
    """An icon's colour and the sentence."""
    if saved.late:
        return "warning", t(
            "{image} was corrected by somebody else meanwhile. Theirs stands, and your boxes are "
            "kept as a draft: see below.",
            image=image,
        )
    if saved.version is None:
        return "info", t("{image}: nothing differs from the boxes that are there.", image=image)
    return "success", t(
        "{image}: saved as version {n} by {who} ({what}).",
        image=image,
        n=saved.version.number,
        who=saved.version.who,
        what=what_changed(saved.version),
    )


def what_changed(version: Version) -> str:
    """Boxes added, moved, removed and renamed, in words."""
    counts = {
        "added": tn("{n} box added", "{n} boxes added", version.total("added")),
        "moved": tn("{n} moved", "{n} moved", version.total("moved")),
        "removed": tn("{n} removed", "{n} removed", version.total("removed")),
        "renamed": tn(
            "{n} given another class", "{n} given another class", version.total("renamed")
        ),
    }
    said = [words for what, words in counts.items() if version.total(what)]
    return joined(", ", said) if said else t("looked at, no box")


def tell_saved(data: Dataset) -> None:
    """What became of the last save in this dataset."""
    name, kind, sentence = st.session_state.get(_SAID, ("", "", None))
    if sentence is None or name != data.name:
        return
    shown = {"warning": st.warning, "info": st.info, "success": st.success}[kind]
    icons = {
        "warning": ":material/group:",
        "info": ":material/check:",
        "success": ":material/check_circle:",
    }
    shown(md(sentence), icon=icons[kind])
