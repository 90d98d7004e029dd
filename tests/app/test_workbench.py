"""The private function behind the tab Sort: rows for a few uploads, and nothing that stays; no browser here."""

import base64
import hashlib
import io
import json
from pathlib import Path

import httpx
import pytest
from PIL import Image

from app import limits
from app.limits import BatchTime
from app.pages.workbench import classified
from app.prediction import CSV_COLUMNS
from app.service import Service
from tests.make_tiny_model import save_image, write_calibration, write_tiny_model
from tests.page_server import serving
from tests.tiny_titles import write_titles

EXAMPLES = Path(__file__).resolve().parents[2] / "app" / "examples"
SHIRT, WATCH = EXAMPLES / "tshirts.jpg", EXAMPLES / "watches.jpg"


def upload(address: str, *contents: bytes) -> list[str]:
    """The paths that the server gives them."""
    sent = [("files", (str(number), content)) for number, content in enumerate(contents)]
    return httpx.post(f"{address}/gradio_api/upload", files=sent, timeout=60).json()


def call(address: str, name: str, *data) -> dict:
    """What the queue says at the end of an event, as the page's script asks."""
    functions = httpx.get(f"{address}/config").json()["dependencies"]
    number = next(function["id"] for function in functions if function["api_name"] == name)
    body = {"data": data, "fn_index": number, "session_hash": f"test{name}"}
    httpx.post(f"{address}/gradio_api/queue/join", json=body, timeout=60).raise_for_status()
    with httpx.stream("GET", f"{address}/gradio_api/queue/data?session_hash=test{name}", timeout=60) as stream:
        for line in stream.iter_lines():
            message = json.loads(line[5:]) if line.startswith("data:") else {}
            if message.get("msg") == "process_completed":
                return message["output"]
    raise AssertionError("the stream ended without an answer")


def sort(address: str, paths: list[str], model: str = "fashion", **details) -> list[dict]:
    files = [{"path": path, "orig_name": "photo.jpg", "meta": {"_type": "gradio.FileData"}} for path in paths]
    output = call(address, "workbench_sort", files, model, details)
    return output["data"][0]["rows"] if "data" in output else output["error"]


def test_each_upload_is_a_row_with_all_that_the_list_shows_and_its_download_has(address):
    shirt = SHIRT.read_bytes()
    good, bad = sort(address, upload(address, shirt, b"no image"))
    assert good["sha256"] == hashlib.sha256(shirt).hexdigest()
    assert (good["status"], good["label"], good["path"]) == ("ok", "Tshirts", ["Apparel", "Topwear", "Tshirts"])
    assert good["published_path"] == good["path"] and len(good["top_k"]) == limits.MAX_TOP_K
    assert set(good["top_k"][0]) == {"label", "confidence"} and good["thumbnail"] == "" and not good["late"]
    assert tuple(good["cells"])[: len(CSV_COLUMNS)] == CSV_COLUMNS
    assert good["cells"]["category_path"] == "Apparel > Topwear > Tshirts"
    assert bad["status"] == "error" and "not an image" in bad["error"] and bad["cells"]["error"] == bad["error"]


def test_a_thumbnail_comes_for_what_a_browser_cannot_decode_and_only_then(address):
    paths = upload(address, SHIRT.read_bytes(), WATCH.read_bytes(), b"no image")
    rows = sort(address, paths, thumbnails=[False, True, True])
    assert [bool(row["thumbnail"]) for row in rows] == [False, True, False]
    assert rows[1]["thumbnail"].startswith("data:image/jpeg;base64,")


def test_an_upload_is_deleted_as_soon_as_it_has_its_row(address):
    paths = upload(address, SHIRT.read_bytes(), b"no image")
    assert all(Path(path).is_file() for path in paths)
    sort(address, paths)
    assert not any(Path(path).exists() for path in paths)


def test_only_what_was_uploaded_is_deleted_not_the_page_s_own_files(address):
    config = httpx.get(f"{address}/config").text
    uploaded = Path(upload(address, SHIRT.read_bytes())[0])
    own = uploaded.parents[1] / "kept.jpg"  # in the folder of uploads, as the examples of the page are
    own.write_bytes(SHIRT.read_bytes())
    (row,) = sort(address, [str(own)])
    assert row["label"] == "Tshirts" and own.is_file() and config
    own.unlink()


@pytest.mark.parametrize("path", ["/etc/passwd", "../../etc/passwd", str(SHIRT)])
def test_no_path_of_the_server_is_read(address, path):
    assert "Only uploaded files" in sort(address, [path])
    assert "Only uploaded files" in sort(address, [], titles=[{"path": path}])


