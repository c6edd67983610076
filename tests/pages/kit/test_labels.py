"""What a screen reader is given: labels without markup, and the language of the text."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from msip_core.data import questions
from msip_core.questions import detecting, looking, planning, speed
from msip_core.questions.base import Question
from msip_core.questions.planning import Preview
from pages.kit import jobs
from pages.kit import language as language_module
from pages.kit.jobs import waits_for
from tests.pages.conftest import PAGES, Open
from tests.pages.fake_compute import FakeCompute

# Streamlit gives the labels of these to screen readers as they stand, not as they are drawn.
FIELDS = ("slider", "select_slider", "number_input", "text_input", "selectbox", "multiselect",
          "radio", "button_group", "toggle", "checkbox", "file_uploader")  # fmt: skip
MARKUP = re.compile(r":[a-z]+\[|:material/|\*\*|\[:|`")


@pytest.mark.parametrize("page", PAGES)
def test_no_field_has_markup_in_its_label(full: str, open_page: Open, page: str) -> None:
    test = open_page(page)
    labels = [str(one.label) for kind in FIELDS for one in test.get(kind)]

    assert [label for label in labels if MARKUP.search(label)] == []


def test_a_fields_expert_term_stands_in_brackets(full: str, open_page: Open) -> None:
    assert open_page("new").number_input("new:iterations:quick").label == "Steps (iterations)"


# --- the language -------------------------------------------------------------------


def told(test: Any) -> str:
    """The script by which the page tells the browser of the language."""
    (found,) = [e.proto.body for e in test.get("html") if "documentElement.lang" in e.proto.body]
    return str(found)


def test_the_page_says_its_language_and_keeps_only_what_was_chosen(open_page: Open) -> None:
    test = open_page("start", lang="zh_CN")
    assert told(test) == '<script>document.documentElement.lang = "zh-CN";</script>'

    test.selectbox("language-switch").set_value("en").run()
    assert '.lang = "en";' in told(test)
    assert "msip_language=en; path=/; max-age=31536000" in told(test)


def test_the_next_visit_speaks_what_was_chosen_without_a_word_in_the_address(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_module, "remembered_language", lambda: "zh_CN")
    test = open_page("start")
    assert test.selectbox("language-switch").value == "zh_CN"
    assert "lang" not in test.query_params

    monkeypatch.setattr(language_module, "remembered_language", lambda: "klingon")
    assert open_page("start").selectbox("language-switch").value == "en"


# --- who waits ----------------------------------------------------------------------


def test_who_waits_is_told_for_what() -> None:
    assert waits_for(()) == "begins in a moment"
    assert waits_for(("Compare",)) == "waits for a comparison of two models on many images"
    assert waits_for(("Import", "Shap", "Preview")) == "waits for an import and 2 more"
    assert waits_for(("OfALaterVersion",)) == "waits for OfALaterVersion"


def test_every_job_of_the_lab_has_words_for_who_waits() -> None:
    modules = (detecting, looking, planning, speed, questions)
    kinds = {
        name
        for module in modules
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, Question) and hasattr(kind, "answered_by")
    }
    assert kinds - {"Count"} == set(jobs._DOING)  # counts are runs: no page waits for one


def test_a_panel_that_waits_says_for_what(
    full: str, open_page: Open, compute: FakeCompute, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute.hold.add(Preview)
    status = compute.status

    def waiting(key: str) -> Any:
        found = status(key)
        if found.state != "running":
            return found
        return type(found)(state="queued", ahead=("Compare", "Shap"))

    monkeypatch.setattr(compute, "status", waiting)
    test = open_page("new")

    (progress,) = [one.proto for one in test.get("progress")]
    assert "waits for a comparison of two models on many images and 1 more" in progress.text
