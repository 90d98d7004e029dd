"""The page without a browser: its API, what it refuses, batches and zips, the review's corrections, its tables."""

import ast
import asyncio
import base64
import csv
import http.server
import io
import json
import struct
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from page_server import serving, two_models
from PIL import Image

from app import app as page_module
from app import batches, cards, limits, page_about, page_batch, review, service
from app.batches import Batch
from app.classifier import Prediction, ScoredLabel
from app.images import ImageError
from app.limits import BusyError, NotAnImageError, RequestError, TooLargeError, UnknownModelError, UnreadableError
from app.service import ConcurrencyLimiter, Service
from data_prep.pipeline.corrections import read_corrections

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "app" / "examples"
SHIRT, SCREENSHOT = EXAMPLES / "tshirts.jpg", EXAMPLES / "screenshot.jpg"
SURE = Prediction("ok", "Tshirts", 0.98, ["Apparel", "Tshirts"], [0.99, 0.98], [ScoredLabel("Tshirts", 0.98)])
UNSURE = Prediction("review", None, 0.4, [], [], [ScoredLabel("Tshirts", 0.4), ScoredLabel("Tops", 0.3)])


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return two_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def known(models) -> Service:
    return Service(models)


@pytest.fixture(scope="module")
def address(models):
    with serving(models) as address:
        yield address


@pytest.fixture(scope="module")
def client(address) -> Client:
    return Client(address, verbose=False)


