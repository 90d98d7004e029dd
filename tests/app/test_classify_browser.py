"""The tab Classify in Chromium: a photo, its answer, what a person does about it, and what is said when it fails."""

import csv
import io
import json
from pathlib import Path

from PIL import Image

from tests.app.visit import EXAMPLES, browser_tests

pytestmark = browser_tests

COPY = """async (address) => {
  const bitmap = await createImageBitmap(await (await fetch(address)).blob());
  const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  const png = await new Promise((done) => canvas.toBlob(done, "image/png"));
  await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
}"""


def test_a_photo_is_classified_explained_and_compared(visit):
    visit.look("classify_empty")
    visit.give("#classify-image", EXAMPLES / "casual_shoes.jpg")
    answer = visit.see("#classify-answer .answer")
    assert "Ready to publish" in answer and "Casual Shoes" in answer and " ms" not in answer
    assert visit.page.get_attribute("#classify-answer", "aria-live") == "polite", "a screen reader says the answer"
    visit.look("classify")
    visit.axe()
    visit.page.get_by_role("button", name="Why this category?").click()
    assert "speak for casual shoes" in visit.see("#classify-heat figure")
    visit.look("classify_why")
    visit.page.get_by_role("button", name="Details").click()
    visit.page.get_by_label("Compare with").click()
    visit.page.get_by_role("option", name="Plain, 141 categories").click()
    visit.page.wait_for_selector(".model-name >> nth=1")
    assert "Best guess" in visit.page.inner_text("#classify-answer")
    visit.look("classify_two_models")
    visit.axe()


def test_a_wrong_answer_is_corrected_by_a_tap_copied_and_kept(visit):
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.give("#classify-image", EXAMPLES / "casual_shoes.jpg")
    visit.see("#classify-answer .answer")
    visit.page.get_by_role("button", name="Wrong?").click()
    visit.page.get_by_label("Another category").fill("innerwear")  # our name or theirs
    visit.page.get_by_role("button", name="Undershirts").click()
    assert "You chose Undershirts." in visit.see("#classify-answer .chosen")
    visit.look("classify_corrected")
    visit.axe()
    visit.page.get_by_role("button", name="Copy JSON").click()
    visit.page.wait_for_function("document.querySelector('.copied').innerText === 'Copied'")
    copied = json.loads(visit.page.evaluate("navigator.clipboard.readText()"))
    assert copied["label"] == "Casual Shoes"
    assert (copied["final_category"], copied["decided_by"]) == ("Undershirts", "person")
    assert copied["final_path"] == ["Apparel", "Underwear", "Undershirts"]

    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Download corrections.csv").click()
    (line,) = csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8-sig")))
    assert (line["id"], line["action"], line["label"]) == ("casual_shoes.jpg", "relabel", "Innerwear Vests")

    visit.page.get_by_role("button", name="Undo").click()
    visit.page.wait_for_selector("#classify-answer .kept", state="hidden")
    visit.page.get_by_role("button", name="Copy text").click()
    visit.page.wait_for_function(
        "navigator.clipboard.readText().then((text) => text === 'Footwear > Shoes > Casual Shoes')"
    )


def test_a_correction_has_the_name_that_the_file_had(visit, tmp_path):
    photo = tmp_path / "größe #1.png"
    with Image.open(EXAMPLES / "casual_shoes.jpg") as image:
        image.resize((1500, 1500)).save(photo)  # goes up as a smaller JPEG
    visit.give("#classify-image", photo)
    visit.see("#classify-answer .answer")
    visit.page.get_by_role("button", name="Wrong?").click()
    visit.page.get_by_label("Another category").fill("sandals")
    visit.page.get_by_role("button", name="Sandals", exact=True).click()
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Download corrections.csv").click()
    (line,) = csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8-sig")))
    assert line["id"] == "größe #1.png"


def test_the_search_takes_enter_and_says_when_it_finds_nothing(visit):
    visit.give("#classify-image", EXAMPLES / "casual_shoes.jpg")
    visit.see("#classify-answer .answer")
    visit.page.get_by_role("button", name="Wrong?").click()
    field = visit.page.get_by_label("Another category")
    field.fill("spaceship")
    assert "No category is called “spaceship”" in visit.see("#classify-answer .found-none")
    field.fill("sand")
    field.press("Enter")
    assert "You chose Sandals." in visit.see("#classify-answer .chosen")


def test_an_example_is_one_click_and_a_bad_file_gets_a_message(visit, tmp_path):
    visit.page.locator("#classify-examples img").first.click()
    assert "Backpacks" in visit.see("#classify-answer .answer")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((EXAMPLES / "tshirts.jpg").read_bytes()[:1500])
    visit.page.get_by_label("Remove Image").first.click()
    visit.page.wait_for_selector("#classify-answer .message.empty")
    visit.give("#classify-image", broken)
    message = visit.see("#classify-answer .message.error")
    assert "We couldn't read this file." in message and "Use a JPG, PNG, WebP or HEIC." in message
    assert "truncated" not in message
    visit.page.locator("#classify-answer summary").click()
    visit.page.wait_for_function("document.querySelector('#classify-answer .message').innerText.includes('truncated')")
    assert "/tmp" not in visit.page.inner_text("body")
    visit.look("classify_error")
    visit.axe()
    visit.give("#classify-image", EXAMPLES / "watches.jpg")  # the message goes with the next answer
    assert "Watches" in visit.see("#classify-answer .answer")
    assert visit.page.locator("#classify-answer .message").count() == 0


def test_an_image_is_pasted_from_the_clipboard(visit):
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    example = visit.page.locator("#classify-examples img").nth(1)
    visit.page.evaluate(COPY, example.get_attribute("src"))
    visit.page.get_by_label("Paste from clipboard").click()
    assert "Casual Shoes" in visit.see("#classify-answer .answer")


def test_an_image_is_taken_with_the_camera(visit):
    visit.page.get_by_label("Capture from camera").click()
    visit.page.get_by_text("Click to Access Webcam").click()
    visit.page.wait_for_function("document.querySelector('#classify-image video')?.videoWidth > 0")
    visit.page.get_by_label("capture photo", exact=True).click()
    visit.see("#classify-answer .answer")
    visit.look("classify_camera")


def test_on_a_phone_photo_and_answer_are_in_sight_and_the_rest_below(visit):
    visit.give("#classify-image", EXAMPLES / "casual_shoes.jpg")
    visit.see("#classify-answer .answer")
    top = {
        name: visit.page.locator(selector).first.bounding_box()["y"]
        for name, selector in {
            "photo": "#classify-image",
            "answer": "#classify-answer .headline",
            "model": "#classify-model",
            "examples": "#classify-examples",
        }.items()
    }
    height = visit.page.viewport_size["height"]
    assert visit.page.evaluate("window.scrollY") == 0 and top["answer"] < height - 60
    if visit.screen == "phone":
        assert sorted(top, key=top.get) == ["photo", "answer", "model", "examples"]
