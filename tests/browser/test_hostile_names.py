"""Names that would load pictures, link away or become formulas, seen by a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import PATIENCE, Server, serve
from tests.pages import lab_samples

HOST = "elsewhere.example"
NAME = (
    f"![x](http://{HOST}/x.png) $x$ :material/home: :red[y] <img src=http://{HOST}/y.png> "
    f"http://{HOST} www.{HOST} a@{HOST} :+1: a -> b"
)
CLASS = f"$c$ <a href=http://{HOST}>k</a>"
PAGES = ["", "data", "models", "new", "runs", "studies", "compare", "look", "share"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A lab whose run, models and one class have hostile names."""
    folder = tmp_path_factory.mktemp("hostile")
    workspace = lab_samples.Workspace.open(folder / "workspace")
    lab_samples.fill(workspace)
    lab_samples.prune_run(workspace, lab_samples.RunState.COMPLETED, name=NAME)
    for path in workspace.models.glob("*/model.json"):
        _change(path, name=NAME, classes=[CLASS, "no_crypt"], note=NAME)
    for name in ("dataset.json", "summary.json"):
        path = workspace.dataset_dir("example") / name
        text = path.read_text(encoding="utf-8").replace('"crypt"', json.dumps(CLASS))
        path.write_text(text, encoding="utf-8")
    with serve(folder) as running:
        yield running


def _change(path: Path, **values: object) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | values), encoding="utf-8")


def test_no_name_reaches_another_host_or_becomes_markup(browser: Browser, hostile: Server) -> None:
    tab = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    tab.set_default_timeout(PATIENCE)
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    for page in PAGES:
        tab.goto(f"{hostile.url}/{page}")
        expect(tab.locator("[data-testid=stMain] h1").first).to_be_visible(timeout=PATIENCE)
        expect(tab.locator("[data-testid=stStatusWidget]")).to_have_count(0, timeout=PATIENCE)
        tab.wait_for_timeout(500)
        for sign in (f"a[href*='{HOST}']", f"img[src*='{HOST}']", "a[href^='mailto:']", ".katex"):
            assert tab.locator(sign).count() == 0, f"{page}: {sign}"
        if page == "runs":
            shown = tab.locator("[data-testid=stMain] h3").all_inner_texts()
            assert NAME in [text.replace("\u2060", "") for text in shown]

    assert [url for url in asked if HOST in url.partition("?")[0]] == []
    assert {url for url in asked if not url.startswith((hostile.url, "data:", "blob:"))} == set()
    tab.context.close()
