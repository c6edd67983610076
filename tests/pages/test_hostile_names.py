"""A name that is Markdown, a formula, an icon or HTML is shown as it was typed, on every page."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from msip_core.markdown import plain
from msip_core.workspace import Workspace
from tests.pages import lab_samples
from tests.pages.conftest import PAGES, Open, no_crash

NAME = "![x](http://elsewhere.example/x.png) $x$ :material/home: :red[y] <b>*z*</b>"
CLASS = "$c$ [k](http://elsewhere.example)"
# Fields of an element whose text the browser reads as Markdown.
_MARKDOWN = re.compile(r"label|body|help|caption|title|text|content|options|markdown", re.I)
_AS_TYPED = {
    "selectbox", "multiselect", "arrow_data_frame", "code", "json", "text", "text_input", "html",
}  # fmt: skip


@pytest.fixture
def hostile(workspace: Workspace) -> str:
    """The full workspace with every name that a person types made hostile."""
    run_id = lab_samples.fill(workspace)
    for path in workspace.models.glob("*/model.json"):
        card = json.loads(path.read_text(encoding="utf-8"))
        card |= {"name": f"{NAME} {card['id']}", "classes": [CLASS, "no_crypt"], "note": NAME}
        path.write_text(json.dumps(card), encoding="utf-8")
    _rename_a_class(workspace)
    lab_samples.prune_run(workspace, lab_samples.RunState.FAILED, steps=2, name=NAME)
    return lab_samples.prune_run(workspace, lab_samples.RunState.COMPLETED, name=NAME) or run_id


def _rename_a_class(workspace: Workspace) -> None:
    for name in ("dataset.json", "summary.json"):
        path = workspace.dataset_dir("example") / name
        text = path.read_text(encoding="utf-8").replace('"crypt"', json.dumps(CLASS))
        document: dict[str, Any] = json.loads(text)
        path.write_text(json.dumps(document), encoding="utf-8")


def _read_as_markdown(test: AppTest) -> list[str]:
    """All strings of the page that the browser reads as Markdown."""
    found: list[str] = []
    for element in test:
        kind = getattr(element, "type", "")
        proto = getattr(element, "proto", None)
        if proto is None or kind in _AS_TYPED:
            continue
        for field, value in proto.ListFields() if hasattr(proto, "ListFields") else ():
            if _MARKDOWN.search(field.name) and isinstance(value, str):
                found.append(value)
    return found


def _is_obeyed(text: str) -> bool:
    """Whether any of the names is left in it as it was typed."""
    return any(sign in text for sign in ("![x](", "$x$", ":red[y]", "<b>", "$c$", "[k]("))


@pytest.mark.parametrize("page", PAGES)
def test_a_hostile_name_is_plain_text(hostile: str, open_page: Open, page: str) -> None:
    ids = {"run": hostile} if page in ("runs", "compare", "look", "share") else {}

    test = open_page(page, **ids)

    no_crash(test)
    texts = _read_as_markdown(test)
    assert texts
    assert [text for text in texts if _is_obeyed(text)] == []


def test_the_name_is_still_there_to_be_read(hostile: str, open_page: Open) -> None:
    test = open_page("runs", run=hostile)

    assert plain(NAME) in [item.value for item in test.subheader]


@pytest.mark.parametrize("view", ["figures", "methods", "model", "run"])
def test_the_parts_of_export_are_plain_too(hostile: str, open_page: Open, view: str) -> None:
    test = open_page("share", run=hostile, view=view)

    no_crash(test)
    assert [text for text in _read_as_markdown(test) if _is_obeyed(text)] == []
