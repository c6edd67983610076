"""Where the labels of an image lie, version by version, and how they are written.

  labels/<id>.txt               those of the newest version, for other programs
  masks/<id>.json
  versions/<n>/labels/<id>.txt  those that version n gave the image; never written again
  versions/<n>/masks/<id>.json
  versions/1/                   as imported, of images that were corrected since

An image names the version that its labels are from (`ImageRecord.labels_version`), so that whoever
has opened a dataset goes on reading what was there then, whatever is saved meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msip_core.boxes import Box
from msip_core.data.manifest import ImageRecord
from msip_core.errors import DatasetError
from msip_core.label_versions import VERSIONS
from msip_core.workspace import plain_bytes

Points = NDArray[np.float64]


def version_dir(root: Path, number: int) -> Path:
    """The folder of one version of a dataset's labels."""
    return root / VERSIONS / str(number)


def label_path(root: Path, record: ImageRecord) -> Path:
    """The YOLO text of the version that the record names."""
    kept = version_dir(root, record.labels_version) / "labels" / f"{record.id}.txt"
    if record.labels_version > 1 or kept.is_file():
        return kept
    return root / "labels" / f"{record.id}.txt"


def mask_path(root: Path, record: ImageRecord) -> Path:
    """Outlines and crypts that go with `label_path`; missing where none are known."""
    folder = label_path(root, record).parent.parent
    return folder / "masks" / f"{record.id}.json"


def read_label(root: Path, record: ImageRecord) -> bytes:
    """What lies at `label_path`.

    Raises:
        FileNotFoundError: it is gone.
    """
    path = label_path(root, record)
    data = plain_bytes(path)
    # Corrected in between? Then it was kept before the newer one took its place.
    return data if (now := label_path(root, record)) == path else plain_bytes(now)


def read_masks(root: Path, record: ImageRecord) -> dict[str, Any]:
    """What lies at `mask_path`; {} where nothing is known."""
    for _ in range(2):  # as above
        path = mask_path(root, record)
        text = path.read_bytes() if path.is_file() else b"{}"
        if mask_path(root, record) == path:
            break
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged_label(path) from error


def damaged_label(path: Path) -> DatasetError:
    return DatasetError("{path} is damaged: import the dataset again.", path=path)


def box_line(box: Box, width: int, height: int) -> str:
    """One object of a YOLO label: class, then centre and size as fractions of the image."""
    return (
        f"{box.cls} {(box.x1 + box.x2) / 2 / width:.6f} {(box.y1 + box.y2) / 2 / height:.6f} "
        f"{(box.x2 - box.x1) / width:.6f} {(box.y2 - box.y1) / height:.6f}\n"
    )


def label_text(boxes: Sequence[Box], width: int, height: int) -> str:
    """The whole label of an image."""
    return "".join(box_line(box, width, height) for box in boxes)


def masks_text(
    outlines: Sequence[Points | None], crypts: Sequence[Sequence[Points] | None], digits: int
) -> str:
    """The JSON at `mask_path`: outlines of the boxes in their order, empty where one is not known;
    crypts where they are known of any."""
    known: dict[str, Any] = {
        "outlines": [[] if o is None else o.round(digits).tolist() for o in outlines]
    }
    if any(buds is not None for buds in crypts):
        known["crypts"] = [[c.round(digits).tolist() for c in buds or ()] for buds in crypts]
    return json.dumps(known, separators=(",", ":"))


def parse_label(text: str, width: int, height: int) -> tuple[Box, ...]:
    """Boxes in pixels, in the order of the label."""
    boxes = []
    for line in text.splitlines():
        cls, x, y, w, h = line.split()
        cx, cy = float(x) * width, float(y) * height
        dx, dy = float(w) * width / 2, float(h) * height / 2
        boxes.append(Box(cls=int(cls), x1=cx - dx, y1=cy - dy, x2=cx + dx, y2=cy + dy))
    return tuple(boxes)
