"""The catalogs: what the code can say is found, and said in the reader's language."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assets import messages
from msip_core import catalog, language
from msip_core.config import SplitConfig, parse_run_config
from msip_core.data.dataset import open_dataset
from msip_core.data.grouping import find_groups
from msip_core.data.manifest import ImageRecord, ImportReport, Problem
from msip_core.data.micrographs import decode
from msip_core.data.readiness import readiness_of
from msip_core.data.splitting import SplitItem, plan_split
from msip_core.errors import MsipError
from msip_core.events import Stage
from msip_core.language import told
from msip_core.messages import Message, msg
from msip_core.runs.failures import explain_failure
from msip_core.runs.processes import describe_exit
from msip_core.runs.service import _state_milestone
from msip_core.runs.state import Action, RunState, target_of
from msip_core.workspace import Workspace


@pytest.fixture
def chinese() -> Iterator[None]:
    language.use(lambda: "zh_CN")
    yield
    language.use(lambda: language.ENGLISH)


def _found(code: str) -> list[str | tuple[str, str]]:
    return list(messages.texts(ast.parse(code), {"t", "msg", "OurError"}))


def test_texts_are_found_by_the_call_that_takes_them():
    code = """
def work():
    '''Do all of it.'''
    logger.warning("The work has begun")
    raise OurError("Kept {name} of {n}.", name=known or msg("the whole model"), n=n)
    return t("all" if full else "some"), tn("{n} file", "{n} files", n), {"two words": 1}
"""
    assert _found(code) == [
        "Kept {name} of {n}.",
        "the whole model",
        "all",
        "some",
        ("{n} file", "{n} files"),
    ]


def test_errors_of_every_room_are_among_these_calls():
    found = messages.errors(
        [
            ast.parse("class A(MsipError): ..."),
            ast.parse("class B(A): ..."),
            ast.parse("class C: ..."),
        ]
    )
    assert {"A", "B"} <= found
    assert "C" not in found


def test_no_text_for_readers_is_an_f_string():
    """It would be translated nowhere."""
    trees = messages.read_code()
    calls = {"t", "tn", "msg", "mark"} | messages.errors(trees.values())
    wrong = [
        f"{where}:{node.lineno}"
        for where, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in calls
        if any(isinstance(argument, ast.JoinedStr) for argument in node.args)
    ]
    assert not wrong


def _message(work: Callable[[], object]) -> Message:
    with pytest.raises(MsipError) as found:
        work()
    return found.value.message


def _workspace(root: Path) -> Workspace:
    return Workspace.open(root)


@pytest.mark.usefixtures("chinese")
def test_errors_are_said_in_chinese(tmp_path: Path):
    workspace = _workspace(tmp_path)
    assert told(_message(lambda: open_dataset(workspace, "test"))) == (
        f"{workspace.root} 中没有数据集“test”（现有：尚无）。"
    )
    empty = _message(lambda: decode(b"", "well A01.png"))
    assert told(empty) == "well A01.png 是空文件：请重新复制。"
    assert told(empty.without("well A01.png")) == "是空文件：请重新复制。"
    assert told(_message(lambda: target_of(RunState.RUNNING, Action.RESUME))) == (
        "该运行的状态是“运行中”：现在不能继续（可用操作：暂停、取消）。"
    )
    settings = {"kind": "prune", "model": "m", "dataset": "d", "keep_macs": 5}
    assert told(_message(lambda: parse_run_config(settings))) == (
        "这些设置无法使用：keep_macs：必须小于 1；5 % 应写作 0.05（当前值 5）。"
    )


@pytest.mark.usefixtures("chinese")
def test_the_diary_of_a_run_is_said_in_chinese():
    reason = msg("The worker is gone: {how}.", how=describe_exit(-9))
    event = {"state": "interrupted", "reason": reason, "time": 0.0}
    assert told(_state_milestone(event, counts=False).message) == (
        "已中断。工作进程已不在：被信号 SIGKILL 终止（通常说明计算机内存不足）。"
    )
    event = {"state": "failed", "reason": explain_failure(MemoryError()).message, "time": 0.0}
    assert told(_state_milestone(event, counts=False).message) == (
        "失败。内存不足，无法完成这项任务：请关闭其他程序，或减小任务规模。"
    )
    for stage in [*Stage, *RunState]:
        assert told(stage) != stage


@pytest.mark.usefixtures("chinese")
def test_the_report_of_an_import_is_said_in_chinese():
    report = ImportReport(
        found=44, kept=41, boxes={"crypt": 9}, skipped=(Problem(file="a", what="b"),) * 3
    )
    assert told(report.headline()) == "44 张图像中导入 41 张（9 crypt）；排除 3 处。"
    names = [f"donor{n}_{i}.png" for n in range(8) for i in range(3)]
    assert told(find_groups(names).sentence) == (
        "同一个供体的图像保持在同一划分中：8 组，每组 3 张图像。"
    )
    plan = plan_split([SplitItem(name, {"crypt": 1}, None) for name in names[:6]], SplitConfig())
    assert all(told(note) != note for note in plan.notes)
    image = ImageRecord(id="a", file="a", width=1, height=1, split="train", group="", sha256="",
                        source="", counts={"crypt": 1})  # fmt: skip
    missing = readiness_of((image,), ("crypt",)).missing
    assert missing is not None
    assert told(missing).startswith("验证集中没有带标注的图像，因此没有可用于检验进展")


@pytest.mark.usefixtures("chinese")
def test_every_method_is_described_in_chinese():
    for family in catalog.FAMILIES.values():
        for entry in family.values():
            assert told(entry.description) != entry.description


def test_no_text_of_the_code_is_left_untranslated():
    """`python assets/messages.py` writes what is missing; then only its msgstr are to be filled."""
    assert messages.missing(messages.updated("zh_CN")) == []
