"""How a person uses Streamlit's widgets."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page

PATIENT = 240_000  # milliseconds for a job in the compute process: long, for busy machines


def fill(field: Locator, text: str) -> None:
    """Type into a Streamlit field and leave it, as its value counts only then."""
    field.fill(text)
    field.press("Enter")
    field.press("Tab")


def choose(page: Page, label: str, option: str) -> None:
    """Pick an option of a Streamlit select box."""
    page.get_by_role("combobox", name=re.compile(re.escape(label))).first.click()
    page.get_by_role("option", name=option).click()


def has_pictures(page: Page, *, at_least: int) -> None:
    """Pictures that were loaded and have pixels, not broken ones."""
    page.wait_for_function(
        """n => [...document.querySelectorAll('[data-testid="stImage"] img')]
            .filter(i => i.complete && i.naturalWidth > 8).length >= n""",
        arg=at_least,
        timeout=PATIENT,
    )
