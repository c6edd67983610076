"""The settings of a count: what a model finds on the micrographs of a source, well by well."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from msip_core.messages import msg
from msip_core.run_base import RunBase, Word

Part = Literal["all", "train", "val", "test"]


class CountConfig(RunBase):
    """Count the objects of a plate, of any folder or file of micrographs, or of a dataset.

    Attributes:
        source: a folder, zip or file; None where a dataset of the workspace is counted.
        dataset: its name; "" where `source` is counted.
        part: of a dataset, which of its images.
        model, baseline: ids in the workspace, .pt files, or RUN/STEP; with a second one the same
            images are counted by both.
        imgsz: longer side for the network; 0 takes the model's own.
        batch: images that go through a GPU at once.
        conf, iou: least score of an object; of two boxes that overlap by more, the better stays.
        one_class: an object is of one class: of two boxes of different classes that overlap by
            more than `iou`, the better stays too. Without it one organoid may count in both.
        pixel_size_um: micrometres per pixel, whatever the files say.
        channel, stack, every: of files with several planes, as an import has them.
        group: regular expression whose first group names the well in a file name; None reads
            wells as microscopes write them.
        sample_sheet: table of what was done to each well, kept with the run.
    """

    kind: Literal["count"] = "count"
    source: Path | None = None
    dataset: Word = ""
    part: Part = "all"
    model: Word
    baseline: Word | None = None
    imgsz: int = Field(default=0, ge=0, le=4096, multiple_of=32)
    conf: float = Field(default=0.25, ge=0, le=1)
    iou: float = Field(default=0.7, ge=0, le=1)
    one_class: bool = True
    pixel_size_um: float | None = Field(default=None, gt=0)
    channel: str | None = Field(default=None, min_length=1, max_length=100)
    stack: str = Field(
        default="sharpest",
        pattern=r"^(sharpest|middle|max|min|[0-9]{1,5})$",
        description="of a z-stack: a way to take one plane, or the number of a plane",
    )
    every: int | None = Field(
        default=None, ge=1, description="every n-th time point; None the first of a field"
    )
    group: str | None = None
    sample_sheet: Path | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.source is None) == (not self.dataset):
            raise ValueError(
                msg("a count has one source: a folder, zip or file, or else a dataset")
            )
        return self

    @model_validator(mode="after")
    def _two_models(self) -> Self:
        if self.baseline == self.model:
            raise ValueError(msg("the baseline is the model itself: name another one, or none"))
        return self


def usual_name(source: str = "", dataset: str = "") -> str:
    """What a count is called unless a person says otherwise, by what it counts."""
    return f"Count of {dataset or Path(source).stem}"


# Settings that `plate` has options for; those of the others are called as the setting.
_FLAGS = {
    "sample_sheet": "--sample-sheet",
    "pixel_size_um": "--pixel-size",
    "tile_overlap": "--overlap",
}
_OPTIONS = (
    "model", "baseline", "part", "conf", "iou", "one_class", "imgsz", "batch", "device",
    "pixel_size_um", "channel", "stack", "every", "group", "tiles", "tile_overlap",
    "sample_sheet", "name",
)  # fmt: skip


def count_command(config: CountConfig) -> str:
    """The command that counts the same, with the options that differ from their defaults."""
    source = config.dataset if config.source is None else str(config.source)
    words = ["python", "-m", "msip_core", "plate", shlex.quote(source)]
    for name in _OPTIONS:
        value = getattr(config, name)
        if name == "one_class" and not value:
            words.append("--all-classes")
        elif name == "name" and value == usual_name(source, config.dataset):
            continue
        elif value != CountConfig.model_fields[name].default:
            words += [_FLAGS.get(name, f"--{name}"), shlex.quote(str(value))]
    return " ".join(words)
