"""The frame in Chromium: one width, tabs in sight, nothing that jumps, the keyboard alone, targets for fingers."""

import pytest

from tests.app.visit import EXAMPLES, FAINT, NAMELESS, SCREENS, WIDTHS, browser_tests

pytestmark = browser_tests

TABS = ("Classify", "Screenshot", "Sort", "How accurate is it?", "About")
SMALLEST_TARGET = 44  # CSS pixels, for a finger
MAX_SHIFT = 0.1
WATCH_SHIFTS = """
  window.shifts = [];
  new PerformanceObserver((list) => window.shifts.push(...list.getEntries().filter((one) => !one.hadRecentInput)
    .map((one) => one.value))).observe({ type: "layout-shift", buffered: true });
"""
# What a finger can touch and would miss: links in a text are exempt, as in WCAG 2.5.8.
SMALL = """(smallest) => [...document.querySelectorAll(
  "button, input:not([type=file]), select, textarea, summary, [role=tab], a[href], label:has(input)")]
  .filter((e) => e.checkVisibility({ visibilityProperty: true }) && !e.closest("p, li, .prose, [aria-hidden=true]"))
  .map((e) => [e.getBoundingClientRect(), e])
  .filter(([box]) => box.width > 1 && Math.min(box.width, box.height) < smallest - 0.5)
  .map(([box, e]) => `${Math.round(box.width)}x${Math.round(box.height)} ${e.outerHTML.slice(0, 90)}`)"""
# Edges of what can be used that hardly differ from what is around them: [contrast, html].
PALE_EDGES = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const light = (css) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [red, green, blue] = [r, g, b].map((c) => linear(c / 255));
    return a < 255 ? null : 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (e) => { for (; e; e = e.parentElement) {
    const found = light(getComputedStyle(e).backgroundColor); if (found !== null) return found; } return 1; };
  const fields = "input:not([type=file]), textarea, button.quiet, [data-pick], #site-actions > *";
  const seen = (e) => e.checkVisibility({ visibilityProperty: true });
  const bare = (e) => parseFloat(getComputedStyle(e).borderTopWidth) === 0;
  return [...document.querySelectorAll(fields)].filter(seen).map((e) => {
    let edged = e;
    for (let up = 0; up < 4 && bare(edged); up += 1) edged = edged.parentElement;
    const [line, around] = [light(getComputedStyle(edged).borderTopColor) ?? -1, ground(edged.parentElement)];
    const ratio = line < 0 ? 1 : (Math.max(line, around) + 0.05) / (Math.min(line, around) + 0.05);
    return [ratio, e.outerHTML.slice(0, 90)];
  }).filter(([ratio]) => ratio < 3);
}"""


def test_the_checks_of_names_and_contrast_notice_what_is_wrong(browser):
    page = browser.new_page()
    page.set_content("<button></button><button>Save</button><p style='color:#aaa'>pale</p>")
    assert page.evaluate(NAMELESS) == ["<button></button>"]
    assert [text.split()[0] for text in page.evaluate(FAINT)] == ["pale"]
    page.set_content("<input style='border:1px solid #ddd; width:20px; height:20px'>")
    assert len(page.evaluate(SMALL, SMALLEST_TARGET)) == len(page.evaluate(PALE_EDGES)) == 1
    page.close()


@pytest.mark.parametrize("width", (*WIDTHS, 768, 900))
def test_every_tab_is_in_sight_and_as_wide_as_the_others(browser, address, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(address)
    page.wait_for_selector("#classify-answer .message")
    assert [tab.inner_text() for tab in page.get_by_role("tab").all() if tab.is_visible()] == list(TABS)
    widths = set()
    for name in TABS:
        page.get_by_role("tab", name=name, exact=True).click()
        page.wait_for_timeout(150)
        widths.add(page.locator(".tabs").first.bounding_box()["width"])
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0, f"{name} is cut off by {over} pixels"
    assert len(widths) == 1 and widths.pop() > 0.8 * width
    page.close()


@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_jumps_while_the_page_loads_answers_and_changes_tabs(browser, address, screen):
    context = browser.new_context(**SCREENS[screen])
    page = context.new_page()
    page.add_init_script(WATCH_SHIFTS)
    page.goto(address)
    page.wait_for_selector("#classify-answer .message")
    page.wait_for_timeout(500)
    page.set_input_files("#classify-image input[type=file]", str(EXAMPLES / "casual_shoes.jpg"))
    page.wait_for_selector("#classify-answer .answer")
    for name in TABS:
        page.get_by_role("tab", name=name, exact=True).click()
        page.wait_for_timeout(400)
    shift = sum(page.evaluate("window.shifts"))
    context.close()
    print(f"layout shift {screen} {shift:.3f}")
    assert shift <= MAX_SHIFT


def test_everything_can_be_touched_and_seen(visit):
    if visit.screen != "phone":
        pytest.skip("a mouse is more exact than a finger")
    visit.give("#classify-image", EXAMPLES / "casual_shoes.jpg")
    visit.see("#classify-answer .answer")
    visit.page.get_by_role("button", name="Wrong?").click()
    for name in TABS:
        visit.open(name)
        visit.page.wait_for_timeout(400)
        assert visit.page.evaluate(SMALL, SMALLEST_TARGET) == [], name
        for colors in ("light", "dark"):
            visit.page.emulate_media(color_scheme=colors)
            visit.page.wait_for_timeout(350)
            assert visit.page.evaluate(PALE_EDGES) == [], name


def test_tabs_follow_the_arrow_keys_and_escape_closes_a_dropdown(visit):
    if visit.screen == "phone":
        pytest.skip("a phone has no keyboard")
    visit.page.get_by_role("tab", name="Classify").focus()
    visit.page.keyboard.press("ArrowRight")
    assert visit.page.evaluate("document.activeElement.id") == "tab-screenshot-button"
    assert visit.page.locator("#tab-screenshot").is_visible()
    outline = visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    visit.page.keyboard.press("End")
    assert visit.page.locator("#tab-about").is_visible()
    visit.page.keyboard.press("ArrowRight")
    assert visit.page.locator("#tab-classify").is_visible()
    visit.page.get_by_label("Model", exact=True).click()
    visit.page.wait_for_selector("[role=option]")
    visit.page.keyboard.press("Escape")
    visit.page.wait_for_selector("[role=option]", state="detached")


def test_the_accuracy_is_said_in_sentences_with_the_details_folded(visit):
    visit.open("How accurate is it?")
    said = visit.see(".accuracy")
    assert "Clothing, 141 types" in said and "“Ready to publish” is right 99 times in 100" in said
    visit.look("accuracy")
    visit.axe()
    visit.page.get_by_role("button", name="All scores").click()
    visit.see(".leaderboard >> nth=0")
    rows = visit.page.locator(".leaderboard:has(.charts) .scores tbody tr")
    assert visit.page.locator(".whisker").count() == 2 * rows.count()
    assert "used here for photos" in visit.page.inner_text(".leaderboard >> nth=0")
    visit.page.get_by_role("button", name="Figures").click()
    visit.page.wait_for_selector(".figures img >> nth=2")
    visit.look("accuracy_details")
    visit.axe()


def test_about_says_what_is_kept_and_shows_the_models_cards(visit):
    visit.open("About")
    assert "deleted" in visit.see("#about-page")
    visit.see(".model-card")
    visit.look("about")
    visit.axe()
