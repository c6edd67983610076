"""What Ultralytics reads of a dataset's folder beside images and labels: data.yaml, split lists."""

from __future__ import annotations

from pathlib import Path

import yaml

from msip_core.data.labels_yolo import DRAWN
from msip_core.data.manifest import SPLITS, ImageRecord
from msip_core.workspace import write_text


def write_lists(folder: Path, images: tuple[ImageRecord, ...]) -> None:
    """splits/<part>.txt, one image a line, relative to the list as Ultralytics wants it."""
    for split in SPLITS:
        lines = [f"./../{image.file}\n" for image in images if image.split == split]
        write_text(folder / "splits" / f"{split}.txt", "".join(lines))


def data_yaml(classes: tuple[str, ...], drawn: bool, parts: bool = True) -> str:
    """Ultralytics' description of the dataset.

    There is no `path`: Ultralytics then starts at the folder of this file, wherever it lies.
    """
    value: dict[str, object] = {}
    if parts:
        value = {f"{split}": f"splits/{split}.txt" for split in SPLITS}
    value["names"] = dict(enumerate(classes))
    if drawn:
        value["origin"] = DRAWN
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
