"""In Chinese nothing is left in English: every text of every page, empty and full."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import PAGES, Open, no_crash

VIEWS = [("data", "add"), ("models", "train"), ("models", "upload"), ("share", "model"),
         ("share", "run")]  # fmt: skip
# Names stay as they are: of programs, formats, methods, measures, and what the person has named.
NAMES = re.compile(
    r"MSIP Lab|Pascal VOC|Label Studio|QuPath|GeoJSON|Supervisely|CreateML|labelme|"
    r"ONNX Runtime|Torch-Pruning|Grad-CAM|Layer-?CAM|Eigen-?CAM|"
    r"Example \w+|Baseline on example|Your name|Language|mAP50-95|no_crypt|"
    r"multi-strategy importance pruning|Network Slimming|\w+ et al|\w+ & \w+ \d{4}",
    re.IGNORECASE,
)
# Streamlit's own marks, code, addresses and file names are no words of the page.
MARKS = re.compile(
    r"<style>.*?</style>|```.*?```|`[^`]*`|:material/\w+:|:\w+(?=\[)|https?://\S+|<[^>]+>|\S+\.\w{2,4}\b|\{.*?\}",
    re.DOTALL,
)
ENGLISH = re.compile(r"[A-Za-z][a-z]+(?:[ ,;:]+[A-Za-z][a-z]+)+")


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_page_is_chinese(open_page: Open, page: str) -> None:
    test = open_page(page, lang="zh_CN")

    no_crash(test)
    assert english_of(test) == []


@pytest.mark.parametrize(("page", "view"), [*((p, "") for p in PAGES), *VIEWS])
def test_a_full_page_is_chinese(full: str, open_page: Open, page: str, view: str) -> None:
    ids = {"lang": "zh_CN", **({"view": view} if view else {})}
    test = open_page(page, **ids)

    no_crash(test)
    assert english_of(test) == []


def english_of(test: AppTest) -> list[str]:
    """Texts of the page in which two English words follow each other."""
    found = {}
    for text in _texts(test):
        rest = NAMES.sub(" | ", MARKS.sub(" | ", text))
        rest = re.sub(r"[\[\]()*_]", " | ", rest)
        match = ENGLISH.search(rest)
        if match:
            found[text[:120]] = match[0]
    return [f"{text!r}: {words}" for text, words in found.items()]


def _texts(test: AppTest) -> Iterator[str]:
    for element in test:
        proto = getattr(element, "proto", None)
        if proto is None or element.type in ("code", "html"):
            continue  # commands, settings, style
        for name in ("label", "body", "help", "placeholder", "text", "caption"):
            value: Any = getattr(proto, name, None)
            # Documents of many paragraphs (the model card) go into a paper: they are English.
            if isinstance(value, str) and value.count("\n\n") < 4:
                yield value
        options = getattr(element, "options", None)
        if isinstance(options, (list, tuple)):
            yield from (str(option) for option in options)
