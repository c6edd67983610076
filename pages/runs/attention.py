"""The attention strip: where the model looks at one object, step by step, while it shrinks.

One column a step, Grad-CAM above and SHAP (if asked for) below, the share of the heat on the
border under each. Pictures that are missing are asked for in the background while the page is open,
a few at a time and only while nobody else asks the compute process for anything; answers are kept
by content.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import streamlit as st

from msip_core.boxes import Box
from msip_core.catalog import PLAIN_EXPLAINERS
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.language import t, told
from msip_core.markdown import Text, md, rich
from msip_core.models import lacks_weights
from msip_core.questions.looking import GradCam, HeatMap, OfOneObject, Shap, ShapValues
from msip_core.questions.sources import RunStep
from msip_core.views import wording
from msip_core.views.thumbnails import thumbnail
from pages.kit.choose import choose
from pages.kit.components.media import png
from pages.kit.explain import Subject, honesty, map_of
from pages.kit.guard import guard, guarded
from pages.kit.lab import dataset, lab
from pages.kit.pair import forget_object_of_another, image_words
from pages.kit.words import strong
from pages.runs.history import PruneHistory, pick_step

SHAP_EVALUATIONS = 320  # a first look in seconds; the page "Where it looks" asks for more
_PATCHES = 40  # of SHAP
_AT_ONCE = 2  # questions of this strip in the queue: others never wait for more
BUSY = ("queued", "running")
_OPEN = ("new", "cancelled")
LEFT_OUT = "left out"  # a step whose weights are not here: nothing can be asked of it


@dataclass(frozen=True)
class Cell:
    """One picture of the strip: the question behind it."""

    step: int
    question: OfOneObject[HeatMap | ShapValues]

    @cached_property
    def key(self) -> str:
        return lab().compute.key(self.question)

    @property
    def state(self) -> str:
        compute = lab().compute
        if compute.knows(self.key):
            return compute.status(self.key).state
        model = self.question.model
        is_bare = isinstance(model, RunStep) and lacks_weights(
            lab().workspace, model.run, model.iteration
        )
        return LEFT_OUT if is_bare else "new"

    def result(self) -> HeatMap | ShapValues | None:
        """The answer, once it is there."""
        return lab().compute.result(self.question) if self.state == "done" else None


@dataclass(frozen=True)
class Strip:
    """All pictures that the strip shows of one object: for each kind a row over the steps."""

    history: PruneHistory
    step: int
    subject: Subject
    rows: dict[str, list[Cell]]

    @classmethod
    def of(cls, history: PruneHistory, step: int, subject: Subject, kinds: Sequence[str]) -> Strip:
        def cell(kind: str, place: int) -> Cell:
            asked = subject.asked_of(RunStep(run=history.id, iteration=place))
            if kind == "shap":
                samples, features = SHAP_EVALUATIONS, _PATCHES
                return Cell(place, Shap(**asked, samples=samples, features=features))
            return Cell(place, GradCam(**asked, randomised=False))

        rows = {kind: [cell(kind, place) for place in history.steps] for kind in kinds}
        return cls(history, step, subject, rows)

    @cached_property
    def cells(self) -> list[Cell]:
        """In the order of making: Grad-CAM first; the baseline and the chosen step before others,
        since every number is told against the baseline."""
        return [
            cell
            for row in self.rows.values()
            for cell in sorted(row, key=lambda c: (c.step != 0, c.step != self.step))
        ]


def stop_flag(strip: Strip) -> str:
    """Stopped is one object of one run: another one is begun again."""
    subject = strip.subject
    return f"strip:stopped:{strip.history.id}:{subject.record.id}:{subject.box.xyxy}"


def is_working(strip: Strip) -> bool:
    """Whether pictures are being made or will be."""
    states = [cell.state for cell in strip.cells]
    if any(state in BUSY for state in states):
        return True
    return any(state in _OPEN for state in states) and not st.session_state.get(stop_flag(strip))


def ask_next(strip: Strip) -> None:
    """Ask for the next pictures, if the compute process has nothing else to do."""
    compute = lab().compute
    for row in strip.rows.values():  # each kind has a queue of its own
        cells = [cell for cell in strip.cells if cell in row]
        mine = sum(cell.state in BUSY for cell in cells)
        if not cells or compute.pending(cells[0].question) > mine:
            continue
        for cell in [cell for cell in cells if cell.state in _OPEN][: max(0, _AT_ONCE - mine)]:
            compute.submit(cell.question)


@guarded
def stop(strip: Strip) -> None:
    st.session_state[stop_flag(strip)] = True
    compute = lab().compute
    for cell in strip.cells:
        if cell.state in BUSY:
            compute.cancel(cell.key)


@guarded
def go_on(strip: Strip) -> None:
    """Ask again, also for what failed."""
    st.session_state.pop(stop_flag(strip), None)
    for cell in strip.cells:
        if cell.state == "failed":
            lab().compute.submit(cell.question)


_CRYPT = "crypt"
_MOST = 500  # micrographs offered here; the page "Where it looks" offers all
_EVERY_SECONDS = 1
_WIDTH = 132  # pixels of a column on the page

_CSS = f"""
<style>
  .st-key-strip-status {{ min-height: 2.6rem; }}
  .st-key-strip [data-testid="stCaptionContainer"] {{ min-height: 2.5rem; text-align: center; }}
  .st-key-strip [data-testid="stImage"] img {{ border-radius: .4rem; }}
  .strip-empty {{ width: {_WIDTH}px; height: {_WIDTH}px; border-radius: .4rem; display: flex;
    align-items: center; justify-content: center; text-align: center; font-size: .8rem;
    border: 1px dashed rgba(128, 140, 138, .6); padding: .4rem; box-sizing: border-box; }}
  .strip-empty.busy {{ border-style: solid; border-width: 2px; border-color: #0F766E; }}
</style>
"""


def attention(history: PruneHistory, step: int) -> None:
    """Choose micrograph and object; then the strip."""
    st.html(_CSS)
    term = t("Grad-CAM and SHAP; border energy ratio, BER")
    st.markdown(md(strong(t("Where it looks, step by step"), term)))
    with guard():  # a dataset that is gone takes only the strip away
        data = dataset(history.config.dataset)
        left, middle, right = st.columns([3, 2, 2], vertical_alignment="bottom")
        with left:
            record = _micrograph(data)
        if record is None:
            st.caption(t("No micrograph of this dataset has a labelled object."))
            return
        with middle:
            if not data.boxes(record):  # a link from before they were corrected away
                st.info(t("No object is labelled on this micrograph."))
                return
            box = _object(data, record)
        with right:
            with_shap = st.toggle(
                t("Also SHAP"),
                key="shap",
                bind="query-params",
                help=md(
                    t("Asks each model {n} times for one picture: slower.", n=SHAP_EVALUATIONS)
                ),
            )
        kinds = ("gradcam", "shap") if with_shap else ("gradcam",)
        subject = Subject(data, record, box, history.config.imgsz)
        strip = Strip.of(history, step, subject, kinds)
        working = is_working(strip)
        st.fragment(_strip, run_every=_EVERY_SECONDS if working else None)(strip, working)
        honesty("box" if strip.subject.outline is None else "mask")
        _closer(strip)


def _micrograph(data: Dataset) -> ImageRecord | None:
    with_objects = [
        record for part in ("val", "test", "train") for record in data.split(part) if record.counts
    ][:_MOST]
    records = {record.id: record for record in with_objects}
    asked = st.query_params.get("image")
    if asked and asked not in records and any(r.id == asked for r in data.images):
        records[asked] = data.image(asked)
    if not records:
        return None
    label = t("Micrograph")
    chosen = choose(label, list(records), "image", words=lambda i: image_words(records[i]))
    forget_object_of_another(chosen, "strip")
    return records[chosen]


def _object(data: Dataset, record: ImageRecord) -> Box:
    boxes = {str(number): box for number, box in enumerate(data.boxes(record), start=1)}

    def worth(number: str) -> tuple[bool, bool, float]:
        """A whole border first, since that is what is measured; then crypts; then the largest."""
        box = boxes[number]
        area = (box.x2 - box.x1) * (box.y2 - box.y1)
        return _is_whole(box, record), data.classes[box.cls] == _CRYPT, area

    number = choose(
        t("Object"),
        list(boxes),
        "object",
        words=lambda n: f"{n}: {data.classes[boxes[n].cls]}",
        default=max(boxes, key=worth),
    )
    return boxes[number]


def _is_whole(box: Box, record: ImageRecord) -> bool:
    """The object does not touch the edge of its micrograph."""
    return min(box.x1, box.y1, record.width - box.x2, record.height - box.y2) > 1


@guarded
def _strip(strip: Strip, was_working: bool) -> None:
    if st.session_state.pop("strip:picked", False):
        st.rerun()  # the rest of the page follows the step
    if was_working and not st.session_state.get(stop_flag(strip)):
        ask_next(strip)
    if is_working(strip) != was_working:
        st.rerun()  # one rerun of the page switches the timer on or off
    _status(strip)
    base = {kind: _border_share(row[0]) for kind, row in strip.rows.items() if row}
    with st.container(key="strip", horizontal=True, wrap=False, gap="small"):
        for place, step in enumerate(strip.history.steps):
            with st.container(key=f"strip:{step}", width=_WIDTH, gap="xsmall"):
                _column_head(strip, step)
                for kind, row in strip.rows.items():
                    _draw(strip, kind, row[place], base[kind])
        if not strip.history.steps:
            _empty(t("appears once the baseline was measured"))


def _column_head(strip: Strip, step: int) -> None:
    record = strip.history.at(step)
    kept = t("{share} of the MACs", share=wording.percent(record.macs_ratio, 1)) if record else ""
    st.button(
        md(t("Step {n}", n=step) if step else t("Baseline")),
        key=f"strip:pick:{step}",
        type="primary" if step == strip.step else "secondary",
        help=md(kept or t("Not pruned")),
        width="stretch",
        on_click=_pick,
        args=(strip.history, step),
    )


def _pick(history: PruneHistory, step: int) -> None:
    pick_step(history, step)
    st.session_state["strip:picked"] = True


def _draw(strip: Strip, kind: str, cell: Cell, base: float | None) -> None:
    """Picture and number of one cell, or a place of the same size for them."""
    result = cell.result()
    title = PLAIN_EXPLAINERS[kind].label
    if result is None:
        _empty(_missing_words(cell), busy=cell.state in BUSY)
        st.caption(md(_two_lines(title, "—")))
        return
    name = t("step {n}", n=cell.step) if cell.step else t("the baseline")
    # Bytes, kept, in the width of their column: Streamlit would shrink and encode each of them
    # again for every look at the page if it was told a number of pixels.
    st.image(
        _thumbnail(cell.key, strip.subject, result),
        width="stretch",
        output_format="PNG",
        alt=t(
            "{map} of {model} on object of {image}",
            map=title,
            model=name,
            image=strip.subject.record.id,
        ),
    )
    st.caption(md(_number(title, result.scores.ber, base, is_first=cell.step == 0)))


def _missing_words(cell: Cell) -> str:
    state = cell.state
    if state == "running":
        done = lab().compute.status(cell.key).done
        return t("being made, {share}", share=wording.percent(done))
    if state == "failed":
        return t("not possible: see above")
    words = {"queued": t("next"), "cancelled": t("stopped"), LEFT_OUT: t("weights not here")}
    return words.get(state, t("waiting"))


def _empty(text: str, *, busy: bool = False) -> None:
    st.html(f'<div class="strip-empty{" busy" if busy else ""}">{html.escape(text)}</div>')


def _number(title: str, share: float | None, base: float | None, *, is_first: bool) -> str:
    """'Grad-CAM 41 %', and below it the change against the baseline in percentage points."""
    if share is None:
        return _two_lines(title, t("no heat"))
    change = t("on the border")
    if not is_first and base is not None:
        change = t("{change} points", change=wording.gap(100 * base, 100 * share, 1))
    number = rich("{title} **{share}**", title=title, share=wording.percent(share, 1))
    return _two_lines(number, change)


def _two_lines(first: str, second: str) -> Text:
    return rich("{first}  \n{second}", first=first, second=second)


def _border_share(cell: Cell) -> float | None:
    result = cell.result()
    return result.scores.ber if result else None


@st.cache_data(max_entries=600, show_spinner=False)
def _thumbnail(key: str, _subject: Subject, _result: HeatMap | ShapValues) -> bytes:
    """PNG of one cell; `key` names model, micrograph and object, so it is drawn once."""
    box, border = _subject.box, _subject.border
    values, signed = map_of(lab().compute.folder(key), _result), isinstance(_result, ShapValues)
    return png(thumbnail(_subject.pixels, values, border, box, signed=signed))


def _status(strip: Strip) -> None:
    """One line: how many pictures are there, what failed, and the button to stop or go on."""
    cells = strip.cells
    states = [cell.state for cell in cells]
    there = states.count("done")
    with st.container(key="strip-status", horizontal=True, vertical_alignment="center"):
        text = t("{n} of {total} pictures", n=there, total=len(cells))
        reason = _reason(cells)
        if is_working(strip):
            st.caption(md(f"{text} · {_left(cells, states)}"), width="content")
            st.button(t("Stop"), key="strip:stop", icon=":material/stop:", type="tertiary",
                      on_click=stop, args=(strip,))  # fmt: skip
            return
        st.caption(md(f"{text}. {reason}" if reason else text), width="content")
        if there + states.count(LEFT_OUT) < len(cells):
            label = t("Try again") if reason else t("Go on")
            st.button(md(label), key="strip:go", icon=":material/play_arrow:", type="tertiary",
                      on_click=go_on, args=(strip,))  # fmt: skip


def _left(cells: Sequence[Cell], states: Sequence[str]) -> str:
    """How long the rest takes, from the SHAP maps that are there; Grad-CAM takes a moment each."""
    asked = [(c, state) for c, state in zip(cells, states) if isinstance(c.question, Shap)]
    shap = [cell for cell, state in asked if state != "done"]
    results = (cell.result() for cell, _ in asked)
    took = [result.seconds for result in results if isinstance(result, ShapValues)]
    if shap and took:
        seconds = len(shap) * sum(took) / len(took)
        return t("about {time} left", time=wording.duration(round(seconds)))
    return t("made in the background")


def _reason(cells: Sequence[Cell]) -> str:
    for cell in cells:
        if cell.state == "failed":
            return told(lab().compute.status(cell.key).error or "")
    if any(cell.state == LEFT_OUT for cell in cells):
        return t(
            "The example is shipped without the weights of its steps between the first and the "
            "last: repeat the run to look at them."
        )
    return ""


def _closer(strip: Strip) -> None:
    st.page_link(
        "pages/look/page.py",
        label=t("Look closer: other layers, more patches, checks"),
        icon=":material/visibility:",
        query_params={
            "run": strip.history.id,
            "image": strip.subject.record.id,
            "objects": "labelled",
            "object": str(st.query_params.get("object", "1")),
            **({"step": str(strip.step)} if strip.step else {}),
        },
    )
