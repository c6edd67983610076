"""The glossary explains in plain words."""

from __future__ import annotations

import pytest

from msip_core.config import TERMS
from msip_core.views.glossary import GLOSSARY


@pytest.mark.parametrize("word", ["MACs", "mAP50", "Grad-CAM", "SHAP", "alpha", *TERMS])
def test_words_on_screen_are_explained(word):
    term = GLOSSARY[word.lower()]

    assert term.plain.endswith((".", "?"))
    assert len(term.plain) < 110


def test_no_word_is_explained_twice():
    assert len({term.plain for term in GLOSSARY.values()}) == len(GLOSSARY)
