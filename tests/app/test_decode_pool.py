"""Images decoded in other processes: the same pixels, and whatever a decoder does costs one image only."""

import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from app import decode_pool
from app.containers import read_container
from app.decode_cost import CostlyError, expected_seconds
from app.decode_pool import DecodePool, Worker
from app.images import ImageError, load_image
from app.turns import COSTLY_SECONDS
from tests.drawings import draw, encode

APP = Path(decode_pool.__file__).parent
GREEDY = """
import sys
sys.path.insert(0, {folder!r})
import decode_worker
decode_worker._make_importable()
import app.images

def load_image(source, target_size, check=None):
    if source == b"memory":
        return bytearray(2**31)
    if source == b"crash":
        import os
        os.abort()
    while source == b"time":
        pass
    return original(source, target_size, check)

original, app.images.load_image = app.images.load_image, load_image
decode_worker.MAX_CPU_SECONDS = 1
sys.exit(decode_worker.main(*map(int, sys.argv[1:])))
"""


@pytest.fixture
def pool():
    pool = DecodePool(workers=2)
    yield pool
    pool.close()


@pytest.fixture
def greedy_pool(tmp_path, monkeypatch):
    """Its decoder takes memory or time, or crashes, when told to."""
    worker = tmp_path / "worker.py"
    worker.write_text(GREEDY.format(folder=str(APP)))
    monkeypatch.setattr(decode_pool, "WORKER", worker)
    pool = DecodePool(workers=1)
    yield pool
    pool.close()


def test_an_image_is_the_same_as_without_a_pool(pool, tmp_path):
    data = encode(draw(1, (700, 900)), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0")
    (tmp_path / "photo.jpg").write_bytes(data)
    for source in (data, tmp_path / "photo.jpg", lambda: data, draw(2)):
        expected = load_image(source, 100)
        image = pool.load(source, 100)
        assert (image.mode, image.size) == ("RGB", expected.size)
        assert image.tobytes() == expected.tobytes()


def test_a_bad_image_is_the_same_error_as_without_a_pool(pool, tmp_path):
    for source in (b"<html>", b"", tmp_path, tmp_path / "missing.jpg", encode(draw(1))[:300]):
        with pytest.raises(ImageError) as expected:
            load_image(source)
        with pytest.raises(ImageError) as caught:
            pool.load(source)
        assert (str(caught.value), caught.value.kind) == (str(expected.value), expected.value.kind)


def test_one_process_decodes_many_images_and_starts_with_the_first(pool):
    assert not pool.quick.idle
    for seed in range(20):
        pool.load(encode(draw(seed)))
    assert len(pool.quick.idle) == 1


def test_as_many_images_as_workers_are_decoded_at_once(pool):
    with ThreadPoolExecutor(8) as threads:
        images = list(threads.map(lambda seed: pool.load(encode(draw(seed), "PNG")), range(40)))
    assert all(image.tobytes() == draw(seed).tobytes() for seed, image in enumerate(images))
    assert len(pool.quick.idle) <= 2


@pytest.mark.skipif(sys.platform == "win32", reason="no limits there")
@pytest.mark.parametrize(
    ("order", "reason"),
    [(b"memory", "too large for this machine's memory"), (b"crash", "stopped"), (b"time", "stopped")],
)
def test_a_decoder_that_misbehaves_costs_one_image(greedy_pool, order, reason):
    greedy_pool.load(encode(draw(1)))
    start = time.monotonic()
    with pytest.raises(ImageError, match=reason):
        greedy_pool.load(order)
    assert time.monotonic() - start < 15
    assert greedy_pool.load(encode(draw(1), "PNG")).tobytes() == draw(1).tobytes()


def test_a_worker_that_was_killed_between_two_images_is_replaced(pool):
    pool.load(encode(draw(1)))
    pool.quick.idle[0].process.kill()
    pool.quick.idle[0].process.wait()
    assert pool.load(encode(draw(1))).size == (60, 80)


def test_a_decoder_that_hangs_is_ended_by_the_clock(greedy_pool, monkeypatch):
    monkeypatch.setattr(decode_pool, "MAX_SECONDS", 0.5)
    with pytest.raises(ImageError, match="stopped"):
        greedy_pool.load(b"time")


def test_an_image_that_takes_long_goes_to_a_process_that_steps_back(pool):
    bomb = encode(Image.new("RGB", (6000, 6000)), "PNG")
    with pytest.raises(CostlyError) as costly:
        pool.load_quickly(bomb, 32)
    assert 0.3 < costly.value.seconds < 1
    assert not pool.slow.idle
    assert pool.load(bomb, 32).tobytes() == load_image(bomb, 32).tobytes()
    (slow,), (quick, *_) = pool.slow.idle, pool.quick.idle
    if hasattr(os, "getpriority"):
        niceness = [os.getpriority(os.PRIO_PROCESS, worker.process.pid) for worker in (slow, quick)]
        assert niceness[0] == min(19, niceness[1] + 10)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_an_ordinary_photo_of_any_format_does_not_count_as_costly(kind):
    container = read_container(encode(Image.effect_noise((1600, 1200), 60).convert("RGB"), kind))
    assert expected_seconds(container) < COSTLY_SECONDS


def test_closing_ends_the_processes(pool):
    pool.load(encode(draw(1)))
    process = pool.quick.idle[0].process
    pool.close()
    assert process.poll() is not None


def test_a_worker_ends_when_its_server_is_killed(tmp_path):
    script = "import sys; sys.path.insert(0, sys.argv[1]); from app.decode_pool import Worker; import os\n"
    script += "print(Worker().process.pid, flush=True); os.kill(os.getpid(), 9)"
    started = subprocess.run(
        [sys.executable, "-c", script, str(APP.parent)], capture_output=True, text=True, timeout=60
    )
    pid = int(started.stdout)
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return  # nobody has taken note of its end in this container
        time.sleep(0.1)
    raise AssertionError("the worker still runs")


def test_it_works_in_a_space_whose_folder_is_not_called_app(tmp_path, monkeypatch):
    space = tmp_path / "home"
    shutil.copytree(APP, space, ignore=shutil.ignore_patterns("models", "examples", "__pycache__"))
    monkeypatch.setattr(decode_pool, "WORKER", space / "decode_worker.py")
    monkeypatch.chdir(tmp_path)
    worker = Worker()
    try:
        assert worker.load(encode(draw(1), "PNG"), None).tobytes() == draw(1).tobytes()
    finally:
        worker.end()
    assert threading.active_count() < 50
