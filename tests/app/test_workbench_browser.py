"""The tab Sort in Chromium: one list for a batch and its review, decided by taps and keys, kept in this browser."""

import zipfile

import pytest
from PIL import Image

from tests.app.visit import EXAMPLES, SCREENS, Visit, browser_tests
from tests.app.workbench_visit import (
    COUNTS,
    DECIDED,
    add,
    card,
    cards,
    drawn,
    give,
    is_shown,
    names,
    open_sort,
    settled,
    show,
    wait_for,
)
from tests.drawings import draw, encode
from tests.page_server import serving, two_models

pytestmark = browser_tests

SHOES, SHIRT, DRESS = EXAMPLES / "casual_shoes.jpg", EXAMPLES / "tshirts.jpg", EXAMPLES / "dresses.jpg"
SCREENSHOT = EXAMPLES / "screenshot.jpg"  # not a product: unknown

# What is cut off at a side of the window: [html, …]
OUTSIDE = """() => [...document.querySelectorAll("#workbench :is(button, p, img, select, input)")]
  .filter((e) => e.checkVisibility() && e.getBoundingClientRect().width)
  .filter((e) => { const box = e.getBoundingClientRect(); return box.left < 0 || box.right > innerWidth; })
  .map((e) => e.outerHTML.slice(0, 100))"""
WIDTH = "(image) => image.decode().then(() => image.naturalWidth)"


@pytest.fixture
def mixed(tmp_path):
    """Photos, a damaged file with a hostile name, and a zip with what systems leave behind."""
    odd = tmp_path / "=1+1 ${alert(1)} <img src=x onerror=alert(1)>.jpg"
    odd.write_bytes((EXAMPLES / "watches.jpg").read_bytes())
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(SHIRT.read_bytes()[:1500])
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(DRESS, "größe/dress.jpg")
        archive.writestr("__MACOSX/._dress.jpg", b"x")
        archive.writestr("Thumbs.db", b"x")
        archive.writestr("größe/.DS_Store", b"x")
    return [SHOES, SHIRT, SCREENSHOT, odd, broken, tmp_path / "more.zip"]


def test_files_and_zips_become_one_list_with_filters_search_order_and_two_layouts(visit, mixed):
    open_sort(visit)
    visit.look("sort_empty")
    visit.axe()
    counts = add(visit, mixed)
    assert (counts["all"], counts["unknown"], counts["error"]) == (6, 1, 1)
    assert "größe/dress.jpg" in names(visit) and mixed[3].name in names(visit)
    card(visit, "broken.jpg").get_by_text("We couldn't read this file.").wait_for()
    headings = visit.page.locator(".wb-group h2").all_inner_texts()
    assert headings == sorted(headings, key=str.lower) and any(text.startswith("T-shirts") for text in headings)
    visit.look("sort")
    visit.axe()

    show(visit, "Couldn't be read")
    assert names(visit) == ["broken.jpg"]
    show(visit, "Not sure")
    assert names(visit) == ["screenshot.jpg"]
    show(visit, "All")
    visit.page.get_by_label("Search", exact=True).fill("t-shirt")
    assert names(visit) == ["tshirts.jpg"]
    visit.page.get_by_label("Search", exact=True).fill("")
    visit.page.get_by_label("In groups").uncheck()
    visit.page.get_by_label("Sort by").select_option("file")
    assert names(visit) == sorted(names(visit), key=str.lower)
    visit.page.get_by_label("Sort by").select_option("least")
    assert names(visit)[0] == "broken.jpg"
    visit.page.get_by_role("button", name="Table").click()
    assert cards(visit).count() == 6
    visit.look("sort_table")
    visit.axe()


@pytest.mark.parametrize("width", [768, 820, 900, 1024, 1025])
def test_nothing_is_cut_off_between_phone_and_desktop(browser, address, mixed, width):
    context = browser.new_context(viewport={"width": width, "height": 900})
    visit = Visit(context.new_page(), address, "desktop")
    open_sort(visit)
    add(visit, mixed[:3])
    for layout in ("Grid", "Table"):
        visit.page.get_by_role("button", name=layout).click()
        assert visit.page.evaluate(OUTSIDE) == []
    columns = cards(visit).first.evaluate("(card) => getComputedStyle(card).gridTemplateColumns.split(' ')")
    assert len(columns) == (2 if width <= 1024 else 3)  # cards up to 1024 pixels, then lines of a table
    context.close()


