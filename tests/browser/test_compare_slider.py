"""The slider between two models by hand: keys, mouse, zoom, and a click that is remembered."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Server


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_models_are_compared_by_keys_and_mouse(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/compare")
    page.locator(".stage .box").first.wait_for()  # the example's answers came with it

    handle_moves(page)
    both_pictures_zoom(page)
    a_box_is_chosen(page)
    a_click_on_a_small_picture_opens_it(page)


def handle_moves(page: Page) -> None:
    handle = page.get_by_role("slider", name="Share of the picture that shows the baseline")
    expect(handle).to_have_attribute("aria-valuenow", "50")
    for key, share in (("ArrowRight", "52"), ("Home", "0"), ("End", "100")):
        handle.press(key)
        expect(handle).to_have_attribute("aria-valuenow", share)
    handle.press("Shift+ArrowLeft")
    box, stage = handle.bounding_box(), page.locator(".stage").bounding_box()
    assert box is not None
    assert stage is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(stage["x"] + stage["width"] * 0.3, box["y"] + 100, steps=4)
    page.mouse.up()
    expect(handle).to_have_attribute("aria-valuenow", re.compile("^(29|30|31)$"))


def both_pictures_zoom(page: Page) -> None:
    pictures = page.locator(".pane svg[viewBox]")
    whole = pictures.first.get_attribute("viewBox")
    page.get_by_role("button", name="Larger").click()
    expect(page.locator(".level")).to_have_text("150 %")
    assert pictures.nth(0).get_attribute("viewBox") == pictures.nth(1).get_attribute("viewBox")
    assert pictures.first.get_attribute("viewBox") != whole
    page.locator(".stage").press("ArrowRight")
    assert pictures.nth(0).get_attribute("viewBox") == pictures.nth(1).get_attribute("viewBox")
    page.locator(".stage").press("0")
    expect(pictures.first).to_have_attribute("viewBox", whole or "")


def a_box_is_chosen(page: Page) -> None:
    page.get_by_role("button", name="Two columns").click()
    expect(page.locator(".stage")).to_have_attribute("data-mode", "columns")
    centre(page, page.locator(".right .box[data-id=p3] .line"))
    expect(page).to_have_url(re.compile("objects=lighter&object=3$"))
    expect(page.get_by_text("See where both models look")).to_be_visible()
    page.locator(".left .box[data-id=b1]").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("objects=found&object=1$"))
    expect(page.locator(".left .box[data-id=b1]")).to_have_attribute("aria-pressed", "true")


def a_click_on_a_small_picture_opens_it(page: Page) -> None:
    first = page.locator(".thumbs button").first
    name = str(first.get_attribute("data-id"))
    first.click()
    expect(page).to_have_url(re.compile(f"image={name}"))
    expect(first).to_have_attribute("aria-current", "true")


def centre(page: Page, target: Locator) -> None:
    """Click the middle of a box: its line alone would take a click only on the line."""
    box = target.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
