"""The editor of boxes by itself in a real Chromium: what hands do, and what it sends back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from msip_core.boxes import Box, Detection
from pages.correct import editor
from tests.browser.conftest import PATIENCE

ORIGIN = "http://editor.test/"
SIZE = 200  # pixels of the micrograph, shown as 400 of the screen
SCALE = 2
# A crypt of 40 x 40 at (20, 20), and a no_crypt of 60 x 40 at (100, 100).
BOXES = (Box(cls=0, x1=20, y1=20, x2=60, y2=60), Box(cls=1, x1=100, y1=100, x2=160, y2=140))
_PAGE = f"""<!doctype html><meta charset="utf-8"><body style="margin:0"><div id="host"></div>
<script type="module">
  import editor from "/editor.js";
  const root = document.getElementById("host").attachShadow({{ mode: "open" }});
  root.innerHTML = `<style>:host {{ display: block; width: {SIZE * SCALE}px; }}
    {editor._part("editor.css")}</style>{editor._part("editor.html")}`;
  window.sent = [];
  window.give = (data) => editor({{ data, parentElement: root,
    setTriggerValue: (name, value) => window.sent.push(value) }});
  window.ready = true;
</script>"""


def shown(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "place": "wells:2026", "image": "a", "url": "/picture.png", "size": (SIZE, SIZE),
        "classes": ("crypt", "no_crypt"), "boxes": BOXES, "suggestions": (), "base": 1, "seen": 1,
        "where": "1 of 3: a", "has_previous": False, "has_next": True, **changes,
    }  # fmt: skip
    return {**editor.Shown(**fields).as_data(), "key": "box-editor"}


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 800, "height": 900})
    context.set_default_timeout(PATIENCE)
    tab = context.new_page()
    tab.route(f"{ORIGIN}**", _serve)
    yield tab
    context.close()


def _serve(route: Route) -> None:
    if route.request.url.endswith("/editor.js"):
        text = editor.SCRIPT
        route.fulfill(body=text, content_type="text/javascript")
    elif route.request.url == ORIGIN:
        route.fulfill(body=_PAGE, content_type="text/html")
    else:
        route.fulfill(status=404, body="")


@pytest.fixture
def page(tab: Page) -> Page:
    """A fresh editor, nothing kept."""
    load(tab)
    tab.evaluate("sessionStorage.clear()")
    load(tab)
    return tab


def load(tab: Page) -> None:
    tab.goto(ORIGIN)
    tab.wait_for_function("window.ready")


def give(page: Page, **changes: Any) -> None:
    page.evaluate("data => window.give(data)", shown(**changes))


def sent(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate("window.sent")
    return found


def corners(page: Page) -> list[tuple[int, ...]]:
    """Class and corners of all boxes, as they would be sent."""
    page.keyboard.press("Control+s")
    return [
        tuple(round(box[k]) for k in ("cls", "x1", "y1", "x2", "y2"))
        for box in sent(page)[-1]["boxes"]
    ]


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    """A pixel of the micrograph on the screen."""
    stage = page.locator(".stage").bounding_box()
    assert stage is not None
    return stage["x"] + x * SCALE, stage["y"] + y * SCALE


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*at(page, *start))
    page.mouse.down()
    page.mouse.move(*at(page, *end), steps=4)
    page.mouse.up()


FIRST, SECOND = (0, 20, 20, 60, 60), (1, 100, 100, 160, 140)


# --- by mouse -------------------------------------------------------------------


def test_a_box_is_moved_and_stops_at_the_border(page: Page) -> None:
    give(page)
    drag(page, (40, 40), (55, 35))
    assert corners(page) == [(0, 35, 15, 75, 55), SECOND]
    drag(page, (55, 35), (-50, 35))
    assert corners(page) == [(0, 0, 15, 40, 55), SECOND]


def test_a_handle_changes_the_size_and_may_be_pulled_over_the_other_side(page: Page) -> None:
    give(page)
    page.mouse.click(*at(page, 40, 40))
    drag(page, (60, 60), (80, 90))
    assert corners(page) == [(0, 20, 20, 80, 90), SECOND]
    drag(page, (20, 55), (100, 55))  # the left side beyond the right one
    assert corners(page) == [(0, 80, 20, 100, 90), SECOND]


def test_free_ground_is_drawn_on_and_a_click_there_lets_go(page: Page) -> None:
    give(page)
    page.locator("[data-class='1']").click()
    drag(page, (120, 20), (180, 60))
    expect(page.locator(".box.chosen")).to_have_count(1)
    page.mouse.click(*at(page, 30, 150))
    expect(page.locator(".box.chosen")).to_have_count(0)
    drag(page, (30, 150), (31, 151))  # too small to be meant
    assert corners(page) == [FIRST, SECOND, (1, 120, 20, 180, 60)]


def test_with_the_tool_a_box_is_drawn_inside_another(page: Page) -> None:
    give(page)
    page.get_by_role("button", name="Draw", exact=True).click()
    drag(page, (110, 110), (130, 130))
    assert corners(page) == [FIRST, SECOND, (0, 110, 110, 130, 130)]


def test_an_enlarged_picture_is_drawn_on_where_the_hand_is(page: Page) -> None:
    give(page)
    page.get_by_role("button", name="Larger").click()
    page.get_by_role("button", name="Larger").click()  # 2.25 times, about the middle
    page.locator(".stage").focus()
    shift = SIZE / 2 - SIZE / 2.25 / 2
    start, end = ((shift + x / 2.25) for x in (20, 80))
    drag(page, (20, 20), (80, 80))
    x1, x2 = round(start), round(end)
    assert corners(page) == [FIRST, SECOND, (0, x1, x1, x2, x2)]
    page.locator(".stage").press("0")
    expect(page.locator(".level")).to_have_text("100 %")


# --- by keyboard alone ----------------------------------------------------------


def test_everything_can_be_done_by_keys(page: Page) -> None:
    give(page)
    page.locator(".stage").focus()
    page.keyboard.press("Tab")
    expect(page.locator(".box").first).to_be_focused()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Shift+ArrowLeft", "2"):
        page.keyboard.press(key)
    assert corners(page) == [(1, 22, 21, 61, 61), SECOND]
    page.keyboard.press("Escape")
    page.keyboard.press("n")  # in the middle, as large as the middle one of those there
    assert corners(page)[2] == (1, 70, 80, 130, 120)
    page.keyboard.press("Delete")
    page.keyboard.press("Delete")
    assert corners(page) == [(1, 22, 21, 61, 61)]


def test_steps_are_undone_and_done_again(page: Page) -> None:
    give(page)
    page.locator(".box").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Delete")
    page.keyboard.press("Control+z")
    assert corners(page) == [(0, 21, 20, 61, 60), SECOND]
    page.keyboard.press("Control+Shift+Z")
    assert corners(page) == [SECOND]
    page.get_by_role("button", name="Back to what is saved").click()
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Undo").click()
    assert corners(page) == [SECOND]


def test_without_a_chosen_box_arrows_go_from_image_to_image(page: Page) -> None:
    give(page)
    page.locator(".stage").press("ArrowLeft")  # there is none before it
    page.locator(".stage").press("ArrowRight")
    (gone,) = sent(page)
    assert (gone["to"], gone["boxes"], gone["image"]) == ("next", None, "a")
    page.locator(".box").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    saved = sent(page)[-1]
    assert (saved["to"], len(saved["boxes"]), saved["seen"]) == ("next", 2, 1)


def test_boxes_say_what_they_are(page: Page) -> None:
    give(page)
    names = [box.get_attribute("aria-label") for box in page.locator(".box").all()]
    assert names == [
        "Box 1: crypt, 40 × 40 pixels at 20, 20",
        "Box 2: no_crypt, 60 × 40 pixels at 100, 100",
    ]
    page.locator(".box").first.focus()
    page.keyboard.press("Delete")
    expect(page.locator(".said")).to_have_text("Box deleted")


# --- suggestions ----------------------------------------------------------------


def suggestion(x: float, cls: int = 0, side: float = 40) -> Detection:
    return Detection(cls=cls, x1=x, y1=x, x2=x + side, y2=x + side, score=0.8)


def test_suggestions_that_are_not_there_yet_are_accepted_by_click_and_key(page: Page) -> None:
    known, new, other = suggestion(22), suggestion(150), suggestion(60, 1, 30)
    give(page, suggestions=(known, new, other))
    expect(page.locator(".suggested")).to_have_count(2)  # the first is there already
    page.mouse.click(*at(page, 170, 170))
    expect(page.locator(".suggested")).to_have_count(1)
    page.locator(".suggested").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".suggested")).to_have_count(0)
    assert corners(page) == [FIRST, SECOND, (0, 150, 150, 190, 190), (1, 60, 60, 90, 90)]


def test_all_suggestions_are_accepted_in_one_step(page: Page) -> None:
    give(page, suggestions=(suggestion(150), suggestion(60, 1, 30)))
    page.get_by_role("button", name="Accept all 2 suggestions").click()
    assert len(corners(page)) == 4
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".box")).to_have_count(2)


def test_over_a_box_of_another_class_only_the_line_means_the_suggestion(page: Page) -> None:
    give(page, suggestions=(suggestion(22, cls=1, side=36),))
    page.mouse.click(*at(page, 40, 40))
    expect(page.locator(".suggested")).to_have_count(1)
    expect(page.locator(".box.chosen")).to_have_count(1)
    page.locator(".stage").press("Escape")
    page.mouse.click(*at(page, 22.5, 40))
    assert corners(page) == [(1, 20, 20, 60, 60), SECOND], "its class, and no second box"


# --- nothing is lost ------------------------------------------------------------


def test_a_reload_brings_unsaved_boxes_back_until_they_are_saved(page: Page) -> None:
    give(page)
    page.locator(".box").first.focus()
    page.keyboard.press("Delete")
    load(page)
    give(page)
    expect(page.locator(".box")).to_have_count(1)
    expect(page.locator(".notice")).to_contain_text("Boxes that were not saved before are back")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Save", exact=True).click()
    token = sent(page)[-1]["token"]
    give(page, boxes=BOXES[1:], base=2, seen=2, ack=token)
    expect(page.locator(".notice")).to_be_hidden()
    load(page)
    give(page, boxes=BOXES[1:], base=2, seen=2)
    expect(page.locator(".box")).to_have_count(1)
    expect(page.locator(".notice")).to_be_hidden()


def test_a_save_that_failed_leaves_the_boxes_where_they_are(page: Page) -> None:
    give(page)
    page.locator(".box").first.focus()
    page.keyboard.press("Delete")
    page.keyboard.press("s")
    give(page)  # the page is drawn anew, without having dealt with it
    expect(page.locator(".box")).to_have_count(1)
    expect(page.locator(".place")).to_contain_text("not saved yet")


def test_other_suggestions_do_not_touch_what_is_being_done(page: Page) -> None:
    give(page)
    page.locator(".box").first.focus()
    page.keyboard.press("ArrowRight")
    give(page, suggestions=(suggestion(150),))
    expect(page.locator(".box").first).to_be_focused()
    assert corners(page) == [(0, 21, 20, 61, 60), SECOND]


def test_who_is_behind_is_told_and_sends_the_version_they_have_seen(page: Page) -> None:
    give(page)
    page.locator(".box").first.focus()
    page.keyboard.press("Delete")
    give(page, boxes=(), base=2, seen=2)  # somebody else has saved this image
    expect(page.locator(".notice")).to_contain_text("Somebody else has corrected this image")
    page.keyboard.press("s")
    late = sent(page)[-1]
    assert (late["seen"], len(late["boxes"])) == (1, 1)
    give(page, boxes=(), base=2, seen=2, ack=late["token"])
    expect(page.locator(".box")).to_have_count(0)


def test_who_has_changed_nothing_sees_the_newest_boxes(page: Page) -> None:
    give(page)
    give(page, boxes=BOXES[:1], base=2, seen=2)
    expect(page.locator(".box")).to_have_count(1)
    expect(page.locator(".notice")).to_be_hidden()


# --- fingers --------------------------------------------------------------------


def test_two_fingers_zoom_and_draw_nothing(page: Page) -> None:
    give(page)
    fingers = """(stage, [a, b, c]) => {
        const to = (type, id, [x, y]) => stage.dispatchEvent(new PointerEvent(type, {
            pointerId: id, pointerType: "touch", clientX: x, clientY: y, bubbles: true,
            isPrimary: id === 7 }));
        stage.setPointerCapture = () => {};
        to("pointerdown", 7, a); to("pointerdown", 8, b);
        to("pointermove", 8, c);
        to("pointerup", 8, c); to("pointerup", 7, a);
    }"""
    points = [at(page, 80, 80), at(page, 120, 80), at(page, 160, 80)]
    page.locator(".stage").evaluate(fingers, points)
    expect(page.locator(".level")).to_have_text("200 %")  # twice as far from each other
    expect(page.locator(".box")).to_have_count(2)
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_disabled()
