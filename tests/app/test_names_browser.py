"""Your categories, in Chromium: a sheet of the shop's own names, which then stand everywhere and in the downloads."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from openpyxl import Workbook

from app.service import MODELS
from tests.app.visit import EXAMPLES, Visit, browser_tests
from tests.page_server import serving

pytestmark = browser_tests

SHEETS = {
    "comma": b'your name,ours\nPhones & more,Accessories\n"Tees, tops",Fashion\n',
    "semicolon": "Zubehör;Accessories\nTees, tops;Fashion\n".encode("cp1252"),
    "tab": "Zubehör\tAccessories\nTees, tops\tFashion\n".encode("utf-16"),
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(MODELS) as address:
        yield address


def give(visit: Visit, content: bytes, name: str = "names.csv") -> str:
    """What the dialog says."""
    if not visit.page.locator(".names-dialog[open]").count():
        visit.page.get_by_role("button", name="Your categories").click()
    visit.page.set_input_files(".names-file", {"name": name, "mimeType": "text/csv", "buffer": content})
    visit.page.wait_for_function("document.querySelector('.names-said').textContent")
    return visit.page.inner_text(".names-dialog")


def close(visit: Visit) -> None:
    visit.page.keyboard.press("Escape")
    visit.page.wait_for_selector(".names-dialog", state="hidden")


def shown(visit: Visit, label: str) -> str:
    return visit.page.evaluate("(label) => snapshelf.names.display(label)", label)


@pytest.mark.parametrize("kind", SHEETS)
def test_a_sheet_may_be_of_any_usual_kind(visit, kind):
    assert "2 categories have your name now." in give(visit, SHEETS[kind])
    assert shown(visit, "Fashion") == "Tees, tops"
    assert shown(visit, "Accessories") == ("Phones & more" if kind == "comma" else "Zubehör")
    assert shown(visit, "Tshirts") == "T-shirts" and shown(visit, "Stationary") == "Stationery"


def test_a_workbook_will_do(visit):
    book, stream = Workbook(), io.BytesIO()
    for line in (("Your name", "Ours"), ("Tees", "T-shirts"), (None, None), ("2024", "Caps")):
        book.active.append(line)
    book.save(stream)
    assert "2 categories have your name now." in give(visit, stream.getvalue(), "names.xlsx")
    assert shown(visit, "Tshirts") == "Tees" and shown(visit, "Caps") == "2024"


def test_what_cannot_be_used_is_said_by_line(visit):
    said = give(visit, b"Tees;T-shirts\nTees;Shirts\n\nHats;Kaps\nTops;Tshirts\nShoes;\n")
    assert "2 categories have your name now. 3 lines were left out:" in said
    assert "Line 4: “Kaps” is not a category here. Did you mean “Caps”?" in said
    assert "Line 5: “Tshirts” already is “Tees” in line 1." in said
    assert "Line 6: nothing stands beside “Shoes”." in said
    visit.look("names_wrong")
    visit.axe()
    assert "No names were found" in give(visit, b"one\ntwo\n")
    assert shown(visit, "Tshirts") == "Tees"  # what was there stays
    assert "couldn't read" in give(visit, b"PK\3\4 not a workbook", "names.xlsx")


def test_names_stand_everywhere_and_in_the_download_until_they_are_removed(visit, tmp_path):
    give(visit, b"Our shoes;Casual Shoes\nOn feet;Shoes\n<b>Things</b>;Accessories\nClothes;Fashion\n")
    visit.look("names")
    visit.axe()
    close(visit)
    visit.give("#classify-image", EXAMPLES / "casual_shoes.jpg")
    answer = visit.see("#classify-answer .answer")
    assert "Our shoes" in answer and "On feet" in answer and "Casual Shoes" not in answer
    visit.open("Screenshot")
    visit.page.get_by_role("button", name="Try an example").click()
    visit.see(".shot-row")
    visit.page.locator(".shot-model select").select_option(label="Shopping app, 8 departments")
    visit.page.wait_for_function("document.querySelector('.shot-rows')?.innerText.includes('Clothes')")
    assert "Fashion" not in visit.page.inner_text(".shot-rows")
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Download CSV").click()
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    lines = list(csv.DictReader(io.StringIO(text)))
    assert (lines[0]["label"], lines[0]["final_category"], lines[0]["final_path"]) == ("Fashion", "Clothes", "Clothes")

    visit.page.reload()
    visit.page.wait_for_selector("#classify-answer .message")
    assert shown(visit, "Fashion") == "Clothes"
    visit.page.get_by_role("button", name="Your categories").click()
    visit.page.get_by_role("button", name="Remove my names").click()
    close(visit)
    visit.open("Screenshot")
    visit.see(".shot-row")
    assert "Fashion" in visit.page.inner_text(".shot-rows")


def test_our_list_can_be_filled_in_and_given_back(visit):
    visit.page.get_by_role("button", name="Your categories").click()
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Download our list").click()
    rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8-sig"))))
    assert rows[0] == ["your name", "ours"] and ["", "T-shirts"] in rows and ["", "Stationery"] in rows
    filled = "\n".join(f"{number};{ours}" for number, (_, ours) in enumerate(rows[1:]))
    assert f"{len(rows) - 1} categories have your name now." in give(visit, filled.encode())
    assert visit.page.inner_text(".names-wrong") == ""


def test_several_of_ours_may_be_one_of_theirs(visit):
    give(visit, b"Tops;Tshirts\nTops;Shirts\nTops;Tops\n")
    named = visit.page.evaluate("snapshelf.names.all('fashion')")
    assert sum(one["name"] == "Tops" for one in named) == 1
    assert not {"T-shirts", "Shirts"} & {one["name"] for one in named}
