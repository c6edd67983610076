"""Three boxes are mended by mouse and keyboard, found in the labels, and learned from."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from msip_core.data.dataset import Dataset, open_dataset
from msip_core.data.versions import history
from msip_core.runs.service import RunService
from msip_core.workspace import Workspace
from tests.browser.conftest import Server, add_light_detector
from tests.browser.hands import PATIENT
from tests.drawn import copy_example

SIZE = 128
NAME = "mended"


@pytest.fixture(scope="module")
def data(server: Server) -> Dataset:
    """Drawn images and a detector that suggests boxes."""
    made = copy_example(server.workspace, NAME, images=12, size=SIZE, seed=5)
    add_light_detector(server.workspace, NAME)
    return made


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_boxes_are_mended_and_learned_from(page: Page, server: Server, data: Dataset) -> None:
    first, second = data.images[0], data.images[1]
    page.goto(f"{server.url}/correct?dataset={NAME}&by=light&with=none&order=file")
    page.locator(".box").first.wait_for(timeout=PATIENT)
    expect(page.locator(".place")).to_contain_text(f"1 of 12: {first.id}", timeout=PATIENT)
    # What the model found was waited for: it is compared with the labels.
    expect(page.get_by_text(re.compile("labels and model|near the threshold"))).to_be_visible()

    before = data.boxes(first)
    a_box_is_moved_with_the_mouse(page, first.id)
    one_is_resized_by_keys_and_undone(page)
    a_reload_loses_nothing(page)
    page.get_by_role("button", name="Save and next image").click()
    expect(page.get_by_text(re.compile(f"{first.id}: saved as version 2 by"))).to_be_visible(
        timeout=PATIENT
    )
    expect(page.locator(".place")).to_contain_text(f"2 of 12: {second.id}")
    moved = corners(server.workspace, first.id)
    assert len(moved) == len(before)
    shifts = [n[0] - o.x1 for n, o in zip(moved, before) if abs(n[0] - o.x1) > 1]
    assert shifts == [pytest.approx(10, abs=1.5)], "one box, ten pixels to the right"

    boxes = len(data.boxes(second))
    one_is_drawn_with_the_mouse(page)
    one_is_deleted_and_one_renamed_by_keys(page)
    page.locator(".stage").press("s")
    expect(page.get_by_text(re.compile(f"{second.id}: saved as version 3 by"))).to_be_visible(
        timeout=PATIENT
    )
    assert len(corners(server.workspace, second.id)) == boxes  # one came, one went
    now = open_dataset(server.workspace, NAME)
    last = history(now.root, now.document)[-1]
    assert [last.total(what) for what in ("added", "removed", "renamed")] == [1, 1, 1]
    label = (now.root / "labels" / f"{second.id}.txt").read_text(encoding="utf-8")
    assert label.count("\n") == boxes
    two_tabs_lose_nothing(page, server, data)
    train_again(page, server)


def two_tabs_lose_nothing(page: Page, server: Server, data: Dataset) -> None:
    """The same image in two tabs: the second save is kept as a draft, and can be taken."""
    third = data.images[2].id
    address = f"{server.url}/correct?dataset={NAME}&by=light&with=none&order=file&image={third}"
    other = page.context.new_page()
    for tab in (page, other):
        tab.goto(address)
        expect(tab.locator(".place")).to_contain_text(third, timeout=PATIENT)
    for tab in (page, other):
        tab.locator(".box").first.focus()
        tab.keyboard.press("Enter")
        tab.keyboard.press("ArrowRight" if tab is page else "Delete")
        tab.keyboard.press("s")
        said = "saved as version 4" if tab is page else "corrected by somebody else meanwhile"
        expect(tab.get_by_text(re.compile(said))).to_be_visible(timeout=PATIENT)
    now = corners(server.workspace, third)
    assert len(now) == len(data.boxes(data.image(third))), "the first tab's stand"
    other.get_by_role("button", name="Take these boxes").click()
    expect(other.get_by_text("History: 5 versions")).to_be_visible(timeout=PATIENT)
    assert len(corners(server.workspace, third)) == len(now) - 1
    other.close()


def corners(workspace: Workspace, image: str) -> list[tuple[float, float, float, float]]:
    now = open_dataset(workspace, NAME)
    return [box.xyxy for box in now.boxes(now.image(image))]


def a_box_is_moved_with_the_mouse(page: Page, image: str) -> None:
    box = page.locator(".box").first.locator(".line")
    scale = pixels_of(page)
    x, y = centre(box)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 10 * scale, y, steps=5)
    page.mouse.up()
    expect(page.locator(".place")).to_contain_text("not saved yet")
    expect(page.locator(".box.chosen")).to_have_count(1)


def one_is_resized_by_keys_and_undone(page: Page) -> None:
    second = page.locator(".box").nth(1)
    second.focus()
    second.press("Enter")
    wide = width(page)
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert width(page) == pytest.approx(wide + 2, abs=0.01)
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert width(page) == pytest.approx(wide, abs=0.01)


def a_reload_loses_nothing(page: Page) -> None:
    left = page.locator(".box").first.locator(".line").get_attribute("x")
    page.reload()
    page.locator(".box").first.wait_for(timeout=PATIENT)
    expect(page.get_by_text("Boxes that were not saved before are back")).to_be_visible()
    assert page.locator(".box").first.locator(".line").get_attribute("x") == left


def one_is_drawn_with_the_mouse(page: Page) -> None:
    count = page.locator(".box").count()
    page.get_by_role("button", name="Draw", exact=True).click()
    stage = page.locator(".stage").bounding_box()
    assert stage is not None
    scale = pixels_of(page)
    page.mouse.move(stage["x"] + 2 * scale, stage["y"] + 2 * scale)
    page.mouse.down()
    page.mouse.move(stage["x"] + 14 * scale, stage["y"] + 12 * scale, steps=5)
    page.mouse.up()
    expect(page.locator(".box")).to_have_count(count + 1)
    drawn = page.locator(".box.chosen .line")
    assert float(drawn.get_attribute("width") or 0) == pytest.approx(12, abs=0.7)
    page.locator(".stage").press("Escape")


def one_is_deleted_and_one_renamed_by_keys(page: Page) -> None:
    count = page.locator(".box").count()
    page.locator(".box").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Delete")
    expect(page.locator(".box")).to_have_count(count - 1)
    first = page.locator(".box").first
    first.focus()
    page.keyboard.press("Enter")
    name = str(first.get_attribute("aria-label"))
    page.keyboard.press("1" if "no_crypt" in name else "2")
    expect(first).to_have_attribute(
        "aria-label", re.compile(": crypt," if "no_crypt" in name else ": no_crypt,")
    )


def train_again(page: Page, server: Server) -> None:
    page.get_by_role("button", name="Train again with these").click()
    page.get_by_role("heading", name="Runs", exact=True).wait_for(timeout=PATIENT)
    service = RunService(server.workspace)
    run = service.list(limit=1)[0]
    assert run.kind == "train"
    assert (run.config.dataset, run.config.dataset_version) == (NAME, 5)
    assert getattr(run.config, "weights", "") == "light"
    page.get_by_role("button", name="Cancel").first.wait_for(timeout=PATIENT)
    service.act(run.id, next(a for a in service.actions(run.id) if a.value == "cancel"))


# --- eyes -----------------------------------------------------------------------


def pixels_of(page: Page) -> float:
    """Pixels of the screen for one of the micrograph."""
    stage = page.locator(".stage").bounding_box()
    assert stage is not None
    return stage["width"] / SIZE


def centre(target: Locator) -> tuple[float, float]:
    box = target.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def width(page: Page) -> float:
    return float(page.locator(".box.chosen .line").get_attribute("width") or 0)
