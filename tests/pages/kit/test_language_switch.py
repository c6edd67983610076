"""The language: the address wins, the switch writes it there, other pages keep it."""

from __future__ import annotations

from tests.pages.conftest import Open


def test_a_link_in_another_language_changes_a_tab_that_was_open(open_page: Open) -> None:
    test = open_page("start", lang="zh_CN")

    assert test.selectbox("language-switch").value == "zh_CN"
    test.switch_page("pages/data/page.py").run()
    assert test.selectbox("language-switch").value == "zh_CN"


def test_the_switch_changes_the_language_whatever_the_address_said(open_page: Open) -> None:
    test = open_page("start", lang="zh_CN")
    test.selectbox("language-switch").set_value("en").run()

    assert test.selectbox("language-switch").value == "en"
    assert "lang" not in test.query_params
    test.selectbox("language-switch").set_value("zh_CN").run()
    assert "zh_CN" in test.query_params["lang"]
