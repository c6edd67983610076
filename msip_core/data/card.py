"""The card of an exported dataset: what label formats have no place for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from pydantic import Field, ValidationError

from msip_core.data.archive import FileTree
from msip_core.errors import DatasetError
from msip_core.events import Record
from msip_core.messages import msg

CARD = "msip-lab.json"


class Card(Record):
    """The whole of msip-lab.json.

    Attributes:
        classes: in their order; most label formats have none.
        drawn: the images were drawn by computer.
        pixel_sizes_um: image in the zip -> micrometres of one pixel.
        labels_version: of the dataset's labels that were exported (`versions`).
        predicted_by: the model whose boxes these are; None for labels.
        predicted_from: lowest score of its boxes.
    """

    name: str = ""
    classes: tuple[str, ...] = ()
    drawn: bool = False
    pixel_sizes_um: Mapping[str, float] = Field(default_factory=dict)
    labels_version: int | None = None
    predicted_by: str | None = None
    predicted_from: float | None = None


def read_card(tree: FileTree, notes: list[str]) -> tuple[Card, str]:
    """The card nearest to the top of a tree, and its name; an empty one and "" if there is none.

    Paths are as they are in the tree. One that cannot be read is a note.
    """
    found = [name for name in tree.names if PurePosixPath(name).name == CARD]
    name = min(found, key=lambda name: name.count("/"), default="")
    if not name:
        return Card(), ""
    try:
        card = Card.model_validate_json(tree.read(name))
    except (ValidationError, DatasetError):
        notes.append(
            msg(
                "{name} cannot be read: pixel sizes and the order of classes are not known.",
                name=name,
            )
        )
        return Card(), name
    top = PurePosixPath(name).parent
    sizes = {str(top / path): size for path, size in card.pixel_sizes_um.items() if size > 0}
    if card.predicted_by:
        notes.append(
            msg(
                "These boxes are not labels: the model {model} predicted them (score "
                "{score:g} and above). Check them before you train on them.",
                model=card.predicted_by,
                score=card.predicted_from or 0,
            )
        )
    return card.model_copy(update={"pixel_sizes_um": sizes}), name
