"""Which two models are looked at, and on which micrograph: all of it in the address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from msip_core.config import PruneConfig
from msip_core.data.dataset import Dataset, ImageRecord
from msip_core.models import ModelCard, list_models
from msip_core.runs.state import RunState
from msip_core.runs.store import RunRow
from msip_core.views.wording import percent
from pages.shared.choose import choose
from pages.shared.lab import dataset, lab
from pages.shared.layout import empty

_LATEST = 200  # runs offered in the chooser, newest first

Source = dict[str, Any]  # {"model": id} or {"run": id, "iteration": k}: what every job takes


@dataclass(frozen=True, slots=True)
class ModelPair:
    """A baseline and what became of it.

    Attributes:
        baseline, pruned: how jobs find the two models.
        run: the run that made the pruned one.
        words: "step 3 of 'Plate 7 to 60 %'".
    """

    baseline: Source
    pruned: Source
    run: RunRow
    config: PruneConfig
    iteration: int
    words: str

    def sides(self) -> tuple[tuple[Source, str], tuple[Source, str]]:
        """Both models with the word for a caption."""
        return (self.baseline, "Baseline"), (self.pruned, "Lighter model")


def choose_pair() -> ModelPair | None:
    """Run and step; None (with what to do) where no run has a pruned model yet."""
    runs = [
        row
        for row in lab().runs.list(limit=_LATEST, kind="prune")
        if row.iteration > 0 or row.state is RunState.COMPLETED
    ]
    if not runs:
        empty(
            "No pruned model yet: it takes one finished step of a run.",
            ("pages/new.py", "Make a detector lighter"),
            ("pages/runs.py", "See the runs"),
        )
        return None
    names = {row.id: row for row in runs}
    left, right = st.columns([3, 2])
    with left:
        done = [row.id for row in runs if row.state is RunState.COMPLETED]
        run = names[
            choose(
                "Run",
                list(names),
                "run",
                words=lambda i: names[i].name,
                default=done[0] if done else None,
            )
        ]
    steps = lab().runs.iterations(run.id)
    if not steps or not isinstance(run.config, PruneConfig):
        st.info("The first step of this run is not finished yet.", icon=":material/hourglass:")
        return None
    words = {
        str(record.index): f"Step {record.index}: {percent(record.macs_ratio, 1)} of the MACs"
        for record in steps
    }
    final = lab().runs.final(run.id)
    last = str(final.iteration if final else steps[-1].index)
    words[last] += " (the result)" if final else ""
    with right:
        step = int(choose("Lighter model", list(words), "step", words=words.__getitem__,
                          default=last))  # fmt: skip
    baseline: Source = {"model": run.config.model}
    if run.config.model.endswith(".pt"):
        baseline = {"run": run.id, "iteration": 0}
    pruned: Source = {"run": run.id, "iteration": step}
    if final and step == final.iteration and run.model_id:
        pruned = {"model": run.model_id}
    return ModelPair(baseline, pruned, run, run.config, step, f"step {step} of “{run.name}”")


def model_of(source: Source, cards: list[ModelCard] | None = None) -> ModelCard | None:
    """The card of a source that is a model of the workspace."""
    known = cards if cards is not None else list_models(lab().workspace)
    return next((card for card in known if card.id == source.get("model")), None)


def choose_image(data: Dataset, *, split: str = "test") -> ImageRecord:
    """A micrograph of the dataset: the part first, then the image."""
    parts = [name for name in ("test", "val", "train") if data.split(name)]
    asked = st.query_params.get("image")
    found = {record.id: record for record in data.images}
    default = found[asked].split if asked in found else split
    left, right = st.columns([1, 2])
    with left:
        part = choose("Part of the images", parts, "part", default=default)
    records = {record.id: record for record in data.split(part)}
    if asked in found and asked not in records:
        st.query_params.pop("image")  # the part was changed: begin with its first image
    with right:
        return records[
            choose("Micrograph", list(records), "image", words=lambda i: _words(records[i]))
        ]


def _words(record: ImageRecord) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in record.counts.items())
    return f"{record.id} ({counts or 'no object'})"


def pair_dataset(pair: ModelPair) -> Dataset:
    """The images that the run was made on."""
    return dataset(pair.config.dataset)


def prefixed(source: Source, prefix: str) -> dict[str, Any]:
    """{"model": x} -> {"baseline_model": x}: two models in one job's params."""
    return {f"{prefix}_{key}": value for key, value in source.items()}
