"""The first five minutes in a real Chromium, by what the screens say and nothing else; with a
detector and images of 128 px, since the shipped ones of 256 px take minutes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from msip_core.runs.service import RunService
from msip_core.runs.state import RunState
from msip_core.workspace import Workspace
from tests.browser.conftest import add_light_detector, follow, serve
from tests.browser.hands import PATIENT, has_pictures
from tests.drawn import copy_example

RUN = 600_000  # milliseconds; a minute or two where nothing runs beside it


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_newcomer_follows_the_screens_from_start_to_a_heat_map_of_a_run_of_ones_own(
    page: Page, tmp_path: Path
) -> None:
    workspace = Workspace.open(tmp_path / "workspace")
    add_light_detector(workspace, copy_example(workspace, images=20, size=128).name)
    with serve(tmp_path) as lab:
        page.goto(lab.url)
        page.get_by_role("button", name="Make a small run of my own now").click()

        page.get_by_role("heading", name="Runs", exact=True).wait_for(timeout=PATIENT)
        follow(page, "Next: compare before and after", "Before and after", RUN)
        expect(page.get_by_text(re.compile(r"^Baseline: \d+ organoid"))).to_be_visible()
        expect(page.locator(".stage .pane image")).to_have_count(2)

        follow(page, "Next: see where it looks", "Where it looks")
        expect(page.get_by_text(re.compile("Grad-CAM, layers"))).to_have_count(2, timeout=PATIENT)
        has_pictures(page, at_least=2)

        mine = RunService(lab.workspace).list(limit=1)[0]
        assert (mine.state, mine.iteration) == (RunState.COMPLETED, 2)

        follow(page, "Start", "Your first five minutes")
        # A badge is an icon (whose name is text too) and its word.
        done = page.locator(".st-key-steps").get_by_text(re.compile(r"done$"))
        expect(done).to_have_count(5)
