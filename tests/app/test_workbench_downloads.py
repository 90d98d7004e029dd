"""What the tab Sort gives to take away: CSV, a workbook, a zip with a folder per category, corrections."""

import csv
import io
import zipfile
from pathlib import Path

import openpyxl
import pytest
from PIL import Image

from app.prediction import CSV_COLUMNS
from data_prep.pipeline.corrections import read_corrections
from tests.app.test_names_browser import close as close_names
from tests.app.test_names_browser import give as give_names
from tests.app.visit import EXAMPLES, SCREENS, Visit, browser_tests
from tests.app.workbench_visit import add, card, download, drawn, open_sort, settled, wait_for
from tests.make_tiny_model import save_image, write_calibration, write_tiny_model
from tests.page_server import serving
from tests.tiny_titles import write_titles

pytestmark = browser_tests

SHIRT = EXAMPLES / "tshirts.jpg"
PATHS = ("category_path", "published_path", "final_path")


def lines_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


@pytest.fixture
def decided(visit, tmp_path) -> Visit:
    """A list with a photo of each kind: ready, accepted, changed, not usable, to check, not readable."""
    odd, broken = tmp_path / "=1+1.jpg", tmp_path / "broken.jpg"
    odd.write_bytes((EXAMPLES / "watches.jpg").read_bytes())
    broken.write_bytes(SHIRT.read_bytes()[:1500])
    with zipfile.ZipFile(tmp_path / "shop.zip", "w") as archive:
        for number, path in enumerate(drawn(tmp_path / "drawn", 4)):
            archive.write(path, f"shop/con/photo_{number}.jpg")
    open_sort(visit)
    add(visit, [SHIRT, odd, broken, tmp_path / "shop.zip"], expected=7)
    card(visit, "shop/con/photo_0.jpg").locator("[data-act=pick]").first.click()
    other = card(visit, "shop/con/photo_1.jpg")
    other.get_by_role("button", name="Other…").click()
    visit.page.get_by_label("Search for a category").fill("sungl")
    visit.page.keyboard.press("Enter")
    card(visit, "shop/con/photo_2.jpg").get_by_role("button", name="Not usable").click()
    return visit


def test_the_csv_has_the_final_category_and_who_decided(decided):
    lines = {line["file"]: line for line in lines_of(download(decided, "CSV"))}
    assert list(lines)[:2] == ["tshirts.jpg", "'=1+1.jpg"]  # no spreadsheet runs it
    assert set(CSV_COLUMNS) < set(lines["tshirts.jpg"])
    ends = {file: (line["final_category"], line["decided_by"], line["decision"]) for file, line in lines.items()}
    assert ends["tshirts.jpg"] == ("T-shirts", "model", "ready")
    assert ends["shop/con/photo_0.jpg"][1:] == ("person", "accepted") and ends["shop/con/photo_0.jpg"][0]
    assert ends["shop/con/photo_1.jpg"] == ("Sunglasses", "person", "changed")
    assert ends["shop/con/photo_2.jpg"] == ("", "person", "not usable")
    assert ends["shop/con/photo_3.jpg"] == ("", "", "to check")
    assert ends["broken.jpg"] == ("", "", "not readable") and "truncated" in lines["broken.jpg"]["error"]
    assert lines["tshirts.jpg"]["label"] == "Tshirts"
    assert {lines["tshirts.jpg"][name] for name in PATHS} == {"Apparel > Tops > T-shirts"}
    assert lines["shop/con/photo_1.jpg"]["final_path"] == "Accessories > Eyewear > Sunglasses"
    assert not any(line["final_path"] for line in lines.values() if not line["final_category"])


def test_the_workbook_says_the_same_and_runs_no_formula(decided):
    in_csv = lines_of(download(decided, "CSV"))
    sheet = openpyxl.load_workbook(io.BytesIO(download(decided, "Excel").read_bytes())).active
    head, *rows = sheet.iter_rows(values_only=True)
    assert list(head) == list(in_csv[0]) and len(rows) == 7
    assert rows[1][0] == "=1+1.jpg" and sheet["A3"].data_type != "f"
    assert isinstance(rows[0][head.index("confidence")], float) and sheet.freeze_panes == "A2"


def test_the_zip_has_a_folder_per_category_with_the_photos_as_they_came(decided):
    with zipfile.ZipFile(download(decided, "Sorted photos")) as archive:
        assert archive.testzip() is None
        files = set(archive.namelist())
        assert archive.read("T-shirts/tshirts.jpg") == SHIRT.read_bytes()
    assert {"Sunglasses/photo_1.jpg", "_not usable/photo_2.jpg", "_to check/photo_3.jpg"} < files
    assert "_could not be read/broken.jpg" in files and len(files) == 7


