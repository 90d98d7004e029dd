"""The page in Chromium, used as a person would: on a desktop in light colours, on a phone in dark ones.

    make test-browser        # 1 minute; leaves screenshots in runs/screenshots to be looked at

Every visit also checks that nothing is asked of another server, that the console stays without errors, that everything
which can be used has a name for screen readers, and that text has a contrast of 4.5:1.
"""

import csv
import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.page_server import serving, two_models

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (requirements-dev.txt)")

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "app" / "examples"
SCREENSHOTS = ROOT / "runs" / "screenshots"
CHROMIUM = Path("/usr/bin/chromium")
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # Chromium's own moving test image
SCREENS = {
    "desktop": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "dark",
        "device_scale_factor": 2,
        "has_touch": True,
    },
}
TIMEOUT = 60_000  # milliseconds, for machines that are busy with something else

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium: sudo apt-get install -y chromium"),
]

# What can be used but has no name: [html, …]
NAMELESS = """() => {
  const seen = (e) => e.checkVisibility({ visibilityProperty: true }) && e.getBoundingClientRect().width > 0;
  const named = (e) => [e.getAttribute("aria-label"), e.title, e.innerText, e.alt, e.placeholder,
    ...(e.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.innerText),
    ...[...(e.labels ?? [])].map((label) => label.innerText), e.querySelector("img[alt]")?.alt,
  ].some((text) => text?.trim());
  const usable = "button, input, select, textarea, a[href], [role=button], [role=tab], [role=listbox]";
  const nameless = [...document.querySelectorAll(usable)].filter((e) => seen(e) && !named(e));
  return nameless.map((e) => e.outerHTML.slice(0, 200));
}"""

# Texts with too little contrast to what is painted below them: ["text 3.1", …]
FAINT = """() => {
  const channels = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const colour = (css) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((c, i) => c * top[3] + below[i] * (1 - top[3]));
  const ground = (e) => {
    const layers = [];
    for (; e; e = e.parentElement) layers.push(colour(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const light = (rgb) => rgb.map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const e = node.parentElement, text = node.data.trim();
    if (!text || e.closest("svg, script, style, noscript, :disabled")) continue;
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    if (box.width < 2 || !e.checkVisibility({ visibilityProperty: true })) continue;
    const below = ground(e), [one, other] = [light(over(colour(style.color), below)), light(below)];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.6 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) faint.push(`${text.slice(0, 40)} ${ratio.toFixed(2)} ${e.tagName}.${e.className}`);
  }
  return faint;
}"""


class Visit:
    """One person with one window."""

    def __init__(self, page, address: str, screen: str) -> None:
        self.page, self.address, self.screen = page, address, screen
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._note_request)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.set_default_timeout(TIMEOUT)
        page.goto(address)
        page.wait_for_selector("#classify-answer .message")

    def _note_request(self, request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def open(self, tab: str) -> None:
        """On a phone the last tabs are in a menu."""
        button = self.page.get_by_role("tab", name=tab, exact=True)
        if button.count() and button.first.is_visible():
            button.first.click()
        else:
            self.page.locator(".overflow-menu > button").click()
            self.page.locator(".overflow-dropdown button", has_text=tab).click()

    def give(self, where: str, *files: Path) -> None:
        self.page.set_input_files(f"{where} input[type=file]", [str(file) for file in files])

    def see(self, selector: str) -> str:
        """The text of what appears there."""
        self.page.wait_for_selector(selector)
        return self.page.inner_text(selector)

    def look(self, name: str) -> None:
        """Keep a screenshot, and check what a screenshot does not show."""
        self.page.wait_for_timeout(300)  # colours fade in
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}_{self.screen}.png", full_page=True)
        assert self.page.evaluate(NAMELESS) == []
        assert self.page.evaluate(FAINT) == []
        wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} pixels wider than the screen"


@pytest.fixture(scope="module")
def corrections(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("review") / "corrections.csv"


@pytest.fixture(scope="module")
def address(tmp_path_factory, corrections) -> Iterator[str]:
    with serving(two_models(tmp_path_factory.mktemp("models")), "1", corrections) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=[*SWITCHES, *CAMERA])
        yield browser
        browser.close()