def zip_of(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


# --- the functions for programs --------------------------------------------------------------------------------------


def test_classify_answers_with_path_confidences_and_verdict(client):
    answer = client.predict(image=handle_file(SHIRT), api_name="/classify")
    assert answer["status"] == "ok" and answer["model"] == "fashion"
    assert answer["category_path"] == ["Apparel", "Topwear", "Tshirts"]
    assert len(answer["path_confidences"]) == 3 and len(answer["top_k"]) == 5
    assert 0 < answer["milliseconds"] < 60_000


def test_classify_batch_keeps_the_order_and_gives_a_bad_image_its_own_row(client, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(SHIRT.read_bytes()[:2000])
    files = [handle_file(SHIRT), handle_file(broken), handle_file(EXAMPLES / "watches.jpg")]
    rows = client.predict(files=files, model="plain", top_k=2, api_name="/classify_batch")
    assert [row["file"] for row in rows] == ["tshirts.jpg", "broken.jpg", "watches.jpg"]
    assert [row["status"] for row in rows] == ["ok", "error", "ok"]
    assert "truncated" in rows[1]["error"]
    assert len(rows[0]["top_k"]) == 2


def test_find_products_gives_boxes_in_the_pixels_of_the_screenshot(client):
    found = client.predict(image=handle_file(SCREENSHOT), api_name="/find_products")
    assert (found["kind"], found["width"], found["height"], len(found["products"])) == ("grid", 1080, 2400, 8)
    x, y, width, height = found["products"][0]["box"]
    assert abs(x - 36) < 4 and abs(y - 300) < 4 and abs(width - 489) < 8 and abs(height - 383) < 8


def test_the_names_of_the_api_are_these(client):
    assert set(client.view_api(return_format="dict")["named_endpoints"]) >= {
        "/classify",
        "/classify_batch",
        "/find_products",
    }


def call_tool(address: str, *images: str) -> tuple[list, list]:
    """The tools that an assistant is offered over MCP, and what `classify` answers about each image."""

    async def ask() -> tuple[list, list]:
        connection = streamable_http_client(f"{address}/gradio_api/mcp/")
        async with connection as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            answers = [await session.call_tool("classify", {"image": image}) for image in images]
            return (await session.list_tools()).tools, answers

    return asyncio.run(ask())


def test_an_assistant_calls_the_same_functions_as_tools(address):
    image = (EXAMPLES / "casual_shoes.jpg").read_bytes()
    tools, (answer, refusal) = call_tool(address, data_url(image)["url"], data_url(b"no image")["url"])
    assert {tool.name for tool in tools} == {"classify", "classify_batch", "find_products"}
    assert all(tool.description for tool in tools)
    assert ast.literal_eval(answer.content[0].text)["label"] == "Casual Shoes"  # Gradio sends Python's spelling
    assert refusal.isError and "Traceback" not in refusal.content[0].text


def test_the_example_for_programs_runs(address, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import use_api

    use_api.main(["--page", address])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok Apparel > Topwear > Tshirts")
    assert len(lines) == 1 + 2 + 8


def call(address: str, name: str, *data) -> str:
    """What the server sends for a raw call, as text."""
    posted = httpx.post(f"{address}/gradio_api/call/{name}", json={"data": data}, timeout=60)
    if posted.status_code != 200:
        return posted.text
    return httpx.get(f"{address}/gradio_api/call/{name}/{posted.json()['event_id']}", timeout=60).text


def as_file(path: str, **more) -> dict:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def data_url(content: bytes) -> dict:
    return {"path": None, "url": "data:image/jpeg;base64," + base64.b64encode(content).decode()}


def test_a_data_url_is_classified_and_has_the_same_limits(address, monkeypatch):
    url = data_url(SHIRT.read_bytes())
    assert '"Tshirts"' in call(address, "classify", url, "fashion", 5)
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 1000)
    assert "at most" in call(address, "classify", url, "fashion", 5)


@pytest.mark.parametrize("path", ["/etc/passwd", "../../etc/passwd", "/proc/self/environ", str(SHIRT), "a\0b"])
@pytest.mark.parametrize("name", ["classify", "classify_batch", "find_products"])
def test_no_path_of_the_server_is_read(address, name, path):
    file = [as_file(path)] if name == "classify_batch" else as_file(path)
    answer = call(address, name, file, "fashion", 5)
    assert "event: error" in answer and "Only uploaded files" in answer
    assert "root:" not in answer and "passwd" not in answer


@pytest.fixture
def trap():
    """The address of a server that nobody may ask for anything, and what it was asked for."""
    asked = []

    class Trap(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    server = http.server.HTTPServer(("127.0.0.1", 0), Trap)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/image.jpg", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("position", [0, 1])
def test_no_address_is_fetched_whatever_component_it_is_given_to(address, trap, position):
    url, asked = trap
    data = [data_url(SHIRT.read_bytes()), "fashion", 5]
    data[position] = as_file(url, url=url)
    answer = call(address, "classify", *data)
    assert "Only uploaded files" in answer and not asked


def test_no_address_is_fetched_and_no_path_read_for_an_assistant(address, trap):
    url, asked = trap
    _, answers = call_tool(address, url, "/etc/passwd", str(SHIRT))
    assert all(answer.isError for answer in answers) and not asked
    assert "root:" not in str(answers)


def test_mounted_in_another_application_it_reads_no_path_either(known):
    with TestClient(page_module.mount_page(FastAPI(), known), base_url="http://127.0.0.1") as browser:
        data = {"data": [as_file("/etc/passwd"), "fashion", 5]}
        event = browser.post("/gradio_api/call/classify", json=data).json()["event_id"]
        answer = browser.get(f"/gradio_api/call/classify/{event}").text
    assert "Only uploaded files" in answer and "root:" not in answer


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"hello, I am a text", "not an image file"),
        (SHIRT.read_bytes()[:900], "truncated"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image file"),
    ],
)
def test_a_bad_image_gives_one_line_without_paths_or_stack_traces(client, tmp_path, content, reason):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(content)
    with pytest.raises(AppError) as error:
        client.predict(image=handle_file(bad), api_name="/classify")
    text = str(error.value)
    assert reason in text and "\n" not in text
    assert "Traceback" not in text and "/tmp" not in text and "bad.jpg" not in text


def test_wrong_parameters_are_named(address):
    url = data_url(SHIRT.read_bytes())
    assert "top_k must be" in call(address, "classify", url, "fashion", 1000)
    assert "Send an image" in call(address, "classify", None, "fashion", 5)


def test_what_was_not_foreseen_shows_no_details(client, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("/secret/path is broken")

    monkeypatch.setattr(Service, "classify", fail)
    with pytest.raises(AppError, match="our side") as error:
        client.predict(image=handle_file(SHIRT), api_name="/classify")
    assert "secret" not in str(error.value)
    assert "/secret/path is broken" in caplog.text


def test_a_full_house_is_told_to_come_back(client, monkeypatch):
    def busy(*_):
        raise BusyError

    monkeypatch.setattr(Service, "classify", busy)
    with pytest.raises(AppError, match="try again in 5 seconds"):
        client.predict(image=handle_file(SHIRT), api_name="/classify")


def test_a_full_queue_answers_in_our_words(address, monkeypatch):
    from gradio.queueing import Queue

    monkeypatch.setattr(Queue, "__len__", lambda self: 10_000)
    answer = call(address, "classify", data_url(SHIRT.read_bytes()), "fashion", 5)
    assert "try again in 5 seconds" in answer and "Max size" not in answer


def test_the_page_counts_nobody_and_keeps_no_history(address):
    config = httpx.get(f"{address}/config").json()
    assert config["analytics_enabled"] is False
    assert not config.get("run_history")
    assert httpx.get(f"{address}/monitoring/summary").status_code in (403, 404)


# --- the service -----------------------------------------------------------------------------------------------------


def test_the_service_names_its_models_and_refuses_others(known, tmp_path):
    assert known.names == ["fashion", "plain"]
    for name in ("absent", "../fashion", ["fashion"]):
        with pytest.raises(UnknownModelError, match="Choose one of: fashion, plain"):
            known.classify(SHIRT, name)
    with pytest.raises(service.ModelError, match="no model in"):
        Service(tmp_path)


def test_each_kind_of_bad_image_has_its_error(known, monkeypatch):
    with pytest.raises(NotAnImageError):
        known.classify(b"text")
    with pytest.raises(UnreadableError):
        known.classify(b"\xff\xd8\xff")
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 100)
    with pytest.raises(TooLargeError, match="at most 100|at most 9"):
        known.classify(SHIRT)


def test_a_batch_stops_after_its_time(known, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BATCH_SECONDS", -1)
    (row,) = known.classify_batch([SHIRT])
    assert row.status == "error" and "the time for one batch" in row.error


def test_a_large_screenshot_is_shrunk_but_its_boxes_are_not(known, monkeypatch):
    whole = known.find_products(SCREENSHOT).as_dict()
    monkeypatch.setattr(limits, "MAX_PAGE_PIXELS", 700_000)
    shrunk = known.find_products(SCREENSHOT).as_dict()
    assert shrunk["width"] == 1080 and len(shrunk["products"]) == 8
    for one, other in zip(whole["products"], shrunk["products"], strict=True):
        assert all(abs(a - b) <= 8 for a, b in zip(one["box"], other["box"], strict=True))


def test_the_gate_lets_some_in_some_wait_and_sends_the_others_away():
    gate = ConcurrencyLimiter(running=1, waiting=1, seconds=5)
    inside, leave, waited = threading.Event(), threading.Event(), []

    def stay():
        with gate():
            inside.set()
            leave.wait(5)

    def wait():
        with gate():
            waited.append(True)

    first = threading.Thread(target=stay)
    first.start()
    assert inside.wait(5)
    second = threading.Thread(target=wait)
    second.start()
    while gate.places._value:
        pass
    with pytest.raises(BusyError), gate():
        pass
    leave.set()
    first.join(5)
    second.join(5)
    assert waited == [True]
    with gate():
        pass


def test_a_heat_map_is_an_image_of_the_same_shape(known):
    image = known.heat_map(SHIRT)
    assert abs(image.width / image.height - 480 / 640) < 0.01
    with pytest.raises(RequestError, match="no category"):
        known.heat_map(SHIRT, None, "Spaceships")


# --- batches and zips ------------------------------------------------------------------------------------------------


def test_a_zip_gives_its_images_and_leaves_out_what_systems_put_in(tmp_path):
    shirt = SHIRT.read_bytes()
    files = {"socks/a.jpg": shirt, "__MACOSX/._a.jpg": b"x", ".DS_Store": b"x", "socks/._b.jpg": b"x", "empty/": b""}
    batch = Batch([("mine.zip", zip_of(tmp_path / "mine.zip", files)), ("shirt.jpg", SHIRT)])
    assert batch.count == 2
    assert list(batch) == [("socks/a.jpg", shirt), ("shirt.jpg", SHIRT)]


def test_a_batch_has_limits_of_count_and_bytes(tmp_path, monkeypatch):
    archive = zip_of(tmp_path / "many.zip", {f"{n}.jpg": b"x" * 1000 for n in range(12)})
    monkeypatch.setattr(limits, "MAX_BATCH_FILES", 10)
    with pytest.raises(TooLargeError, match="These are 12 files; one batch may have 10"):
        Batch([("many.zip", archive)])
    monkeypatch.setattr(limits, "MAX_BATCH_FILES", 100)
    monkeypatch.setattr(limits, "MAX_BATCH_BYTES", 10_000)
    with pytest.raises(TooLargeError, match="one batch may have 0.00954 MB"):
        Batch([("many.zip", archive)])
    with pytest.raises(RequestError, match="Choose some images"):
        Batch([])
    with pytest.raises(RequestError, match="holds no files"):
        Batch([("empty.zip", zip_of(tmp_path / "empty.zip", {}))])


def test_a_zip_that_claims_less_than_it_holds_gives_no_more_than_it_claims(tmp_path):
    path = zip_of(tmp_path / "bomb.zip", {"a.jpg": b"\0" * 5_000_000})
    data = bytearray(path.read_bytes())
    entry = data.rfind(b"PK\x01\x02")
    struct.pack_into("<I", data, entry + 24, 1000)
    path.write_bytes(data)
    ((_, source),) = Batch([("bomb.zip", path)])
    assert isinstance(source, ImageError) or len(source) <= 1000


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_unusual_compression_and_large_members_cost_their_row(tmp_path, monkeypatch, compression):
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 100)
    zip_of(tmp_path / "odd.zip", {"a.jpg": b"x"}, compression)
    zip_of(tmp_path / "big.zip", {"a.jpg": b"x" * 1000})
    ((_, odd),), ((_, big),) = (list(Batch([("z", tmp_path / name)])) for name in ("odd.zip", "big.zip"))
    assert "unusual" in str(odd) and "too large" in str(big)


def test_a_damaged_zip_is_refused_in_one_line(tmp_path, monkeypatch):
    path = zip_of(tmp_path / "a.zip", {"a.jpg": b"x" * 100})
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UnreadableError, match="This zip is damaged"):
        Batch([("damaged.zip", damaged)])
    monkeypatch.setattr(batches, "MAX_DIRECTORY_BYTES", 10)
    with pytest.raises(TooLargeError, match="too many files"):
        Batch([("a.zip", path)])


