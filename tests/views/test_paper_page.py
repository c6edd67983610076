"""Several panels on one page: sizes, letters, editable text, one caption, and what is refused."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from msip_core.errors import ConfigError
from msip_core.views import (
    channels,
    comparison,
    paper,
    paper_page,
    paper_pictures,
    paper_runs,
    progress,
    style,
)
from tests.views import samples
from tests.views.test_paper import before_after, explanation


def _panels() -> dict[str, paper_page.Panel]:
    baseline, records = samples.baseline_record(), samples.iteration_records()
    return {
        "steps": paper_runs.iterations_panel(
            progress.map_info(baseline, records, 0.03), progress.macs_info(baseline, records, 0.335)
        ),
        "tradeoff": paper_runs.tradeoff_panel(progress.macs_info(baseline, records, 0.335)),
        "epochs": paper_runs.epochs_panel(progress.epochs_info(samples.epoch_records())),
        "weights": paper_runs.weights_panel(progress.weights_info(records)),
        "channels": paper_runs.channels_panel(channels.channels_info(samples.layers(5, 5))),
        "speed": paper_runs.latency_panel(
            comparison.latency_info(samples.compare_result().latency)
        ),
        "pair": paper_pictures.before_after_panel(before_after()),
        "attention": paper_pictures.explanation_panel(explanation()),
    }


def _page(names: str, width: float = 178, columns: int = 1) -> paper_page.Page:
    known = _panels()
    return paper_page.lay_out([known[name] for name in names.split()], width, columns)


def _letters(figure: Figure) -> list[str]:
    """Bold single letters: those of the panels."""
    texts = figure.findobj(Text)
    bold = [text for text in texts if text.get_fontweight() == "bold"]
    return sorted(text.get_text() for text in bold if re.fullmatch("[a-z]", text.get_text()))


def test_a_panel_that_is_too_narrow_for_a_column_takes_a_row() -> None:
    page = _page("steps tradeoff epochs weights channels", 178, 3)

    # 178 / 3 = 59 mm: too narrow for "steps" (60 mm) and "channels" (120 mm)
    assert [len(row.panels) for row in page.rows] == [1, 3, 1]


def test_panels_of_a_row_share_its_width_evenly() -> None:
    page = _page("tradeoff epochs weights", 178, 2)

    assert [len(row.panels) for row in page.rows] == [2, 1]


@pytest.mark.parametrize(
    ("names", "width", "columns", "letters"),
    [
        ("steps channels", 178, 1, "abc"),
        ("pair attention", 178, 1, "abcdefg"),
        ("steps tradeoff epochs weights channels", 178, 3, "abcdefgh"),
        ("tradeoff speed", 85, 1, "ab"),
    ],
)
def test_letters_run_through_all_panels_and_the_size_is_the_journals(
    names: str, width: float, columns: int, letters: str
) -> None:
    page = _page(names, width, columns)
    figure = paper_page.figure(page)

    assert _letters(figure) == list(letters)
    with Image.open(io.BytesIO(paper.to_bytes(figure, "tiff", 100))) as picture:
        assert picture.width == pytest.approx(width / 25.4 * 100, abs=1)
        assert picture.height == pytest.approx(page.height / 25.4 * 100, abs=1)
        assert picture.info["dpi"][0] == pytest.approx(100, abs=0.1)
    assert page.height <= paper.MAX_HEIGHT_MM


def test_a_single_part_stands_without_a_letter() -> None:
    page = _page("tradeoff", 85)

    assert _letters(paper_page.figure(page)) == []
    assert paper_page.caption(page).startswith("mAP50 on the validation images")


def test_text_of_a_page_stays_text_in_svg_and_is_truetype_in_pdf() -> None:
    figure = paper_page.figure(_page("steps tradeoff", 178, 2))

    root = ElementTree.fromstring(paper.to_bytes(figure, "svg"))
    texts = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a", "b", "c", "Pruning iteration", "GMACs per image"} <= set(texts)
    assert root.attrib["width"] == "504.566929pt"  # 178 mm

    pdf = paper.to_bytes(figure, "pdf")
    assert b"/CIDFontType2" in pdf or b"/TrueType" in pdf
    assert b"/Type3" not in pdf
    box = re.search(rb"/MediaBox \[ *0 0 ([\d.]+) ([\d.]+)", pdf)
    assert box
    assert float(box.group(1)) == pytest.approx(178 / 25.4 * 72, abs=0.1)


def test_one_caption_names_every_letter_with_its_numbers() -> None:
    caption = paper_page.caption(_page("steps pair tradeoff epochs", 178, 2))

    for begin in ("a, mAP50", "b, multiply-adds", "c, one micrograph", "d, those that",
                  "e, mAP50", "f, mAP50", "g, training losses"):  # fmt: skip
        assert begin in caption
    assert "from 4.06 G to 1.35 G (33.3 % of the baseline)" in caption
    assert "from 0.904 at 4.06 G to 0.884 at 1.35 G" in caption
    assert "1 lost (baseline only)" in caption


def test_the_honesty_line_is_said_once_and_last() -> None:
    caption = paper_page.caption(_page("attention attention", 178))

    assert caption.count(style.HONESTY) == 1
    assert caption.endswith(style.HONESTY)


def test_a_page_that_is_a_little_too_high_is_drawn_lower() -> None:
    page = _page("pair attention", 178)

    assert page.height == paper.MAX_HEIGHT_MM
    assert sum(panel.height(178) for panel in page.panels) > paper.MAX_HEIGHT_MM


def test_a_page_that_is_far_too_high_says_what_to_leave_out() -> None:
    with pytest.raises(ConfigError, match=r"need \d+ mm of height and a page has 230 mm") as error:
        _page("steps tradeoff epochs weights channels speed", 178, 1)

    assert "leave out “" in error.value.message
    title = re.findall("“(.+?)”", error.value.message)[0]
    assert title in {panel.title for panel in _panels().values()}


def test_leaving_out_the_named_panel_is_enough_unless_more_is_said() -> None:
    names = "steps epochs channels tradeoff"
    with pytest.raises(ConfigError) as error:
        _page(names, 178, 1)

    title = re.findall("“(.+?)”", error.value.message)[0]
    assert "and more" not in error.value.message
    known = _panels()
    left = [name for name in names.split() if known[name].title != title]
    assert _page(" ".join(left), 178, 1).height <= paper.MAX_HEIGHT_MM


@pytest.mark.parametrize("count", [0, 7])
def test_a_page_has_one_to_six_panels(count: int) -> None:
    with pytest.raises(ConfigError, match=f"one to 6 panels, not {count}"):
        paper_page.lay_out([_panels()["tradeoff"]] * count, 178)


def test_no_title_leaves_the_page_at_its_first_drawing() -> None:
    figure = paper_page.figure(_page("pair tradeoff", 178))
    figure.canvas.draw()

    titles = [axes.title for axes in figure.findobj(Axes) if axes.title.get_text()]
    assert {title.get_text() for title in titles} >= {"Baseline", "Pruned"}
    for title in titles:
        assert title.get_window_extent().y1 < figure.bbox.y1 - 1
