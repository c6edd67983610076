"""Ready is one thing, able to teach another: both are said with the numbers of each part."""

from __future__ import annotations

from typing import Literal

import pytest

from msip_core.data.manifest import SPLITS, ImageRecord
from msip_core.data.readiness import (
    PARTS,
    concerns_of,
    ensure_ready,
    is_few,
    objects_of,
    readiness_of,
)
from msip_core.data.synthetic import import_example
from msip_core.errors import DatasetError
from msip_core.workspace import Workspace


def _image(split: Literal["train", "val", "test"], **counts: int) -> ImageRecord:
    return ImageRecord(
        id=f"{split}-{len(counts)}", file="a.png", source="a.png", width=64, height=64,
        split=split, counts=counts, sha256="0" * 64, group="",
    )  # fmt: skip


def _set(**parts: dict[str, int]) -> list[ImageRecord]:
    return [_image(split, **parts[split]) for split in SPLITS if split in parts]


BOTH = ("crypt", "no_crypt")


def test_objects_are_counted_by_class_and_part() -> None:
    images = [*_set(train={"crypt": 3, "no_crypt": 5}, test={"crypt": 1}), _image("train", crypt=4)]

    assert objects_of(images, BOTH) == {
        "crypt": {"train": 7, "val": 0, "test": 1},
        "no_crypt": {"train": 5, "val": 0, "test": 0},
    }


def test_a_set_of_86_crypts_beside_11647_others_cannot_teach() -> None:
    images = _set(
        train={"crypt": 58, "no_crypt": 8200},
        val={"crypt": 8, "no_crypt": 1000},
        test={"crypt": 20, "no_crypt": 2447},
    )

    assert readiness_of(images, BOTH).ready
    rare, learn, check, test = concerns_of(objects_of(images, BOTH))
    assert "135 of class 'no_crypt'" in rare
    assert "58 crypt" in learn
    assert "8 crypt" in check
    assert "20 crypt (at least 25" in test


def test_a_set_with_enough_of_each_has_no_concern() -> None:
    images = _set(**{part: {"crypt": n, "no_crypt": n} for part, n in PARTS.items()})

    assert concerns_of(objects_of(images, BOTH)) == ()
    assert is_few("test", PARTS["test"] - 1)
    assert not is_few("test", PARTS["test"])


def test_a_test_part_without_a_class_is_named_with_its_zero() -> None:
    images = _set(train={"crypt": 200, "no_crypt": 200}, val={"crypt": 20, "no_crypt": 20},
                  test={"crypt": 50})  # fmt: skip

    (only,) = concerns_of(objects_of(images, BOTH))
    assert only.startswith("Too few boxes for the final test: 0 no_crypt")


def test_one_function_refuses_for_training_pruning_and_studies(workspace: Workspace) -> None:
    dataset = import_example(workspace, "d", images=12, size=64, seed=0)
    assert ensure_ready(dataset) is dataset

    empty = dataset.document.model_copy(update={"images": ()})
    with pytest.raises(DatasetError, match=r"'d' cannot be used yet\. There are no images"):
        ensure_ready(type(dataset)(dataset.root, empty))