def test_a_batch_becomes_rows_in_order_and_csv_that_no_spreadsheet_runs(known, tmp_path):
    files = {"=1+1.jpg": SHIRT.read_bytes(), "b.txt": b"no image"}
    batch = Batch([("z", zip_of(tmp_path / "z.zip", files))])
    rows = page_batch.classified(known, batch, "fashion", progress=lambda *_, **__: None)
    assert [row.prediction.status for row in rows] == ["ok", "error"]
    lines = list(csv.DictReader(io.StringIO(page_batch.csv_text(rows, calibrated=True))))
    assert [line["file"] for line in lines] == ["'=1+1.jpg", "b.txt"]
    assert [line["verdict"] for line in lines] == ["Publish", "Not readable"]
    assert lines[0]["category"] == "Apparel > Topwear > Tshirts" and "not an image" in lines[1]["error"]


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_names_of_files_never_become_markup():
    row = cards.Row("<img src=x onerror=alert(1)>.jpg", "", Prediction("error", error="<b>bad</b>"))
    shown = cards.batch_table([row], calibrated=True) + cards.message("error", "<i>", "<script>")
    assert not any(tag in shown for tag in ("<img src=x", "<b>bad", "<i>", "<script>"))


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100%"), (0.9997, ">99.9%"), (0.834, "83.4%"), (0.0034, "0.34%"), (0.0001, "<0.1%"), (None, "–")],
)
def test_confidences_read_naturally(share, text):
    assert cards.percent(share) == text


