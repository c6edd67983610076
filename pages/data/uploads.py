"""Uploads that were never taken in: go on with one, call it otherwise, delete it.

What was taken in is removed by itself, and what a count looks at goes with the count. What is left
here was looked into and left, or its check failed; the original stays on the computer that it came
from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from msip_core.language import t, tn
from msip_core.markdown import md
from msip_core.titles import checked_title
from msip_core.views.wording import megabytes
from pages.kit.lab import lab
from pages.kit.upload import safe_relative
from pages.kit.words import when

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Kept:
    """One upload on disk.

    Attributes:
        path: the file, or the folder of many.
        size: bytes.
        changed: seconds since 1970.
    """

    path: Path
    files: int
    size: int
    changed: float

    @property
    def folder(self) -> Path:
        """What is deleted with it."""
        return self.path if self.path.name.startswith("upload-") else self.path.parent


def kept_uploads(root: Path) -> list[Kept]:
    """Uploads below `root`, the newest first."""
    found = []
    for folder in root.glob("upload-*"):
        files = [file for file in folder.rglob("*") if file.is_file() and file.name[:1] != "."]
        if files:
            path = files[0] if len(files) == 1 and files[0].parent == folder else folder
            size = sum(file.stat().st_size for file in files)
            found.append(Kept(path, len(files), size, folder.stat().st_mtime))
    return sorted(found, key=lambda one: one.changed, reverse=True)


def rename_upload(kept: Kept, title: str) -> Path:
    """Call the file of an upload otherwise; its suffix, which says what it is, stays.

    Raises:
        InputError: it can be no name.
    """
    name = checked_title(title).replace("/", "_").replace("\\", "_")  # no folder is meant by it
    stem = safe_relative(name).name.removesuffix(kept.path.suffix)
    return kept.path.rename(kept.path.with_name(f"{stem}{kept.path.suffix}"))


def left_uploads(current: Path | None) -> None:
    """All of them but the one that is looked at now; folded, since they are seldom wanted."""
    workspace = lab().workspace
    found = [one for one in kept_uploads(workspace.uploads) if one.path != current]
    if not found:
        return
    held = workspace.held_uploads()  # reads the settings of every run
    found = [one for one in found if one.folder.name not in held]
    if not found:
        return
    title = tn("{n} upload that was not taken in", "{n} uploads that were not taken in", len(found))
    with st.expander(md(title), icon=":material/inventory_2:", key="uploads", on_change="rerun"):
        for place, kept in enumerate(found[:_SHOWN]):
            _row(kept, place)


def _row(kept: Kept, place: int) -> None:
    many = kept.path == kept.folder
    name = tn("A folder of {n} file", "A folder of {n} files", kept.files)
    words, buttons = st.columns([3, 2], vertical_alignment="center")
    words.markdown(md(name if many else kept.path.name))
    words.caption(md(f"{megabytes(kept.size / 1e6)} · {when(kept.changed)}"))
    with buttons.container(horizontal=True):
        if kept.path.suffix != ".pt" and st.button(t("Go on with it"), key=f"upload:go:{place}"):
            uploads = lab().workspace.uploads
            st.query_params["source"] = kept.path.relative_to(uploads).as_posix()
            st.rerun()
        if not many:
            with st.popover(t("Rename"), key=f"upload:rename:{place}:open"):
                key = f"upload:title:{kept.folder.name}"
                title = st.text_input(t("Title"), value=kept.path.stem, max_chars=80, key=key)
                if st.button(t("Store"), key=f"upload:rename:{place}"):
                    rename_upload(kept, title)
                    st.rerun()
        with st.popover(t("Delete"), key=f"upload:delete:{place}:open"):
            st.caption(t("The original stays on the computer that it came from."))
            if st.button(t("Delete for good"), key=f"upload:delete:{place}", type="primary"):
                lab().workspace.clear_upload(kept.folder)
                st.rerun()
