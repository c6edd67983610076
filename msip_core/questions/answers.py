"""How an answer is kept: a JSON document; its files lie beside it."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import BaseModel

from msip_core.cache import MARK, Form
from msip_core.workspace import write_json

Kind = TypeVar("Kind", bound=BaseModel)


def form_of(kind: type[Kind]) -> Form[Kind]:
    """The form of answers of this class (`cache.ContentStore`)."""
    return Form(
        lambda folder, value: write_json(folder / MARK, value.model_dump(mode="json")),
        lambda folder: kind.model_validate(json.loads((folder / MARK).read_text(encoding="utf-8"))),
    )
