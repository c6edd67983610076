"""Which two models are looked at, and on which micrograph: all of it in the address. And what pages
ask of the two, in the same words, so that one answer serves all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from msip_core.config import PruneConfig
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.events import Cost, Metrics
from msip_core.language import mark, t
from msip_core.markdown import md
from msip_core.questions.detecting import Compare
from msip_core.questions.sources import ModelOf, RunStep, SavedModel
from msip_core.questions.speed import TimeModels
from msip_core.runs.state import RunState
from msip_core.runs.store import RunRow
from msip_core.views import sentences, wording
from msip_core.views.marks import Side, mark_id, read_mark_id
from msip_core.views.wording import percent
from pages.kit.choose import asked, choose, remember
from pages.kit.lab import dataset, lab
from pages.kit.layout import empty
from pages.kit.of_studies import runs_switch, runs_to_choose

_PARTS = {
    "test": mark("Test part (kept aside)"),
    "val": mark("Validation part"),
    "train": mark("Training part"),
}

# Which list a chosen object is counted in, as the page "Where it looks" names it in the address.
OBJECTS_OF: dict[Side, str] = {"baseline": "found", "pruned": "lighter"}


@dataclass(frozen=True, slots=True)
class ModelPair:
    """A baseline and what became of it.

    Attributes:
        baseline, pruned: the two models, as questions name them.
        run: the run that made the pruned one.
        words: "step 3 of 'Plate 7 to 60 %'".
    """

    baseline: ModelOf
    pruned: ModelOf
    run: RunRow
    config: PruneConfig
    iteration: int
    words: str

    def sides(self) -> tuple[tuple[ModelOf, str], tuple[ModelOf, str]]:
        """Both models with the word for a caption."""
        return (self.baseline, t("Baseline")), (self.pruned, t("Lighter model"))


def choose_pair() -> ModelPair | None:
    """Run and step; None (with what to do) where no run has a pruned model yet."""
    runs = runs_to_choose(_has_lighter_model, asked=asked("run"))
    if not runs:
        empty(
            t("No pruned model yet: it takes one finished step of a run."),
            ("pages/new_run/page.py", t("Make a detector lighter")),
            ("pages/runs/page.py", t("See the runs")),
        )
        return None
    names = {row.id: row for row in runs}
    left, right = st.columns([3, 2])
    with left:
        done = [row.id for row in runs if row.state is RunState.COMPLETED]
        run = names[
            choose(
                t("Run"),
                list(names),
                "run",
                words=lambda i: names[i].name,
                default=done[0] if done else None,
            )
        ]
        runs_switch("pair", kind="prune")
    steps = lab().runs.iterations(run.id)
    if not steps or not isinstance(run.config, PruneConfig):
        st.info(t("The first step of this run is not finished yet."), icon=":material/hourglass:")
        return None
    words = {
        str(record.index): t(
            "Step {n}: {share} of the MACs", n=record.index, share=percent(record.macs_ratio, 1)
        )
        for record in steps
    }
    final = lab().runs.final(run.id)
    last = str(final.iteration if final else steps[-1].index)
    if final:
        words[last] = t("{step} (the result)", step=words[last])
    with right:
        label = t("Lighter model")
        step = int(choose(label, list(words), "step", words=words.__getitem__, default=last))
    baseline: ModelOf = SavedModel(model=run.config.model)
    if run.config.model.endswith(".pt"):
        baseline = RunStep(run=run.id)
    pruned: ModelOf = RunStep(run=run.id, iteration=step)
    if final and step == final.iteration and run.model_id:
        pruned = SavedModel(model=run.model_id)
    words_of_pair = t("step {n} of “{run}”", n=step, run=run.name)
    return ModelPair(baseline, pruned, run, run.config, step, words_of_pair)


def _has_lighter_model(row: RunRow) -> bool:
    return row.iteration > 0 or row.state is RunState.COMPLETED


def choose_image(data: Dataset) -> ImageRecord:
    """A micrograph of the dataset: the part first, then the image."""
    parts = [name for name in ("test", "val", "train") if data.split(name)]
    wanted = st.query_params.get("image")
    found = {record.id: record for record in data.images}
    default = found[wanted].split if wanted in found else "test"
    left, right = st.columns([1, 2])
    with left:
        part = choose(
            t("Part of the images"), parts, "part", words=lambda p: t(_PARTS[p]), default=default
        )
    records = {record.id: record for record in data.split(part)}
    if wanted in found and wanted not in records:
        st.query_params.pop("image")  # the part was changed: begin with its first image
    with right:
        label = t("Micrograph")
        chosen = choose(label, list(records), "image", words=lambda i: image_words(records[i]))
    forget_object_of_another(chosen)
    return records[chosen]


def chosen_object() -> str | None:
    """The box that was clicked, as `marks.mark_id` names it; None where none was."""
    side = {name: side for side, name in OBJECTS_OF.items()}.get(st.query_params.get("objects", ""))
    number = st.query_params.get("object", "")
    return mark_id(side, int(number)) if side and number.isdecimal() else None


def remember_object(box: str) -> None:
    """Put a clicked box into the address, where the page "Where it looks" reads it."""
    side, number = read_mark_id(box)
    remember("objects", OBJECTS_OF[side])
    remember("object", str(number))


def forget_object() -> None:
    """No object is chosen any more."""
    remember("object", None)
    remember("objects", None)


def forget_object_of_another(image: str, place: str = "object") -> None:
    """Number 3 of one micrograph is not number 3 of the next one, unless a link asks for it.

    Args:
        place: of a chooser that follows another image than the others do.
    """
    before = st.session_state.get(f"{place}:image")
    st.session_state[f"{place}:image"] = image
    if before not in (None, image):
        st.session_state.pop("last:object", None)
        st.query_params.pop("object", None)


def image_words(record: ImageRecord) -> str:
    """Its name and what is labelled on it."""
    counts = ", ".join(f"{count} {name}" for name, count in record.counts.items())
    return f"{record.id} ({counts or t('no object')})"


def pair_dataset(pair: ModelPair) -> Dataset:
    """The images that the run was made on."""
    return dataset(pair.config.dataset)


def measured_pair(pair: ModelPair) -> tuple[tuple[Metrics, Cost], tuple[Metrics, Cost]] | None:
    runs = lab().runs
    baseline, final = runs.baseline(pair.run.id), runs.final(pair.run.id)
    if baseline is None:
        return None
    if final and pair.iteration == final.iteration:
        if final.test and final.baseline_test:
            return (final.baseline_test, baseline.cost), (final.test, final.cost)
        return (baseline.metrics, baseline.cost), (final.metrics, final.cost)
    record = next(r for r in runs.iterations(pair.run.id) if r.index == pair.iteration)
    metrics = Metrics(
        split="val",
        map50=record.map50_after,
        map50_95=record.map50_95_after,
        images=baseline.metrics.images,
    )
    cost = Cost(
        macs=record.macs, params=record.params, size_mb=record.size_mb, imgsz=baseline.cost.imgsz
    )
    return (baseline.metrics, baseline.cost), (metrics, cost)


def speed_question(pair: ModelPair, formats: Sequence[str], batch: int) -> TimeModels:
    """Both models on the processor."""
    return TimeModels(
        baseline=pair.baseline,
        pruned=pair.pruned,
        imgsz=pair.config.imgsz,
        batches=(batch,),
        formats=tuple(formats),
    )


def gpu_speed_question(pair: ModelPair, device: str) -> TimeModels:
    """Both models on a GPU, in every way that there is."""
    return TimeModels(
        baseline=pair.baseline, pruned=pair.pruned, imgsz=pair.config.imgsz, latency_device=device
    )


def compare_question(pair: ModelPair, data: Dataset) -> Compare:
    """Both models on the test images, without accuracy: the run has measured it on the same."""
    return Compare(
        baseline=pair.baseline,
        pruned=pair.pruned,
        dataset=data.name,
        imgsz=pair.config.imgsz,
        metrics=False,
    )


def unlearned(baseline: Metrics) -> None:
    """Before any comparison with it: a baseline that has not learned yet."""
    if sentences.has_learned(baseline):
        return
    split = t("final test") if baseline.split == "test" else t("validation")
    text = t(
        "The baseline has not learned its task yet: its mAP50 ({split}) is {value}, below "
        "{level}. What is better or worse than it says nothing: train the baseline longer "
        "or on more images first.",
        split=split,
        value=wording.accuracy(baseline.map50),
        level=f"{sentences.LEARNED:.2f}",
    )
    st.warning(md(text), icon=":material/school:")
