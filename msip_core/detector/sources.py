"""Models and images as jobs name them, found and opened.

    model   {"model": id}  or  {"run": id, "iteration": k}  or  {"model": "/path/to/weights.pt"}
    image   {"dataset": name, "image": id}  or  {"path": "/path/to/file.tif"}

With a prefix ("baseline", "pruned") the keys are "baseline_model", "baseline_run", ...
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msip_core.config import ImageRecipe, PruneConfig, TrainConfig, parse_run_config
from msip_core.data.dataset import open_dataset
from msip_core.data.micrographs import Micrograph, read_micrograph
from msip_core.data.object_sizes import trained_sizes
from msip_core.detector.checkpoints import inspect_checkpoint, load_model
from msip_core.detector.library import DetectionModel, copy_model
from msip_core.errors import ConfigError, NotFoundError
from msip_core.models import TrainedSizes, open_card, weights_path
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


def load_source_model(
    workspace: Workspace, params: Mapping[str, Any], prefix: str = ""
) -> tuple[DetectionModel, ModelFacts]:
    """The model that `params` name, as a copy that the caller may change.

    Raises:
        NotFoundError: no such model, run or iteration.
        ConfigError: `params` name none.
        CheckpointError: the file cannot be used.
    """
    facts = _facts(workspace, params, prefix)
    found = copy_model(_warm(facts.path, facts.path.stat().st_mtime_ns))
    return found, facts._replace(classes=tuple(found.names.values()))


def lend_source_model(
    workspace: Workspace, params: Mapping[str, Any], prefix: str = "", *, device: str
) -> tuple[DetectionModel, ModelFacts]:
    """The same, already on a device and not copied: for whoever leaves it exactly as it is."""
    facts = _facts(workspace, params, prefix)
    found = _warm_on(facts.path, facts.path.stat().st_mtime_ns, device)
    return found, facts._replace(classes=tuple(found.names.values()))


def _facts(workspace: Workspace, params: Mapping[str, Any], prefix: str) -> ModelFacts:
    place = f"{prefix}_" if prefix else ""
    if run := params.get(f"{place}run"):
        return _run_facts(workspace, str(run), int(params.get(f"{place}iteration") or 0))
    if model := params.get(f"{place}model") or (params.get(prefix) if prefix else None):
        return _model_facts(workspace, str(model))
    raise ConfigError(f"No model was named: give '{place}model', or '{place}run' and a step.")


def load_source_image(
    workspace: Workspace, params: Mapping[str, Any], recipe: ImageRecipe | None = None
) -> NDArray[np.uint8]:
    """The pixels of the image that `params` name, (height, width, 3) uint8 RGB."""
    return load_source_micrograph(workspace, params, recipe).pixels


def load_source_micrograph(
    workspace: Workspace, params: Mapping[str, Any], recipe: ImageRecipe | None = None
) -> Micrograph:
    """The image that `params` name.

    Images of a dataset were scaled when they were imported; a file is scaled by `recipe`, the
    model's own. `z` in `params` picks a plane of a file that holds a z-stack, `channel` another
    channel than the recipe's.
    """
    if "path" in params:
        if channel := params.get("channel"):
            recipe = (recipe or ImageRecipe()).model_copy(update={"channel": str(channel)})
        return read_micrograph(Path(str(params["path"])), recipe, z=params.get("z"))
    if "dataset" in params and "image" in params:
        dataset = open_dataset(workspace, str(params["dataset"]))
        record = dataset.image(str(params["image"]))
        size = record.pixel_size_um or dataset.pixel_size_um
        return Micrograph(dataset.pixels(record), size, 8, None)
    raise ConfigError("No image was named: give 'path', or 'dataset' and 'image'.")


def _model_facts(workspace: Workspace, model: str) -> ModelFacts:
    if model.endswith(".pt"):
        path = Path(model)
        imgsz = inspect_checkpoint(path).imgsz or _FOREIGN_IMGSZ
        return ModelFacts(path.stem, (), imgsz, None, None, path)
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
        raise NotFoundError(f"There is no run '{run}' in {workspace.root}.")
    config: TrainConfig | PruneConfig = parse_run_config(json.loads(config_file.read_text("utf-8")))
    path = folder / "iterations" / str(iteration) / "model.pt"
    if not path.is_file():
        raise NotFoundError(f"Run '{run}' has no finished step {iteration} yet.")
    dataset = open_dataset(workspace, config.dataset)
    name = f"{config.name or run}, step {iteration}"
    return ModelFacts(
        name, dataset.classes, config.imgsz, dataset.recipe, dataset.name, path,
        trained_sizes(dataset),
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
