"""What the panels of a figure are made of: numbers of the run, answers about one micrograph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

from msip_core.boxes import Box, match_detections
from msip_core.catalog import PLAIN_EXPLAINERS
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.data.subject import drawn_borders
from msip_core.events import IterationRecord
from msip_core.language import mark, t, told
from msip_core.questions.base import Question
from msip_core.questions.looking import GradCam, HeatMap, Shap, ShapValues
from msip_core.questions.sources import ModelOf
from msip_core.views import channels, comparison, paper_pictures, paper_runs, progress
from msip_core.views.history import settled
from msip_core.views.paper_page import Panel
from msip_core.ways import Latency, Way
from pages.kit.choose import choose_view
from pages.kit.choose_object import choose_object
from pages.kit.detections import above, find, pixels_of
from pages.kit.explain import SHAP_PATCHES, SHAP_SAMPLES, Subject, map_of
from pages.kit.jobs import ask, finished, job_folder
from pages.kit.lab import datasets, lab
from pages.kit.pair import (
    ModelPair,
    choose_image,
    compare_question,
    gpu_speed_question,
    pair_dataset,
    speed_question,
)
from pages.kit.ways import gpu_devices

_CONFIDENCE = 0.25
_SIDES = ("Baseline", "Pruned")  # words of the figure, which stays English
SAMPLES, FEATURES = 1024, 50  # of SHAP, evaluations at most, where the address names no others


def _records(run_id: str) -> tuple[IterationRecord, ...]:
    runs = lab().runs
    return settled(runs.iterations(run_id), runs.final(run_id))


class Made(NamedTuple):
    """A panel, and what tells it apart from others: equal keys, equal pictures."""

    panel: Panel
    key: tuple[Any, ...]


class Left(NamedTuple):
    """A panel that cannot be drawn (now): why, for the reader. Without words: still at work."""

    why: str = ""


@dataclass(frozen=True)
class Scene:
    """What the panels are about: the two models and, for pictures, one micrograph and object."""

    pair: ModelPair
    data: Dataset | None = None
    record: ImageRecord | None = None
    box: Box | None = None
    maps: str = "gradcam"

    @property
    def pixel_size_um(self) -> float | None:
        if self.data is None or self.record is None:
            return None
        return self.record.pixel_size_um or self.data.pixel_size_um


def choose_scene(pair: ModelPair, panels: list[str]) -> Scene:
    """The choosers that these panels need: micrograph, object, kind of map."""
    if not {"pair", "attention"} & set(panels):
        return Scene(pair)
    data = pair_dataset(pair)
    record = choose_image(data)
    if (record.pixel_size_um or data.pixel_size_um) is None:
        st.caption(
            t(
                "The pixel size of this micrograph is not known, so the picture has no scale bar. "
                "It can be given on the Data page."
            )
        )
    if "attention" not in panels:
        return Scene(pair, data, record)
    words = {name: told(entry.label) for name, entry in PLAIN_EXPLAINERS.items()}
    words["both"] = t("Grad-CAM and SHAP")
    maps = choose_view(
        words, "gradcam", "share", param="maps", label=t("Kind of map"), show_label=True
    )
    return Scene(pair, data, record, choose_object(pair, data, record), maps)


def _steps(scene: Scene) -> Made | Left:
    runs, config = lab().runs, scene.pair.config
    baseline, records = runs.baseline(scene.pair.run.id), _records(scene.pair.run.id)
    maps = progress.map_info(baseline, records, config.max_map50_drop)
    macs = progress.macs_info(baseline, records, config.macs_goal)
    return Made(paper_runs.iterations_panel(maps, macs), (maps, macs))


def _tradeoff(scene: Scene) -> Made | Left:
    runs, run_id = lab().runs, scene.pair.run.id
    goal = scene.pair.config.macs_goal
    info = progress.macs_info(runs.baseline(run_id), _records(run_id), goal)
    return Made(paper_runs.tradeoff_panel(info), (info,))


def _epochs(scene: Scene) -> Made | Left:
    records = lab().runs.epochs(scene.pair.run.id)
    if not records:
        return Left(t("This run trained no epoch."))
    info = progress.epochs_info(records)
    return Made(paper_runs.epochs_panel(info), (info,))


def _channels(scene: Scene) -> Made | Left:
    pair = scene.pair
    record = next(r for r in lab().runs.iterations(pair.run.id) if r.index == pair.iteration)
    info = channels.channels_info(record.layers)
    return Made(paper_runs.channels_panel(info), (info,))


def _weights(scene: Scene) -> Made | Left:
    info = progress.weights_info(_records(scene.pair.run.id))
    if not info.iterations:
        return Left(t("The method {name} has no weights.", name=scene.pair.config.method))
    return Made(paper_runs.weights_panel(info), (info,))


def measured_latency(pair: ModelPair) -> list[Latency]:
    """Speed of both models as it was measured on “Before and after”; empty where it was not."""
    if any(item.name == pair.config.dataset for item in datasets()):  # it may be deleted by now
        compared = finished(compare_question(pair, pair_dataset(pair)))
        if compared and compared.latency:
            return list(compared.latency)
    questions = [
        speed_question(pair, formats, batch)
        for batch in (1, 8)
        for formats in (["onnx", "pytorch"], ["onnx", "openvino", "pytorch"], ["pytorch"],
                        ["onnx"], ["openvino"], ["openvino", "pytorch"],
                        ["onnx", "openvino"])
    ]  # fmt: skip
    questions += [gpu_speed_question(pair, device) for device in gpu_devices()]
    found: dict[tuple[str, Way], Latency] = {}
    for question in questions:
        timed = finished(question)
        for entry in timed.latency if timed else ():
            found.setdefault((entry.name, entry.way), entry)
    return list(found.values())


def _speed(scene: Scene) -> Made | Left:
    latency = measured_latency(scene.pair)
    if not latency:
        return Left(
            t("The speed of these two models was not measured yet: see “Before and after”.")
        )
    info = comparison.latency_info(latency)
    return Made(paper_runs.latency_panel(info), (info,))


def _before_after(scene: Scene) -> Made | Left:
    pair, data, record = scene.pair, scene.data, scene.record
    if data is None or record is None:
        return Left()
    found = [
        find(source, data, record, imgsz=pair.config.imgsz, place=f"share:{word}")
        for source, word in zip((pair.baseline, pair.pruned), _SIDES)
    ]
    if found[0] is None or found[1] is None:
        return Left()
    before, after = above(found[0], _CONFIDENCE), above(found[1], _CONFIDENCE)
    info = paper_pictures.BeforeAfterInfo(
        pixels=pixels_of(data, record),
        baseline=before,
        pruned=after,
        pairs=match_detections(before, after),
        classes=data.classes,
        pixel_size_um=scene.pixel_size_um,
    )
    boxes = tuple(item.model_dump_json() for item in (*before, *after))
    key = (record.sha256, len(before), boxes, data.classes, scene.pixel_size_um)
    return Made(paper_pictures.before_after_panel(info), key)


def _attention(scene: Scene) -> Made | Left:
    pair, data, record, box = scene.pair, scene.data, scene.record, scene.box
    if data is None or record is None or box is None:
        return Left(t("No object is chosen for the heat maps."))
    subject = Subject(data, record, box, pair.config.imgsz)
    found = _heat_panels(scene, subject)
    if found is None:
        return Left()
    panels, keys = found
    info = paper_pictures.ExplanationInfo(
        pixels=subject.pixels,
        box=box,
        label=data.classes[box.cls],
        panels=panels,
        outline=subject.outline,
        pixel_size_um=scene.pixel_size_um,
        inner=drawn_borders(data, record, box)[1],
    )
    key = (record.sha256, box.model_dump_json(), keys, scene.pixel_size_um)
    return Made(paper_pictures.explanation_panel(info), key)


def _heat_panels(
    scene: Scene, subject: Subject
) -> tuple[list[paper_pictures.HeatPanel], tuple[str, ...]] | None:
    """Baseline and pruned, with each kind of map that is asked; None while one is missing."""
    kinds = tuple(PLAIN_EXPLAINERS) if scene.maps == "both" else (scene.maps,)
    panels: list[paper_pictures.HeatPanel] = []
    keys: list[str] = []
    for word, source in zip(_SIDES, (scene.pair.baseline, scene.pair.pruned)):
        for kind in kinds:
            question = _heat_question(kind, subject, source)
            result = ask(
                question,
                label=t(_LABELS[kind], model=t(_WORDS[word])),
                place=f"share:{kind}:{word}",
                auto=kind == "gradcam",
                quiet=True,
                note=t("Takes a minute or more.") if kind == "shap" else "",
            )
            if result is not None:
                panels.append(_heat_panel(kind, word, job_folder(question), result))
                keys.append(lab().compute.key(question))
    return (panels, tuple(keys)) if len(panels) == len(kinds) * 2 else None


_WORDS = {"Baseline": mark("Baseline"), "Pruned": mark("Lighter model")}
_LABELS = {"gradcam": mark("Explain: {model}"), "shap": mark("Compute SHAP: {model}")}


def _heat_question(kind: str, subject: Subject, source: ModelOf) -> Question[HeatMap | ShapValues]:
    if kind == "gradcam":
        return GradCam(**subject.asked_of(source))
    # The same question as on “Where it looks”, so that one answer serves both pages.
    samples = _asked("samples", SHAP_SAMPLES, SAMPLES)
    features = _asked("patches", SHAP_PATCHES, FEATURES)
    return Shap(**subject.asked_of(source), samples=samples, features=features)


def _asked(param: str, offered: Sequence[int], usual: int) -> int:
    """The number of the address, if it is one that the other page offers."""
    return next((n for n in offered if str(n) == st.query_params.get(param)), usual)


def _heat_panel(
    kind: str, word: str, folder: Path, result: HeatMap | ShapValues
) -> paper_pictures.HeatPanel:
    name, score = "BER", result.scores.ber
    if signed := isinstance(result, ShapValues):
        name, score = "C@10", result.c_at_10
    scores = {} if score is None else {name: score}
    label = PLAIN_EXPLAINERS[kind].label
    return paper_pictures.HeatPanel(word, label, map_of(folder, result), signed, scores)


# name in the address -> title in the menu, and what makes it
PANELS: Mapping[str, tuple[str, Callable[[Scene], Made | Left]]] = {
    "steps": (mark("Accuracy and work per step"), _steps),
    "tradeoff": (mark("Accuracy over work"), _tradeoff),
    "epochs": (mark("Training curves"), _epochs),
    "channels": (mark("Channels per layer"), _channels),
    "weights": (mark("Weights of the four signals"), _weights),
    "speed": (mark("Speed on this computer"), _speed),
    "pair": (mark("Micrograph before and after"), _before_after),
    "attention": (mark("Where it looks (Grad-CAM, SHAP)"), _attention),
}
