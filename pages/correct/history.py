"""Versions of a dataset's labels: who corrected what, going back to one, and drafts."""

from __future__ import annotations

import streamlit as st

from msip_core.data.correcting import restore_version, save_labels
from msip_core.data.dataset import Dataset
from msip_core.data.drafts import Draft, drafts_of, drop_draft
from msip_core.data.versions import Version, history
from msip_core.language import t, tn
from msip_core.markdown import md
from pages.correct.saving import what_changed
from pages.kit.guard import guarded, show_failure
from pages.kit.lab import lab
from pages.kit.words import when

_MOST = 200  # versions in the table, the newest ones


def drafts(data: Dataset, who: str) -> None:
    """Boxes that came too late: taken over or dropped by a person, never by itself."""
    found, damaged = drafts_of(data.root)
    for path in damaged:
        show_failure(t("The draft {path} cannot be read: remove the file.", path=path))
    for draft in found:
        with st.container(border=True, key=f"draft:{draft.id}"):
            text = t(
                "**{image}**: {who} has {n} boxes for it ({when}), made on version {seen}. "
                "Somebody else had corrected it since.",
                image=draft.image,
                who=draft.who,
                n=len(draft.boxes),
                when=when(draft.when),
                seen=draft.seen,
            )
            st.markdown(md(text))
            with st.container(horizontal=True):
                st.button(
                    t("Take these boxes"),
                    key=f"draft:{draft.id}:take",
                    icon=":material/check:",
                    on_click=_take,
                    args=(data, draft, who),
                    help=t("They become a new version; the boxes of now stay in the history."),
                )
                st.button(
                    t("Drop them"),
                    key=f"draft:{draft.id}:drop",
                    icon=":material/delete:",
                    on_click=_drop,
                    args=(data, draft),
                )


@guarded
def _take(data: Dataset, draft: Draft, who: str) -> None:
    classes = max(data.classes, draft.classes, key=len)
    save_labels(
        lab().workspace, data.name, {draft.image: draft.boxes}, seen=data.labels_version,
        who=who, note=f"draft of {draft.who}", classes=classes, draft=draft.id,
    )  # fmt: skip


@guarded
def _drop(data: Dataset, draft: Draft) -> None:
    drop_draft(data.root, draft.id)


def versions(data: Dataset, who: str) -> None:
    """The history as a table, and a way back."""
    title = tn("History: {n} version", "History: {n} versions", data.labels_version)
    with st.expander(md(title), icon=":material/history:"):
        if data.labels_version == 1:
            st.caption(t("Nothing was corrected yet: these are the labels as they were imported."))
            return
        found = list(reversed(history(data.root, data.document)))
        st.dataframe(
            [_row(version) for version in found[:_MOST]],
            hide_index=True,
            alt=t("Versions of the labels: number, when, who, what"),
        )
        if len(found) > _MOST:
            text = tn(
                "The newest {n} version is shown.", "The newest {n} versions are shown.", _MOST
            )
            st.caption(md(text))
        _way_back(data, found, who)


def _row(version: Version) -> dict[str, object]:
    images = len(version.changes)
    return {
        t("Version"): version.number,
        t("When"): when(version.when),
        t("Who"): version.who or t("imported"),
        t("Images"): images,
        t("What"): str(_what(version)),
        t("Boxes then"): sum(version.state.boxes.values()),
    }


def _what(version: Version) -> str:
    if version.number == 1:
        return t("as imported")
    words = what_changed(version)
    if version.back_to:
        return t("back to version {n}: {what}", n=version.back_to, what=words)
    if version.note:
        return t("{what} ({note})", what=words, note=version.note)
    return words


def _way_back(data: Dataset, found: list[Version], who: str) -> None:
    older = [version.number for version in found if version.number != data.labels_version]
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    number = left.selectbox(
        t("Go back to version"), older, key=f"restore:{data.name}:{data.labels_version}"
    )
    right.button(
        t("Bring these labels back"),
        icon=":material/undo:",
        on_click=_restore,
        args=(data.name, number, who),
        width="stretch",
        help=t("As a new version: nothing of the history is lost."),
    )


@guarded
def _restore(name: str, number: int, who: str) -> None:
    restore_version(lab().workspace, name, number, who=who)
