"""The whole way in a real Chromium: bring images in, make a detector lighter, look, take home.

One test, because each step stands on the one before it, as for a person.
"""

from __future__ import annotations

import re
import shutil
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, TimeoutError, expect

from msip_core.data.synthetic import write_folder
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from tests.browser.conftest import Server, add_light_detector, follow
from tests.browser.hands import PATIENT, choose, fill, has_pictures

IMAGES = 20
SIZE = 128
RUN = 600_000  # milliseconds for the run itself
SVG = "{http://www.w3.org/2000/svg}"
STEPS = 2


@pytest.fixture(scope="module")
def dataset_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip as a person would have it: images, YOLO labels, class names."""
    folder = write_folder(tmp_path_factory.mktemp("drawn") / "wells", IMAGES, SIZE, seed=11)
    return Path(shutil.make_archive(str(folder), "zip", folder))


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_person_walks_from_a_zip_of_micrographs_to_a_figure(
    page: Page, server: Server, dataset_zip: Path
) -> None:
    upload_and_import(page, server, dataset_zip)
    start_small_run(page, server)
    see_the_curve_grow(page)
    see_before_and_after(page)
    see_where_it_looks(page)
    take_a_figure_home(page)

    run = RunService(server.workspace).list(limit=1)[0]
    assert (run.state, run.iteration) == (RunState.COMPLETED, STEPS)
    reload_shows_the_same(page)


def upload_and_import(page: Page, server: Server, dataset_zip: Path) -> None:
    page.goto(f"{server.url}/data?view=add")
    page.get_by_text("Images, or a zip with images and labels").wait_for()
    # A server's very first link must not open a page past the app, its menu and its login.
    expect(page.get_by_role("link", name="Before and after")).to_be_visible()
    page.locator("input[type=file]").set_input_files(dataset_zip)
    expect(
        page.get_by_text(re.compile(f"Found {IMAGES} images, {IMAGES} with labels"))
    ).to_be_visible(timeout=PATIENT)
    fill(page.get_by_role("textbox", name="Name of the dataset"), "wells")
    page.get_by_role("button", name=f"Import {IMAGES} images").click()
    expect(page.get_by_text(re.compile(r"(?<!Not )\bReady$"))).to_be_visible(timeout=PATIENT)
    expect(page.get_by_test_id("stMetric").filter(has_text="Images")).to_contain_text(str(IMAGES))
    has_pictures(page, at_least=1)


def start_small_run(page: Page, server: Server) -> None:
    light = add_light_detector(server.workspace, "wells")
    page.goto(f"{server.url}/new?dataset=wells&model={light}")
    page.get_by_role("heading", name="New run").wait_for()
    page.get_by_role("radio", name=re.compile("^Quick")).check(force=True)
    fill(page.get_by_role("spinbutton", name=re.compile("^Steps")), str(STEPS))
    fill(page.get_by_role("spinbutton", name=re.compile("^Training each time")), "1")
    page.get_by_text("Advanced", exact=True).click()
    # The guard is turned off: this run is far too short to keep the accuracy.
    page.get_by_role("slider", name=re.compile("^Stop if accuracy falls")).press("Home")
    weights = page.get_by_text(re.compile("Matters for the error"))
    expect(weights.first).to_be_visible()
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("heading", name="Runs", exact=True).wait_for(timeout=PATIENT)


def see_the_curve_grow(page: Page) -> None:
    """The accuracy chart gains points by itself while the run goes on; no reload."""
    chart = page.locator(".st-key-chart\\:map .js-plotly-plot, .st-key-chart-map .js-plotly-plot")
    chart.wait_for(timeout=RUN)
    seen = {points(chart)}
    over = page.get_by_role("link", name="Next: compare before and after")
    for _ in range(RUN // 500):
        seen.add(points(chart))
        if over.is_visible():
            break
        page.wait_for_timeout(500)
    expect(page.get_by_text(f"{STEPS} of {STEPS}", exact=True)).to_be_visible()
    assert len(seen | {points(chart)}) > 1, f"the chart always had {seen} points"


def see_before_and_after(page: Page) -> None:
    follow(page, "Next: compare before and after", "Before and after")
    expect(page.get_by_text(re.compile(r"^Baseline: \d+ organoid"))).to_be_visible(timeout=PATIENT)
    expect(page.get_by_text(re.compile(r"^Lighter model: \d+ organoid"))).to_be_visible(
        timeout=PATIENT
    )
    expect(page.locator(".stage .pane image")).to_have_count(2)


def see_where_it_looks(page: Page) -> None:
    follow(page, "Next: see where it looks", "Where it looks")
    choose(page, "Objects", "Labelled on the micrograph")
    captions = page.get_by_text(re.compile("Grad-CAM, layers"))
    expect(captions).to_have_count(2, timeout=PATIENT)
    has_pictures(page, at_least=2)


def take_a_figure_home(page: Page) -> None:
    follow(page, "Next: take figures and the model home", "Export")
    choose(page, "Resolution", "600 dpi")
    figure = Image.open(BytesIO(download(page, "PNG")))
    assert figure.format == "PNG"
    assert figure.info["dpi"] == pytest.approx((600, 600), abs=0.5)
    assert figure.width == pytest.approx(178 / 25.4 * 600, rel=0.01)
    assert len(figure.convert("L").resize((64, 32)).getcolors() or []) > 8, "the figure is empty"
    text_stays_text(page)


def text_stays_text(page: Page) -> None:
    """SVG and PDF hold their words as text in a font that any program can edit."""
    svg = ElementTree.fromstring(download(page, "SVG"))
    words = ["".join(node.itertext()).strip() for node in svg.iter(f"{SVG}text")]
    assert any(re.search("mAP50", word) for word in words), words
    assert svg.attrib["width"].endswith("pt")
    assert float(svg.attrib["width"][:-2]) == pytest.approx(178 / 25.4 * 72, rel=0.01)
    pdf = download(page, "PDF")
    assert re.search(rb"/Subtype */(CIDFontType2|TrueType)", pdf)
    assert b"/FontFile2" in pdf, "the font is not in the file"
    assert b"/Type3" not in pdf


def download(page: Page, form: str) -> bytes:
    """Asked for once more where the page was just being drawn anew: the file asked for before is
    no longer there then."""
    choose(page, "File", form)
    button = page.get_by_role("button", name=f"Download {form}")
    for patience in (20_000, 60_000, PATIENT):
        button.wait_for(timeout=PATIENT)
        try:
            with page.expect_download(timeout=patience) as given:
                button.click()
        except TimeoutError:
            continue
        return Path(given.value.path()).read_bytes()
    raise AssertionError(f"no {form} came, however often it was asked for")


def reload_shows_the_same(page: Page) -> None:
    """Everything that was chosen stands in the address."""
    page.reload()
    page.get_by_role("heading", name="Export").wait_for(timeout=PATIENT)
    expect(page.get_by_role("combobox", name=re.compile("Resolution"))).to_have_value(
        re.compile("600"), timeout=PATIENT
    )


# --- hands and eyes -----------------------------------------------------------


def points(chart: Locator) -> int:
    """How many points a Plotly chart shows."""
    count = "e => (e.data || []).reduce((n, t) => n + (t.x ? t.x.length : 0), 0)"
    return int(chart.first.evaluate(count))