def test_a_tap_decides_and_every_step_can_be_undone(visit, tmp_path):
    open_sort(visit, "plain")
    paths = drawn(tmp_path, 6)
    add(visit, paths)
    bar = visit.page.locator(".wb-bar")
    bar.get_by_text("0 of 6 checked").wait_for()
    first = card(visit, "photo_00.jpg")
    candidate = first.locator("[data-act=pick]").last
    label = candidate.get_attribute("data-value")
    candidate.click()
    first.get_by_text("by you").wait_for()
    assert candidate.get_attribute("aria-pressed") == "true"
    bar.get_by_text("1 of 6 checked").wait_for()
    first.get_by_role("button", name="Other…").click()
    visit.page.get_by_label("Search for a category").fill("sungl")
    visit.axe()
    visit.page.keyboard.press("Enter")
    assert first.locator(".wb-category").inner_text() == "Sunglasses"
    card(visit, "photo_01.jpg").get_by_role("button", name="Not usable").click()
    for name in ("photo_02.jpg", "photo_03.jpg"):
        card(visit, name).get_by_role("checkbox").check()
    bar.get_by_text("2 selected").wait_for()
    visit.look("sort_selected")
    visit.axe()
    bar.get_by_role("button", name="Choose a category").click()
    visit.page.get_by_role("option", name="Backpacks").click()
    bar.get_by_text("4 of 6 checked").wait_for()
    undo = bar.get_by_role("button", name="Undo")
    for left in ("2 of 6", "1 of 6", "1 of 6", "0 of 6"):
        undo.click()
        bar.get_by_text(f"{left} checked").wait_for()
    assert undo.is_disabled() and label


def test_a_whole_group_is_accepted_with_one_tap(visit, tmp_path):
    paths = [tmp_path / f"shoe_{number}.jpg" for number in range(5)]
    for number, path in enumerate(paths):
        image = Image.open(SHOES)
        image.crop((number, 0, image.width, image.height)).save(path, quality=95)
    open_sort(visit, "plain")
    add(visit, paths)
    button = visit.page.get_by_role("button", name="Accept all 5 Casual Shoes")
    button.click()
    visit.page.locator(".wb-bar").get_by_text("5 of 5 checked").wait_for()
    assert not button.is_visible()
    visit.look("sort_accepted")
    visit.axe()
    visit.page.get_by_role("button", name="Undo").click()
    visit.page.locator(".wb-bar").get_by_text("0 of 5 checked").wait_for()
    assert button.is_visible()


def test_keys_at_typing_speed_decide_and_none_is_lost(visit, tmp_path):
    if visit.screen == "phone":
        pytest.skip("a phone has no keyboard")
    open_sort(visit, "plain")
    add(visit, drawn(tmp_path, 56))  # more than a page
    visit.page.evaluate("snapshelf.workbench.view.change({ isGrouped: false, sort: 'file' })")
    keys = "a1x2a" * 4
    visit.page.evaluate("snapshelf.workbench.view.goTo(snapshelf.workbench.view.view.order[40])")
    for key in keys:
        visit.page.keyboard.press(key)
        visit.page.wait_for_timeout(50)
    assert visit.page.evaluate(DECIDED) == len(keys)
    visit.page.locator(".wb-bar").get_by_text("20 of 56 checked").wait_for()
    ready = visit.page.evaluate("""() => { const { view, rowsOf, current } = snapshelf.workbench.view;
      const next = view.order[view.order.indexOf(current().id) + 1];
      return Boolean(snapshelf.workbench.cards.address(rowsOf([next])[0], "image")); }""")
    assert ready
    for _ in range(20):
        visit.page.keyboard.press("u")
    assert visit.page.evaluate(DECIDED) == 0


