"""What is not an image is refused by its content, and no body costs more bytes, memory or time than allowed."""

import gzip
import io
import time
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

from data_prep.scraping import fetch
from data_prep.scraping.public_network import FetchError
from tests.drawings import png_bomb, scan_bomb
from tests.scrape_runs import image, images, reasons, rows, run_list
from tests.scrape_server import drip, hang_up_after

PAGE_START = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n"


def test_the_content_decides_the_type_not_the_header_or_the_name(site, tmp_path):
    webp = site.put("/real.jpg", image(1, form="WEBP"), Content_Type="text/html")
    bad = {
        "/page.jpg": b"<html><body>not here</body></html>",
        "/vector.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "/empty.jpg": b"",
        "/cut.jpg": image(2, (640, 480), form="JPEG")[:-800],
        "/pixel.gif": image(3, (1, 1), form="GIF"),
        "/small.png": image(3, (31, 400)),
        "/bomb.png": png_bomb(60_000, 60_000),
        "/scans.jpg": scan_bomb(),
        "/blank.png": gray_square(),
    }
    urls = [site.put(path, data, Content_Type="image/jpeg") for path, data in bad.items()]
    run_list(tmp_path / "out", [webp, *urls])
    assert [Path(name).suffix for name in images(tmp_path / "out")] == [".webp"]
    found = reasons(tmp_path / "out")
    assert set(found) == set(bad)
    assert found["/page.jpg"] == found["/vector.svg"] and "image" in found["/page.jpg"]
    assert found["/pixel.gif"].startswith("too small") and found["/small.png"].startswith("too small")
    assert found["/bomb.png"].startswith("too large (more than 50 megapixels")
    assert found["/scans.jpg"].startswith("too large (a JPEG of more than 100 scans")
    assert found["/blank.png"].startswith("blank")


def gray_square() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "gray").save(stream, "PNG")
    return stream.getvalue()


# --- bounds of bytes and time ----------------------------------------------------------------------------------------


def test_bodies_beyond_the_byte_limit_end_early(site, tmp_path):
    zeros = gzip.compress(bytes(50_000_000))
    urls = [
        site.put("/announced.png", b"x", Content_Length="999999999999"),
        site.put_page("/endless.png", drip(b"x" * 10_000, 0, PAGE_START)),
        site.put("/bomb.png", zeros, Content_Encoding="gzip"),
        site.put("/brotli.png", b"x", Content_Encoding="br"),
        site.put("/damaged.png", b"not gzip", Content_Encoding="gzip"),
        site.put("/zipped.png", gzip.compress(image(1)), Content_Encoding="gzip"),
    ]
    assert len(zeros) < 100_000
    run_list(tmp_path / "out", urls, "--max_bytes", "100000")
    found = {path: reason.split(":")[0] for path, reason in reasons(tmp_path / "out").items()}
    assert found["/announced.png"] == found["/endless.png"] == found["/bomb.png"] == "too large"
    assert found["/brotli.png"] == "content encoding that was not asked for"
    assert found["/damaged.png"] == "gzip stream is damaged"
    assert len(images(tmp_path / "out")) == 1


def test_a_gzip_bomb_is_never_unfolded_in_memory():
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(FetchError, match="too large"):
        fetch.read_body([bomb], {"content-encoding": "gzip"}, 100_000, cut=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_slow_bodies_and_headers_end_at_the_total_time(site, tmp_path):
    urls = [
        site.put_page("/body.png", drip(b"x", 0.02, PAGE_START)),
        site.put_page("/header.png", drip(b"X-Slow: 1\r\n", 0.02, b"HTTP/1.1 200 OK\r\n")),
    ]
    start = time.monotonic()
    run_list(tmp_path / "out", urls, "--timeouts", "1", "0.3", "0.4")
    assert time.monotonic() - start < 2
    assert set(reasons(tmp_path / "out").values()) == {"not complete after 0.4 s"}
    assert {row["retry"] for row in rows(tmp_path / "out" / "rejected.csv")} == {"next run"}


def test_a_silent_server_and_a_body_that_ends_early_are_asked_again_then_left(site, tmp_path):
    silent = site.put_page("/silent.png", drip(b"", 0.05))
    short = site.put("/short.png", image(1)[:100], Content_Length="5000", Connection="close")
    site.pages["/short.png"] = hang_up_after(site.pages["/short.png"])
    run_list(tmp_path / "out", [silent, short], "--timeouts", "1", "0.2", "5")
    found = reasons(tmp_path / "out")
    assert found["/silent.png"].startswith("nothing was sent for 0.2 s")
    assert found["/short.png"].startswith("connection failed")
    assert site.asked() == ["/silent.png"] * 2 + ["/short.png"] * 2
