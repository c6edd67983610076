"""The curves of a run in a real Chromium: new numbers leave the chart and its zoom in place."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from msip_core.runs.service import RunService
from tests.browser.conftest import Server

# [limits of the x axis, the mark we left on the chart's element, where the band stands]
SEEN = "e => [e._fullLayout.xaxis.range, e.dataset.seen, e.layout.shapes[0].x0]"


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_zoom_survives_another_step_and_a_click_on_a_point_picks_its_step(
    page: Page, server: Server
) -> None:
    page.goto(server.url)
    page.get_by_role("heading", name="MSIP Lab").wait_for()  # the example is there by then
    runs = RunService(server.workspace).list()
    run_id = next(row.id for row in runs if row.name == "Example run")
    page.goto(f"{server.url}/runs?run={run_id}")  # others have left runs of their own
    page.get_by_role("heading", name="Example run").wait_for()
    chart = page.locator(".st-key-chart-map .js-plotly-plot")
    chart.wait_for()
    chart.evaluate("e => { e.dataset.seen = 'before' }")

    chart.scroll_into_view_if_needed()  # a mouse reaches nothing below the window
    room = chart.locator(".nsewdrag").bounding_box()
    assert room is not None
    page.mouse.move(room["x"] + room["width"] * 0.3, room["y"] + 20)
    page.mouse.down()
    page.mouse.move(room["x"] + room["width"] * 0.7, room["y"] + room["height"] - 20, steps=5)
    page.mouse.up()
    page.wait_for_function(
        f"({SEEN})(document.querySelector('.st-key-chart-map .js-plotly-plot'))[0][0] > 0.5"
    )
    zoomed = chart.evaluate(SEEN)

    # A click on a page that is still being drawn is lost.
    whole = page.locator('[data-testid="stApp"]')
    expect(whole).to_have_attribute("data-test-script-state", "notRunning")
    page.get_by_role("button", name="Earlier").click()
    expect(page.get_by_text(re.compile("The network at step 4"))).to_be_visible()
    now = chart.evaluate(SEEN)
    assert now[:2] == [zoomed[0], "before"]  # the same chart, the same cut-out
    assert now[2] == pytest.approx(zoomed[2] - 1)  # and the band moved by a step

    work = page.locator(".st-key-chart-macs .scatterlayer .point")
    work.nth(2).click(force=True)
    expect(page.get_by_text(re.compile("The network at step 2"))).to_be_visible()
    assert "step=2" in page.url
