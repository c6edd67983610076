"""Models of the workspace as cards: what each is, where it came from, what it scores and costs.

No torch: pages and the command line list models without loading one.

    models/<id>/model.json   the card
    models/<id>/model.pt     opens in stock Ultralytics (what a person takes home)
    models/<id>/work.pt      pruned models only: our fp32 module with C2f_v2, to go on from
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from msip_core.config import ImageRecipe
from msip_core.documents import read_object
from msip_core.errors import CheckpointError, NotFoundError
from msip_core.events import Cost, Metrics, Record
from msip_core.messages import Telling, Words, msg
from msip_core.titles import checked_title
from msip_core.workspace import (
    Workspace,
    clear_away,
    folders_in,
    holds_something,
    json_text,
    plain_bytes,
    rewrite,
    study_of,
    taken_away,
    write_json,
)


class TrainedSizes(Record):
    """How large the objects were that a model learned from, and their images.

    Attributes:
        object_px: median side of the square as large as a box, in pixels of the images.
        share_low, share, share_high: that side over the image's longer one: 5th, 50th and 95th
            percentile over all boxes.
        image_low, image, image_high: longer side of the images: least, median, most; pixels.
        pixel_size_um: micrometres per pixel (median), None unless all images state it.
    """

    object_px: float
    share_low: float
    share: float
    share_high: float
    image_low: float
    image: float
    image_high: float
    pixel_size_um: float | None = None


class ModelCard(Record, Telling):
    """One model.

    Attributes:
        architecture: "yolov8n", "yolov8s", ... (of the unpruned model).
        recipe: how pixels must be scaled before this model sees them; None for foreign weights.
        trained: sizes of the objects it learned from, None if unknown.
        origin: free facts: run_id, iteration, source file, sha256, command.
    """

    id: str
    name: str
    kind: Literal["baseline", "pruned", "uploaded"]
    architecture: str
    classes: tuple[str, ...]
    imgsz: int
    dataset: str | None = None
    dataset_hash: str | None = None
    recipe: ImageRecipe | None = None
    trained: TrainedSizes | None = None
    val: Metrics | None = None
    test: Metrics | None = None
    cost: Cost
    baseline_id: str | None = None
    macs_ratio: float | None = None
    origin: dict[str, object] = {}
    created: str = Field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%S"))
    note: Words = ""

    @property
    def is_narrow(self) -> bool:
        """Whether layers are narrower than the architecture's, so that stock Ultralytics' training,
        which builds the network anew from its description, would make it as large as before."""
        return self.kind == "pruned" or "pruned" in self.note

    @property
    def study(self) -> str | None:
        """The study that made this model; None for those that a person made or brought."""
        return study_of(str(self.origin.get("run_id", "")))

    @property
    def pruned_from(self) -> str:
        """What it was pruned from: a model of the workspace, or the name of a file."""
        return str(
            self.baseline_id or self.origin.get("baseline") or msg("the model it began with")
        )


def list_models(workspace: Workspace) -> list[ModelCard]:
    """All models whose cards can be read, newest first; the others: `damaged_models`."""
    cards = [card for _, card in _cards(workspace) if card is not None]
    return sorted(cards, key=lambda card: (card.created, card.id), reverse=True)


def damaged_models(workspace: Workspace) -> list[str]:
    """Folders of models whose model.json cannot be read, by name."""
    return [folder.name for folder, card in _cards(workspace) if card is None]


def _cards(workspace: Workspace) -> list[tuple[Path, ModelCard | None]]:
    """Each model's folder and card, None where that cannot be read."""
    found: list[tuple[Path, ModelCard | None]] = []
    for folder in folders_in(workspace.models):
        try:
            found.append((folder, read_card(folder / "model.json")))
        except FileNotFoundError:
            if holds_something(folder):  # else just deleted
                found.append((folder, None))
        except (CheckpointError, OSError):
            found.append((folder, None))
    return found


