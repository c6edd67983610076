"""What a screen reader, a keyboard and the next visit meet in a real Chromium."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, Page, TimeoutError, expect

from tests.browser.conftest import Server

MARKUP = re.compile(r":[a-z]+\[|:material/|\*\*")


def _choose_language(page: Page, name: str) -> None:
    """As a person does: once more, where the list closes because the page below still grows."""
    for patience in (10_000, 60_000, 180_000):
        page.get_by_role("combobox", name="Language").click()
        try:
            page.get_by_role("option", name=name).click(timeout=patience)
        except TimeoutError:
            continue
        return
    raise AssertionError(f"the list of languages never stayed open for {name}")


@pytest.mark.browser
@pytest.mark.slow
def test_the_chosen_language_stays_for_other_tabs_and_the_page_says_which_it_is(
    page: Page, server: Server
) -> None:
    context: BrowserContext = page.context
    page.goto(f"{server.url}/data")
    page.get_by_role("heading", name="Data", exact=True).wait_for()
    _choose_language(page, "简体中文")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")

    other = context.new_page()
    other.goto(f"{server.url}/models")
    other.get_by_role("heading", name="模型", exact=True).wait_for()
    expect(other.locator("html")).to_have_attribute("lang", "zh-CN")
    assert "lang=" not in other.url
    _choose_language(other, "English")
    other.get_by_role("heading", name="Models", exact=True).wait_for()
    other.goto(f"{server.url}/models")  # the address says no language: the browser remembers
    other.get_by_role("heading", name="Models", exact=True).wait_for()
    expect(other.locator("html")).to_have_attribute("lang", "en")


@pytest.mark.browser
@pytest.mark.slow
def test_accessible_names_are_plain_words_and_the_focus_is_seen(page: Page, server: Server) -> None:
    for address, heading in (("new", "New run"), ("compare", "Before and after")):
        page.goto(f"{server.url}/{address}")
        page.get_by_role("heading", name=heading, exact=True).wait_for()
        page.get_by_role("slider").first.wait_for()
        names = page.locator("body").aria_snapshot()
        assert not MARKUP.findall(names)
    page.keyboard.press("Tab")
    seen = page.evaluate(
        """() => { const style = getComputedStyle(document.activeElement);
                   return [style.outlineStyle, parseFloat(style.outlineWidth)]; }"""
    )
    assert seen == ["solid", 2]


@pytest.mark.browser
@pytest.mark.slow
def test_the_button_that_deletes_is_in_sight_however_low_its_question_opens(
    page: Page, server: Server
) -> None:
    page.set_viewport_size({"width": 1400, "height": 800})
    page.goto(f"{server.url}/models")
    page.get_by_role("link", name="Next: compare before and after").scroll_into_view_if_needed()
    page.get_by_role("button", name="Delete this model").click()
    expect(page.get_by_role("button", name="Delete for good")).to_be_in_viewport(
        ratio=1, timeout=20_000
    )
