"""The page in a real browser: what a user sees, clicks and types."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator

import pytest
from serve.conftest import AVI, BROKEN, CHANGED, GONE

from bodvcl.search.space import Space
from bodvcl.serve.app import App
from bodvcl.serve.server import Server

api = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def browser() -> Iterator:
    api.expect.set_options(timeout=20_000)
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(app: App) -> Iterator[str]:
    with Server("127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.answer, args=(app.respond,))
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


@pytest.fixture
def page(browser, url) -> Iterator:
    """An empty tab that is 1000 pixels wide. At its end nothing was asked of another server, and the console
    holds no error but that of the broken video, or of a server that has ended."""
    context = browser.new_context(viewport={"width": 1000, "height": 800}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(20_000)
    errors: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.on(
        "console",
        lambda line: errors.append(f"{line.text} {line.location['url']}") if line.type == "error" else None,
    )
    yield page
    context.close()
    assert [one for one in asked if not one.startswith("http://127.0.0.1:")] == []
    assert [one for one in errors if not re.search(rf"/(still|video)/{BROKEN}\.|DISCONNECTED", one)] == []


def rows(page) -> list[int]:
    """Numbers of the rows on the page, in order."""
    return page.locator(".clip").evaluate_all("all => all.map(one => Number(one.dataset.row))")


def until(page, condition: str) -> None:
    """Wait for a condition in JavaScript."""
    page.evaluate(
        "() => new Promise((done, fail) => { const end = Date.now() + 20000; (function look() {"
        f" if ({condition}) done(); else if (Date.now() > end) fail(new Error('in vain'));"
        " else setTimeout(look, 20); })(); })"
    )


def until_rows(page, expected: list[int]) -> None:
    until(
        page,
        "JSON.stringify([...document.querySelectorAll('.clip')].map(one => Number(one.dataset.row)))"
        f" === '{str(expected).replace(' ', '')}'",
    )


def near(space: Space, row: int, motion: float) -> list[int]:
    return [hit.row for hit in space.near_row(row, motion, 24)]


def test_clicking_leads_to_neighbours_and_back(page, url, space):
    page.goto(url)
    until_rows(page, list(range(12)))
    page.locator(".clip[data-row='5']").click()
    until_rows(page, near(space, 5, 0.5))
    api.expect(page.locator("h1")).to_have_text("look1/move1.mp4")
    api.expect(page.get_by_role("status")).to_contain_text("11 neighbours")
    second = rows(page)[1]
    page.locator(".clip").nth(1).click()
    until_rows(page, near(space, second, 0.5))
    assert page.url == f"{url}#row={second}&motion=0.5"
    page.go_back()
    until_rows(page, near(space, 5, 0.5))
    page.go_back()
    until_rows(page, list(range(12)))
    assert not page.locator("#chosen").is_visible()
    page.go_forward()
    until_rows(page, near(space, 5, 0.5))
    page.get_by_role("link", name="All videos").click()
    until_rows(page, list(range(12)))


def test_the_slider_changes_the_neighbours_at_once_and_the_address_can_be_shared(page, url, space):
    page.goto(f"{url}#row=6&motion=0")
    until_rows(page, near(space, 6, 0))
    scores = page.locator(".clip").first.locator(".scores")
    api.expect(scores).to_contain_text(f"{space.near_row(6, 0, 1)[0].appearance:.2f}")
    page.get_by_role("slider").fill("1")
    until_rows(page, near(space, 6, 1))
    assert near(space, 6, 0)[:3] != near(space, 6, 1)[:3]
    assert page.url.endswith("#row=6&motion=1")
    page.get_by_role("button", name="appearance").click()
    until_rows(page, near(space, 6, 0))
    page.reload()
    until_rows(page, near(space, 6, 0))


def test_the_keyboard_alone_is_enough(page, url, space):
    page.goto(url)
    until_rows(page, list(range(12)))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    api.expect(page.locator(".clip[data-row='1']")).to_be_focused()
    page.keyboard.press("ArrowDown")
    row = int(page.locator(".clip:focus").get_attribute("data-row"))
    assert row > 2, "a line further down"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    until_rows(page, near(space, 1, 0.5))
    for key, motion in [("m", 1), ("[", 0.9), ("a", 0), ("]", 0.1)]:
        page.keyboard.press(key)
        until_rows(page, near(space, 1, motion))
        assert float(page.get_by_role("slider").input_value()) == pytest.approx(motion)
    page.keyboard.press("?")
    api.expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    api.expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("Escape")
    until_rows(page, list(range(12)))
    page.keyboard.press("/")
    page.keyboard.type("look1 am")
    until_rows(page, [])
    assert "text=look1+am" in page.url, "letters in the box are text, not keys"
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    until_rows(page, [4, 5, 6, 7])
    page.keyboard.press("ArrowDown")
    api.expect(page.locator(".clip[data-row='4']")).to_be_focused()


def test_labels_filter_and_what_is_empty_is_said(page, url):
    page.goto(url)
    page.get_by_label("look", exact=True).select_option("look 2")
    until_rows(page, [8, 9, 10, 11])
    page.get_by_label("move", exact=True).select_option("move 0")
    until_rows(page, [8])
    page.get_by_role("searchbox").fill("look0")
    api.expect(page.get_by_role("status")).to_have_text("No video has these words and labels.")


def test_a_video_that_no_browser_plays_is_played(page, url):
    page.goto(f"{url}#row={AVI}")
    player = "document.getElementById('player')"
    until(page, f"{player}.currentTime > 0.2 && {player}.getVideoPlaybackQuality().totalVideoFrames > 2")
    assert page.evaluate(f"[{player}.videoWidth, {player}.videoHeight]") == [80, 48]


def test_a_clip_plays_under_the_pointer_and_while_it_is_selected(page, url):
    page.goto(url)
    clip = page.locator(".clip[data-row='2']")
    clip.hover()
    until(page, "document.querySelector(\".clip[data-row='2'] video\")?.currentTime > 0.1")
    page.mouse.move(0, 0)
    api.expect(clip.locator("video")).to_have_count(0)
    clip.focus()
    until(page, "document.querySelector(\".clip[data-row='2'] video\")?.currentTime > 0.1")
    page.keyboard.press("p")
    until(
        page, "[...document.querySelectorAll('.clip video')].filter(one => one.currentTime > 0.1).length > 4"
    )
    page.keyboard.press("p")
    api.expect(page.locator(".clip video")).to_have_count(1)


def test_nothing_plays_by_itself_where_motion_is_unwelcome(page, url):
    page.emulate_media(reduced_motion="reduce")
    page.goto(f"{url}#row=2")
    until(page, "document.getElementById('player').readyState >= 2")
    assert page.evaluate("document.getElementById('player').paused")
    page.locator(".clip").first.hover()
    page.locator(".clip").first.focus()
    assert page.locator(".clip video").count() == 0


def test_videos_that_cannot_be_shown_say_why_and_the_others_are_shown(page, url):
    page.goto(url)
    api.expect(page.locator(f".clip[data-row='{GONE}']")).to_contain_text("the file is no longer there")
    api.expect(page.locator(f".clip[data-row='{BROKEN}']")).to_contain_text("not readable as a video")
    api.expect(page.locator(f".clip[data-row='{CHANGED}']")).to_contain_text("has changed since")
    until(page, "[...document.images].filter(one => one.naturalWidth === 80).length === 10")
    page.goto(f"{url}#row={BROKEN}")
    api.expect(page.locator("#problem")).to_contain_text("not readable as a video")


def test_an_address_without_a_row_is_explained(page, url):
    errors = page.goto(url)
    assert errors.status == 200
    page.evaluate("location.hash = '#row=1&motion=7'")
    api.expect(page.locator("h1")).to_have_text("look0/move1.avi")
    assert page.get_by_role("slider").input_value() == "0.5"


def test_dark_and_light(page, url):
    def background() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    page.goto(url)
    until_rows(page, list(range(12)))
    light = background()
    page.emulate_media(color_scheme="dark")
    dark = background()
    assert dark != light
    page.keyboard.press("d")
    assert background() == light
    page.reload()
    until_rows(page, list(range(12)))
    assert background() == light, "the choice is kept"
    page.get_by_role("button", name="Dark").click()
    assert background() == dark


def test_it_fits_a_phone(page, url):
    page.set_viewport_size({"width": 360, "height": 700})
    for address in (url, f"{url}#row=3"):
        page.goto(address)
        page.locator(".clip").first.wait_for()
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 360


def test_a_server_that_has_ended_is_said(page, app):
    with Server("127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.answer, args=(app.respond,))
        thread.start()
        page.goto(f"{server.url}")
        page.locator(".clip").first.wait_for()
        page.context.set_offline(True)
        server.shutdown()
        thread.join()
    page.evaluate("location.hash = '#row=2'")
    api.expect(page.get_by_role("status")).to_contain_text("Is bodvcl serve still running?")
