"""The glossary explains in plain words."""

from __future__ import annotations

import pytest

from msip_core.config import TERMS
from msip_core.errors import NotFoundError
from msip_core.views.glossary import GLOSSARY, explain


@pytest.mark.parametrize("word", ["MACs", "mAP50", "Grad-CAM", "SHAP", "alpha", *TERMS])
def test_words_on_screen_are_explained(word):
    term = explain(word)

    assert term.plain.endswith((".", "?"))
    assert len(term.plain) < 110


def test_an_unknown_word_says_which_are_known():
    with pytest.raises(NotFoundError, match=r"'flops' is not in the glossary; it has baseline"):
        explain("flops")


def test_no_word_is_explained_twice():
    assert len({term.plain for term in GLOSSARY.values()}) == len(GLOSSARY)