def test_everything_to_take_away_has_the_names_of_the_shop(visit):
    give_names(visit, b"Tees;T-shirts\nOn top;Topwear\nTime;Watches\nA/C?;Casual Shoes\n")
    close_names(visit)
    open_sort(visit)
    photos = {name: EXAMPLES / f"{name}.jpg" for name in ("tshirts", "watches", "casual_shoes")}
    add(visit, list(photos.values()))
    for name in photos:
        card(visit, f"{name}.jpg").locator("[data-act=pick]").first.click()
    lines = {line["file"]: line for line in lines_of(download(visit, "CSV"))}
    assert lines["tshirts.jpg"]["label"] == "Tshirts"
    assert {lines["tshirts.jpg"][name] for name in PATHS} == {"Apparel > On top > Tees"}
    assert lines["watches.jpg"]["final_path"] == "Accessories > Time"
    assert lines["casual_shoes.jpg"]["final_category"] == "A/C?"
    sheet = openpyxl.load_workbook(io.BytesIO(download(visit, "Excel").read_bytes())).active
    head, *rows = sheet.iter_rows(values_only=True)
    in_sheet = [dict(zip(head, row, strict=True)) for row in rows]
    assert [row["final_path"] for row in in_sheet] == [line["final_path"] for line in lines.values()]
    with zipfile.ZipFile(download(visit, "Sorted photos")) as archive:
        assert set(archive.namelist()) == {"Tees/tshirts.jpg", "Time/watches.jpg", "A_C_/casual_shoes.jpg"}
    corrections = read_corrections(download(visit, "Corrections"), ["category"])
    assert [one.label for one in corrections] == ["Tshirts", "Watches", "Casual Shoes"], "data_prep knows ours"


def test_names_in_the_zip_are_safe_everywhere(visit):
    open_sort(visit)
    given = ["../../etc", "con", "a/b:c*?", " .hidden. ", "x" * 300 + ".jpg", "NUL.txt", "\u202egpj.exe", "", "été"]
    safe = visit.page.evaluate("(names) => names.map((name) => snapshelf.workbench.download.safeName(name))", given)
    assert not any(set(name) & set('<>:"/\\|?*\u202e') for name in safe)
    assert (
        safe[0] == "_.._etc" and safe[1] == "_con" and safe[5] == "_NUL.txt" and safe[7] == "file" and safe[8] == "été"
    )
    assert len(safe[4]) <= 110 and safe[4].endswith(".jpg") and safe[3] == "hidden"


def test_data_prep_reads_the_corrections(decided):
    (accepted, changed, unusable) = read_corrections(download(decided, "Corrections"), ["category"])
    assert (accepted.id, accepted.action, accepted.column) == ("shop/con/photo_0.jpg", "relabel", "category")
    assert accepted.reason == "accepted by a person"
    assert (changed.action, changed.label, changed.reason) == ("relabel", "Sunglasses", "picked by a person")
    assert (unusable.id, unusable.action, unusable.label) == ("shop/con/photo_2.jpg", "quarantine", "")


def test_what_can_be_downloaded_is_explained_with_what_is_left_to_do(decided):
    decided.page.locator(".wb-bar").get_by_role("button", name="Download").click()
    assert "still to check" in decided.page.locator(".wb-save").inner_text()
    assert "smaller copies" not in decided.page.locator(".wb-save").inner_text()
    decided.look("sort_download")
    decided.axe()


def test_after_a_reload_the_zip_says_that_it_holds_smaller_copies(visit, tmp_path):
    large = tmp_path / "large.jpg"
    Image.open(SHIRT).resize((1500, 2000)).save(large)
    open_sort(visit)
    add(visit, [large])
    settled(visit)
    visit.page.reload()
    open_sort(visit)
    wait_for(visit, 1)
    visit.page.locator(".wb-bar").get_by_role("button", name="Download").click()
    said = visit.page.locator(".wb-save").get_by_role("button", name="Sorted photos").inner_text()
    assert "Photos you added before reloading the page are smaller copies." in said
    visit.look("sort_download_copies")
    visit.page.get_by_role("button", name="Close", exact=True).click()
    with zipfile.ZipFile(download(visit, "Sorted photos")) as archive:
        assert max(Image.open(io.BytesIO(archive.read("T-shirts/large.jpg"))).size) == 1024


def test_a_sheet_of_titles_beside_the_photos_goes_along_to_a_model_that_reads_them(browser, tmp_path):
    models = tmp_path / "models"
    write_titles(write_calibration(write_tiny_model(models / "fashion")))
    photos = [save_image(tmp_path / f"{name}.png", "Shirts") for name in ("a", "b")]
    sheet = tmp_path / "titles.csv"
    sheet.write_text('file;title\na.png;"Acme Women Olive Shirt"\n', encoding="utf-8")
    with serving(models) as address:
        context = browser.new_context(**SCREENS["desktop"], accept_downloads=True)
        visit = Visit(context.new_page(), address, "desktop")
        open_sort(visit)
        add(visit, [*photos, sheet], expected=2)
        visit.page.get_by_text("1 photo has its title.").wait_for()
        visit.page.wait_for_function("![...snapshelf.workbench.state.rows.values()].some((row) => !row.answer)")
        card(visit, "a.png").get_by_text("Acme Women Olive Shirt").wait_for()
        titled, other = lines_of(download(visit, "CSV"))
        context.close()
    assert (titled["title"], titled["answered_from"]) == ("Acme Women Olive Shirt", "both")
    assert other["title"] == "" and other["answered_from"] in ("", "image")
