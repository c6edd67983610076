"""The frame that every page has: heading, rows of facts, what is missing or too few, one next step
at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray

from msip_core.data.dataset import DatasetSummary
from msip_core.language import t, told
from msip_core.markdown import joined, md, rich
from msip_core.runs.state import RunState
from msip_core.views.screen import CONFIG
from pages.kit.words import STATE_WORDS, strong, termed

_READ = 30  # rows; more are searched, not read
# What the theme cannot express: tighter cards whose labels wrap instead of being cut, the "Next"
# link as a button, and on narrow screens curves and pictures below each other.
_CSS = """
<style>
  .stMainBlockContainer { padding-top: 2.5rem; padding-bottom: 3rem; max-width: 1720px; }
  [data-testid="stHorizontalBlock"]:has(> div > [data-testid="stMetric"]) {
    display: grid; align-items: stretch; }
__GRIDS__
  [data-testid="stElementContainer"]:has(> [data-testid="stMetric"]) { display: flex; }
  [data-testid="stMetric"] { flex: 1; height: auto; }
  [data-testid="stMetric"] > div { padding: .55rem .8rem; height: 100%; display: flex;
    flex-direction: column; justify-content: space-between; align-items: flex-start; }
  [data-testid="stMetricLabel"] p > span { display: block; }
  [data-testid="stMetricLabel"] p { overflow-wrap: anywhere; }
  [data-testid="stMetricValue"] { font-size: 1.3rem; }
  [data-testid="stMetricLabel"], [data-testid="stMetricLabel"] *,
  [data-testid="stMetricValue"], [data-testid="stMetricValue"] * {
    white-space: normal !important; overflow: visible !important; text-overflow: clip !important; }
  .st-key-next-step { border-top: 1px solid rgba(128, 140, 138, .35); padding-top: 1rem;
    margin-top: 1.5rem; }
  .st-key-first-run [data-testid="stPageLink"] a,
  .st-key-next-step [data-testid="stPageLink"] a { background: #0F766E; border-radius: .5rem;
    padding: .4rem .9rem; }
  .st-key-first-run [data-testid="stPageLink"] a:hover,
  .st-key-next-step [data-testid="stPageLink"] a:hover { background: #0B5A54; }
  /* White on the dark theme's teal would have a contrast of 3.7; on this one it has 5.5. */
  [data-testid^="stBaseButton-primary"]:not(:disabled) { background: #0F766E;
    border-color: #0F766E; color: #FFFFFF; }
  [data-testid^="stBaseButton-primary"]:not(:disabled):hover { background: #0B5A54; }
  .st-key-first-run [data-testid="stPageLink"] a p,
  .st-key-first-run [data-testid="stPageLink"] a span,
  .st-key-next-step [data-testid="stPageLink"] a p,
  .st-key-next-step [data-testid="stPageLink"] a span { color: #FFFFFF; }
  [data-testid="stPageLink"] a p { white-space: normal; }
  /* Streamlit's grey for the text of axes has a contrast of 3.7 on white; this one has 6.5. */
  .js-plotly-plot [class$="tick"] text, .js-plotly-plot text[class$="title"]:not(.gtitle) {
    fill: color-mix(in srgb, currentColor 75%, transparent) !important; }
  /* Where a row of buttons wraps, its last one would stand open to the right. */
  [data-variant="segmented_control"]:not(:last-child) {
    border-right: 1px solid rgba(128, 140, 138, .35); margin-right: -1px; }
  :focus-visible, label:has(input:focus-visible), [data-baseweb="select"]:has(input:focus-visible) {
    outline: 2px solid #0D9488 !important; outline-offset: 2px; border-radius: .3rem; }
  [data-testid="stHorizontalBlock"]:has([data-testid="stProgress"])
    > [data-testid="stColumn"]:last-child { min-width: 7rem; }
  [data-testid="stColumn"]:has(> div > div > .st-key-aside),
  [data-testid="stColumn"]:has(> div > .st-key-aside) {
    position: sticky; top: 4rem; align-self: flex-start; }
  /* What comes after the click made it taller: it opens upwards where there is no room below. */
  [data-testid="stPopoverBody"]:has([class*="st-key-deleting"]) { min-height: 12.5rem; }
  @media (max-width: 1200px) {
    .stMainBlockContainer { padding-left: 2.5rem; padding-right: 2.5rem; }
    [data-testid="stColumn"]:has(.st-key-aside) { position: static !important; }
    .st-key-steps > div > [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
    .st-key-steps > div > [data-testid="stHorizontalBlock"] > [data-testid="stColumn"] {
      flex: 1 1 30%; min-width: 30%; }
    .st-key-beside > div > [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
    .st-key-beside > div > [data-testid="stHorizontalBlock"] > [data-testid="stColumn"] {
      flex: 1 1 100%; min-width: 100%; }
  }
</style>
"""
_MOST_CARDS = 12


def _grids() -> str:
    """Cards in even rows: six are 6 or 3 + 3, seven are 4 + 3, never one alone below the others.

    At most so many columns as make the rows even, fewer where cards would be too narrow to read.
    """
    row = '[data-testid="stHorizontalBlock"]:has(> div:nth-child({n}):last-child > {card})'
    rules = []
    for n in range(2, _MOST_CARDS + 1):
        place = row.format(n=n, card='[data-testid="stMetric"]')
        half = n if n <= 4 else -(-n // 2)
        rules.append(f"  {place} {{ {_columns(min(n, 8))} max-width: {15 * n}rem; }}")
        rules.append(f"  @media (max-width: 1500px) {{ {place} {{ {_columns(half)} }} }}")
    return "\n".join(rules)


def _columns(most: int) -> str:
    narrowest = f"max(6.6rem, (100% - {most - 1} * .75rem) / {most})"
    return f"grid-template-columns: repeat(auto-fit, minmax({narrowest}, 1fr)); gap: .75rem;"


@dataclass(frozen=True, slots=True)
class Fact:
    """One number with its unit: plain word, expert term in small type, optional change."""

    word: str
    value: str
    term: str = ""
    change: str | None = None
    better: Literal["normal", "inverse", "off"] = (
        "off"  # "normal": up is good, "inverse": down is good, "off": neither
    )
    help: str | None = None


def style() -> None:
    """The few rules that the theme cannot express. Called once per run, by app.py."""
    st.html(_CSS.replace("__GRIDS__", _grids()))


def header(title: str, text: str) -> None:
    """The page's title and one sentence that says what can be done here."""
    st.title(md(title), anchor=False)
    st.caption(md(text))


def facts(row: Iterable[Fact]) -> None:
    """A row of numbers that wraps on narrow screens."""
    with st.container(horizontal=True, gap="small"):
        for fact in row:
            label = termed(fact.word, fact.term) if fact.term else fact.word
            is_level = (fact.change or "").startswith("±")
            st.metric(
                md(label),
                md(fact.value),
                # Streamlit reads the direction of the arrow from an ASCII minus only.
                md(fact.change.replace("−", "-") if fact.change else None),
                delta_color="off" if is_level else fact.better,
                delta_arrow="off" if is_level else "auto",
                help=md(fact.help),
                border=True,
                width="stretch",
            )


def next_step(page: str, label: str, why: str, **ids: str) -> None:
    """The one step that usually comes next, with the ids it needs in the link."""
    with st.container(key="next-step", horizontal=True, vertical_alignment="center", gap="medium"):
        st.page_link(
            page,
            label=md(t("Next: {step}", step=label)),
            icon=":material/arrow_forward:",
            query_params=ids or None,
        )
        st.caption(md(why), width="content")


def empty(sentence: str, *links: tuple[str, str]) -> None:
    """Nothing here yet: say so and link (page, text) to what fills it."""
    with st.container(border=True):
        st.markdown(md(strong(sentence)))
        with st.container(horizontal=True):
            for page, text in links:
                st.page_link(page, label=md(text), icon=":material/arrow_forward:")


def state_badge(state: RunState) -> None:
    word, colour, icon = STATE_WORDS[state]
    st.badge(md(t(word)), icon=icon, color=colour)  # type: ignore[arg-type]


def picture(pixels: NDArray[np.uint8] | bytes, *, alt: str, caption: str | None = None) -> None:
    """An 8-bit picture without loss: Streamlit would write RGB arrays as JPEG."""
    st.image(pixels, caption=md(caption), alt=alt, output_format="PNG", width="stretch")


def chart(figure: go.Figure, key: str, alt: str) -> None:
    """A Plotly figure that keeps its zoom (key and uirevision) and saves itself as SVG."""
    saving = {"toImageButtonOptions": {"format": "svg", "filename": f"msip-{key}"}}
    st.plotly_chart(figure, key=f"chart:{key}", alt=alt, config=CONFIG | saving)


def careful(concerns: Sequence[str]) -> None:
    """What is too few or too rare to be learned or judged."""
    if concerns:
        lines = joined("\n", (rich("- {text}", text=told(text)) for text in concerns))
        st.warning(md(lines), icon=":material/warning:")


def what_is_missing(sets: Sequence[DatasetSummary]) -> None:
    """The one thing that each dataset lacks, by name."""
    for item in sets:
        if item.missing:
            st.caption(
                md(rich("**{name}**: {missing}", name=item.words, missing=told(item.missing)))
            )


def reasons_table(rows: list[dict[str, str]], alt: str) -> None:
    """Files with reasons: to be read while they are few, to be sorted and searched when many.

    A grid cuts a long reason off at its edge; a table breaks it into lines, but draws every row.
    """
    if len(rows) <= _READ:
        columns = {head: [md(row[head]) for row in rows] for head in rows[0]}
        st.table(columns, border="horizontal", hide_index=True, alt=alt)
    else:
        st.dataframe(rows, hide_index=True, alt=alt)
