"""Files for print: exact size, resolution, editable text, the same bytes again."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from msip_core.boxes import match_detections
from msip_core.errors import ConfigError
from msip_core.views import channels, comparison, paper, paper_pictures, paper_runs, progress, style
from msip_core.views.paper_page import alone, alone_caption
from tests.views import samples


def _iterations(width: float) -> Figure:
    baseline, records = samples.baseline_record(), samples.iteration_records()
    maps = progress.map_info(baseline, records, 0.03)
    return alone(
        paper_runs.iterations_panel(maps, progress.macs_info(baseline, records, 0.335)), width
    )


def _tradeoff(width: float) -> Figure:
    info = progress.macs_info(samples.baseline_record(), samples.iteration_records(), 0.335)
    return alone(paper_runs.tradeoff_panel(info), width)


def _epochs(width: float) -> Figure:
    return alone(paper_runs.epochs_panel(progress.epochs_info(samples.epoch_records())), width)


def _weights(width: float) -> Figure:
    return alone(
        paper_runs.weights_panel(progress.weights_info(samples.iteration_records())), width
    )


def _channels(width: float) -> Figure:
    return alone(paper_runs.channels_panel(channels.channels_info(samples.layers(5, 5))), width)


def _latency(width: float) -> Figure:
    info = comparison.latency_info(samples.compare_result().latency)
    return alone(paper_runs.latency_panel(info), width)


def _before_after(width: float) -> Figure:
    return alone(paper_pictures.before_after_panel(before_after()), width)


def _explanation(width: float) -> Figure:
    return alone(paper_pictures.explanation_panel(explanation()), width)


FIGURES = {
    draw.__name__.strip("_"): draw
    for draw in (
        _iterations, _tradeoff, _epochs, _weights, _channels, _latency, _before_after,
        _explanation,
    )
}  # fmt: skip


def before_after() -> paper_pictures.BeforeAfterInfo:
    baseline, pruned = samples.detections()
    pairs = match_detections(baseline, pruned)
    image = samples.micrograph()
    return paper_pictures.BeforeAfterInfo(image, baseline, pruned, pairs, samples.CLASSES, 1.3)


def explanation() -> paper_pictures.ExplanationInfo:
    heat = np.zeros((256, 256))
    heat[40:90, 40:90] = 1
    signed = np.where(heat > 0, 1.0, -0.2)
    panels = [
        paper_pictures.HeatPanel(model, method, values, method == "SHAP", {"score": 0.5})
        for model in ("Baseline", "Pruned")
        for method, values in (("Grad-CAM", heat), ("SHAP", signed))
    ]
    box = samples.detections()[0][0]
    return paper_pictures.ExplanationInfo(
        samples.micrograph(), box, "Detection 1: crypt, 0.93", panels, None, 1.3
    )


@pytest.mark.parametrize("width", [85.0, 178.0])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_exactly_the_journals_width(name, width):
    with Image.open(io.BytesIO(paper.to_bytes(FIGURES[name](width), "png", 100))) as picture:
        assert picture.width == pytest.approx(width / 25.4 * 100, abs=1)
        assert picture.height <= paper.MAX_HEIGHT_MM / 25.4 * 100 + 1


@pytest.mark.parametrize("dpi", [300, 600])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pictures_carry_their_resolution(tmp_path, suffix, dpi):
    figure = alone(paper_pictures.before_after_panel(before_after()), 85)

    path = paper.save(figure, tmp_path / f"figure{suffix}", dpi)

    with Image.open(path) as picture:
        assert picture.info["dpi"][0] == pytest.approx(dpi, abs=0.1)
        assert picture.width == pytest.approx(85 / 25.4 * dpi, abs=1)


def test_text_in_svg_stays_text():
    svg = paper.to_bytes(_iterations(178), "svg").decode()
    root = ElementTree.fromstring(svg)

    texts = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]

    assert "Pruning iteration" in texts
    assert "before fine-tuning" in texts
    assert 'width="504.56' in svg  # 178 mm in points


def test_text_in_pdf_is_truetype_and_the_page_has_the_journals_width():
    pdf = paper.to_bytes(_tradeoff(85), "pdf")

    assert b"/CIDFontType2" in pdf or b"/TrueType" in pdf
    assert b"/Type3" not in pdf
    box = re.search(rb"/MediaBox \[ *0 0 ([\d.]+)", pdf)
    assert box
    assert float(box.group(1)) == pytest.approx(85 / 25.4 * 72, abs=0.1)


@pytest.mark.parametrize("form", ["svg", "pdf", "png"])
def test_the_same_figure_gives_the_same_bytes(form):
    first, second = (paper.to_bytes(_weights(85), form) for _ in range(2))

    assert first == second


def test_drawing_changes_no_global_setting_and_needs_no_pyplot():
    code = (
        "import sys, matplotlib\n"
        "from tests.views.test_paper import _weights\n"
        "from msip_core.views import paper\n"
        "before = matplotlib.rcParams.copy()\n"
        "paper.to_bytes(_weights(85), 'png')\n"
        "assert matplotlib.rcParams.copy() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_two_threads_may_draw_at_once():
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(paper.to_bytes(_weights(85), "svg")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(results)) == 1
    assert len(results) == 2


def test_an_unknown_format_and_an_impossible_size_are_refused(tmp_path):
    figure = _weights(85)
    with pytest.raises(ConfigError, match="png, tiff, svg, pdf, not as 'bmp'"):
        paper.save(figure, tmp_path / "figure.bmp")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="400 × 50 mm does not fit a journal page"):
        paper.new_figure(400, 50)


@pytest.mark.parametrize(
    ("extent", "length"), [(1000, 200), (333, 50), (80, 20), (40, 10), (3.9, 0.5), (20000, 5000)]
)
def test_scale_bars_are_round_and_at_most_a_quarter_of_the_picture(extent, length):
    assert paper.nice_length(extent) == pytest.approx(length)


def test_the_scale_bar_is_as_long_as_its_label_says():
    figure = alone(paper_pictures.before_after_panel(before_after()), 178)

    bars = [p for axes in figure.axes for p in axes.patches if p.get_gid() == "scale-bar"]
    labels = [t.get_text() for axes in figure.axes for t in axes.texts]

    assert [bar.get_width() for bar in bars] == [pytest.approx(50 / 1.3)]  # 256 px * 1.3 / 4 = 83
    assert "50 µm" in labels


def test_without_a_pixel_size_there_is_no_bar_and_the_caption_says_so():
    info = before_after()._replace(pixel_size_um=None)

    figure = alone(paper_pictures.before_after_panel(info), 85)

    assert not [p for a in figure.axes for p in a.patches if p.get_gid() == "scale-bar"]
    assert "No scale bar: the pixel size is unknown" in alone_caption(
        paper_pictures.before_after_panel(info)
    )


def test_the_micrograph_is_printed_pixel_for_pixel():
    figure = alone(paper_pictures.before_after_panel(before_after()), 178)

    shown = figure.axes[0].images[0]

    assert np.asarray(shown.get_array()).shape == (256, 256, 3)
    np.testing.assert_array_equal(np.asarray(shown.get_array()), samples.micrograph())
    assert shown.get_interpolation() == "none"


def test_boxes_lie_on_pixel_edges():
    figure = alone(paper_pictures.before_after_panel(before_after()), 178)
    box = samples.detections()[0][0]

    drawn = [p for p in figure.axes[0].patches if p.get_gid() != "scale-bar"]

    assert drawn[0].get_xy() == (box.x1 - 0.5, box.y1 - 0.5)
    assert drawn[0].get_width() == box.x2 - box.x1


def test_curves_draw_the_infos_numbers():
    baseline, records = samples.baseline_record(), samples.iteration_records()
    maps = progress.map_info(baseline, records, 0.03)
    figure = alone(
        paper_runs.iterations_panel(maps, progress.macs_info(baseline, records, 0.335)), 178
    )

    lines = {line.get_label(): line for line in figure.axes[0].lines}

    assert tuple(lines["before fine-tuning"].get_ydata()) == maps.before
    assert tuple(lines["after fine-tuning"].get_ydata()) == maps.after


def test_captions_are_filled_from_the_numbers():
    baseline, records = samples.baseline_record(), samples.iteration_records()
    macs = progress.macs_info(baseline, records, 0.335)
    caption = alone_caption(paper_runs.iterations_panel(progress.map_info(baseline, records), macs))

    assert "5 pruning iterations" in caption
    assert "the baseline, 0.904" in caption
    assert "from 4.06 G to 1.35 G (33.3 % of the baseline)" in caption
    assert "the target, 1.36 G" in caption


def test_the_honesty_line_is_on_every_explanation_figure_and_in_its_caption():
    info = explanation()
    for shown in (info, info._replace(panels=info.panels[:1]), info._replace(margin=0.3)):
        svg = paper.to_bytes(alone(paper_pictures.explanation_panel(shown), 85), "svg").decode()
        assert style.HONESTY in svg
        assert alone_caption(paper_pictures.explanation_panel(shown)).endswith(style.HONESTY)


def test_an_explanation_caption_names_every_score_and_what_colours_mean():
    caption = alone_caption(paper_pictures.explanation_panel(explanation()))

    assert caption.count("(score 0.50)") == 4
    assert "b, Grad-CAM, Baseline (score 0.50); c, SHAP, Baseline" in caption
    assert "Orange adds to the score, blue takes from it." in caption


def test_further_contours_are_drawn_thinner_and_named_in_the_caption():
    triangle = np.array([[50.0, 60.0], [80.0, 60.0], [70.0, 90.0]])
    info = explanation()._replace(outline=triangle, inner=[triangle + 2, triangle - 2])

    figure = alone(paper_pictures.explanation_panel(info), 178)

    for axes in [axes for axes in figure.axes if axes.images and axes.get_title()][:5]:
        drawn = {p.get_gid(): p.get_linewidth() for p in axes.patches if p.get_gid()}
        assert drawn["outline"] > drawn["inner-0"] == drawn["inner-1"]
    caption = alone_caption(paper_pictures.explanation_panel(info))
    assert "with its object outline and 2 crypt outlines" in caption


def test_a_crop_shows_the_object_with_its_margin():
    info = explanation()._replace(margin=0.25)
    box = info.box

    figure = alone(paper_pictures.explanation_panel(info), 85)

    room = 0.25 * (box.x2 - box.x1)
    assert figure.axes[0].get_xlim() == (box.x1 - room - 0.5, box.x2 + room - 0.5)


def test_a_run_that_has_just_begun_can_be_drawn():
    maps, macs = progress.map_info(None, []), progress.macs_info(None, [])

    assert paper.to_bytes(alone(paper_runs.iterations_panel(maps, macs), 85), "svg")
    assert alone_caption(paper_runs.iterations_panel(maps, macs)).endswith("per image.")


def test_the_curves_of_one_epoch_are_points_between_whole_numbers():
    figure = alone(paper_runs.epochs_panel(progress.epochs_info(samples.epoch_records(1, 1))), 85)
    top, bottom = figure.axes

    assert bottom.get_xlim() == (0.5, 1.5)
    assert [tick for tick in bottom.get_xticks() if 0.5 <= tick <= 1.5] == [1.0]
    assert bottom.get_ylim()[0] == 0
    assert {line.get_marker() for line in (*top.lines, *bottom.lines)} == {"o"}
