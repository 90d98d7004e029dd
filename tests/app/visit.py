"""One person with one window of Chromium, and what every visit checks beside what its test is about.

The fixture `visit` (conftest.py) opens the page on a desktop in light colors and on a phone in dark ones. At its end
nothing was asked of another server and the console stayed without errors. `visit.look(name)` keeps a screenshot in
runs/screenshots and checks names, contrast and width; `visit.axe()` runs axe-core on the page as it is now, at three
widths in light and dark.
"""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

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
WIDTHS = (1280, 820, 390)
COLORS = ("light", "dark")
TIMEOUT = 60_000  # milliseconds, for machines that are busy with something else
AXE = "axe-core@4.14.1"  # MPL-2.0; for tests alone, so it is fetched and not kept here
NPM = ROOT / "runs" / "npm"
AXE_FILE = NPM / "node_modules" / "axe-core" / "axe.min.js"

browser_tests = [
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
  const color = (css) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((c, i) => c * top[3] + below[i] * (1 - top[3]));
  const ground = (e) => {
    const layers = [];
    for (; e; e = e.parentElement) layers.push(color(getComputedStyle(e).backgroundColor));
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
    const below = ground(e), [one, other] = [light(over(color(style.color), below)), light(below)];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.6 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) faint.push(`${text.slice(0, 40)} ${ratio.toFixed(2)} ${e.tagName}.${e.className}`);
  }
  return faint;
}"""

# Each violation as "rule: element", a few of each rule.
RUN_AXE = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.flatMap(({ id, nodes }) => nodes.slice(0, 3).map(
    ({ html, any }) => `${id}: ${html.slice(0, 160)} ${any[0]?.message ?? ""}`));
}"""

# Colors must not fade while they are measured.
STAND_STILL = """() => {
  const style = document.createElement("style");
  style.textContent = "* { transition: none !important; animation: none !important }";
  document.head.append(style);
}"""

DARK_IS = "(dark) => document.body.classList.contains('dark') === dark"  # Gradio follows a moment later


@cache
def axe_source() -> str:
    """Of axe-core, fetched once with npm; skips where npm or its registry is missing."""
    if not AXE_FILE.is_file():
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(NPM), AXE]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=180)
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"axe-core cannot be fetched: {error}")
        if result.returncode:
            pytest.skip(f"axe-core cannot be fetched: {result.stderr.strip()[-200:]}")
    return AXE_FILE.read_text(encoding="utf-8")


class Visit:
    """screen: a name of SCREENS. elsewhere: requests to other servers. errors: what the console says."""

    def __init__(self, page: Any, address: str, screen: str) -> None:
        self.page, self.address, self.screen = page, address, screen
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._note_request)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.set_default_timeout(TIMEOUT)
        page.goto(address)
        page.wait_for_selector("#classify-answer .message")

    def _note_request(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def open(self, tab: str) -> None:
        self.page.get_by_role("tab", name=tab, exact=True).click()

    def give(self, where: str, *files: Path) -> None:
        self.page.set_input_files(f"{where} input[type=file]", [str(file) for file in files])

    def see(self, selector: str) -> str:
        """The text of what appears there."""
        self.page.wait_for_selector(selector)
        return self.page.inner_text(selector)

    def look(self, name: str) -> None:
        """Keep a screenshot, and check what a screenshot does not show."""
        self.page.wait_for_timeout(300)  # colors fade in
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}_{self.screen}.png", full_page=True)
        assert self.page.evaluate(NAMELESS) == []
        assert self.page.evaluate(FAINT) == []
        wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} pixels wider than the screen"

    def axe(self) -> None:
        """Nothing that axe-core finds wrong, at every width and in both colors. Leaves the window as it was."""
        before, found = self.page.viewport_size, []
        self.page.evaluate(f"window.axe ?? (() => {{ {axe_source()} }})()")
        self.page.evaluate(STAND_STILL)
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": before["height"]})
            for colors in COLORS:
                self.page.emulate_media(color_scheme=colors)
                self.page.wait_for_function(DARK_IS, arg=colors == "dark")
                self.page.wait_for_timeout(150)
                found += [f"{width} {colors} {text}" for text in self.page.evaluate(RUN_AXE)]
        self.page.set_viewport_size(before)
        self.page.emulate_media(color_scheme=SCREENS[self.screen]["color_scheme"])
        assert not found, "\n".join(found)
