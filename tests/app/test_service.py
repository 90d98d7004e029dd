"""The service: its models, its errors, its limits."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app import limits
from app.decode_pool import DecodePool
from app.images import load_image
from app.limits import NotAnImageError, RequestError, TooLargeError, UnknownModelError, UnreadableError
from app.model_files import ModelError
from app.service import Service

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "app" / "examples"
SHIRT, SCREENSHOT = EXAMPLES / "tshirts.jpg", EXAMPLES / "screenshot.jpg"


def test_the_service_names_its_models_and_rejects_others(service, tmp_path):
    assert service.names == ["fashion", "plain"]
    for name in ("absent", "../fashion", ["fashion"]):
        with pytest.raises(UnknownModelError, match="Choose one of: fashion, plain"):
            service.classify(SHIRT, name)
    with pytest.raises(ModelError, match="no model in"):
        Service(tmp_path)


def test_each_kind_of_bad_image_has_its_error(service, monkeypatch):
    with pytest.raises(NotAnImageError):
        service.classify(b"text")
    with pytest.raises(UnreadableError):
        service.classify(b"\xff\xd8\xff")
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 100)
    with pytest.raises(TooLargeError, match="at most 100|at most 9"):
        service.classify(SHIRT)


def test_a_batch_stops_after_its_time(service, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BATCH_SECONDS", -1)
    (row,) = service.classify_batch([SHIRT])
    assert row.status == "error" and "the time limit of a batch" in row.error


def test_a_few_images_take_one_turn(service, monkeypatch):
    turns = []
    wait = service.turns.wait
    monkeypatch.setattr(service.turns, "wait", lambda turn, seconds: turns.append(turn) or wait(turn, seconds))
    assert [row.status == "error" for row in service.classify_batch([SHIRT, SHIRT])] == [False, False]
    assert len(turns) == 1


def test_a_large_screenshot_is_shrunk_but_its_boxes_are_not(service, monkeypatch):
    whole = service.find_products(SCREENSHOT).to_dict()
    monkeypatch.setattr(limits, "MAX_PAGE_PIXELS", 700_000)
    shrunk = service.find_products(SCREENSHOT).to_dict()
    assert shrunk["width"] == 1080 and len(shrunk["products"]) == 8
    for one, other in zip(whole["products"], shrunk["products"], strict=True):
        assert all(abs(a - b) <= 8 for a, b in zip(one["box"], other["box"], strict=True))


def test_a_heat_map_is_an_image_of_the_same_shape(service):
    image = service.heat_map(SHIRT)
    assert abs(image.width / image.height - 480 / 640) < 0.01
    with pytest.raises(RequestError, match="no category"):
        service.heat_map(SHIRT, None, "Spaceships")


def test_a_limit_that_is_not_a_number_stops_the_start_with_one_line():
    environment = {**os.environ, "SNAPSHELF_MAX_TILES": "many"}
    command = [sys.executable, "-m", "app.server", "--no_page"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    message = "SNAPSHELF_MAX_TILES is 'many'; it must be a whole number above 0"
    assert (result.returncode, result.stderr) == (2, f"python -m app.server: error: {message}\n")


def test_all_time_of_a_batch_counts_also_that_of_slow_images_and_thumbnails(service, monkeypatch):
    def slow(source, target_size=None):
        time.sleep(0.2)
        return load_image(source, target_size)

    monkeypatch.setattr(limits, "MAX_BATCH_SECONDS", 1)
    monkeypatch.setattr(service, "decode", slow)
    start = time.monotonic()
    predictions = service.classify_batch([SHIRT] * 60, "fashion")
    assert time.monotonic() - start < 3
    assert len(predictions) == 60
    assert predictions[0].status == "ok" and "time limit" in predictions[-1].error


def test_a_decoder_that_dies_costs_its_image_only(models):
    pool = DecodePool(1)
    service = Service(models, pool)
    first, second = service.classify_batch([SHIRT, SHIRT])
    assert first.status == second.status == "ok"
    for worker in pool.quick.idle:
        worker.process.kill()
        worker.process.wait(10)
    assert service.classify(SHIRT).prediction.status == "ok"
    pool.close()
