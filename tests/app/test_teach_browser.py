"""The tab Teach in Chromium, with a stand-in for train.py: a zip, its progress, a trial, a correction, the download."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app import limits
from app.teach.teacher import Teacher
from tests.app.lessons import content_of, photos_of, set_mode, write_stand_in, write_zip
from tests.app.visit import browser_tests
from tests.make_tiny_model import save_image
from tests.page_server import serving

pytestmark = browser_tests


@pytest.fixture(scope="module")
def train(tmp_path_factory) -> Path:
    return write_stand_in(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def teacher(train) -> Iterator[Teacher]:
    teacher = Teacher(train)
    yield teacher
    teacher.close()


@pytest.fixture(scope="module")
def address(tiny_models, teacher) -> Iterator[str]:
    with serving(tiny_models, teacher=teacher) as address:
        yield address


@pytest.fixture
def shop(tmp_path) -> Path:
    return write_zip(tmp_path / "shop.zip", photos_of(("Shirts", "Tshirts")))


def teach(visit, upload: Path) -> None:
    visit.open("Teach")
    visit.give("#teach-files", upload)
    visit.page.get_by_text(upload.name).wait_for()
    visit.page.get_by_role("button", name="Start teaching").click()


def test_a_zip_is_taught_tried_corrected_taught_again_and_downloaded(visit, shop, train, tmp_path):
    visit.open("Teach")
    visit.look("teach_empty")
    visit.axe()
    set_mode(train, "1")
    teach(visit, shop)
    visit.page.get_by_role("progressbar", name="Teaching").wait_for()
    visit.page.get_by_text("Learning what is in them").wait_for()
    visit.look("teach_progress")
    result = visit.see(".teach-result")
    set_mode(train, "ok")
    assert "8 of 10 right" in result and "49% to 94%" in result and "Shirts and T-shirts: 2 of their 10" in result
    visit.page.get_by_text("1 file could not be used").click()
    assert "Shirts/0.jpg: truncated" in visit.page.inner_text(".teach-result")
    visit.look("teach_result")
    visit.axe()

    visit.give("#teach-image", save_image(tmp_path / "red.png", "Tshirts"))
    assert "T-shirts" in visit.see("#teach-answer .teach-answer")
    visit.look("teach_tried")
    visit.axe()
    assert not visit.page.get_by_label("Another category").is_visible()  # both are buttons
    visit.page.get_by_role("radio", name="Shirts", exact=True).click()
    assert "Added to shirts. 1 more photo for the next teaching." in visit.see("#teach-added")
    visit.look("teach_added")
    visit.axe()
    visit.page.get_by_role("button", name="Teach again with 1 more photo").click()
    visit.page.get_by_text("Learned from 10 photos").wait_for()
    assert "Shirts 5" in visit.page.inner_text(".teach-result")

    visit.page.reload()
    visit.open("Teach")
    assert "8 of 10 right" in visit.see(".teach-result"), "what was taught is still there"
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Download the model").click()
    assert download.value.suggested_filename == "shop.zip"
    assert "shop/model.onnx" in content_of(Path(download.value.path()))


def test_teaching_is_canceled_and_a_bad_zip_gets_a_sentence(visit, shop, train, tmp_path):
    set_mode(train, "30")
    teach(visit, shop)
    visit.page.get_by_role("button", name="Cancel").click()
    assert "Canceled. Nothing was kept" in visit.see("#teach-view .message")
    set_mode(train, "ok")
    teach(visit, write_zip(tmp_path / "one.zip", photos_of(["Hats"])))
    visit.page.get_by_text("There is only one category, Hats").wait_for()
    visit.look("teach_refused")
    visit.axe()


def test_who_closes_the_page_ends_the_teaching(visit, shop, train, teacher, monkeypatch):
    monkeypatch.setattr(limits, "LEFT_SECONDS", 3)
    set_mode(train, "30")
    teach(visit, shop)
    visit.page.get_by_role("progressbar", name="Teaching").wait_for()
    (lesson,) = [lesson for lesson in teacher._lessons.values() if lesson.is_active]
    other = visit.page.context.new_page()
    visit.page.close()
    for _ in range(200):
        if not lesson.is_active:
            break
        other.wait_for_timeout(200)
    set_mode(train, "ok")
    assert "the page was closed" in lesson.problem
