"""Where a model looks: Grad-CAM and its kin, SHAP, and what of it lies on borders of objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Generic, Literal

from pydantic import Field

from msip_core.boxes import Box
from msip_core.catalog import HeatMap as Method
from msip_core.events import Record
from msip_core.intervals import PairedDifference
from msip_core.messages import Telling, Words
from msip_core.questions.base import Answer_co, Question
from msip_core.questions.sources import ImageOf, ModelOf, dataset_files
from msip_core.workspace import Workspace


class BoundaryScores(Record):
    """Where the energy of one heat map lies, for one object. None: the map has no energy.

    Attributes:
        ber: boundary energy ratio, energy in the band / all energy, in [0, 1].
        enrichment: ber / (band area / image area); 1 = as much as a uniform map.
        energy_in_box: energy inside the box, in [0, 1] (Wang et al. 2020, arXiv:1910.01279).
        hit: the hottest pixel lies in the box, 15 px tolerance (Zhang et al. 2016,
            arXiv:1608.00507).
        contour: "mask" (a drawn outline) or "box" (only the box edge was known).
        band_px: half width d of the band.
    """

    ber: float | None
    enrichment: float | None
    energy_in_box: float | None
    hit: bool | None
    contour: Literal["mask", "box"]
    band_px: float


class RandomisedCheck(Record, Telling):
    """Cascading randomisation of Adebayo et al. 2018 (arXiv:1810.03292) for one map.

    Attributes:
        correlation: mean Spearman correlation of the map with those of networks whose weights
            were all shuffled; None where fewer than three of them gave a map.
        low, high: its 95 % interval over the shuffled networks (Student's t).
        draws: shuffled networks that gave a map.
        passed: the interval lies below .5; None where it holds .5, or is undefined.
        cascade: how far down from the output weights were shuffled -> mean correlation, None where
            no map was left.
        verdict: the same in words.
    """

    correlation: float | None
    low: float | None
    high: float | None
    draws: int
    passed: bool | None
    cascade: dict[str, float | None]
    verdict: Words


class SkippedLayer(Record, Telling):
    """A layer that gave no map, and why."""

    layer: str
    reason: Words


class Explained(Record):
    """What a heat map was asked of.

    Attributes:
        score: of the best of its anchors.
        best_iou: overlap of that anchor's box with the one that was asked about.
        anchors: how many stand for the object.
    """

    score: float
    best_iou: float
    anchors: int


class Explanation(Record, Telling):
    """What every explanation of one object says.

    Attributes:
        overlay: PNG file, drawn over the micrograph.
        box, label: the object, and the name of its class.
        reference: how the object was chosen, in words.
        scores: on the object's border.
        crypt_scores: on the borders of its crypts, None where none are known.
        note: what a reader must know, or "".
    """

    overlay: str
    box: Box
    label: str = Field(serialization_alias="class")
    reference: Words
    imgsz: int
    scores: BoundaryScores
    crypt_scores: BoundaryScores | None
    note: Words


class HeatMap(Explanation):
    """Where the score of one detection is sensitive.

    Attributes:
        heat: npz file: heat (float32, height x width, sums to 1), and the raw map of each layer.
        layers: those used, for example "P3 (layer 15)".
        randomised: the check with shuffled weights; None where it was not asked for.
    """

    heat: str
    method: Method
    layers: tuple[str, ...]
    skipped: tuple[SkippedLayer, ...]
    target: Explained
    randomised: RandomisedCheck | None


class ShapValues(Explanation):
    """What each patch of the micrograph adds to the score of one detection.

    Attributes:
        values: phi of each patch; they sum to score - base.
        segments: npz file: segments (the patch of each pixel), values, heat.
        score, base: of the micrograph, and of the blurred one.
        c_at_10: share of all |phi| held by the top tenth; None where it has not converged.
        converged: two independent estimates agree.
        correlation: of these two; None where there was one.
        evaluations, seconds: what it took.
    """

    values: tuple[float, ...]
    segments: str
    score: float
    base: float
    c_at_10: float | None
    converged: bool
    correlation: float | None
    evaluations: int
    seconds: float


class OfOneObject(Question[Answer_co], Generic[Answer_co]):
    """A question about one object of one image.

    Attributes:
        box: the object; None takes the largest labelled crypt, else the best detection.
        reference: the model whose best detection it is; None: `model` itself.
        imgsz: longer side that the network sees; None: the model's.
    """

    model: ModelOf
    image: ImageOf
    box: Box | None = None
    reference: ModelOf | None = None
    imgsz: int | None = None
    device: str = "auto"
    seed: int = 0


class GradCam(OfOneObject[HeatMap]):
    """Heat map of one detection.

    Attributes:
        layers: of "P3", "P4", "P5"; None takes all.
        randomised: check it with shuffled weights too.
    """

    answered_by: ClassVar[str] = "msip_core.explain.jobs:gradcam"

    method: Method = "gradcam"
    layers: tuple[str, ...] | None = None
    randomised: bool = True

    def is_look(self) -> bool:
        return True


class Shap(OfOneObject[ShapValues]):
    """SHAP values of one detection on patches of the micrograph.

    Attributes:
        features: patches.
        samples: evaluations at most: it ends when two estimates agree.
    """

    answered_by: ClassVar[str] = "msip_core.explain.jobs:shap"

    features: int = 100
    samples: int = 2048
    patches: Literal["slic", "grid"] = "slic"


class ShapTime(Record):
    """How long SHAP takes here; `batch` images go through the network at a time."""

    seconds: float
    per_evaluation: float
    batch: int
    samples: int


class TimeShap(OfOneObject[ShapTime]):
    """Times a few forward passes, and explains nothing."""

    answered_by: ClassVar[str] = "msip_core.explain.jobs:shap_time"

    samples: int = 2048


class ScoresOfMap(Record, allow_inf_nan=False):
    """The numbers of `BoundaryScores` that are averaged and compared; the hit as 0 or 1."""

    ber: float | None
    enrichment: float | None
    energy_in_box: float | None
    hit: float | None


class ScoredObject(Record):
    """One labelled object, scored for each model that was asked."""

    image: str
    object: int
    label: str = Field(serialization_alias="class")
    contour: Literal["mask", "box"]
    scores: dict[str, ScoresOfMap]


class ScoredImage(Record):
    """Means over the objects of one image, undefined ones left out."""

    image: str
    scores: dict[str, ScoresOfMap]


class BorderScores(Record):
    """Border scores over many images, by one model or by two on the same boxes.

    Attributes:
        models: side -> name of its model.
        summary: side -> means over images.
        paired: metric -> difference with its interval; None of a single model.
        without_objects: images that had none.
        table: CSV file, one line an object.
    """

    models: dict[str, str]
    objects: tuple[ScoredObject, ...]
    images: tuple[ScoredImage, ...]
    summary: dict[str, ScoresOfMap]
    paired: dict[str, PairedDifference] | None
    without_objects: int
    table: str


class Boundary(Question[BorderScores]):
    """Border scores of labelled objects of a dataset.

    Attributes:
        model: with `pruned`, the baseline.
        images: ids; None takes `limit` of `split`, spread over its groups.
        objects: the largest so many of each image.
    """

    answered_by: ClassVar[str] = "msip_core.explain.border_job:boundary"

    model: ModelOf
    pruned: ModelOf | None = None
    dataset: str
    images: tuple[str, ...] | None = None
    split: str = "test"
    limit: int = 20
    objects: int = 3
    method: Method = "gradcam"
    layers: tuple[str, ...] | None = None
    imgsz: int | None = None
    device: str = "auto"

    def files(self, workspace: Workspace) -> Sequence[Path]:
        return [*super().files(workspace), *dataset_files(workspace, self.dataset)]
