"""The figure builder: kind, size in millimetres, resolution, file; preview, then download."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import streamlit as st
from matplotlib.figure import Figure

from msip_core.boxes import match_detections
from msip_core.views import channels, paper, paper_pictures, paper_runs, progress
from pages.shared.choose import choose
from pages.shared.detections import above, find, pixels_of
from pages.shared.explain import Subject, load_map
from pages.shared.jobs import job_folder, job_panel
from pages.shared.lab import lab
from pages.shared.look_object import choose_object
from pages.shared.pair import ModelPair, choose_image, pair_dataset


class Made(NamedTuple):
    """A figure that is not drawn yet: drawing costs a second, and most openings change nothing."""

    draw: Callable[..., Figure]  # of the infos and a width in millimetres
    infos: tuple[Any, ...]
    caption: str


_WIDTHS = {"85": "85 mm, one column", "120": "120 mm", "178": "178 mm, two columns"}
_DPI = {"300": "300 dpi", "600": "600 dpi"}
_FORMATS = {
    "png": "PNG", "svg": "SVG (editable text)", "pdf": "PDF (editable text)", "tiff": "TIFF"
}  # fmt: skip
_CONFIDENCE = 0.25
_PREVIEW = 900  # pixels on screen, less where the page is narrower


def figures(pair: ModelPair) -> None:
    """Choose, look, download."""
    kinds: dict[str, tuple[str, Callable[[ModelPair], Made | None]]] = {
        "steps": ("Accuracy and work per step", _steps),
        "tradeoff": ("Accuracy over work", _tradeoff),
        "epochs": ("Training curves", _epochs),
        "channels": ("Channels per layer", _channels),
        "weights": ("Weights of the four signals", _weights),
        "pair": ("Micrograph before and after", _before_after),
        "attention": ("Where it looks (Grad-CAM)", _attention),
    }
    first, second, third, fourth = st.columns([2, 1, 1, 1])
    with first:
        kind = choose("Figure", list(kinds), "figure", words=lambda name: kinds[name][0])
    with second:
        width = choose("Width", list(_WIDTHS), "width", words=_WIDTHS.__getitem__, default="178")
    with third:
        form = choose("File", list(_FORMATS), "file", words=_FORMATS.__getitem__)
    with fourth:
        dpi = choose("Resolution", list(_DPI), "dpi", words=_DPI.__getitem__)
    made = kinds[kind][1](pair)
    if made is None:
        return
    file = partial(_file, kind, made.infos, float(width), _draw=made.draw)
    st.image(file("png", 150), alt=f"Preview: {kinds[kind][0]}", width=_PREVIEW)
    st.markdown(f"**Caption.** {made.caption}")
    st.download_button(
        f"Download {_FORMATS[form].split(' ')[0]}",
        partial(file, form, int(dpi)),  # drawn when it is asked for
        file_name=f"{pair.run.id}-{kind}.{form}",
        mime={"svg": "image/svg+xml", "pdf": "application/pdf"}.get(form, f"image/{form}"),
        type="primary",
        icon=":material/download:",
        on_click="ignore",
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _file(
    kind: str, infos: tuple[Any, ...], width: float, form: str, dpi: int,
    _draw: Callable[..., Figure],
) -> bytes:  # fmt: skip
    """The file of a figure, drawn once. `_draw` follows from `kind`: it is no part of the key."""
    return paper.to_bytes(_draw(*infos, width), form, dpi)


def _of(draw: Callable[..., Figure], info: Any, caption: Callable[[Any], str]) -> Made:
    return Made(draw, (info,), caption(info))


def _steps(pair: ModelPair) -> Made:
    runs = lab().runs
    baseline, records = runs.baseline(pair.run.id), runs.iterations(pair.run.id)
    maps = progress.map_info(baseline, records, pair.config.max_map50_drop)
    macs = progress.macs_info(baseline, records, pair.config.keep_macs)
    return Made(
        paper_runs.iterations_figure, (maps, macs), paper_runs.iterations_caption(maps, macs)
    )


def _tradeoff(pair: ModelPair) -> Made:
    runs = lab().runs
    info = progress.tradeoff_info(
        runs.baseline(pair.run.id), runs.iterations(pair.run.id), pair.config.keep_macs
    )
    return _of(paper_runs.tradeoff_figure, info, paper_runs.tradeoff_caption)


def _epochs(pair: ModelPair) -> Made | None:
    records = lab().runs.epochs(pair.run.id)
    if not records:
        st.info("This run trained no epoch.", icon=":material/info:")
        return None
    info = progress.epochs_info(records)
    return _of(paper_runs.epochs_figure, info, paper_runs.epochs_caption)


def _channels(pair: ModelPair) -> Made:
    record = next(r for r in lab().runs.iterations(pair.run.id) if r.index == pair.iteration)
    info = channels.channels_info(record.layers)
    return _of(paper_runs.channels_figure, info, paper_runs.channels_caption)


def _weights(pair: ModelPair) -> Made | None:
    info = progress.weights_info(lab().runs.iterations(pair.run.id))
    if not info.iterations:
        st.info(f"The method {pair.config.method} has no weights.", icon=":material/info:")
        return None
    return _of(paper_runs.weights_figure, info, paper_runs.weights_caption)


def _before_after(pair: ModelPair) -> Made | None:
    data = pair_dataset(pair)
    record = choose_image(data)
    found = [
        find(source, data, record, imgsz=pair.config.imgsz, place=f"share:{side}")
        for source, side in pair.sides()
    ]
    if found[0] is None or found[1] is None:
        return None
    before, after = above(found[0], _CONFIDENCE), above(found[1], _CONFIDENCE)
    info = paper_pictures.BeforeAfterInfo(
        pixels=pixels_of(data, record),
        baseline=before,
        pruned=after,
        pairs=match_detections(before, after),
        classes=data.classes,
        pixel_size_um=record.pixel_size_um or data.pixel_size_um,
    )
    return _of(paper_pictures.before_after_figure, info, paper_pictures.before_after_caption)


def _attention(pair: ModelPair) -> Made | None:
    data = pair_dataset(pair)
    record = choose_image(data)
    box = choose_object(pair, data, record)
    if box is None:
        return None
    subject = Subject(data, record, box, pair.config.imgsz)
    panels = []
    for side, word in pair.sides():
        params = {**subject.question(side), "method": "gradcam"}
        result = job_panel(
            "gradcam", params, label=f"Explain: {word}", place=f"share:{word}", auto=True
        )
        if result is None:
            return None
        heat = load_map(job_folder("gradcam", params) / result["heat"], "heat")
        ber = result["scores"]["ber"]
        panels.append(
            paper_pictures.HeatPanel(
                word, "Grad-CAM", heat, scores={} if ber is None else {"BER": ber}
            )
        )
    info = paper_pictures.ExplanationInfo(
        pixels=subject.pixels,
        box=box,
        label=data.classes[box.cls],
        panels=panels,
        outline=subject.outline,
        pixel_size_um=record.pixel_size_um or data.pixel_size_um,
    )
    return _of(paper_pictures.explanation_figure, info, paper_pictures.explanation_caption)
