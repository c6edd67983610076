"""What models find, how two of them agree, and a model as a file for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from msip_core.boxes import Detection, Pair, PairKind
from msip_core.config import CountConfig, ImageRecipe
from msip_core.events import Cost, Metrics, Record
from msip_core.messages import Telling, Words
from msip_core.models import ModelCard
from msip_core.questions.base import Question
from msip_core.questions.sources import ImageOf, ModelOf, dataset_files
from msip_core.questions.speed import MissingWay, Side
from msip_core.ways import Latency
from msip_core.workspace import Workspace

_FEW = 4  # images of one look: a page shows as many beside each other


class PredictedImage(Record, Telling):
    """What a model finds on one image.

    Attributes:
        tiles: how it was cut and why, None if it was not.
        size_warning: why the numbers are not to be trusted, None where nothing speaks against them.
        note, doubt: of the file that was read.
    """

    id: str
    width: int
    height: int
    detections: tuple[Detection, ...]
    tiles: Words | None = None
    size_warning: Words | None = None
    note: Words | None = None
    doubt: Words | None = None


class Predictions(Record, Telling):
    """What a model finds.

    Attributes:
        recipe: how pixels were scaled; None for weights from elsewhere.
        sizes_known: whether sizes could be compared with the training's.
        images: in the order asked.
    """

    classes: tuple[str, ...]
    imgsz: int
    recipe: ImageRecipe | None
    sizes_known: bool
    images: tuple[PredictedImage, ...]


class Predict(Question[Predictions]):
    """Objects on images, each in one class: the likelier.

    Attributes:
        imgsz: longer side that the network sees; None: the model's.
        pixel_size_um: of images that do not say.
        tiles, overlap: of large fields: "auto", "never", or the side in pixels; a share of it.
    """

    answered_by: ClassVar[str] = "msip_core.detector.jobs:predict"

    model: ModelOf
    images: tuple[ImageOf, ...]
    imgsz: int | None = None
    conf: float = 0.25
    iou: float = 0.7
    device: str = "auto"
    pixel_size_um: float | None = None
    tiles: str = "auto"
    overlap: float | None = None

    def is_look(self) -> bool:
        return len(self.images) <= _FEW


class Counted(Record):
    """What was counted: so many pictures; their rows lie beside (`plates.folder`)."""

    pictures: int


class Count(Question[Counted]):
    """Objects on every picture of a source, as a run that counts finds them.

    Attributes:
        paths: what of the source is counted: folders and files; all of it where none is named.
    """

    answered_by: ClassVar[str] = "msip_core.plates.jobs:count"

    config: CountConfig
    paths: tuple[Path, ...] = ()

    def files(self, workspace: Workspace) -> Sequence[Path]:
        return [*super().files(workspace), *self.paths, *filter(None, [self.config.source])]


class ComparedModel(Record):
    """One of two models: `metrics` is None where accuracy was left out."""

    model: str
    name: str
    metrics: Metrics | None
    cost: Cost


class ComparedImage(Record):
    """What both models find on one image, and which of it belongs together."""

    id: str
    file: str
    group: str
    baseline: tuple[Detection, ...]
    pruned: tuple[Detection, ...]
    pairs: tuple[Pair, ...]

    def found(self, side: Side) -> tuple[Detection, ...]:
        """Objects that one of the two models found."""
        return self.baseline if side == "baseline" else self.pruned


class Comparison(Record, Telling):
    """Two models on one part of a dataset.

    Attributes:
        tiles: how images were cut for the accuracy, None if none was.
        agreement: kind of pair -> how many objects.
        latency, missing: where speed was measured too.
    """

    baseline: ComparedModel
    pruned: ComparedModel
    tiles: Words | None = None
    split: str
    agreement: dict[PairKind, int]
    images: tuple[ComparedImage, ...]
    latency: tuple[Latency, ...] = ()
    missing: tuple[MissingWay, ...] = ()


class Compare(Question[Comparison]):
    """What each of two models finds, how they agree, accuracy and cost.

    Attributes:
        batch: images at a time; None: 8 for the accuracy, and as `ways` has it for the speed.
        tiles, overlap: as of `Predict`.
        metrics: False leaves accuracy out.
        formats: speed is measured in these; None: in all of a processor, on a GPU in those that
            nothing must be built for; empty: not at all.
        latency_device: where it is measured; "auto": where the models predict.
        runs, seconds: as of `TimeModels`.
    """

    answered_by: ClassVar[str] = "msip_core.detector.compare_job:compare"

    baseline: ModelOf
    pruned: ModelOf
    dataset: str
    split: str = "test"
    imgsz: int | None = None
    batch: int | None = None
    conf: float = 0.25
    iou: float = 0.7
    device: str = "auto"
    tiles: str = "auto"
    overlap: float | None = None
    metrics: bool = True
    formats: tuple[str, ...] | None = ()
    latency_device: str = "cpu"
    runs: int = 30
    seconds: float | None = None

    def files(self, workspace: Workspace) -> Sequence[Path]:
        return [*super().files(workspace), *dataset_files(workspace, self.dataset)]


class Exported(Record):
    """A file beside the answer; OpenVINO's folder comes as a zip."""

    path: str
    format: str
    imgsz: int


class Export(Question[Exported]):
    """A model in another format: "ultralytics", "onnx", "openvino", "torchscript", "tensorrt"."""

    answered_by: ClassVar[str] = "msip_core.detector.jobs:export"

    model: ModelOf
    format: str
    imgsz: int | None = None


class Upload(Question[ModelCard]):
    """Weights from elsewhere, read without running them, as a model of the workspace."""

    answered_by: ClassVar[str] = "msip_core.detector.jobs:upload"

    path: Path
    name: str = ""

    def files(self, workspace: Workspace) -> Sequence[Path]:
        return [self.path]
