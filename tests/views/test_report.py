"""The report: one file, everything inside, only what was measured."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from msip_core.config import TrainConfig
from msip_core.questions.looking import RandomisedCheck, SkippedLayer
from msip_core.views import evidence, report, style
from msip_core.views.history import RunHistory
from tests.views import samples

VOID = {"meta", "img", "br", "line", "path", "circle", "use", "rect", "link", "hr"}


class Page(HTMLParser):
    """Collects what a reader would see and load; fails on tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.unlabelled: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        if tag in ("img", "script", "iframe") or (tag == "link" and "href" in values):
            self.sources.append(values.get("src") or values.get("href") or "")
        if tag == "img" and not values.get("alt"):
            self.unlabelled.append(values.get("src", "")[:40])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style",):
            self.text += data + " "


def read(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    return page


@pytest.fixture(scope="module")
def full(history: RunHistory, tmp_path_factory: pytest.TempPathFactory) -> str:
    compare = samples.compare_result()
    shown = [
        evidence.micrograph_of(item, samples.micrograph(), samples.CLASSES)
        for item in evidence.choose_images(compare.images, 2)
    ]
    overlay = tmp_path_factory.mktemp("overlays") / "overlay.png"
    Image.fromarray(samples.micrograph(64)).save(overlay)
    check = RandomisedCheck(
        correlation=0.1, low=0.0, high=0.2, draws=5, passed=True, cascade={},
        verdict="The check with shuffled weights held.",
    )  # fmt: skip
    explained = [
        evidence.ExplainedObject(
            "img0, object 1: crypt",
            [
                evidence.Explanation(
                    "Pruned",
                    "Grad-CAM",
                    overlay,
                    samples.heat_map(
                        scores=samples.border_scores(ber=0.52, enrichment=2.6), randomised=check
                    ),
                ),
                evidence.Explanation(
                    "Pruned", "SHAP", samples.micrograph(64), samples.shap_values(c_at_10=0.81)
                ),
            ],
        )
    ]
    return report.render_report(
        history, compare=compare, micrographs=shown, explained=explained, classes=samples.CLASSES
    )


def test_the_report_is_one_well_formed_file_that_loads_nothing(full):
    page = read(full)

    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert page.sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not re.search(r"url\((?!#)|@import|https?://(?!www\.w3\.org)", full)
    assert page.unlabelled == []
    assert {link.lstrip("#") for link in page.links} <= set(page.ids)


def test_the_result_stands_at_the_top_in_words(full):
    page = read(full)

    assert "67 % less work per image (4.06 G → 1.35 G MACs)" in page.text
    assert "PyTorch, processor, fp32, batch 1: 1.85 × faster" in page.text
    assert "ONNX Runtime, processor, fp32, batch 1: no measurable difference" in page.text
    assert "The goal was met: 33.3 % of the MACs are left" in page.text
    assert page.text.index("67 % less work") < page.text.index("Course of the run")


def test_explanations_come_with_scores_and_the_honesty_line(full):
    text = " ".join(read(full).text.split())

    assert style.HONESTY in text
    assert "heat on the border 52 %" in text
    assert "enrichment of the border 2.60 ×" in text
    assert "hottest point on the object yes" in text
    assert "carried by the strongest tenth 81 %" in text
    assert (
        "Layers P3 (layer 15), P4 (layer 18), P5 (layer 21). Border: drawn outline. The check with "
        "shuffled weights held."
    ) in text


def test_protocol_versions_and_command_are_there(full):
    text = " ".join(read(full).text.split())

    assert "keep 33.5 % of the MACs" in text
    assert "torch 2.15.0" in text
    assert "Some CPU" in text
    assert "python -m msip_core prune --config runs/run-1/config.json" in text
    assert "--model baseline-1 --method msip --keep-macs 0.335" in text
    assert "Batch 16 did not fit" in text
    assert "64 → " in text  # channels of a layer


def test_the_methods_stand_ready_for_a_paper_with_what_was_shown(full):
    text = " ".join(read(full).text.split())

    assert "keep 33.5 % of the MACs in 5 iterations" in text
    assert "Grad-CAM [4]" in text
    assert "SHAP values [5]" in text
    assert "Selvaraju Ramprasaath R., Cogswell Michael, Das Abhishek et al. Grad-CAM" in text
    assert len(full.encode()) < 5_000_000


def test_curves_follow_the_pages_colours(full):
    figures = re.findall(r"<svg viewBox.*?</svg>", full, flags=re.DOTALL)
    curves = [figure for figure in figures if "Pruning iteration" in figure]

    assert curves
    for figure in curves:
        assert "var(--ink)" in figure
        assert style.INK.lower() not in figure.lower()
        assert "font-family" not in figure
        assert 'role="img" aria-label="' in figure


def test_a_run_without_comparison_says_so_and_shows_no_empty_section(history):
    page = read(report.render_report(history))

    assert "Speed was not measured on this computer." in page.text
    assert "pictures" not in page.ids
    assert "look" not in page.ids
    assert "Grad-CAM" in page.text  # in the glossary only
    assert style.HONESTY not in page.text


def test_a_failed_run_tells_its_reason_and_invents_no_result(history):
    failed = dataclasses.replace(
        history,
        state="failed",
        final=None,
        iterations=(),
        epochs=(),
        error="The disk is full: free 2 GB and resume.",
    )
    page = read(report.render_report(failed))

    assert "This run is failed; it has no final model yet." in page.text
    assert "The disk is full" in page.text
    assert "numbers" not in page.ids


def test_names_from_people_cannot_become_markup(history):
    evil = dataclasses.replace(history, name="<script>alert(1)</script>")

    html = report.render_report(evil)

    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_a_drawn_dataset_is_called_drawn(history):
    drawn = dataclasses.replace(history, dataset={**history.dataset, "drawn": True})

    assert "drawn by computer" in read(report.render_report(drawn)).text


def test_the_first_image_shown_is_the_one_where_models_differ_most():
    images = [
        samples.compared_image("calm", ["both"] * 9),
        samples.compared_image("empty", []),
        samples.compared_image("torn", ["both", "lost", "new"]),
        samples.compared_image("some", ["both", "lost"]),
    ]

    chosen = evidence.choose_images(images, limit=3)

    assert [image.id for image in chosen] == ["torn", "calm", "some"]
    assert evidence.choose_images([]) == []


def test_large_micrographs_are_shrunk_with_their_boxes():
    baseline, pruned = samples.detections(2800)
    large = evidence.Micrograph(
        "x", np.zeros((1400, 2800, 3), np.uint8), baseline, pruned, [], samples.CLASSES
    )

    small = evidence.fitted(large)

    assert small.pixels.shape == (700, 1400, 3)
    assert small.baseline[0].x1 == baseline[0].x1 / 2
    assert small.baseline[0].number == baseline[0].number
    assert evidence.fitted(small) is small


def test_scores_without_a_value_are_left_out():
    scores = samples.border_scores(ber=None, enrichment=None, energy_in_box=None, hit=False)

    words = evidence.score_words(samples.shap_values(scores=scores, c_at_10=None))

    assert words == [("hottest point on the object", "no")]


def test_heat_on_crypt_borders_is_named_apart_from_the_objects_outline():
    found = samples.heat_map(
        scores=samples.border_scores(ber=0.5), crypt_scores=samples.border_scores(ber=0.25)
    )

    assert evidence.score_words(found)[:2] == [
        ("heat on the border", "50 %"),
        ("heat on the crypt borders", "25 %"),
    ]


def test_an_explanation_says_which_layers_and_border_were_used():
    skipped = SkippedLayer(layer="P4 (layer 18)", reason="its map is empty")
    found = evidence.notes(
        samples.heat_map(
            layers=("P3 (layer 15)",),
            skipped=(skipped,),
            note="Weak.",
            scores=samples.border_scores(contour="box"),
        )
    )

    assert found == [
        "Layers P3 (layer 15); 1 layer skipped.",
        "Border: edge of the box, no outline is known.",
        "Weak.",
    ]


def test_a_training_run_has_a_report_too(history):
    trained = dataclasses.replace(
        history,
        config=TrainConfig(dataset="plate7", weights="yolov8n.yaml"),
        baseline=None,
        iterations=(),
    )
    page = read(report.render_report(trained))

    assert "Trained: mAP50 0.884 on validation." in page.text
    assert "layers" not in page.ids
    assert "--weights yolov8n.yaml" in page.text
