"""The status page in Debian's Chromium: it updates in place, tells of silence, and is for all."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from monitor.page import render, render_main
from monitor.view import PipelineView
from tests.support.browser import (
    CHROMIUM,
    NONCE,
    Scheme,
    Served,
    chromium,
    opened,
    serving,
    violations,
)
from tests.support.views import HOSTILE, PIN, VIEWS, ui
from tests.support.views import page as consumer

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's package chromium is not installed"),
]
POLLED = 10_000  # ms: an update takes two seconds, a silence six
LARGEST = 1_000_000  # bytes
INTERACTIVE = "a, button, input, select, summary"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(consumer(PIN)) as started:
        yield started


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    found = opened(browser, served.url, 1280, "light")
    yield found
    found.close()


def behind(page: Page) -> str:
    return page.locator(".tile", has_text="Behind").first.locator("b").inner_text()


def unfold(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    width: int = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return width


def with_lag(lag: int) -> PipelineView:
    return replace(PIN, lag=lag)


def made_and_displayed(page: Page) -> float:
    """Return how long a request takes until the page is loaded, in ms."""
    page.reload()
    took: float = page.evaluate(
        "(() => { const t = performance.getEntriesByType('navigation')[0];"
        "return t.loadEventEnd - t.startTime; })()"
    )
    return took


def test_an_update_leaves_focus_selection_scroll_and_what_is_open(
    page: Page, served: Served
) -> None:
    details = page.locator("details", has_text="more samples").first
    details.locator("summary").click()
    page.locator("summary", has_text="Last commits").click()
    page.evaluate(
        "(() => { const text = document.querySelector('.samples td:last-child code').firstChild;"
        "getSelection().setBaseAndExtent(text, 1, text, 6); })()"
    )
    page.locator("summary", has_text="Files").focus()
    page.evaluate("scrollTo(0, 300); window.chart = document.querySelector('.plot canvas')")
    selected = page.evaluate("String(getSelection())")
    served.view = consumer(with_lag(4_711))
    expect(page.locator(".tile").first.locator("b")).to_have_text("4,711", timeout=POLLED)
    assert page.evaluate("String(getSelection())") == selected != ""
    assert page.evaluate("document.activeElement.textContent").startswith("Files")
    assert page.evaluate("[scrollY, chart.isConnected]") == [300, True]
    assert details.evaluate("(one) => one.open")
    folded = page.locator("details", has=page.locator("h3", has_text="Last commits"))
    assert not folded.evaluate("(one) => one.open")


def test_pipelines_that_come_and_go_come_and_go_on_the_page(page: Page, served: Served) -> None:
    served.view = VIEWS["good"]
    expect(page.locator("h2")).to_have_text(
        ["Pipelines", "pin", "geo", "user", "Gateway"], timeout=POLLED
    )
    for name in ("pin", "geo", "user"):
        page.get_by_role("heading", name=name, exact=True).scroll_into_view_if_needed()
    expect(page.locator(".plot canvas")).to_have_count(3 + 3 + 2)
    served.view = consumer()
    expect(page.locator("h2")).to_have_count(0, timeout=POLLED)
    assert page.title().startswith("? no pipeline")


def test_a_page_without_a_response_says_so_keeps_its_numbers_and_recovers(
    page: Page, served: Served
) -> None:
    number = behind(page)
    served.answering.clear()
    silence = page.get_by_role("status").filter(has_text="No response since")
    assert silence.inner_text(timeout=POLLED).endswith(": these numbers are old.")
    assert behind(page) == number
    assert page.title().startswith("✕ no response")
    served.answering.set()
    expect(silence).to_have_count(0, timeout=POLLED)
    assert page.title().startswith("✓")


def test_a_response_that_is_an_error_is_told_with_its_status(page: Page, served: Served) -> None:
    served.status = 503
    silence = page.get_by_role("status").filter(has_text="No response since")
    assert "(the response was 503)" in silence.inner_text(timeout=POLLED)


def test_a_change_of_state_is_announced_and_nothing_else(page: Page, served: Served) -> None:
    said = page.locator("#said")
    served.view = consumer(with_lag(5))
    expect(page.locator(".tile").first.locator("b")).to_have_text("5", timeout=POLLED)
    assert said.text_content() == ""
    served.view = VIEWS["broken"]
    expect(said).to_contain_text("need help", timeout=POLLED)


def test_a_hidden_page_asks_for_nothing(browser: Browser, served: Served) -> None:
    page = browser.new_page()
    page.clock.install()
    page.goto(served.url)
    with page.expect_response("**/?part=main"):
        page.clock.run_for(2_500)
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    asked = len(served.asked)
    page.clock.run_for(20_000)
    assert len(served.asked) == asked
    page.close()


@pytest.mark.parametrize("name", ["good", "broken", "ui", "empty", "standing-by", "hostile"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_and_the_page_fits_its_window(
    browser: Browser, name: str, width: int, scheme: Scheme
) -> None:
    with serving(VIEWS[name]) as served:
        page = opened(browser, served.url, width, scheme)
        unfold(page)
        assert (violations(page), overflow(page)) == ([], 0)
        page.close()


def test_axe_finds_nothing_on_a_page_without_a_response(page: Page, served: Served) -> None:
    served.answering.clear()
    page.get_by_text("No response since").wait_for(timeout=POLLED)
    assert violations(page) == []


@pytest.mark.parametrize("name", ["good", "ui"])
def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser: Browser, name: str) -> None:
    with serving(VIEWS[name]) as served:
        page = opened(browser, served.url, 1280, "light")
        visible = page.locator(INTERACTIVE).locator("visible=true").count()
        reached = []
        while True:
            page.keyboard.press("Tab")
            seen = page.evaluate(
                "(() => { const at = document.activeElement, style = getComputedStyle(at);"
                "return [at.matches('body'), at.textContent + at.name, style.outlineStyle]; })()"
            )
            if seen[0]:
                break
            reached.append(seen)
        assert len(reached) == visible
        assert {outline for _, _, outline in reached} == {"solid"}
        page.close()


def test_the_skip_link_leads_to_the_state(page: Page) -> None:
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_page_asks_only_its_own_server_and_logs_nothing(browser: Browser) -> None:
    asked, logged = [], []
    with serving(VIEWS["good"]) as served:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: logged.append(message.text))
        page.on("pageerror", lambda error: logged.append(str(error)))
        page.goto(served.url)
        page.locator("#theme").click()
        page.locator(".plot").first.hover()
        with page.expect_response("**/?part=main"):
            pass
        page.close()
    assert {url.removeprefix(served.url) for url in asked} == {"", "?part=main", "data:,"} - (
        set() if "data:," in asked else {"data:,"}
    )
    assert logged == []


def test_hostile_names_are_text(browser: Browser) -> None:
    with serving(VIEWS["hostile"]) as served:
        page = opened(browser, served.url, 390, "light")
        page.on("dialog", lambda _: pytest.fail("a name was run"))
        unfold(page)
        with page.expect_response("**/?part=main"):
            pass
        names = [name.strip() for name in HOSTILE]
        assert [text.strip() for text in page.locator(".pipeline h2").all_inner_texts()] == names
        assert page.locator("main img, main script:not([type='application/json'])").count() == 0
        assert page.locator("main").count() == 1
        assert overflow(page) == 0
        page.close()


@pytest.mark.parametrize("name", ["huge", "long", "twenty"])
def test_five_hundred_partitions_make_a_small_page_fast(browser: Browser, name: str) -> None:
    assert len(render(VIEWS[name], NONCE).encode()) < LARGEST
    with serving(VIEWS[name]) as served:
        page = opened(browser, served.url, 1280, "light")
        # The fastest of five: the machine may be busy with other tests.
        assert min(made_and_displayed(page) for _ in range(5)) < 1_000
        page.close()


def test_every_pipeline_of_twenty_with_five_hundred_partitions_shows_its_worst(
    browser: Browser,
) -> None:
    with serving(VIEWS["twenty"]) as served:
        page = opened(browser, served.url, 1280, "light")
        firsts = page.locator("table.partitions tbody tr:first-child th").all_text_contents()
        assert [f"demo.p{n}/499" in firsts for n in range(20)] == [True] * 20
        page.close()


def test_the_theme_follows_the_system_until_one_is_chosen_and_is_remembered(page: Page) -> None:
    shade = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(shade)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(shade)
    assert light != dark
    button = page.get_by_role("button", name="Theme: auto")
    button.click()
    assert page.evaluate(shade) == light
    page.reload()
    assert page.get_by_role("button", name="Theme: light").is_visible()
    assert page.evaluate(shade) == light
    page.get_by_role("button", name="Theme: light").click()
    page.emulate_media(color_scheme="light")
    assert page.evaluate(shade) == dark


def test_times_are_the_viewers_and_their_titles_utc(page: Page) -> None:
    time = page.locator("#headline + p time").last
    assert (time.inner_text(), time.get_attribute("title")) == (
        "11:32:44",
        "2026-11-27 10:32:44 UTC",
    )
    assert "Europe/Berlin" in page.locator("footer").inner_text()


def test_without_script_the_page_says_so_and_times_are_utc(
    browser: Browser, served: Served
) -> None:
    page = opened(browser, served.url, 1280, "light", script=False)
    assert page.locator("#headline + p time").last.inner_text() == "10:32:44 UTC"
    assert "reload it for newer ones" in page.locator("body").inner_text()
    assert not page.locator("#theme").is_visible()
    page.close()


def test_a_chart_says_in_words_what_it_draws_and_shows_the_value_under_the_pointer(
    page: Page,
) -> None:
    plot = page.get_by_role("img", name="Throughput: now ")
    assert "highest 478 records/s" in (plot.get_attribute("aria-label") or "")
    plot.hover()
    expect(plot.locator(".tip")).to_contain_text(" records/s at ")


def test_a_search_shows_where_the_record_is(browser: Browser) -> None:
    with serving(ui(PIN)) as served:
        served.found = (
            '{"outcome": "clean", "version": 12, "committed_at": "2026-11-27T12:00:00Z",'
            ' "unknown": [], "places": [{"table": "s3://l/pin", "file": "part-1.parquet",'
            ' "row": {"id": "<b>1</b>"}}]}'
        )
        page = opened(browser, served.url, 1280, "light")
        page.get_by_label("Partition or shard").fill("demo.pin/0")
        page.get_by_label("Offset or sequence number").fill("1500")
        page.get_by_role("button", name="Find").click()
        found = page.locator(".found")
        expect(found).to_contain_text("part-1.parquet")
        expect(found).to_contain_text("<b>1</b>")
        assert "/search?pipeline=pin&partition=demo.pin%2F0&offset=1500" in served.asked
        with page.expect_response("**/?part=main"):
            pass
        expect(found).to_contain_text("part-1.parquet")
        assert violations(page) == []
        page.close()


def test_the_part_is_the_main_element_of_the_page() -> None:
    view = VIEWS["broken"]
    assert render_main(view) in render(view, NONCE)
