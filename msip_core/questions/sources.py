"""Models and images as questions name them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msip_core.models import step_path
from msip_core.questions.base import Source
from msip_core.workspace import Workspace


class SavedModel(Source):
    """A model of the workspace, by its id."""

    model: str

    @property
    def name(self) -> str:
        return self.model

    def files(self, workspace: Workspace) -> Sequence[Path]:
        """The file that is worked with (`models.weights_path`), also where the card is gone."""
        folder = workspace.model_dir(self.model)
        work = folder / "work.pt"
        return [work if work.is_file() else folder / "model.pt"]


class RunStep(Source):
    """What a run had after one of its steps; step 0 is what it began with."""

    run: str
    iteration: int = 0

    @property
    def name(self) -> str:
        return self.run

    def files(self, workspace: Workspace) -> Sequence[Path]:
        return [step_path(workspace, self.run, self.iteration)]


class WeightsFile(Source):
    """Weights that lie elsewhere."""

    weights: Path

    @property
    def name(self) -> str:
        return str(self.weights)

    def files(self, workspace: Workspace) -> Sequence[Path]:
        return [self.weights]


ModelOf = SavedModel | RunStep | WeightsFile


def model_named(name: str) -> ModelOf:
    """The model that a run's settings name: an id, a .pt file, or RUN/STEP."""
    if name.endswith(".pt"):
        return WeightsFile(weights=Path(name))
    run, _, step = name.partition("/")
    return RunStep(run=run, iteration=int(step)) if step.isdecimal() else SavedModel(model=name)


class DatasetImage(Source):
    """An image of a dataset, scaled when it was imported."""

    dataset: str
    image: str

    @property
    def name(self) -> str:
        return self.image

    def files(self, workspace: Workspace) -> Sequence[Path]:
        return dataset_files(workspace, self.dataset)


class ImageFile(Source):
    """An image file; it is scaled by the recipe of the model that is asked."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def files(self, workspace: Workspace) -> Sequence[Path]:
        return [self.path]


ImageOf = DatasetImage | ImageFile


def dataset_files(workspace: Workspace, name: str) -> list[Path]:
    """What stands for a whole dataset: the list of its images with their hashes."""
    return [workspace.dataset_dir(name) / "dataset.json"]
