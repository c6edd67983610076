"""Which count is looked at, and its analysis, kept until something of it changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from msip_core.config import CountConfig
from msip_core.errors import NotFoundError
from msip_core.language import t, tn, told
from msip_core.markdown import md
from msip_core.plates import folder
from msip_core.plates.analysis import COUNT_MARGIN, MARGIN, Asked, PlateAnalysis
from msip_core.plates.outcome import analysis_of, sheet_path
from msip_core.plates.rows import crypt_class
from msip_core.runs.state import RunState
from msip_core.runs.store import RunRow
from msip_core.workspace import Workspace
from pages.kit.choose import choose, distinct, not_in_this_lab, remember
from pages.kit.guard import show_failure
from pages.kit.lab import lab

_LATEST = 200  # counts offered in the menu, newest first
POINTS = 100  # a share of one is so many points
_OF_ONE_COUNT = ("control", "time", "crypts", "plate", "well", "image", "series", "figure", "class")
MARGIN_KEY, COUNT_MARGIN_KEY = "plate:margin", "plate:count-margin"


@dataclass(frozen=True)
class Count:
    """What the parts of the page draw: a run that counts, and what is said of its plate."""

    run: RunRow
    config: CountConfig
    folder: Path
    analysis: PlateAnalysis


def counts() -> list[RunRow]:
    """Runs that count, newest first."""
    return lab().runs.list(limit=_LATEST, kind="count")


def choose_count(rows: list[RunRow]) -> RunRow:
    """The count that the address asks for, else the newest."""
    by_id = {row.id: row for row in rows}
    wanted = st.query_params.get("count")
    if wanted and wanted not in by_id:
        by_id[wanted] = _one(wanted)
    chosen = choose(t("Count"), list(by_id), "count", words=lambda i: by_id[i].name)
    before = st.session_state.get("plate:looked", chosen)
    st.session_state["plate:looked"] = chosen
    if before != chosen:  # wells, controls and the like are those of one count
        for param in _OF_ONE_COUNT:
            remember(param, None)
    return lab().runs.get(chosen)


def _one(run_id: str) -> RunRow:
    """An older count that a link names."""
    try:
        row = lab().runs.get(run_id)
    except NotFoundError:
        st.query_params.pop("count", None)
        raise not_in_this_lab(t("Count"), run_id) from None
    if not isinstance(row.config, CountConfig):
        st.query_params.pop("count", None)
        raise NotFoundError("'{name}' is a run that counts nothing.", name=run_id)
    return row


def look_at(run: RunRow, *, moving: bool) -> Count | None:
    """Read what is counted so far; None while there is nothing."""
    config, run_dir = run.config, lab().runs.run_dir(run.id)
    if not isinstance(config, CountConfig):
        raise NotFoundError("'{name}' is a run that counts nothing.", name=run.name)
    if run.state is RunState.FAILED and run.error:
        show_failure(told(run.error))
    if not any(_stamp(run_dir)):
        if moving:
            st.caption(t("The first counts appear here as soon as they are there."))
        elif run.state is not RunState.FAILED:
            st.info(t("Nothing was counted before this run ended."), icon=":material/info:")
        return None
    asked = _asked(folder.read_facts(run_dir).models["model"].classes)
    with st.spinner(t("Reading the count")):
        found = _analysis(str(lab().workspace.root), str(run_dir), _stamp(run_dir), asked)
    _so_far(found, moving=moving)
    return Count(run, config, run_dir, found)


def _asked(classes: tuple[str, ...]) -> Asked:
    """What the reader chose, from the address and the session; the fields stand in the parts."""
    crypts = st.query_params.get("crypts")
    return Asked(
        crypts=crypts if crypts in classes else None,
        control=st.query_params.get("control") or None,
        time=st.query_params.get("time") or None,
        margin=float(st.session_state.get(MARGIN_KEY, MARGIN * POINTS)) / POINTS,
        count_margin=float(st.session_state.get(COUNT_MARGIN_KEY, COUNT_MARGIN * POINTS)) / POINTS,
    )


def _stamp(run_dir: Path) -> tuple[int, ...]:
    """Changes with every line that is counted, and with the sample sheet; 0 before the first."""
    sheet = sheet_path(run_dir)
    try:
        roles = folder.roles(run_dir)
    except NotFoundError:
        return (0,)
    lines = [run_dir / "counts" / role / "images.jsonl" for role in roles]
    sizes = [path.stat().st_size if path.is_file() else 0 for path in lines]
    if not all(sizes):
        return (0,)
    return (*sizes, sheet.stat().st_mtime_ns if sheet else 0)


@st.cache_resource(show_spinner=False, max_entries=3)
def _analysis(root: str, run_dir: str, stamp: tuple[int, ...], asked: Asked) -> PlateAnalysis:
    # `stamp` is not used here: it makes new lines a new cache entry.
    return analysis_of(Workspace(Path(root)), Path(run_dir), asked)


def _so_far(found: PlateAnalysis, *, moving: bool) -> None:
    counting = found.counting
    if counting.done:
        return
    text = tn(
        "{n} of {total} image is counted so far: every number below is of that one alone.",
        "{n} of {total} images are counted so far: every number below is of these alone.",
        len(counting.images),
        total=counting.total,
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(md(text), width="content")
        if moving:
            st.button(t("Look again"), icon=":material/refresh:", key="plate:again")


# --- choices that parts share -------------------------------------------------


def choose_class(found: PlateAnalysis) -> None:
    """The class whose share is taken; asked only where the model's names do not tell it."""
    classes = list(found.counting.classes)
    told = crypt_class(classes)
    if told is not None and found.crypts == told:
        return
    chosen = choose(
        t("Share of which class?"),
        classes,
        "crypts",
        default=found.crypts or classes[0],
        help=t("No class of this model is named for crypts or buds."),
    )
    if chosen != found.crypts:
        st.rerun()


def choose_time(found: PlateAnalysis) -> None:
    """The time point that is looked at, where there are several."""
    if len(found.times) < 2:
        return
    names = distinct(found.times, lambda time: time or "—")
    key = "plate:time"
    st.session_state[key] = found.time

    def changed() -> None:
        remember("time", st.session_state[key])

    st.selectbox(
        t("Time point"), found.times, key=key, format_func=names.__getitem__, on_change=changed
    )


def quantity(found: PlateAnalysis, shown: str) -> str:
    """What is shown, in the reader's words."""
    if shown == "fraction":
        if found.crypts == crypt_class(found.counting.classes):
            return t("Crypt fraction")
        return t("Share of {name}", name=found.crypts or "")
    if shown == "diameter":
        return t("Median diameter ({unit})", unit=found.sizes.unit)
    return t("Objects per field") if shown == "count" else t("Objects")