def test_a_key_that_is_held_down_decides_once_and_single_keys_can_be_turned_off(visit, tmp_path):
    if visit.screen == "phone":
        pytest.skip("a phone has no keyboard")
    open_sort(visit, "plain")
    add(visit, drawn(tmp_path, 4))
    cards(visit).first.focus()
    visit.page.keyboard.down("a")
    visit.page.keyboard.down("a")  # playwright sends it as a repetition
    visit.page.keyboard.up("a")
    assert visit.page.evaluate(DECIDED) == 1
    visit.page.get_by_label("Search", exact=True).press_sequentially("axl")
    visit.page.get_by_label("Search", exact=True).fill("")
    assert visit.page.evaluate(DECIDED) == 1
    visit.page.locator(".wb-keys summary").click()
    visit.axe()
    visit.page.get_by_label("Use single keys").uncheck()
    cards(visit).nth(1).focus()
    visit.page.keyboard.press("a")
    assert visit.page.evaluate(DECIDED) == 1
    visit.page.keyboard.press("Control+z")
    assert visit.page.evaluate(DECIDED) == 0


def test_a_photo_is_seen_large_beside_similar_ones_and_decided_there(visit, tmp_path):
    paths = [tmp_path / f"shoe_{number}.jpg" for number in range(3)]
    for number, path in enumerate(paths):
        image = Image.open(SHOES)
        image.crop((number, 0, image.width, image.height)).save(path, quality=95)
    open_sort(visit, "plain")
    add(visit, [*paths, DRESS])
    visit.page.get_by_role("button", name="Enlarge shoe_0.jpg").click()
    large = visit.page.locator("dialog.wb-large")
    beside = large.locator(".wb-similar .wb-enlarge").evaluate_all("all => all.map((e) => e.ariaLabel)")
    assert set(beside[:2]) == {"Enlarge shoe_1.jpg", "Enlarge shoe_2.jpg"}
    assert large.locator(".wb-whole").evaluate("(image) => image.naturalWidth") > 300
    visit.look("sort_large")
    visit.axe()
    before = large.locator(".wb-file").inner_text()
    large.locator("[data-act=pick]").first.click()
    assert large.locator(".wb-file").inner_text() != before
    if visit.screen == "desktop":
        for key in "aaa":
            visit.page.keyboard.press(key)
        assert is_shown(visit, "All checked") and visit.page.evaluate(DECIDED) == 4
    visit.page.keyboard.press("Escape")
    assert not large.is_visible()


def test_decisions_survive_a_reload_and_belong_to_the_content_not_the_name(visit, tmp_path):
    open_sort(visit, "plain")
    paths = drawn(tmp_path, 3)
    add(visit, paths)
    card(visit, "photo_01.jpg").locator("[data-act=pick]").first.click()
    settled(visit)
    visit.page.reload()
    open_sort(visit)
    wait_for(visit, 3)
    visit.page.locator(".wb-bar").get_by_text("1 of 3 checked").wait_for()
    card(visit, "photo_01.jpg").get_by_text("Accepted by you").wait_for()
    assert card(visit, "photo_01.jpg").locator("img").evaluate(WIDTH)
    same = tmp_path / "other name.jpg"
    same.write_bytes(paths[1].read_bytes())
    add(visit, [same])
    card(visit, "other name.jpg").get_by_text("Accepted by you").wait_for()
    add(visit, [paths[0]], expected=0)
    visit.page.get_by_text("1 photo was in the list already.").wait_for()
    visit.page.get_by_role("button", name="Undo").click()  # the step from before the reload
    assert visit.page.evaluate(DECIDED) == 0
    visit.page.on("dialog", lambda dialog: dialog.accept())
    visit.page.get_by_role("button", name="Empty the list").click()
    wait_for(visit, 0)
    visit.page.reload()
    open_sort(visit)
    wait_for(visit, 0)


def test_photos_that_were_not_sent_before_a_reload_are_sent_after_it(visit, tmp_path):
    open_sort(visit, "plain")
    visit.page.route("**/queue/join*", lambda route: route.abort())
    give(visit, *drawn(tmp_path, 3))
    visit.page.wait_for_function(f"{COUNTS}.all === 3")
    settled(visit)
    visit.page.unroute("**/queue/join*")
    visit.page.reload()
    open_sort(visit)
    assert wait_for(visit, 3)["review"] == 3
    visit.errors.clear()  # those of the lost connection


