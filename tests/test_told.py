"""Messages keep template and values on every way from who says them to who reads them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from msip_core import confined, language
from msip_core.data.manifest import ImportReport, Problem
from msip_core.errors import ConfigError, DatasetError, MsipError
from msip_core.events import MilestoneRecord, Stage, parse_record
from msip_core.language import told
from msip_core.messages import Message, joined, mark, message_of, msg, restored, stored
from msip_core.questions.detecting import PredictedImage, Predictions
from msip_core.runs.events_log import EventLog
from msip_core.runs.state import RunState
from msip_core.runs.store import RunStore
from msip_core.workspace import Workspace, write_json

EMPTY = "{name} is empty: copy it again."


@pytest.fixture(autouse=True)
def _chinese() -> Iterator[None]:
    language.use(lambda: "zh_CN")
    yield
    language.use(lambda: language.ENGLISH)


def _note() -> Message:
    reason = msg(
        "Dataset '{name}' cannot be used yet. {why}", name="d", why=msg(EMPTY, name="a.tif")
    )
    assert isinstance(reason, Message)
    return reason


def _same(found: object, said: str) -> None:
    """The same English, and the same in Chinese: template and values are there."""
    assert isinstance(found, Message)
    assert found == said
    assert told(found) == told(said) != said


def test_a_message_is_its_english_text() -> None:
    said = msg("{n:,} of {names} at {share:.1%}, {{so}}", n=1234, names=["a", "b"], share=0.125)
    assert said == "1,234 of a, b at 12.5%, {so}"
    assert isinstance(said, str)
    assert msg("as {it} stands {here}") == "as {it} stands {here}"


def test_values_are_told_names_are_not_and_words_of_ours_are() -> None:
    assert told(
        msg("This run is {state}: cancel it before you delete it.", state=RunState.PAUSED)
    ) == ("该运行的状态是“已暂停”：请先取消，再删除。")
    named = msg("This run is {state}: cancel it before you delete it.", state="paused")
    assert told(named) == "该运行的状态是“paused”：请先取消，再删除。"
    assert told(Stage.FINETUNING) == "微调"


def test_an_error_says_its_message_and_hands_it_on() -> None:
    with pytest.raises(MsipError) as found:
        raise DatasetError(EMPTY, name="a.tif")
    assert str(found.value) == "a.tif is empty: copy it again."
    _same(found.value.message, found.value.message)
    _same(msg("Dataset '{name}' cannot be used yet. {why}", name="d", why=found.value), _note())
    assert message_of(KeyError("a")) == "'a'"


def test_a_pickle_keeps_what_a_message_is_made_of() -> None:
    _same(pickle.loads(pickle.dumps(_note())), _note())
    error = pickle.loads(pickle.dumps(ConfigError(EMPTY, name="x")))
    _same(error.message, ConfigError(EMPTY, name="x").message)


def test_json_keeps_the_text_where_it_was_and_says_beside_it_what_it_is_made_of() -> None:
    value = {"what": _note(), "list": [mark("none yet"), _note()], "n": 1}
    text = json.loads(json.dumps(stored({"in": value})))
    assert text["in"]["what"] == str(_note())
    assert text["in"]["told"]["what"] == {
        "template": "Dataset '{name}' cannot be used yet. {why}",
        "values": {"name": "d", "why": {"template": EMPTY, "values": {"name": "a.tif"}}},
    }
    back = restored(text)["in"]
    _same(back["what"], _note())
    _same(back["list"][1], _note())
    assert back["list"][0] == "none yet"
    assert set(back) == {"what", "list", "n"}


@pytest.mark.parametrize(
    "origin",
    [
        {"template": "{name} is gone.", "values": {"name": "a.tif"}},  # not what the text says
        {"template": "{n:,}", "values": {"n": "a" * 5}},
        {"template": "{n:d}", "values": {"n": 0.5}},  # no form for such a number
        {"template": 3, "values": {}},
        {"template": "{n:>99999999999}", "values": {"n": 5}},  # would fill the memory
        {"template": "{name.__class__}", "values": {"name": "x"}},
        [],
    ],
)
def test_what_a_stranger_wrote_beside_a_text_never_changes_it(origin: object) -> None:
    found = restored({"what": "a.tif is empty: copy it again.", "told": {"what": origin}})
    assert found["what"] == "a.tif is empty: copy it again."
    assert not (isinstance(found["what"], Message) and found["what"].values)


def test_a_column_named_told_is_no_origin() -> None:
    assert restored({"counts": {"told": 3, "crypt": 2}}) == {"counts": {"told": 3, "crypt": 2}}


def test_a_file_name_in_a_column_of_its_own_is_left_out_of_the_sentence() -> None:
    said = DatasetError(EMPTY, name="well A01.png").message
    assert said.without("well A01.png") == "is empty: copy it again."
    assert told(said.without("well A01.png")) == "是空文件：请重新复制。"
    assert said.without("B02.png") == said


def _image() -> PredictedImage:
    return PredictedImage(id="a", width=9, height=9, detections=(), note=_note())


def test_a_model_keeps_them_in_its_json() -> None:
    report = ImportReport(
        grouping=_note(), notes=(_note(),), skipped=(Problem(file="a", what=_note()),)
    )
    for back in (
        ImportReport.model_validate_json(report.model_dump_json()),
        ImportReport.model_validate(json.loads(json.dumps(report.model_dump(mode="json")))),
    ):
        _same(back.grouping, _note())
        _same(back.notes[0], _note())
        _same(back.skipped[0].what, _note())
    assert report.model_dump(mode="json")["notes"] == [str(_note())]
    found = Predictions(
        classes=("crypt",), imgsz=64, recipe=None, sizes_known=True, images=(_image(),)
    )
    _same(Predictions.model_validate_json(found.model_dump_json()).images[0].note, _note())


def test_sentences_behind_one_another_are_each_told() -> None:
    assert told(joined(" ", [msg("Paused."), msg(EMPTY, name="图")])) == (
        "已暂停。图 是空文件：请重新复制。"
    )
    assert joined("; ", ["one"]) == "one"
    assert joined("; ", []) == ""


# --- across processes and over time -------------------------------------------------


def _log(tmp_path: Path) -> EventLog:
    log = EventLog(tmp_path)
    log.append({"kind": "state", "state": "queued", "before": None, "reason": None})
    return log


def test_the_story_of_a_run_keeps_text_and_origin(tmp_path: Path) -> None:
    log = _log(tmp_path)
    log.emit(MilestoneRecord(message=_note()))
    log.transition(RunState.CANCELLED, reason=_note())
    line = json.loads(log.path.read_text(encoding="utf-8").splitlines()[1])
    assert line["message"] == str(_note())  # for other programs
    milestone = parse_record(log.read()[1])
    assert isinstance(milestone, MilestoneRecord)
    _same(milestone.message, _note())
    _same(log.read()[2]["reason"], _note())


def test_a_story_of_before_messages_is_read(tmp_path: Path) -> None:
    """As versions before this one wrote it: plain texts and nothing beside them."""
    log = _log(tmp_path)
    with log.path.open("a", encoding="utf-8") as file:
        file.write(
            '{"seq":2,"time":1.0,"kind":"milestone","message":"Sparse training brought next '
            'to no factor to zero: for more, train longer or raise bn_l1.","level":"info"}\n'
            '{"seq":3,"time":1.0,"kind":"milestone","message":"x.png is gone.",'
            '"level":"warning"}\n'
        )
    fixed, other = (parse_record(event) for event in log.read()[1:])
    assert isinstance(fixed, MilestoneRecord)
    assert isinstance(other, MilestoneRecord)
    assert told(fixed.message).startswith("稀疏训练几乎没有使缩放因子归零")  # it holds no value
    assert told(other.message) == "x.png is gone."


def test_the_index_of_runs_keeps_why_one_failed(workspace: Workspace) -> None:
    folder = workspace.run_dir("run-1")
    write_json(folder / "config.json", {"kind": "train", "dataset": "d", "weights": "yolov8n.yaml"})
    log = EventLog(folder)
    log.append({"kind": "state", "state": "queued", "before": None, "reason": None})
    log.transition(RunState.RUNNING)
    log.transition(RunState.FAILED, reason=_note())
    store = RunStore(workspace)
    _same(store.row("run-1").error, _note())
    assert [row.error for row in store.rows()] == [str(_note())]


def test_a_confined_process_hands_progress_and_errors_on() -> None:
    seen: list[str] = []

    def work(progress: confined.Progress) -> str:
        progress(0.5, msg("Choosing planes: {n}/{of}", n=1, of=2))
        raise DatasetError(EMPTY, name="a.tif")

    with pytest.raises(DatasetError) as found:
        confined.run(work, lambda done, message: seen.append(message))
    _same(found.value.message, DatasetError(EMPTY, name="a.tif").message)
    assert seen == ["Choosing planes: 1/2"]
    assert isinstance(seen[0], Message)
    assert seen[0].values == {"n": 1, "of": 2}