@pytest.fixture(params=SCREENS)
def visit(request, browser, address) -> Iterator[Visit]:
    context = browser.new_context(**SCREENS[request.param], accept_downloads=True)
    visit = Visit(context.new_page(), address, request.param)
    yield visit
    context.close()
    assert visit.elsewhere == []
    assert visit.errors == []


def test_the_checks_of_names_and_contrast_notice_what_is_wrong(browser):
    page = browser.new_page()
    page.set_content("<button></button><button>Save</button><p style='color:#aaa'>pale</p>")
    assert page.evaluate(NAMELESS) == ["<button></button>"]
    assert [text.split()[0] for text in page.evaluate(FAINT)] == ["pale"]
    page.close()


def test_a_photo_is_classified_explained_and_compared(visit):
    visit.look("classify_empty")
    visit.give("#classify-image", EXAMPLES / "casual_shoes.jpg")
    answer = visit.see("#classify-answer .answer")
    assert "Publish" in answer and "Casual Shoes" in answer and "ms on this server" in answer
    visit.look("classify")
    visit.page.get_by_role("button", name="Show what the model looked at").click()
    assert "changes the answer Casual Shoes most" in visit.see("#classify-heat figure")
    visit.look("classify_heat")
    visit.page.get_by_label("Compare with").click()
    visit.page.get_by_role("option", name="plain").click()
    visit.page.wait_for_selector(".model-name >> nth=1")
    assert "Best guess" in visit.page.inner_text("#classify-answer")
    visit.look("classify_two_models")


def test_an_example_is_one_click_and_a_bad_file_gets_a_message(visit, tmp_path):
    visit.page.locator("#classify-examples img").first.click()
    assert "Backpacks" in visit.see("#classify-answer .answer")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((EXAMPLES / "tshirts.jpg").read_bytes()[:1500])
    visit.page.get_by_label("Remove Image").first.click()
    visit.page.wait_for_selector("#classify-answer .message.empty")
    visit.give("#classify-image", broken)
    assert "truncated" in visit.see("#classify-answer .message.error")
    assert "/tmp" not in visit.page.inner_text("body")
    visit.look("classify_error")


COPY = """async (address) => {
  const bitmap = await createImageBitmap(await (await fetch(address)).blob());
  const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  const png = await new Promise((done) => canvas.toBlob(done, "image/png"));
  await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
}"""


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
    assert "ms on this server" in visit.see("#classify-answer .answer")
    visit.look("classify_camera")


def test_every_product_of_a_screenshot_is_outlined_and_listed(visit):
    visit.open("Screenshot")
    visit.look("screenshot_empty")
    visit.give("#screenshot-image", EXAMPLES / "screenshot.jpg")
    assert "8 products found" in visit.see("#screenshot-products .facts")
    assert visit.page.locator("#screenshot-page svg text").count() == 8
    assert visit.page.locator("#screenshot-products tbody tr").count() == 8
    visit.look("screenshot")


def test_a_batch_is_listed_sorted_filtered_and_downloaded(visit, tmp_path):
    odd = tmp_path / "=1+1 ${alert(1)} {{x}} <img src=x onerror=alert(1)>.jpg"
    shutil.copy(EXAMPLES / "watches.jpg", odd)
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(EXAMPLES / "dresses.jpg", "folder/dress.jpg")
        archive.writestr("folder/notes.jpg", "no image")
    visit.open("Batch")
    visit.look("batch_empty")
    visit.give("#batch-files", EXAMPLES / "casual_shoes.jpg", EXAMPLES / "screenshot.jpg", odd, tmp_path / "more.zip")
    visit.page.wait_for_selector("#batch-files tr >> nth=3")  # all four are uploaded
    visit.page.get_by_role("button", name="Classify all").click()
    assert "5 images classified" in visit.see("#batch-result .summary")
    visit.look("batch")

    rows = visit.page.locator("#batch-result tbody tr")
    visit.page.get_by_role("button", name="Confidence").click()
    assert "notes.jpg" in rows.first.inner_text()
    visit.page.get_by_role("button", name="Confidence").press("Enter")
    assert "notes.jpg" in rows.last.inner_text()
    visit.page.get_by_role("button", name="Not readable 1").click()
    assert [row.is_visible() for row in rows.all()].count(True) == 1
    visit.look("batch_filtered")

    with visit.page.expect_download() as download:
        visit.page.get_by_role("link", name="Download CSV").click()
    lines = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8-sig"))))
    assert len(lines) == 5 and lines[2]["file"].startswith("'=1+1")


