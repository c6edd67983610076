"""The reader's language: fixed texts, counted ones, and messages that were stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from msip_core import language
from msip_core.messages import joined, msg

CATALOG = """
msgid ""
msgstr "Content-Type: text/plain; charset=utf-8\\n"

msgid "Runs"
msgstr "运行"

msgid "{n} image of {name}"
msgid_plural "{n} images of {name}"
msgstr[0] "{name} 有 {n} 张图像"

msgid "{file} is damaged ({n} errors): import the dataset again."
msgstr "{file} 已损坏（{n} 处错误）：请重新导入数据集。"

msgid "none yet"
msgstr "尚无"

msgid "The disk is full."
msgstr "磁盘已满。"
"""


@pytest.fixture
def chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "zh_CN.po").write_text(CATALOG, encoding="utf-8")
    monkeypatch.setattr(language, "LOCALE", tmp_path)
    _forget()
    language.use(lambda: "zh_CN")
    yield
    language.use(lambda: language.ENGLISH)
    _forget()


def _forget() -> None:
    for cached in (language.read_catalog, language._texts):
        cached.cache_clear()


@pytest.mark.usefixtures("chinese")
def test_a_text_comes_in_the_readers_language_and_english_where_it_is_missing():
    assert language.t("Runs") == "运行"
    assert language.t("Not there, {name}", name="yet") == "Not there, yet"


@pytest.mark.usefixtures("chinese")
def test_a_counted_text_keeps_its_values():
    assert (
        language.tn("{n} image of {name}", "{n} images of {name}", 3, name="w") == "w 有 3 张图像"
    )


@pytest.mark.usefixtures("chinese")
def test_a_message_is_told_with_its_values():
    damaged = msg("{file} is damaged ({n} errors): import the dataset again.", file="a.json", n=2)
    assert damaged == "a.json is damaged (2 errors): import the dataset again."
    assert language.told(damaged) == "a.json 已损坏（2 处错误）：请重新导入数据集。"
    both = joined(" ", [msg("The disk is full."), msg("Never heard of {this}.", this="it")])
    assert language.told(both) == "磁盘已满。 Never heard of it."


@pytest.mark.usefixtures("chinese")
def test_messages_in_a_message_are_told_and_names_stay_as_they_are():
    note = msg("{file} is damaged ({n} errors): import the dataset again.", file="none yet", n=0)
    assert language.told(note).startswith("none yet 已损坏")
    note = msg("There: {names}.", names=[msg("none yet"), "The disk is full."])
    assert note == "There: none yet, The disk is full.."
    assert language.told(note) == "There: 尚无、The disk is full.."
    assert language.t("Not there, {name}", name=msg("none yet")) == "Not there, 尚无"


@pytest.mark.usefixtures("chinese")
def test_a_text_of_an_old_log_is_told_where_it_holds_no_value():
    assert language.told("The disk is full.") == "磁盘已满。"
    assert language.told("a.json is damaged (2 errors): import the dataset again.") == (
        "a.json is damaged (2 errors): import the dataset again."
    )


def test_english_counts_in_two_forms():
    assert language.tn("{n} image", "{n} images", 1) == "1 image"
    assert language.tn("{n} image", "{n} images", 0) == "0 images"
