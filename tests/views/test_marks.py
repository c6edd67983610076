"""Boxes for the browser: numbers, looks and ids, as on the drawn pictures."""

from __future__ import annotations

import pytest

from msip_core.boxes import Box, Detection, match_detections
from msip_core.views import marks, style
from tests.views import samples


def both_sides(**options):
    baseline, pruned = samples.detections()
    pairs = match_detections(baseline, pruned)
    return {
        side: marks.pair_marks(baseline, pruned, pairs, samples.CLASSES, side=side, **options)
        for side in ("baseline", "pruned")
    }


def test_each_side_shows_its_own_numbers_in_the_look_of_their_kind():
    shown = both_sides()

    looks = {
        side: [(mark.number, mark.colour, mark.dash) for mark in found]
        for side, found in shown.items()
    }
    assert [look[0] for look in looks["baseline"]] == ["1", "2", "3"]
    assert looks["baseline"][2][1:] == (style.PAIR_COLOURS["lost"], style.PAIR_DASHES["lost"])
    assert looks["pruned"][2][1:] == (style.PAIR_COLOURS["new"], style.PAIR_DASHES["new"])
    assert looks["baseline"][0] == looks["pruned"][0]


def test_the_two_boxes_of_one_object_are_chosen_together():
    shown = both_sides(chosen="b2")

    assert [mark.id for mark in shown["baseline"] if mark.chosen] == ["b2"]
    assert [mark.id for mark in shown["pruned"] if mark.chosen] == ["p2"]
    assert shown["baseline"][1].pair == shown["pruned"][1].pair


def test_kinds_that_were_not_asked_for_are_left_out():
    shown = both_sides(kinds=["new"])

    assert shown["baseline"] == []
    assert [mark.number for mark in shown["pruned"]] == ["3"]


def test_an_id_names_side_and_number_and_comes_back():
    assert marks.mark_id("pruned", 12) == "p12"
    assert marks.read_mark_id("p12") == ("pruned", 12)
    with pytest.raises(ValueError, match="'x3' is not the id of a box"):
        marks.read_mark_id("x3")


def test_every_mark_can_be_read_aloud_and_has_a_readable_plate():
    for found in both_sides().values():
        for mark in found:
            assert mark.label.startswith(f"Object {mark.number}: ")
            assert samples.contrast(mark.as_data()["ink"], mark.colour) > 4


def test_labelled_boxes_have_no_score_and_those_of_a_person_no_id():
    box = Detection(cls=1, x1=0, y1=0, x2=4, y2=4, score=1.0, number=1)

    assert marks.detection_marks([box], samples.CLASSES, chosen=1)[0].text == "no_crypt"
    assert marks.labelled_marks([Box(cls=0, x1=0, y1=0, x2=4, y2=4)])[0].id == ""


def test_the_legend_counts_every_kind():
    pairs = match_detections(*samples.detections())

    texts = [item.text for item in marks.legend_of(pairs, labelled=7)]
    assert texts == [
        "1 found by both (solid line)",
        "1 class changed (dash-dotted line)",
        "1 lost (baseline only) (dashed line)",
        "1 new (pruned only) (dotted line)",
        "7 labelled",
    ]
