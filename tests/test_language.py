"""The reader's language: fixed texts, counted ones, and sentences that were stored in English."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from msip_core import language

CATALOG = """
msgid ""
msgstr "Content-Type: text/plain; charset=utf-8\\n"

msgid "Runs"
msgstr "运行"

msgid "{n} image of {name}"
msgid_plural "{n} images of {name}"
msgstr[0] "{name} 有 {n} 张图像"

msgctxt "sentence"
msgid "{0} is damaged ({1} errors): import the dataset again."
msgstr "{0} 已损坏（{1} 处错误）：请重新导入数据集。"

msgctxt "sentence"
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
    for cached in (
        language.read_catalog, language._texts, language._templates, language._said
    ):  # fmt: skip
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
def test_a_stored_sentence_is_found_by_its_template():
    assert language.say("dataset.json is damaged (2 errors): import the dataset again.") == (
        "dataset.json 已损坏（2 处错误）：请重新导入数据集。"
    )
    assert language.say("The disk is full. Never heard of this.") == (
        "磁盘已满。 Never heard of this."
    )


def test_english_counts_in_two_forms():
    assert language.tn("{n} image", "{n} images", 1) == "1 image"
    assert language.tn("{n} image", "{n} images", 0) == "0 images"
