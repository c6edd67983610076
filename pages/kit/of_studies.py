"""What studies made, dozens at a time: out of the menus until somebody asks for it.

One answer for all menus of a tab. What a link asks for is always offered, and where there is
nothing else, everything is: no menu is empty for that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import streamlit as st

from msip_core.errors import InputError
from msip_core.language import t
from msip_core.markdown import md
from msip_core.models import ModelCard
from msip_core.runs.store import RunRow
from msip_core.workspace import study_of
from pages.kit.lab import lab

_SHOWN = "studies:shown"
_LATEST = 200  # runs offered in a menu, newest first


def models_to_choose(
    cards: Collection[ModelCard], *, asked: str | None = None
) -> dict[str, ModelCard]:
    """Own models by id, newest first; behind them those of studies, if they are shown.

    Args:
        asked: id that a link asks for; it is there in any case.
    """
    own = {card.id: card for card in cards if card.study is None}
    theirs = {card.id: card for card in cards if card.study is not None}
    if not studies_shown(bool(own)):
        theirs = {card_id: card for card_id, card in theirs.items() if card_id == asked}
    return own | theirs


def models_switch(cards: Sequence[ModelCard], place: str) -> None:
    """The switch below a menu of models; drawn only where it changes something."""
    made = [card.study is not None for card in cards]
    if any(made) and not all(made):
        _switch(t("Show models of studies"), place)


def own_or_all(cards: Sequence[ModelCard]) -> list[ModelCard]:
    """A person's own models; all of them where there is no own one."""
    return [card for card in cards if card.study is None] or list(cards)


def runs_to_choose(
    fits: Callable[[RunRow], bool], *, asked: str | None = None, beside: str | None = None
) -> list[RunRow]:
    """Own pruning runs that fit, newest first; behind them those of studies, if they are shown.

    Args:
        asked: id that a link asks for; it is there in any case, if it fits.
        beside: a run whose study is offered in any case.
    """
    found = _pruning_runs(fits, of_studies=False)
    study = study_of(beside) if beside else None
    if studies_shown(bool(found)):
        found += _pruning_runs(fits, of_studies=True)
    elif study is not None:
        found += _pruning_runs(lambda r: study_of(r.id) == study and fits(r), of_studies=True)
    if asked is None or any(row.id == asked for row in found):
        return found
    return [*found, *_one(asked, fits)]


def runs_switch(place: str, *, kind: str | None = None, help: str | None = None) -> None:
    """The switch beside a menu or table of runs; drawn only where it changes something."""
    runs = lab().runs
    if runs.count(kind=kind, of_studies=True) and runs.count(kind=kind, of_studies=False):
        _switch(t("Show runs of studies"), place, help=help)


def studies_shown(own: bool) -> bool:
    """Whether menus show what studies made; `own`: there is something else to show."""
    return not own or bool(st.session_state.get(_SHOWN, False))


def _pruning_runs(fits: Callable[[RunRow], bool], *, of_studies: bool) -> list[RunRow]:
    rows = lab().runs.list(limit=_LATEST, kind="prune", of_studies=of_studies)
    return [row for row in rows if fits(row)]


def _one(run_id: str, fits: Callable[[RunRow], bool]) -> list[RunRow]:
    """A run that no list holds, if it is there and fits."""
    try:
        row = lab().runs.get(run_id)
    except InputError:
        return []
    return [row] if row.kind == "prune" and fits(row) else []


def _switch(label: str, place: str, *, help: str | None = None) -> None:
    key = f"{_SHOWN}:{place}"
    st.session_state[key] = st.session_state.get(_SHOWN, False)

    def changed() -> None:
        st.session_state[_SHOWN] = st.session_state[key]

    st.toggle(md(label), key=key, on_change=changed, help=md(help))
