"""What a pruning run keeps on disk, so that a kill in any stage costs at most that stage.

    calibration.json             ids of the calibration images
    baseline.json                BaselineRecord of the unpruned model
    search/                      trials and ratios, where an allocation searches (see `search`)
    iterations/<k>/
      importance.json, .npz      scores per group, trials, what the schedule decided
      cut.pt, cut.json, kept.npz after surgery, and the filters that stayed
      pruned.pt, pruned.json     after its repair, with its metrics
      fit/state.pt               fine-tuning, after every epoch
      model.pt                   the finished iteration (k = 0: the unpruned C2f_v2 model)
      layers.json, metrics.json  widths; all else that was measured. Written last: an iteration
                                 with metrics.json is finished

Every file appears whole or not at all; once an iteration is finished, its intermediate files go.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from msip_core.arrays import read_arrays, write_arrays
from msip_core.detector.checkpoints import load_model, save_work
from msip_core.detector.library import DetectionModel
from msip_core.documents import damaged, read_json, read_record
from msip_core.events import BaselineRecord, IterationRecord
from msip_core.steps import BASELINE, ITERATION, MEASURING, Step
from msip_core.workspace import write_json


@dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run."""

    root: Path

    def iteration(self, index: int) -> IterationFolder:
        return IterationFolder(self.root / "iterations" / str(index))

    def read_baseline(self) -> BaselineRecord | None:
        return read_record(self.root / BASELINE.mark, BaselineRecord)

    def write_baseline(self, record: BaselineRecord) -> None:
        write_json(self.root / BASELINE.mark, record.model_dump(mode="json"))

    def read_json(self, name: str) -> Any | None:
        return read_json(self.root / name)

    def write_json(self, name: str, value: Any) -> None:
        write_json(self.root / name, value)

    def finished(self) -> list[IterationRecord]:
        """Records of the finished iterations, from 1 without a gap."""
        records: list[IterationRecord] = []
        while record := self.iteration(len(records) + 1).read_record():
            records.append(record)
        return records


@dataclass(frozen=True)
class IterationFolder:
    """Paths and files of one iteration."""

    root: Path

    @property
    def model_path(self) -> Path:
        return self.root / "model.pt"

    @property
    def fit_dir(self) -> Path:
        return self.root / "fit"

    def done(self, step: Step) -> bool:
        """Whether an earlier sitting has finished this step."""
        return bool(step.marks) and all(self.has(name) for name in step.marks)

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def read_json(self, name: str) -> Any | None:
        return read_json(self.root / name)

    def read_stage(self, name: str) -> dict[str, Any]:
        """What a stage that is done left behind."""
        value = read_json(self.root / name)
        if not isinstance(value, dict):
            raise damaged(self.root / name)
        return value

    def write_json(self, name: str, value: Any) -> None:
        write_json(self.root / name, value)

    def load(self, name: str) -> DetectionModel:
        return load_model(self.root / name)

    def save(self, name: str, model: DetectionModel) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        save_work(model, self.root / name)

    def read_arrays(self, name: str) -> dict[str, NDArray[np.float64]]:
        return read_arrays(self.root / name)

    def write_arrays(self, name: str, arrays: Mapping[str, NDArray[np.float64]]) -> None:
        write_arrays(self.root / name, arrays)

    def read_record(self) -> IterationRecord | None:
        value, widths = read_json(self.root / MEASURING.mark), self.root / "layers.json"
        # An older version wrote the widths a second time, into metrics.json.
        if isinstance(value, dict) and "layers" not in value:
            value["layers"] = read_json(widths)
        try:
            return None if value is None else IterationRecord.model_validate(value)
        except ValidationError as error:
            fields = {str(one["loc"][0]) if one["loc"] else "" for one in error.errors()}
            wrong = widths if fields == {"layers"} else self.root / MEASURING.mark
            raise damaged(wrong) from error

    def finish(self, record: IterationRecord) -> None:
        """Write what makes the iteration finished, then drop what only a resume needed."""
        layers = [layer.model_dump(mode="json") for layer in record.layers]
        write_json(self.root / "layers.json", layers)
        rest = record.model_dump(mode="json", exclude={"layers"})
        write_json(self.root / MEASURING.mark, rest)
        self.tidy()

    def tidy(self) -> None:
        """Drop intermediate files."""
        for name in (leaf for step in ITERATION for leaf in step.leaves):
            (self.root / name).unlink(missing_ok=True)
        shutil.rmtree(self.fit_dir, ignore_errors=True)
