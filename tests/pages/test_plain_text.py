"""No page gives a name to Streamlit's Markdown past the helper: read in their sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fresh import ROOT

_LABELLED = frozenset(
    """alert badge button caption checkbox color_picker date_input dialog download_button error
    expander feedback file_uploader form_submit_button header info link_button markdown
    menu_button multiselect number_input pills popover radio segmented_control select_slider
    selectbox slider spinner subheader success text_area text_input time_input title toast
    toggle warning""".split()  # noqa: SIM905 - a list of words is read better as words
)  # their first argument is read as Markdown
_CHOICES = frozenset({"radio", "pills", "segmented_control"})  # so are their options
_WORDS = frozenset({"label", "body", "text", "help", "caption", "title"})
_FORBIDDEN = frozenset({"write", "write_stream", "latex", "iframe", "components", "chat_message"})
_HTML = frozenset({"html"})
_OWN_HTML = frozenset(
    {
        "''.join(items)",
        "' '.join(said)",
        "' busy' if busy else ''",
        "_SHOWN",
        "page.width",
        "page.height",
    }
)  # items: pages/data/preview.py, each of them escaped there; said: names of languages


def _is_plain(value: ast.expr) -> bool:
    """A constant of the code, a text of the catalog without values, or what `md` has made."""
    if isinstance(value, ast.Constant):
        return True
    if isinstance(value, ast.IfExp):
        return _is_plain(value.body) and _is_plain(value.orelse)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        if value.func.id == "md":
            return True
        return value.func.id == "t" and not value.keywords and _is_name_of_a_text(value.args)
    return False


def _is_name_of_a_text(args: list[ast.expr]) -> bool:
    return len(args) == 1 and isinstance(args[0], ast.Constant)


def _markdown_of(call: ast.Call) -> Iterator[ast.expr]:
    """The arguments of a call that Streamlit reads as Markdown."""
    assert isinstance(call.func, ast.Attribute)
    if isinstance(call.func.value, ast.Name) and call.func.value.id == "paper_page":
        return  # the caption of a figure for a paper: no part of a page
    name = call.func.attr
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in _LABELLED:
        yield from call.args[:1]
        yield from (value for key, value in given.items() if key in _WORDS)
    elif name == "metric":
        yield from call.args[:3]
        yield from (v for key, v in given.items() if key in {"label", "value", "delta", "help"})
    elif name in {"image", "page_link", "progress"}:
        yield from (v for key, v in given.items() if key in {"caption", "label", "text", "help"})
    if isinstance(captions := given.get("captions"), ast.ListComp):
        yield captions.elt
    elif captions is not None:
        yield captions
    if name in _CHOICES:
        options = given.get("options") or (call.args[1] if len(call.args) > 1 else None)
        words = given.get("format_func")
        if isinstance(words, ast.Lambda):
            yield words.body
        elif not (isinstance(words, ast.Name) and words.id == "md") and not _constants(options):
            yield words or call


def _constants(options: ast.expr | None) -> bool:
    return isinstance(options, ast.List | ast.Tuple) and all(
        isinstance(item, ast.Constant) for item in options.elts
    )


def _faults(source: str, where: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        of_streamlit = isinstance(node.func.value, ast.Name) and node.func.value.id == "st"
        if node.func.attr in _FORBIDDEN and of_streamlit:
            found.append(f"{where}:{node.lineno}: st.{node.func.attr} is not for pages")
        if any(k.arg == "unsafe_allow_html" for k in node.keywords):
            found.append(f"{where}:{node.lineno}: HTML in Markdown")
        found += [
            f"{where}:{value.lineno}: {ast.unparse(value)[:80]} goes past md()"
            for value in _markdown_of(node)
            if not _is_plain(value)
        ]
    return found


def _sources() -> list[Path]:
    return [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py"))]


def test_no_page_draws_markdown_past_the_helper() -> None:
    faults = [
        fault
        for path in _sources()
        for fault in _faults(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    ]

    assert faults == []


@pytest.mark.parametrize(
    "line",
    [
        "st.subheader(run.name)",
        "st.caption(f'{run.name} is over')",
        "st.caption(t('{name} is over', name=run.name))",
        "st.caption(t('Over: ') + run.name)",
        "left.info(body=note)",
        "st.button(t('Go'), help=path)",
        "st.image(x, caption=record.id)",
        "st.page_link('pages/runs/page.py', label=run.name)",
        "st.progress(0.5, text=run.message)",
        "st.metric(t('Images'), value=count)",
        "st.pills(t('Class'), classes)",
        "st.radio(t('Class'), classes, format_func=str)",
        "st.radio(t('Class'), classes, format_func=lambda name: f'{name}!')",
        "st.radio(t('Class'), ['a'], captions=[note for note in notes])",
        "st.write(run.name)",
        "st.markdown(md(x), unsafe_allow_html=True)",
        "st.caption(t(run.name))",
    ],
)
def test_the_reader_of_sources_sees_a_way_around(line: str) -> None:
    assert len(_faults(line, "page.py")) == 1


def test_pages_make_markup_from_constants_only() -> None:
    faults = []
    for path in _sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                is_made = node.func.id in {"rich", "joined"} and not isinstance(
                    node.args[0], ast.Constant
                )
                if is_made or node.func.id in {"Text", "fill"}:
                    faults.append(f"{path.name}:{node.lineno}: {ast.unparse(node)[:80]}")

    assert faults == []


def test_html_of_the_pages_holds_no_name_that_was_not_escaped() -> None:
    """`st.html` is used for style sheets and three small frames; each says what it puts in."""
    found = []
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in _HTML
            ):
                inside = [n for n in ast.walk(node.args[0]) if isinstance(n, ast.FormattedValue)]
                found += [
                    f"{path.name}: {words}"
                    for value in inside
                    if not (words := ast.unparse(value.value)).startswith("html.escape(")
                    and words not in _OWN_HTML
                ]

    assert found == []
