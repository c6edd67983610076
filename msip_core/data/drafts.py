"""Boxes that came too late: somebody else had corrected the same image. Kept until they are taken
over or dropped by a person.

versions/drafts/<id>.json   Draft
"""

from __future__ import annotations

import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from msip_core.boxes import Box
from msip_core.data.label_files import parse_label
from msip_core.errors import NotFoundError
from msip_core.events import Record
from msip_core.label_versions import VERSIONS
from msip_core.workspace import plain_bytes, write_json

if TYPE_CHECKING:
    from msip_core.data.dataset import Dataset

_ID = re.compile(r"[A-Za-z0-9_-]{1,120}")


class Draft(Record):
    """All boxes that one person wanted one image to have.

    Attributes:
        seen: the version that they had looked at.
        classes: that `Box.cls` counts in.
    """

    id: str
    image: str
    who: str
    when: str
    seen: int
    classes: tuple[str, ...]
    boxes: tuple[Box, ...]


def keep_draft(
    dataset: Dataset, image: str, label: str, *, who: str, seen: int, classes: tuple[str, ...]
) -> Draft:
    """Keep what came too late for an image; `label` is its YOLO text, the others as of `Draft`."""
    record = dataset.image(image)
    draft = Draft(
        id=f"{image}-{secrets.token_hex(4)}",
        image=image,
        who=who,
        when=time.strftime("%Y-%m-%dT%H:%M:%S"),
        seen=seen,
        classes=classes,
        boxes=parse_label(label, record.width, record.height),
    )
    write_json(_path(dataset.root, draft.id), draft.model_dump(mode="json"))
    return draft


def drafts_of(root: Path) -> tuple[list[Draft], list[str]]:
    """All drafts of a dataset, the oldest first, and files that cannot be read."""
    found, damaged = [], []
    for path in sorted((root / VERSIONS / "drafts").glob("[!.]*.json")):
        try:
            found.append(Draft.model_validate_json(plain_bytes(path)))
        except FileNotFoundError:  # just dropped
            continue
        except (OSError, ValidationError):
            damaged.append(str(path))
    return sorted(found, key=lambda draft: (draft.when, draft.id)), damaged


def drop_draft(root: Path, draft: str) -> None:
    """It was taken over, or is not wanted any more.

    Raises:
        NotFoundError: there is none of that id.
    """
    path = _path(root, draft)
    try:
        path.unlink()
    except FileNotFoundError:
        raise NotFoundError(
            "The draft '{draft}' is not there any more: it was taken over or dropped.", draft=draft
        ) from None


def _path(root: Path, draft: str) -> Path:
    if not _ID.fullmatch(draft):
        raise NotFoundError("There is no draft '{draft}'.", draft=draft[:40])
    return root / VERSIONS / "drafts" / f"{draft}.json"