def test_an_empty_batch_says_what_to_do(visit):
    visit.open("Batch")
    visit.page.get_by_role("button", name="Classify all").click()
    assert "Choose some images" in visit.see("#batch-result .message.error")
    visit.look("batch_error")


def test_review_goes_by_keyboard_and_writes_corrections(visit, corrections, tmp_path):
    before = corrections.read_text(encoding="utf-8") if corrections.exists() else ""
    names = [f"{visit.screen}_{number}.jpg" for number in range(3)]
    for name in names:
        shutil.copy(EXAMPLES / "screenshot.jpg", tmp_path / name)  # a screenshot is not a product: unknown
    visit.open("Batch")
    visit.give("#batch-files", *(tmp_path / name for name in names))
    visit.page.wait_for_selector("#batch-files tr >> nth=2")
    visit.page.get_by_role("button", name="Classify all").click()
    visit.see("#batch-result .summary")
    visit.open("Review")
    visit.see("#review-view .card")
    while visit.screen not in visit.page.inner_text("#review-view .file"):  # what other tests have left
        press_and_wait(visit, "s")
    visit.look("review")
    press_and_wait(visit, "2")
    press_and_wait(visit, "x")
    press_and_wait(visit, "b")
    press_and_wait(visit, "s")
    visit.page.keyboard.press("l")
    visit.page.keyboard.type("Sunglasses")
    visit.page.keyboard.press("Enter")
    assert "All reviewed" in visit.see("#review-view .message")
    visit.look("review_done")
    lines = corrections.read_text(encoding="utf-8").removeprefix(before).removeprefix("id,action,column,label,reason\n")
    written = [line[:4] for line in csv.reader(io.StringIO(lines))]
    assert [line[:2] for line in written] == [[names[0], "relabel"], [names[1], "quarantine"], [names[2], "relabel"]]
    assert written[2][3] == "Sunglasses"


def press_and_wait(visit: Visit, key: str) -> None:
    """Until another image is there; while it is being drawn there is none for a moment."""
    before = visit.page.inner_text("#review-view .file")
    visit.page.keyboard.press(key)
    visit.page.wait_for_function(
        "before => ![before, undefined].includes(document.querySelector('#review-view .file')?.innerText)", arg=before
    )


def test_the_leaderboard_and_the_model_card_can_be_read(visit):
    visit.open("Leaderboard")
    visit.see(".leaderboard >> nth=0")
    assert visit.page.locator(".whisker").count() == 2 * visit.page.locator(".scores tbody tr").count()
    visit.page.wait_for_selector(".figures img >> nth=2")
    visit.look("leaderboard")
    visit.open("About")
    visit.see(".model-card")
    visit.look("about")


def test_on_a_phone_every_tab_of_a_public_page_is_in_sight(browser, tmp_path):
    context = browser.new_context(**SCREENS["phone"])
    with serving(two_models(tmp_path)) as address:
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("#classify-answer .message")
        names = [tab.inner_text() for tab in page.get_by_role("tab").all() if tab.is_visible()]
    context.close()
    assert names == ["Classify", "Screenshot", "Batch", "Leaderboard", "About"]


def test_the_page_can_be_used_with_the_keyboard_alone(visit):
    if visit.screen == "phone":
        pytest.skip("a phone has no keyboard")
    visit.page.get_by_role("tab", name="Classify").focus()
    visit.page.keyboard.press("Tab")
    visit.page.keyboard.press("Enter")
    assert "No screenshot yet" in visit.see("#screenshot-products .message")
    outline = visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
