"""Images that are worth a look come first: by counts that were made by hand."""

from __future__ import annotations

import pytest

from msip_core.boxes import Box, Detection
from msip_core.data.worth_looking import WEIGHTS, Doubt, doubt_of, in_order


def box(x: float, cls: int = 0, side: float = 10) -> Box:
    return Box(cls=cls, x1=x, y1=0, x2=x + side, y2=side)


def found(x: float, score: float, cls: int = 0) -> Detection:
    return Detection(**box(x, cls).model_dump(), score=score)


LABELS = [box(0), box(20), box(40, cls=1)]


def test_objects_are_counted_for_each_reason() -> None:
    first = [
        found(0, 0.9),  # agrees with the label and with the other model
        found(20, 0.3, cls=1),  # another class than the label's and the other model's; unsure
        found(60, 0.35),  # no label; the other model does not find it; just unsure
        found(80, 0.16),  # below the threshold, so no object; unsure
    ]
    second = [found(0, 0.8), found(20, 0.7), found(40, 0.24, cls=1)]

    doubt = doubt_of("a", LABELS, first, second, threshold=0.25)

    # differ: the changed class, the label at 40 that is not found, the one at 60 without a label.
    assert doubt == Doubt("a", disagree=2, differ=3, unsure=3, crowded=0)
    assert doubt.score == 2 + 3 + 3 / 2


def test_crowded_objects_overlap_by_three_tenths() -> None:
    # IoU of two squares of 10 that are 5 apart: 5 / 15 = .33; 6 apart: 4 / 16 = .25.
    assert doubt_of("a", [box(0), box(5), box(30)]).crowded == 2
    assert doubt_of("a", [box(0), box(6), box(30)]).crowded == 0
    assert doubt_of("a", [], [found(0, 0.9), found(5, 0.9), found(10, 0.9)]).crowded == 3


def test_without_a_model_nothing_is_said_of_models() -> None:
    assert doubt_of("a", LABELS) == Doubt("a")
    one = doubt_of("a", LABELS, [])
    assert (one.differ, one.disagree) == (3, 0)


def test_the_most_doubtful_comes_first_and_equals_stay_in_order() -> None:
    queue = [
        Doubt("calm"),
        Doubt("crowd", crowded=5),  # 1.25
        Doubt("wrong", differ=1),  # 1
        Doubt("unsure", unsure=2),  # 1
        Doubt("both", disagree=1, unsure=1),  # 1.5
    ]

    assert [d.image for d in in_order(queue)] == ["both", "crowd", "wrong", "unsure", "calm"]
    assert [d.image for d in in_order(queue, "unsure")][:2] == ["unsure", "both"]
    assert [d.image for d in in_order(queue, "crowded")][:3] == ["crowd", "calm", "wrong"]


@pytest.mark.parametrize("reason", list(WEIGHTS))
def test_every_reason_that_has_a_weight_is_counted(reason: str) -> None:
    assert Doubt("a", **{reason: 4}).score == 4 * WEIGHTS[reason]  # type: ignore[index, arg-type]