def test_the_verdict_says_in_words_what_to_do(known):
    fashion, plain = known.classifier("fashion"), known.classifier("plain")
    assert cards.verdict(SURE, fashion)[1] == "Publish"
    assert "99 times in 100" in cards.verdict(SURE, fashion)[2]
    assert cards.verdict(SURE, plain)[1] == "Best guess"
    assert cards.verdict(UNSURE, fashion)[1] == "Needs review"
    assert cards.verdict(Prediction("unknown"), fashion)[1] == "Unknown product"


def test_the_leaderboard_draws_every_interval_and_does_without_results(tmp_path):
    rows = page_about.read_leaderboard(page_about.results_folder() / page_about.CSV_FILE)
    assert rows and rows[0]["split"] == "test"
    section = page_about.leaderboard_section("data", "test", rows)
    assert section.count('class="whisker"') == len(page_about.DRAWN) * len(rows)
    assert page_about.read_leaderboard(tmp_path / "absent.csv") == []


def test_the_leaderboard_shows_the_figures_that_there_are(tmp_path, monkeypatch):
    section = page_about.figures_section("fashion")
    assert section.count("<figure>") == len(page_about.FIGURES) and "answers of fashion" in section
    monkeypatch.setattr(page_about, "HERE", tmp_path)
    assert "<figure>" not in page_about.figures_section("fashion")


