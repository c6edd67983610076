"""Models and images as questions name them (`questions.sources`), found and opened."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from msip_core.config import ImageRecipe, kept_settings, parse_training_config
from msip_core.data.cut import open_for_run, sizes_learned
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.data.micrographs import Micrograph, read_micrograph
from msip_core.data.object_sizes import trained_sizes
from msip_core.data.regions import Field, field_of, open_field
from msip_core.detector.checkpoints import load_model, read_weights
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import NotFoundError
from msip_core.messages import msg
from msip_core.models import TrainedSizes, lacks_weights, open_card, step_path, weights_path
from msip_core.questions.sources import DatasetImage, ImageOf, ModelOf, RunStep, SavedModel
from msip_core.workspace import Workspace

_WARM_MODELS = 6  # kept in memory by a process that answers one question after another
_FOREIGN_IMGSZ = 640


class ModelFacts(NamedTuple):
    """What must be known to use a model on images.

    Attributes:
        name: for people.
        recipe: how pixels must be scaled; None for weights from elsewhere.
        dataset: name of the dataset it was trained on, None if unknown.
        path: the file it was loaded from.
        trained: sizes of the objects it learned from, None if unknown.
    """

    name: str
    classes: tuple[str, ...]
    imgsz: int
    recipe: ImageRecipe | None
    dataset: str | None
    path: Path
    trained: TrainedSizes | None = None


def load_source_model(workspace: Workspace, source: ModelOf) -> tuple[DetectionModel, ModelFacts]:
    """The model, as a copy that the caller may change.

    Raises:
        NotFoundError: no such model, run or iteration.
        CheckpointError: the file cannot be used.
    """
    facts = _facts(workspace, source)
    found = copy_model(_warm(facts.path, _changed(facts.path)))
    return found, facts._replace(classes=tuple(found.names.values()))


def lend_source_model(
    workspace: Workspace, source: ModelOf, *, device: str
) -> tuple[DetectionModel, ModelFacts]:
    """The same, already on a device and not copied: for whoever leaves it exactly as it is."""
    facts = _facts(workspace, source)
    found = _warm_on(facts.path, _changed(facts.path), device)
    return found, facts._replace(classes=tuple(found.names.values()))


def _facts(workspace: Workspace, source: ModelOf) -> ModelFacts:
    if isinstance(source, RunStep):
        return _run_facts(workspace, source.run, source.iteration)
    if isinstance(source, SavedModel):
        return _saved_facts(workspace, source.model)
    imgsz = read_weights(source.weights).info.imgsz or _FOREIGN_IMGSZ
    return ModelFacts(source.weights.stem, (), imgsz, None, None, source.weights)


def load_source_image(
    workspace: Workspace, source: ImageOf, recipe: ImageRecipe | None = None
) -> NDArray[np.uint8]:
    """The pixels of the image, (height, width, 3) uint8 RGB.

    Images of a dataset were scaled when they were imported; a file is scaled by `recipe`, the
    model's own.
    """
    if isinstance(source, DatasetImage):
        return _imported(workspace, source).pixels
    return read_micrograph(source.path, recipe).pixels


def open_source_field(
    workspace: Workspace, source: ImageOf, recipe: ImageRecipe | None = None
) -> Field:
    """The same as a field of any size, of which parts are read."""
    if isinstance(source, DatasetImage):
        return field_of(_imported(workspace, source))
    return open_field(source.path, recipe)


def _imported(workspace: Workspace, source: DatasetImage) -> Micrograph:
    path = workspace.dataset_dir(source.dataset) / "dataset.json"
    dataset = _opened(workspace, source.dataset, _changed(path))
    record = dataset.image(source.image)
    size = record.pixel_size_um or dataset.pixel_size_um
    return Micrograph(dataset.pixels(record), size, 8, None)


def _changed(path: Path) -> int:
    """0 where it is gone: whoever opens it says so."""
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=2)
def _opened(workspace: Workspace, name: str, changed: int) -> Dataset:
    """A dataset, read once for all its images; `changed` makes a new version a new entry."""
    return open_dataset(workspace, name)


def _saved_facts(workspace: Workspace, model: str) -> ModelFacts:
    card = open_card(workspace, model)
    path = weights_path(workspace, model)
    trained = card.trained or _sizes_in(workspace, card.dataset, card.dataset_hash)
    return ModelFacts(card.name, card.classes, card.imgsz, card.recipe, card.dataset, path, trained)


def _sizes_in(workspace: Workspace, name: str | None, hashed: str | None) -> TrainedSizes | None:
    """For cards written before they kept these sizes: from the dataset, if it is still the same."""
    if name is None or not (workspace.dataset_dir(name) / "dataset.json").is_file():
        return None
    dataset = open_dataset(workspace, name)
    return trained_sizes(dataset) if hashed in (None, dataset.content_hash) else None


def _run_facts(workspace: Workspace, run: str, iteration: int) -> ModelFacts:
    folder = workspace.run_dir(run)
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise NotFoundError("There is no run '{run}' in {root}.", run=run, root=workspace.root)
    config = parse_training_config(kept_settings(config_file.read_bytes()))
    path = step_path(workspace, run, iteration)
    if lacks_weights(workspace, run, iteration):
        raise NotFoundError(
            "The weights of step {iteration} of run '{run}' are not here: the example is shipped "
            "without those of its steps (others were deleted). Repeat the run to make them.",
            iteration=iteration,
            run=run,
        )
    if not path.is_file():
        raise NotFoundError(
            "Run '{run}' has no finished step {iteration} yet.", run=run, iteration=iteration
        )
    dataset = open_dataset(workspace, config.dataset, config.dataset_version)
    name = msg("{name}, step {iteration}", name=config.name or run, iteration=iteration)
    return ModelFacts(
        name, dataset.classes, config.imgsz, dataset.recipe, dataset.name, path,
        sizes_learned(open_for_run(workspace, config)),
    )  # fmt: skip


@lru_cache(maxsize=_WARM_MODELS)
def _warm(path: Path, changed: int) -> DetectionModel:
    """A loaded file; `changed` makes a file that was written again a new entry.

    Safe-only even inside the workspace: that is where uploads and other people's runs lie.
    """
    return load_model(path)


@lru_cache(maxsize=_WARM_MODELS)
def _warm_on(path: Path, changed: int, device: str) -> DetectionModel:
    model = _warm(path, changed)
    return model if device == "cpu" else copy_model(model).to(device)