def test_what_is_wrong_with_a_request_is_said_in_one_line(address, monkeypatch):
    assert "Choose some images first" in sort(address, [])
    for details in ({"titles": ["a", "b"]}, {"titles": [3]}, {"thumbnails": [1]}, {"titles": "abc"}):
        assert "one item per file" in sort(address, upload(address, SHIRT.read_bytes()), **details)
    assert isinstance(sort(address, upload(address, SHIRT.read_bytes()), model="absent"), str)
    monkeypatch.setattr(limits, "MAX_BATCH_FILES", 1)
    paths = [upload(address, SHIRT.read_bytes())[0] for _ in range(2)]
    assert "These are 2 files; one batch may have 1" in sort(address, paths)


def test_names_that_do_not_say_their_encoding_are_guessed_together(address):
    raw = [name.encode("gbk").decode("latin-1") for name in ("衬衫/连衣裙.jpg", "衬衫/上衣.jpg")]
    assert call(address, "workbench_names", raw)["data"][0]["names"] == ["衬衫/连衣裙.jpg", "衬衫/上衣.jpg"]
    for wrong in ("text", [3], ["衬"], ["x"] * 10_001):
        assert "each a letter per byte" in call(address, "workbench_names", wrong)["error"]


def test_programs_are_not_offered_the_function(address):
    info = httpx.get(f"{address}/gradio_api/info").json()
    assert not [name for name in info["named_endpoints"] if "workbench" in name]
    answer = httpx.post(f"{address}/gradio_api/call/workbench_sort", json={"data": [[], "fashion", {}]})
    text = answer.text
    if answer.status_code == 200:
        text = httpx.get(f"{address}/gradio_api/call/workbench_sort/{answer.json()['event_id']}", timeout=60).text
    assert "rows" not in text


def test_without_the_operator_s_option_there_is_no_way_to_the_server_s_corrections(address):
    functions = httpx.get(f"{address}/config").json()["dependencies"]
    names = {function["api_name"] for function in functions}
    assert "workbench_sort" in names and not names & {"workbench_review", "workbench_correct"}


def test_titles_go_along_with_their_images_to_a_model_that_reads_them(tmp_path):
    write_titles(write_calibration(write_tiny_model(tmp_path / "fashion")))
    write_tiny_model(tmp_path / "plain")
    paths = [save_image(tmp_path / f"{name}.png", "Shirts") for name in ("a", "b")]
    files = [(path.name, path) for path in paths]
    service = Service(tmp_path)
    rows = classified(service, files, "fashion", {"titles": ["Acme Women Olive Shirt", None]})["rows"]
    assert [row["cells"]["answered_from"] for row in rows] == ["both", "image"]
    with pytest.raises(limits.RequestError, match="does not read titles"):
        classified(service, files, "plain", {"titles": ["Acme Women Olive Shirt", None]})
    rows = classified(service, files, "plain", {"titles": ["", None]})["rows"]
    assert "answered_from" not in rows[0]["cells"]


def test_a_photo_that_had_to_wait_too_long_is_marked_so_that_the_browser_sends_it_again(service, monkeypatch):
    monkeypatch.setattr(BatchTime, "over", lambda _: "left out: many people are using this page right now")
    (row,) = classified(service, [("a.jpg", SHIRT)], "fashion", {})["rows"]
    assert row["late"] and row["status"] == "error"


@pytest.fixture(scope="module")
def reviewing(models, drawn_dataset, tmp_path_factory):
    corrections = tmp_path_factory.mktemp("review") / "corrections.csv"
    with serving(models, str(drawn_dataset), corrections) as address:
        yield address, corrections


def test_the_operator_s_dataset_comes_as_rows_and_its_decisions_are_written_on_the_server(reviewing):
    address, corrections = reviewing
    rows = call(address, "workbench_review", 0)["data"][0]["rows"]
    assert len(rows) > 2 and all(row["review"]["reason"] for row in rows)
    shown = base64.b64decode(rows[0]["thumbnail"].partition(",")[2])
    assert max(Image.open(io.BytesIO(shown)).size) <= 512
    ids = [row["review"]["id"] for row in rows]
    decisions = [
        {"id": ids[0], "action": "relabel", "label": "Dresses"},
        {"id": ids[1], "action": "quarantine", "label": ""},
        {"id": ids[2], "action": "relabel", "label": "Jeans"},
    ]
    assert call(address, "workbench_correct", decisions)["data"][0]["decided"] == 3
    assert call(address, "workbench_correct", [{"id": ids[2], "action": ""}])["data"][0]["decided"] == 2
    lines = corrections.read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[:4] for line in lines] == [
        ["id", "action", "column", "label"],
        [ids[0], "relabel", "articleType", "Dresses"],
        [ids[1], "quarantine", "articleType", ""],
    ]
    further = call(address, "workbench_review", len(rows))["data"][0]["rows"]
    assert not {row["review"]["id"] for row in further} & set(ids)


@pytest.mark.parametrize("decision", [{"id": "absent", "action": "relabel", "label": "Jeans"}, "text", {}, None])
def test_a_decision_about_nothing_of_the_dataset_is_refused(reviewing, decision):
    address, _ = reviewing
    assert "not a decision" in call(address, "workbench_correct", [decision])["error"]
