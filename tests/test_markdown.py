"""Names are shown as they were typed; only the markup of our own templates is obeyed."""

from __future__ import annotations

import copy
import pickle

import pytest
from markdown_it import MarkdownIt

from msip_core.language import t, tn
from msip_core.markdown import Text, code, joined, md, plain, rich

HOSTILE = [
    "![x](http://elsewhere.example/x.png)",
    "[here](http://elsewhere.example)",
    "<http://elsewhere.example>",
    "<img src=http://elsewhere.example/x.png>",
    "<b>bold</b> &lt;b&gt; &amp;",
    "*one* **two** _three_ __four__ ~~five~~ `six`",
    "plate_1*[a].tif",
    "no_crypt _crypt_ crypt_",
    "C:\\plates\\7",
    "# heading",
    "- item",
    "1. one",
    "> quoted",
    "---",
    "a | b | c",
    "[^1] [[x]] [ ] [x]",
    "類器官 #3 (50%)",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_a_name_as_it_was_typed(name: str) -> None:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(plain(name))

    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    kinds = {child.type for child in tokens[1].children or []}
    assert kinds == {"text"} or kinds == {"text", "text_special"}
    shown = "".join(child.content for child in tokens[1].children or [])
    assert shown.replace("\u2060", "") == name


def test_what_is_looked_for_in_the_text_itself_is_broken_unseen() -> None:
    for name in ("http://x.example", "www.x.example", "a@b.example", ":smile:", "x :+1:", "a -> b",
                 "a <= b", "a -- b"):  # fmt: skip
        assert "\u2060" in plain(name)
        assert plain(name).replace("\u2060", "").replace("\\", "") == name
    assert ":material/" not in plain(":material/home:")


def test_formulas_colours_and_icons_lose_their_signs() -> None:
    assert plain("$x$") == r"\$x\$"
    assert plain(":red[danger]") == r"\:red\[danger\]"
    assert plain("12:30, step 2: -0.5, 3.5 %") == "12:30, step 2: -0.5, 3.5 %"


def test_a_name_of_many_lines_stays_on_one() -> None:
    assert plain("a\n\n# b\r\n    c") == "a # b c"
    assert plain("    listing") == " listing"


def test_a_text_escapes_its_values_and_keeps_its_own_markup() -> None:
    text = t("**{name}** has {n:.1f}", name="*x*", n=2.25)

    assert text == "***x*** has 2.2"
    assert md(text) == r"**\*x\*** has 2.2"
    assert md(str(text)) == r"\*\*\*x\*\*\* has 2.2"
    assert md(None) is None


def test_texts_that_are_put_together_stay_texts() -> None:
    name = rich("**{name}**", name="$a$")

    assert md(t("Run {name}.", name=name)) == r"Run **\$a\$**."
    assert md(name + " *b*") == r"**\$a\$** \*b\*"
    assert md("*b* " + name) == r"\*b\* **\$a\$**"
    assert md(joined(" · ", [name, "*c*"])) == r"**\$a\$** · \*c\*"
    assert md(tn("{n} of {x}", "{n} of {x}", 2, x="[y]")) == r"2 of \[y\]"


def test_a_text_survives_caches() -> None:
    text = rich("**{a}**", a="*x*")

    for again in (pickle.loads(pickle.dumps(text)), copy.deepcopy(text)):
        assert isinstance(again, Text)
        assert (again, again.markdown) == (text, text.markdown)


def test_code_cannot_be_left_by_its_own_ticks() -> None:
    assert md(code("a`b``c|d")) == "``` a`b``c\\|d ```"
    assert md(code("runs/1")) == "`runs/1`"
