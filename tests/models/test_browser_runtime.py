"""examples/browser: a model folder in Chromium, by onnxruntime-web, says what predict.py says.

make test-browser        # fetches onnxruntime-web from npm once; skipped where that cannot be reached
"""

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.classifier import Classifier
from app.service import MODELS
from tests.drawings import draw
from training.model_card import write_preprocessor

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "browser"
CHROMIUM = Path("/usr/bin/chromium")
SIZES = ((60, 80), (256, 192), (161, 160), (720, 1560), (37, 211), (2400, 1080))
ASK = "async (url) => classify(await (await fetch(url)).blob())"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium: sudo apt-get install -y chromium"),
]


def fetch_runtime(folder: Path) -> None:
    """onnxruntime-web, the version that the page's first lines name; skips where npm or its registry is missing."""
    (package,) = re.findall(r"onnxruntime-web@[\d.]+", (EXAMPLE / "index.html").read_text())
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), package]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=180)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"onnxruntime-web cannot be fetched: {error}")
    if result.returncode:
        pytest.skip(f"onnxruntime-web cannot be fetched: {result.stderr.strip()[-200:]}")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The page, the runtime, the shipped weights as a folder that squeezes, and images."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, site / "browser", ignore=shutil.ignore_patterns("node_modules", "package*.json"))
    fetch_runtime(site / "browser")
    shutil.copytree(MODELS / "fashion", site / "model")
    size = json.loads((site / "model" / "preprocessor_config.json").read_text())["size"]["height"]
    write_preprocessor(site / "model", size, [0.5] * 3, [0.5] * 3)
    (site / "images").mkdir()
    for number, shape in enumerate(SIZES):
        draw(number, shape).save(site / "images" / f"drawn{number}.jpg", quality=90)
        noise = np.random.default_rng(number).integers(0, 256, (shape[1], shape[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(site / "images" / f"noise{number}.png")
    return site


@pytest.fixture(scope="module")
def page(site) -> Iterator:
    handler = functools.partial(Quiet, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/browser/?model=/model/")
        page.get_by_text("Ready").wait_for(timeout=60_000)
        yield page
        assert all(url.startswith(address) or url.startswith("blob:") for url in asked)
        browser.close()
    server.shutdown()


def test_the_browser_and_predict_give_the_same_probabilities(site, page):
    paths = sorted((site / "images").iterdir())
    classifier = Classifier.load(site / "model", precision="fp32")
    for path, own in zip(paths, classifier.predict(paths, top_k=len(classifier.labels)), strict=True):
        rows = page.evaluate(ASK, f"/images/{path.name}")
        theirs = {row["label"]: row["confidence"] for row in rows}
        assert rows[0]["label"] == own.label, path.name
        assert max(abs(theirs[one.label] - one.confidence) for one in own.top_k) < 1e-3, path.name


def test_a_person_chooses_a_file_and_reads_what_it_is(site, page):
    path = site / "images" / "drawn3.jpg"
    page.get_by_label("Choose an image").set_input_files(path)
    (own,) = Classifier.load(site / "model", precision="fp32").predict([path])
    page.get_by_role("status").get_by_text(own.label).wait_for()
    assert page.get_by_role("listitem").count() == 5
    page.get_by_label("Choose an image").set_input_files(site / "browser" / "index.html")
    page.get_by_text("not an image that your browser can read").wait_for()