def read_card(path: Path) -> ModelCard:
    """One card from its file.

    Raises:
        CheckpointError: it is no model card.
    """
    try:
        card = ModelCard.model_validate_json(plain_bytes(path))
    except ValidationError as error:
        raise CheckpointError(
            "{path} is damaged: train or upload this model again, or remove its folder.",
            path=path,
        ) from error
    # A folder that was copied or renamed has the id that it lies under.
    return card.model_copy(update={"id": path.parent.name})


# Files that people take for the weights of a detector; paths are looked for before models are.
_OTHER_WEIGHTS = (".pt", ".pth", ".onnx", ".safetensors", ".engine", ".torchscript", ".bin", ".h5")


def open_card(workspace: Workspace, model_id: str) -> ModelCard:
    """The card of one model, or a sentence with what to do."""
    if "/" in model_id or model_id.lower().endswith(_OTHER_WEIGHTS):
        raise NotFoundError(
            "'{model_id}' is no model of the workspace, and no file whose name ends in .pt: give "
            "the id of a model, or the .pt file that YOLOv8's training wrote (best.pt).",
            model_id=model_id[:100],
        )
    path = workspace.model_dir(model_id) / "model.json"
    if path.is_file():
        with suppress(FileNotFoundError):  # deleted in this very moment
            return read_card(path)
    raise NotFoundError(
        "There is no model '{model_id}' in {root}: see 'models' for what is there.",
        model_id=model_id,
        root=workspace.root,
    )


def write_card(workspace: Workspace, card: ModelCard) -> None:
    write_json(workspace.model_dir(card.id) / "model.json", card.model_dump(mode="json"))


def rename_model(workspace: Workspace, model_id: str, title: str) -> ModelCard:
    """Call a model otherwise; its id, its weights and all else stay.

    Raises:
        NotFoundError: there is no such model, or no more; InputError: it can be no title.
    """
    card = open_card(workspace, model_id).model_copy(update={"name": checked_title(title)})
    rewrite(workspace.model_dir(model_id) / "model.json", json_text(card.model_dump(mode="json")))
    return card


def delete_model(workspace: Workspace, model_id: str) -> None:
    """Remove a model for good, damaged or not; runs and models that came of it stay.

    Raises:
        NotFoundError: there is no such model.
    """
    folder = workspace.model_dir(model_id)
    if not folder.is_dir():
        raise NotFoundError(
            "There is no model '{model_id}' in {root}.", model_id=model_id, root=workspace.root
        )
    clear_away(taken_away(folder))


def step_path(workspace: Workspace, run: str, iteration: int) -> Path:
    """The weights of one step of a run: those of the model that it began or ended with where the
    run's own copy is gone. The file is missing where there are none."""
    folder = workspace.run_dir(run)
    own = folder / "iterations" / str(iteration) / "model.pt"
    if own.is_file():
        return own
    ends = {0: _named(folder / "config.json", "model")}
    if (last := _named(folder / "final.json", "iteration")) is not None:
        ends[last] = _named(folder / "final.json", "model_id")
    model = ends.get(iteration)
    if model and not model.endswith(".pt") and (workspace.models / model).is_dir():
        return weights_path(workspace, model)
    return own


def lacks_weights(workspace: Workspace, run: str, iteration: int) -> bool:
    """Whether a step was finished but its weights are not here, as in the shipped example."""
    path = step_path(workspace, run, iteration)
    return not path.is_file() and (path.parent / "metrics.json").is_file()


def _named(document: Path, name: str) -> Any:
    return read_object(document).get(name)


def weights_path(workspace: Workspace, model_id: str) -> Path:
    """The file to work with: the fp32 working copy where there is one, else model.pt."""
    folder = workspace.model_dir(open_card(workspace, model_id).id)
    work = folder / "work.pt"
    return work if work.is_file() else folder / "model.pt"