def test_a_model_card_is_shown_without_its_front_matter(tmp_path):
    assert page_about.model_card(tmp_path) == f"# {tmp_path.name}\n\nThis model has no card."
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Socks\n\nGood.\n", encoding="utf-8")
    assert page_about.model_card(tmp_path) == "# Socks\n\nGood."


# --- review ----------------------------------------------------------------------------------------------------------


def test_review_is_off_unless_asked_for(known, tmp_path, monkeypatch):
    monkeypatch.delenv("SNAPSHELF_REVIEW", raising=False)
    assert page_module.review_queue(known, None, None) is None
    monkeypatch.setenv("SNAPSHELF_REVIEW", "0")
    assert page_module.review_queue(known, None, None) is None
    monkeypatch.setenv("SNAPSHELF_REVIEW", "1")
    assert page_module.review_queue(known, None, tmp_path / "c.csv") is not None


def test_only_images_that_need_a_person_come_to_review(known, tmp_path):
    queue = review.ReviewQueue(known, tmp_path / "c.csv")
    queue.see("sure.jpg", SHIRT, SURE)
    queue.see("unsure.jpg", SHIRT, UNSURE)
    queue.see("unsure.jpg", SHIRT, UNSURE)
    queue.see("bad.jpg", ImageError("bad"), Prediction("error", error="bad"))
    assert [item.id for item in queue.items] == ["unsure.jpg"]
    assert max(Image.open(io.BytesIO(queue.items[0].image)).size) == review.IMAGE_SIDE
    assert "sure of Tshirts" in review.reason(SURE, label="Socks") and not review.reason(SURE, label="Tshirts")


def test_corrections_are_appended_and_data_prep_reads_them(known, tmp_path):
    path = tmp_path / "corrections.csv"
    for name in ("a, b.jpg", "c.jpg"):  # two sessions, one header
        queue = review.ReviewQueue(known, path)
        queue.see(name, SHIRT, UNSURE)
        queue.corrections.append(queue.item(0), "relabel", "Tops", "picked by a person")
        queue.corrections.append(queue.item(0), "quarantine", "", "not usable")
    lines = read_corrections(path, ["label"])
    assert [(line.id, line.action, line.column, line.label) for line in lines] == [
        ("a, b.jpg", "relabel", "label", "Tops"),
        ("a, b.jpg", "quarantine", "label", ""),
        ("c.jpg", "relabel", "label", "Tops"),
        ("c.jpg", "quarantine", "label", ""),
    ]
    again = review.ReviewQueue(known, path)
    again.see("c.jpg", SHIRT, UNSURE)
    assert again.item(0) is None  # decided before


def test_a_corrections_file_of_another_kind_is_left_alone(known, tmp_path):
    path = tmp_path / "notes.csv"
    path.write_text("name,note\n", encoding="utf-8")
    with pytest.raises(ValueError, match="other columns"):
        review.ReviewQueue(known, path)
    with pytest.raises(ValueError, match="no folder"):
        review.ReviewQueue(known, tmp_path / "absent" / "c.csv")
    assert path.read_text(encoding="utf-8") == "name,note\n"


def test_a_prepared_dataset_is_looked_through_for_what_needs_a_person(known, drawn_dataset, tmp_path):
    queue = review.ReviewQueue(known, tmp_path / "c.csv", drawn_dataset)
    item = queue.item(0)
    assert item is not None and item.column == "articleType" and item.label and item.why
    number = 0
    while queue.item(number):
        number += 1
    assert queue.looked_at == 80  # train and validation, never the test split
    with pytest.raises(ValueError, match="not a prepared dataset"):
        review.ReviewQueue(known, tmp_path / "c.csv", tmp_path)


def test_the_command_names_what_is_wrong(tmp_path, capsys):
    assert page_module.main(["--review", str(tmp_path)]) == 2
    assert "is not a prepared dataset" in capsys.readouterr().err


def test_a_limit_that_is_no_number_is_named(monkeypatch):
    monkeypatch.setenv("SNAPSHELF_MAX_TILES", "many")
    with pytest.raises(SystemExit, match="SNAPSHELF_MAX_TILES is 'many'"):
        limits._limit("MAX_TILES", 60)


def test_the_page_needs_no_torch():
    code = "import sys, app.app; print(json.dumps([m for m in ('torch', 'datasets') if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", f"import json; {code}"], cwd=ROOT, capture_output=True, text=True)
    assert json.loads(done.stdout) == [], done.stderr