def test_a_visitor_never_sees_another_s_photos(browser, address, tmp_path):
    contexts = [browser.new_context(**SCREENS["desktop"]) for _ in range(2)]
    one, other = (Visit(context.new_page(), address, "desktop") for context in contexts)
    open_sort(one, "plain")
    add(one, drawn(tmp_path, 3))
    open_sort(other)
    assert other.page.evaluate(COUNTS)["all"] == 0 and names(other) == []
    for context in contexts:
        context.close()


def test_what_the_browser_cannot_decode_gets_its_preview_from_the_server(visit, tmp_path):
    scan = tmp_path / "scan.tif"
    scan.write_bytes(encode(draw(7, (240, 320)), "TIFF"))
    open_sort(visit, "plain")
    add(visit, [scan])
    image = card(visit, "scan.tif").locator("img")
    assert image.evaluate(WIDTH) > 100


def test_a_lost_connection_is_said_and_another_try_goes_on(visit, tmp_path):
    open_sort(visit, "plain")
    visit.page.route(
        "**/gradio_api/upload*", lambda route: route.fulfill(status=413, json={"detail": "Too large today."})
    )
    give(visit, *drawn(tmp_path, 2))
    visit.page.get_by_text("Too large today.").wait_for()
    visit.axe()
    visit.page.unroute("**/gradio_api/upload*")
    visit.page.get_by_role("button", name="Try again").click()
    assert wait_for(visit, 2)["review"] == 2
    visit.errors.clear()  # Chromium logs the refused upload


def test_the_operator_s_dataset_is_a_source_of_rows_whose_decisions_are_written_on_the_server(
    browser, drawn_dataset, tmp_path
):
    corrections = tmp_path / "corrections.csv"
    with serving(two_models(tmp_path / "models"), str(drawn_dataset), corrections) as address:
        context = browser.new_context(**SCREENS["desktop"])
        visit = Visit(context.new_page(), address, "desktop")
        open_sort(visit)
        visit.page.get_by_role("button", name=f"Load photos of {drawn_dataset.name}").click()
        visit.page.wait_for_function(f"{COUNTS}.all > 2 && snapshelf.workbench.view.isDrawn()")
        visit.look("sort_dataset")
        visit.axe()
        for number in range(2):
            cards(visit).nth(number).locator("[data-act=pick]").first.click()
        visit.page.get_by_role("button", name="Undo").click()
        visit.page.wait_for_timeout(1500)
        context.close()
    lines = corrections.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "id,action,column,label,reason" and len(lines) == 2 and ",relabel,articleType," in lines[1]


def test_a_photo_that_was_corrected_in_classify_comes_decided_under_any_name(visit, tmp_path):
    large, other = tmp_path / "large.jpg", tmp_path / "other.jpg"
    shirt = Image.open(EXAMPLES / "tshirts.jpg")
    shirt.resize((1500, 2000)).save(large, quality=95)  # is shrunk on its way
    visit.give("#classify-image", large)
    visit.see("#classify-answer .answer")
    visit.page.get_by_role("button", name="Wrong?").click()
    visit.page.get_by_label("Another category").fill("sungl")
    visit.page.get_by_role("button", name="Sunglasses").click()
    visit.page.wait_for_function("JSON.parse(localStorage['snapshelf.corrections'])[0].content")
    other.write_bytes(large.read_bytes())
    open_sort(visit)
    add(visit, [other, EXAMPLES / "watches.jpg"])
    assert "Sunglasses" in card(visit, "other.jpg").inner_text()
    assert "Changed by you" in card(visit, "other.jpg").inner_text()
    rows = visit.page.evaluate("snapshelf.workbench.download.table()")
    column = {name: rows[0].index(name) for name in ("file", "final_category", "decided_by")}
    assert {row[column["file"]]: [row[column["final_category"]], row[column["decided_by"]]] for row in rows[1:]} == {
        "other.jpg": ["Sunglasses", "person"],
        "watches.jpg": ["Watches", "model"],
    }
    card(visit, "other.jpg").locator("[data-act=choose]").click()
    visit.page.get_by_label("Search for a category").fill("t-shirts")
    visit.page.keyboard.press("Enter")
    assert "T-shirts" in card(visit, "other.jpg").inner_text()  # what is decided here counts from now on
