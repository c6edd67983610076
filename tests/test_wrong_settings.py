"""What is wrong with settings is told in our words, whatever their library calls it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from msip_core.wrong_settings import explain


class _Part(BaseModel):
    epochs: int = 1


class _Train(BaseModel):
    kind: Literal["train"] = "train"
    seeds: tuple[int, ...] = Field((1,), min_length=1, max_length=3)
    amp: bool = True
    name: str = Field("x", min_length=1, max_length=9)
    finetune: _Part = _Part()
    gains: dict[str, float] = {}


class _Prune(BaseModel):
    kind: Literal["prune"] = "prune"


_ANY: TypeAdapter[Any] = TypeAdapter(Annotated[_Train | _Prune, Field(discriminator="kind")])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seeds": 3}, "seeds: it must be a list (got 3)"),
        ({"seeds": []}, "seeds: its number of entries must be at least 1 (got [])"),
        ({"seeds": [1, 2, 3, 4]}, "seeds: its number of entries must be at most 3"),
        ({"amp": "ja"}, "amp: it must be true or false (got 'ja')"),
        ({"name": 5}, "name: it must be a text (got 5)"),
        ({"name": ""}, "name: its number of characters must be at least 1 (got '')"),
        ({"name": "x" * 10}, "name: its number of characters must be at most 9"),
        ({"finetune": 5}, "finetune: it has parts, which are set one by one (got 5)"),
        ({"gains": 5}, "gains: it has parts, which are set one by one (got 5)"),
        ({"kind": None}, "settings: they do not say of which kind of run they are"),
        ({"kind": "x"}, "settings: they do not say of which kind of run they are"),
    ],
)
def test_no_word_of_the_library_is_left(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        _ANY.validate_python({"kind": "train", **given})

    assert said in str(explain(raised.value))
