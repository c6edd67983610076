"""Renaming and deleting, the same for runs, datasets and models: what hangs on a thing is named
before the second click."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from msip_core.language import t, tn
from msip_core.markdown import md
from msip_core.studies.dependants import Dependants
from msip_core.titles import LONGEST
from pages.kit.choose import remember
from pages.kit.guard import guarded


def renaming(kind: str, now: str, rename: Callable[[str], object]) -> None:
    """A button that opens a field for another title; ids and what was computed stay.

    Args:
        kind: "run", "dataset" or "model".
        now: the title of now.
    """
    key = f"{kind}:rename"
    with st.popover(t("Rename"), icon=":material/edit:", key=f"{key}:open"):
        st.text_input(t("Title"), value=now, max_chars=LONGEST, key=f"{key}:{now}")
        st.caption(t("Only what is shown changes: links, files and settings keep their ids."))
        # Callbacks here: a click must count even where a part of the page that follows a run finds
        # that it has moved on, and draws the page anew before the button is reached.
        st.button(
            t("Store"),
            key=key,
            icon=":material/save:",
            type="primary",
            on_click=_rename,
            args=(rename, f"{key}:{now}"),
        )


def deletion(
    kind: str,
    label: str,
    keeps: str,
    find: Callable[[], Dependants],
    delete: Callable[[], object],
    *,
    place: str = "",
) -> None:
    """A button that opens the warning, and in it the one that deletes.

    Args:
        kind: "run", "dataset", "model" or "study"; also the address's name for it.
        label: of the button.
        keeps: what goes and what stays, in words.
        find: looks for what hangs on it; asked only when the warning is opened, since it reads
            every run, model and study.
        delete: does it.
        place: tells two of one kind on one page apart.
    """
    box = st.popover(
        md(label), icon=":material/delete:", key=f"{kind}:deletion{place}", on_change="rerun"
    )
    if not box.open:
        return
    with box.container(key=f"deleting:{kind}{place}"):
        found = find()
        st.markdown(md(keeps))
        _hanging(found)
        if found.working:
            text = t(
                "Runs wait for it or work on it ({names}): wait until they end, or cancel them.",
                names=", ".join(found.working),
            )
            st.warning(md(text), icon=":material/lock:")
        else:
            st.button(
                t("Delete for good"),
                key=f"{kind}:delete{place}",
                type="primary",
                on_click=_delete,
                args=(kind, delete),
            )


@guarded
def _rename(rename: Callable[[str], object], field: str) -> None:
    rename(str(st.session_state[field]))


@guarded
def _delete(kind: str, delete: Callable[[], object]) -> None:
    delete()
    remember(kind, None)


def _hanging(found: Dependants) -> None:
    words = (
        tn("{n} run", "{n} runs", len(found.runs)),
        tn("{n} model", "{n} models", len(found.models)),
        tn("{n} study", "{n} studies", len(found.studies)),
    )
    for what, names in zip(words, (found.runs, found.models, found.studies)):
        if names:
            st.caption(md(t("Made with it: {what} ({names})", what=what, names=", ".join(names))))
