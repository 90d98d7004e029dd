"""What comes in, in Chromium: pasted, dropped or chosen anywhere, shrunk in the browser, and taken where it belongs."""

import base64
import io

import numpy as np
from PIL import Image

from tests.app.visit import EXAMPLES, SCREENS, Visit, browser_tests

pytestmark = browser_tests

TURNED = 6  # EXIF orientation: the right side is on top
LINE = 750_000 / 8  # bytes per second
# One event with these files, as the browser sends it: [{name, type, data}], "drop" or "paste".
SEND = """([files, kind]) => {
  const transfer = new DataTransfer();
  for (const { name, type, data } of files) {
    transfer.items.add(new File([Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0))], name, { type }));
  }
  const options = { bubbles: true, cancelable: true };
  document.querySelector("h1").dispatchEvent(kind === "paste"
    ? new ClipboardEvent("paste", { ...options, clipboardData: transfer })
    : new DragEvent("drop", { ...options, dataTransfer: transfer }));
}"""
PREVIEW = """async () => {
  const image = document.querySelector("#classify-image img");
  const bytes = await (await fetch(image.src)).arrayBuffer();
  return [image.naturalWidth, image.naturalHeight, bytes.byteLength, new TextDecoder("latin1").decode(bytes)];
}"""


def photo(size: tuple[int, int], **options) -> bytes:
    """Noise around a drawing, as cameras make it, so that it does not become small by itself."""
    with Image.open(EXAMPLES / "casual_shoes.jpg") as image:
        pixels = np.asarray(image.convert("RGB").resize(size), dtype=np.int16)
    noise = np.random.default_rng(7).normal(0, 6, (size[1], size[0], 1)).astype(np.int16)
    stream = io.BytesIO()
    Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=92, **options)
    return stream.getvalue()


def send(visit: Visit, kind: str, **files: bytes) -> None:
    """files: by name, with _ for the dot; a name that ends in _png, _jpg, _zip or _pdf says what it is."""
    types = {"png": "image/png", "jpg": "image/jpeg", "zip": "application/zip", "pdf": "application/pdf"}
    listed = [
        {"name": ".".join(name.rsplit("_", 1)), "type": types[name[-3:]], "data": base64.b64encode(content).decode()}
        for name, content in files.items()
    ]
    visit.page.evaluate(SEND, [listed, kind])


def chosen_tab(visit: Visit) -> str:
    return visit.page.locator('[role=tab][aria-selected="true"]').inner_text()


def test_a_large_photo_is_small_upright_and_without_the_cameras_data_when_it_is_sent(visit, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = TURNED, "Nikon"
    path = tmp_path / "large.jpg"
    path.write_bytes(photo((2400, 1800), exif=exif))
    visit.give("#classify-image", path)
    visit.see("#classify-answer .answer")
    width, height, num_bytes, content = visit.page.evaluate(PREVIEW)
    assert height <= 1024 and abs(height / width - 2400 / 1800) < 0.01
    assert num_bytes <= 100_000 and "Nikon" not in content


def test_what_is_small_or_not_to_be_decoded_here_goes_up_as_it_is(visit):
    same = """async ([content, type]) => {
      const file = new File([Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0))], "x.heic", { type });
      return (await snapshelf.intake.shrink(file)) === file;
    }"""
    for content, kind in (((EXAMPLES / "watches.jpg").read_bytes(), "image/jpeg"), (b"heic?" * 99_999, "image/heic")):
        assert visit.page.evaluate(same, [base64.b64encode(content).decode(), kind])


def test_on_a_slow_line_the_upload_says_how_far_it_is(visit, tmp_path):
    seen = """() => {
      window.said = [];
      new MutationObserver(() => {
        const line = document.getElementById("intake-line");
        if (line && !line.hidden) window.said.push(line.innerText);
      }).observe(document.body, { childList: true, subtree: true, attributes: true, characterData: true });
    }"""
    visit.page.evaluate(seen)
    path = tmp_path / "large.jpg"
    path.write_bytes(photo((1600, 1200)))
    line = visit.page.context.new_cdp_session(visit.page)
    line.send("Network.enable")
    limits = {"offline": False, "latency": 40, "downloadThroughput": LINE, "uploadThroughput": LINE / 4}
    line.send("Network.emulateNetworkConditions", limits)
    visit.give("#classify-image", path)
    visit.see("#classify-answer .answer")
    said = [text for text in visit.page.evaluate("window.said") if text.startswith("Uploading ")]
    assert said and all(text.endswith("%") for text in said)
    assert not visit.page.locator("#intake-line").is_visible()


def test_what_is_dropped_or_pasted_anywhere_goes_where_it_belongs(visit):
    visit.open("About")
    send(visit, "drop", shoe_jpg=photo((1500, 1200)))
    assert "Casual Shoes" in visit.see("#classify-answer .answer")
    assert chosen_tab(visit) == "Classify"
    visit.open("About")
    send(visit, "paste", page_jpg=(EXAMPLES / "screenshot.jpg").read_bytes())
    visit.see("#tab-screenshot")
    assert chosen_tab(visit) == "Screenshot"
    visit.open("About")
    watch, dress = ((EXAMPLES / name).read_bytes() for name in ("watches.jpg", "dresses.jpg"))
    send(visit, "drop", watch_jpg=watch, dress_jpg=dress)
    visit.see("#tab-sort")
    assert chosen_tab(visit) == "Sort"
    visit.page.wait_for_function("document.querySelector('#workbench').innerText.includes('watch.jpg')")


def test_a_screenshot_chosen_in_classify_goes_to_the_product_finder_which_offers_the_way_back(visit):
    visit.give("#classify-image", EXAMPLES / "screenshot.jpg")
    visit.page.get_by_role("button", name="Classify it as one photo").click()
    visit.see("#classify-answer .answer")
    assert chosen_tab(visit) == "Classify"


def test_a_file_that_is_no_image_is_refused_in_words(visit):
    send(visit, "drop", price_list_pdf=b"%PDF-1.7")
    assert visit.see("#intake-line") == "We couldn't read this file. Use a JPG, PNG, WebP or HEIC."
    visit.axe()


def test_photos_are_told_from_screenshots(visit):
    """By what they look like, not by their names."""
    told = """async (data) => {
      const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
      const file = new File([bytes], "x.jpg", { type: "image/jpeg" });
      return snapshelf.intake.looksLikeScreenshot(file, await createImageBitmap(file));
    }"""
    if visit.screen == next(iter(SCREENS)):
        for content, is_page in (
            (photo((720, 1280)), False),  # as messengers send what a phone took
            (photo((900, 1200)), False),
            ((EXAMPLES / "screenshot.jpg").read_bytes(), True),
        ):
            assert visit.page.evaluate(told, base64.b64encode(content).decode()) is is_page
