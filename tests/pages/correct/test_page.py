"""Correct boxes: what the editor is given, what becomes of what it sends, history, training."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from msip_core.boxes import Box
from msip_core.data.correcting import save_labels
from msip_core.data.dataset import Dataset, open_dataset
from msip_core.data.drafts import drafts_of
from msip_core.questions.detecting import Predict
from msip_core.runs.service import RunService
from msip_core.workspace import Workspace
from pages.correct.editor import _edited
from pages.correct.queue import Queue
from pages.correct.saving import Desk, take_in
from tests.pages import lab_samples
from tests.pages.conftest import Open, no_crash, words
from tests.pages.fake_compute import FakeCompute


def editor(test: AppTest) -> dict[str, Any]:
    """What the editor was given."""
    found = [e.proto for e in test.get("bidi_component") if e.proto.id.endswith("-box-editor")]
    assert len(found) == 1
    data: dict[str, Any] = json.loads(found[0].json)
    return data


def data_of(workspace: Workspace) -> Dataset:
    return open_dataset(workspace, "example")


def one_more(data: Dataset, image: str) -> list[Box]:
    return [*data.boxes(data.image(image)), Box(cls=0, x1=2, y1=2, x2=12, y2=14)]


def test_labels_are_shown_with_what_the_model_suggests(
    full: str, open_page: Open, workspace: Workspace, compute: FakeCompute
) -> None:
    test = open_page("correct")

    no_crash(test)
    given, data = editor(test), data_of(workspace)
    boxes = data.boxes(data.image(given["image"]))
    assert [b["x1"] for b in given["boxes"]] == [b.x1 for b in boxes]
    assert [c["name"] for c in given["classes"]] == list(data.classes)
    assert (given["seen"], given["base"], given["has_previous"], given["has_next"]) == (
        1,
        1,
        False,
        True,
    )
    asked = compute.asked_of(Predict)
    assert [question.model.name for question in asked] == ["baseline-1", "pruned-1"]
    assert len(asked[0].images) == len(data.images)
    # The stand-in finds every label, from a score of .9 on down by .05; .25 is asked for.
    scores = [score for n in range(len(boxes)) if (score := 0.9 - 0.05 * n) >= 0.25]
    assert [s["score"] for s in given["suggestions"]] == pytest.approx(scores)


def test_a_correction_asks_no_model_again(
    full: str, open_page: Open, workspace: Workspace, compute: FakeCompute
) -> None:
    open_page("correct")
    before = len(compute.asked_of(Predict))
    data = data_of(workspace)
    image = data.images[0].id
    save_labels(workspace, "example", {image: one_more(data, image)}, seen=1, who="Ada")

    test = open_page("correct", image=image)

    assert len(compute.asked_of(Predict)) == before
    given = editor(test)
    assert (given["image"], given["seen"], given["base"]) == (image, 2, 2)
    assert len(given["boxes"]) == len(data.boxes(data.image(image))) + 1


def test_the_most_doubtful_image_comes_first(
    full: str, open_page: Open, workspace: Workspace
) -> None:
    open_page("correct")  # both models find what was drawn
    data = data_of(workspace)
    odd = data.images[7].id
    save_labels(workspace, "example", {odd: []}, seen=1, who="Ada")

    assert editor(open_page("correct", order="differ"))["image"] == odd
    assert editor(open_page("correct", order="file"))["image"] == data.images[0].id
    alone = open_page("correct", order="differ", by="none")
    assert editor(alone)["image"] == data.images[0].id, "without a model nothing differs"


def test_a_link_to_an_image_that_is_gone_opens_no_other_in_its_place(
    full: str, open_page: Open
) -> None:
    test = open_page("correct", image="gone")

    (error,) = test.error
    assert error.value == "The micrograph 'gone' of this link is not in this lab."


def test_a_link_to_a_model_that_is_gone_names_it_as_one(full: str, open_page: Open) -> None:
    test = open_page("correct", by="gone")

    assert [e.value for e in test.error] == ["The model 'gone' of this link is not in this lab."]


def test_a_link_shows_its_image_whatever_was_gone_through_before(
    full: str, open_page: Open, workspace: Workspace
) -> None:
    data = data_of(workspace)
    outside = [record.id for record in data.images if record.split != "train"][-1]
    test = open_page("correct", order="file", among="train")
    assert editor(test)["image"] != outside

    test.query_params.clear()  # a link from another page: the tab remembers order and part
    test.query_params["image"] = outside
    test.query_params["order"] = "doubt"
    test.run()

    no_crash(test)
    assert editor(test)["image"] == outside


def test_it_says_who_saved_what_and_goes_on(
    full: str, open_page: Open, workspace: Workspace
) -> None:
    data = data_of(workspace)
    first, second = (record.id for record in data.images[:2])
    test = open_page("correct", order="file", image=first)
    sent = {"token": "t1", "image": first, "seen": 1, "to": "next",
            "boxes": [b.model_dump() for b in one_more(data, first)]}  # fmt: skip

    _send(test, data, sent)
    test.run()

    no_crash(test)
    assert f"{first}: saved as version 2 by Ada (1 box added)." in words(test)
    given = editor(test)
    assert (given["image"], given["ack"], given["words"]["place"]) == (
        second,
        "t1",
        f"2 of 12: {second}",
    )


def test_who_comes_late_keeps_a_draft_that_can_be_taken(
    full: str, open_page: Open, workspace: Workspace
) -> None:
    data = data_of(workspace)
    image = data.images[0].id
    save_labels(workspace, "example", {image: []}, seen=1, who="Bo")
    test = open_page("correct", order="file", image=image)
    sent = {"token": "t1", "image": image, "seen": 1, "to": "stay",
            "boxes": [b.model_dump() for b in one_more(data, image)]}  # fmt: skip

    _send(test, data_of(workspace), sent)
    test.run()

    assert "was corrected by somebody else meanwhile" in words(test)
    assert editor(test)["boxes"] == []
    (draft,) = drafts_of(data.root)[0]
    test.button(f"draft:{draft.id}:take").click().run()
    no_crash(test)
    now = data_of(workspace)
    assert now.labels_version == 3
    assert len(now.boxes(now.image(image))) == len(one_more(data, image))
    assert drafts_of(data.root)[0] == []


def test_an_older_version_is_brought_back_with_one_click(
    full: str, open_page: Open, workspace: Workspace
) -> None:
    data = data_of(workspace)
    save_labels(workspace, "example", {data.images[0].id: []}, seen=1, who="Bo")
    test = open_page("correct")

    assert "History: 2 versions" in [item.label for item in test.expander]
    next(b for b in test.button if b.label == "Bring these labels back").click().run()

    no_crash(test)
    now = data_of(workspace)
    assert (now.labels_version, now.content_hash) == (3, data.content_hash)


def test_train_again_is_one_click_from_the_present_model(
    full: str, open_page: Open, workspace: Workspace
) -> None:
    data = data_of(workspace)
    save_labels(workspace, "example", {data.images[0].id: []}, seen=1, who="Bo")
    test = open_page("correct", by=lab_samples.LIGHTER)

    test.button("correct:train").click().run()

    run = RunService(workspace).list(limit=1)[0]
    assert (run.kind, run.config.dataset, run.config.dataset_version) == ("train", "example", 2)
    assert getattr(run.config, "weights", "") == lab_samples.BASELINE, "what the pruned one is from"
    assert run.config.imgsz == lab_samples.IMGSZ
    assert "You asked for it in this tab" in words(test), "as who cancels it is told"


def test_who_has_labelled_a_first_image_of_many_is_told_to_label_more(
    workspace: Workspace, open_page: Open
) -> None:
    lab_samples.fill(workspace)
    records = [{"split": None, "labelled": False} for _ in data_of(workspace).images]
    records[0] = {"split": "train", "labelled": True}
    path = data_of(workspace).root / "dataset.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for record, change in zip(document["images"], records):
        record.update(change)
    path.write_text(json.dumps(document), encoding="utf-8")

    said = words(open_page("correct", dataset="example", by=lab_samples.LIGHTER))

    assert "Label more images first" in said
    assert "import more images" not in said  # they are all there


def test_train_again_says_that_there_is_too_little_room_and_queues_nothing(
    full: str, open_page: Open, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = open_page("correct", by=lab_samples.LIGHTER)
    before = RunService(workspace).count()
    usage = shutil.disk_usage("/")._replace(free=200_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    test.button("correct:train").click().run()

    assert "A run needs at least 1.0 GB of free disk" in test.error[0].value
    assert RunService(workspace).count() == before


def test_the_images_wait_for_a_model_that_is_looking(
    full: str, open_page: Open, compute: FakeCompute
) -> None:
    compute.hold.add(Predict)
    test = open_page("correct")

    no_crash(test)
    assert "as soon as the models have looked at them" in words(test)
    assert not test.get("bidi_component")  # nothing to correct yet


def test_a_damaged_version_takes_only_the_history_away(
    full: str, open_page: Open, workspace: Workspace
) -> None:
    data = data_of(workspace)
    save_labels(workspace, "example", {data.images[0].id: []}, seen=1, who="Bo")
    (data.root / "versions" / "2" / "version.json").write_text("{", encoding="utf-8")

    test = open_page("correct", image=data.images[0].id)

    no_crash(test)
    assert "so version 2 of the labels of 'example' cannot be shown" in words(test)
    assert editor(test)["boxes"] == []
    assert test.button("correct:train")


def test_without_a_name_nothing_is_saved(full: str, open_page: Open, workspace: Workspace) -> None:
    test = open_page("correct")
    test.text_input("correct:who").set_value(" ").run()

    no_crash(test)
    assert "Say who you are before you save" in words(test)


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"token": "t", "image": "a", "seen": 1, "to": "elsewhere", "boxes": None},
        {"token": "t", "image": "a", "seen": "x", "to": "stay", "boxes": None},
        {"token": "t", "image": "a", "seen": 1, "to": "stay", "boxes": [{"cls": 0}]},
        {"token": "t", "image": "a", "seen": 1, "to": "stay", "boxes": 3},
    ],
)
def test_what_is_no_answer_of_the_editor_is_refused(sent: dict[str, Any]) -> None:
    from msip_core.errors import InputError

    with pytest.raises(InputError, match="cannot be read: reload the page"):
        _edited(sent)


def _send(test: AppTest, data: Dataset, sent: dict[str, Any]) -> None:
    """What the page does with what the browser sends, which AppTest cannot."""
    ids = tuple(record.id for record in data.images)
    desk = Desk(data, data.classes, Queue(ids, {}, ids.index(sent["image"])))
    state: dict[str, Any] = {}
    _in_session(state, test, desk, sent)
    for name, value in state.items():
        test.session_state[name] = value


def _in_session(state: dict[str, Any], test: AppTest, desk: Desk, sent: dict[str, Any]) -> None:
    import streamlit as st

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(st, "session_state", state)
        patch.setattr(st, "query_params", test.query_params)
        take_in(desk, "Ada", _edited(sent))
