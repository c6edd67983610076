"""What goes wrong in real life, in a real Chromium: bad files, a killed server, another language.
Runs on the drawn example, which the server brings along."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from msip_core.config import PruneConfig, TrainingRecipe
from msip_core.data.dataset import list_datasets
from msip_core.data.synthetic import write_folder
from msip_core.models import list_models
from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from tests.browser.conftest import Server, serve
from tests.browser.hands import PATIENT, fill

GOOD = 12


@pytest.fixture(scope="module")
def bad_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good images among a cut one, a text that calls itself an image, and one without labels."""
    folder = write_folder(tmp_path_factory.mktemp("bad") / "plate", GOOD, 128, seed=5)
    images = folder / "images"
    first = next(iter(sorted(images.rglob("*.png"))))
    (first.parent / "cut_off.png").write_bytes(first.read_bytes()[:300])
    (first.parent / "no_image.png").write_text("this is a shopping list", encoding="utf-8")
    return Path(shutil.make_archive(str(folder), "zip", folder))


@pytest.mark.browser
@pytest.mark.slow
def test_bad_files_are_named_and_the_good_ones_are_kept(
    page: Page, server: Server, bad_zip: Path
) -> None:
    page.goto(f"{server.url}/data?view=add")
    page.locator("input[type=file]").set_input_files(bad_zip)
    name = page.get_by_role("textbox", name="Name of the dataset")
    name.wait_for(timeout=PATIENT)
    fill(name, "bad-plate")
    page.get_by_role("button", name=re.compile("^Import")).click()

    expect(page.get_by_text(re.compile("2 files left out")).first).to_be_visible(timeout=PATIENT)
    found = next(d for d in list_datasets(server.workspace) if d.name == "bad-plate")
    assert found.images == GOOD
    said = (server.workspace.dataset_dir("bad-plate") / "dataset.json").read_text(encoding="utf-8")
    assert "cut_off.png" in said
    assert "no_image.png" in said


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_outlives_its_server_and_can_be_paused_resumed_and_cancelled(
    page: Page, tmp_path: Path
) -> None:
    with serve(tmp_path) as first:
        page.goto(first.url)
        page.get_by_role("heading", name="MSIP Lab").wait_for()
        run_id = _submit(first)
        page.goto(f"{first.url}/runs?run={run_id}")
        expect(page.get_by_role("button", name="Pause")).to_be_visible(timeout=PATIENT)
        first.process.kill()
        first.process.wait()

    with serve(tmp_path) as second:
        page.goto(f"{second.url}/runs?run={run_id}")
        page.get_by_role("button", name="Pause").click(timeout=PATIENT)
        expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=PATIENT)
        assert RunService(second.workspace).get(run_id).state is RunState.PAUSED
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("button", name="Pause")).to_be_visible(timeout=PATIENT)
        page.get_by_role("button", name="Cancel", exact=True).first.click()
        expect(page.get_by_text("It was not asked for in this tab")).to_be_visible()
        page.wait_for_timeout(5_000)  # the page follows the run meanwhile; the question stays open
        page.get_by_role("button", name="Cancel this run").click()
        # The table of runs holds the word too, in a copy for screen readers that nobody sees.
        said = page.get_by_text(re.compile("Cancelled$")).filter(visible=True)
        said.first.wait_for(timeout=PATIENT)
        assert RunService(second.workspace).get(run_id).state is RunState.CANCELLED


def _submit(server: Server) -> str:
    """A run long enough to be still there when the next server has started."""
    baseline = next(card for card in list_models(server.workspace) if card.kind == "baseline")
    assert baseline.dataset is not None
    return RunService(server.workspace).submit(
        PruneConfig(
            name="long run",
            dataset=baseline.dataset,
            model=baseline.id,
            imgsz=128,
            batch=8,
            device="cpu",
            iterations=8,
            finetune=TrainingRecipe(epochs=20),
            max_map50_drop=None,
        )
    )


@pytest.mark.browser
@pytest.mark.slow
def test_every_page_speaks_chinese(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?lang=zh_CN")
    page.get_by_role("link", name="数据").first.wait_for()
    for address in ("", "data", "models", "new", "runs", "compare", "look", "share"):
        page.goto(f"{server.url}/{address}?lang=zh_CN")
        heading = page.locator("[data-testid=stMain] h1")
        heading.wait_for()
        assert address == "" or re.search("[一-鿿]", heading.inner_text()), address
