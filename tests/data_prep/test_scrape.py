"""data_prep.scrape against a real server on 127.0.0.1: what it takes, what it refuses, how politely, how safely."""

import csv
import gzip
import io
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from ctrl_c import listen_to_ctrl_c
from PIL import Image
from scrape_server import Site, drip, start_site, stop_site

from data_prep import scrape
from data_prep.scraping import addresses, fetch
from data_prep.scraping.public_network import FetchError, may_connect

PUBLIC = "93.184.215.14"
PAGE_START = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fetch, "BACKOFF_S", 0.02)
    monkeypatch.setattr(scrape, "MIN_PUBLIC_DELAY_S", 0.005)


@pytest.fixture
def site():
    running = start_site()
    yield running
    stop_site(running)


@pytest.fixture
def public_site(site, monkeypatch):
    """The same server, reached as a public host: names resolve as `names` says, PUBLIC is the local server."""
    site.names = {"shop.test": [PUBLIC]}
    site.connected = []
    real_lookup, real_connect = socket.getaddrinfo, socket.create_connection

    def lookup(host, port, *args, **kwargs):
        if host not in site.names:
            return real_lookup(host, port, *args, **kwargs)
        found = site.names[host]
        found = found.pop(0) if isinstance(found[0], list) else found
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    def connect(address, *args, **kwargs):
        site.connected.append(address[0])
        return real_connect(("127.0.0.1", site.port) if address[0] == PUBLIC else address, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket, "create_connection", connect)
    return site


def image(seed: int = 0, size: tuple[int, int] = (64, 48), form: str = "PNG", **options) -> bytes:
    """An image of coarse noise, different for each seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize(size).save(stream, form, **options)
    return stream.getvalue()


def run(output: Path, *options: str, private: bool = True) -> None:
    """The command, quick and allowed on localhost."""
    quick = ["--delay", "0", "--retries", "1", "--allow_private"] if private else ["--delay", "0.005", "--retries", "0"]
    scrape.main(["--output", str(output), *quick, *options])


def run_list(output: Path, urls: list[str], *options: str, private: bool = True) -> None:
    """The command on a list of addresses, label "shoes"; it may take nothing."""
    listing = output.parent / "urls.txt"
    listing.write_text("\n".join(urls))
    try:
        run(output, "--urls", str(listing), "--label", "shoes", *options, private=private)
    except SystemExit as stop:
        if stop.code != 1:
            raise


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def reasons(output: Path) -> dict[str, str]:
    """Path or whole address -> reason."""
    return {"/" + row["file"].split("/", 3)[-1]: row["reason"] for row in rows(output / "rejected.csv")}


def saved(output: Path) -> list[str]:
    return sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.suffix[1:2].isalpha())


def images(output: Path) -> list[str]:
    return [name for name in saved(output) if name.count("/")]


# --- what is taken ---------------------------------------------------------------------------------------------------


def test_a_list_becomes_a_class_folder_with_sources(site, tmp_path, capsys):
    data = image(1, form="JPEG")
    url = site.put("/a.jpg", data, Content_Type="image/jpeg")
    run_list(tmp_path / "out", ["# remark", "", url], "--licence", "CC0", "--contact", "me@example.com")
    (row,) = rows(tmp_path / "out" / "sources.csv")
    assert row["address"] == url and row["licence"] == "CC0" and row["status"] == "saved" and row["date"][:2] == "20"
    assert row["file"] == f"shoes/{row['sha256'][:16]}.jpg"
    assert (tmp_path / "out" / row["file"]).read_bytes() == data
    assert site.visits[-1][2]["User-Agent"] == "SnapshelfScraper/1.0 (+me@example.com)"
    assert "1 saved" in capsys.readouterr().out
    assert rows(tmp_path / "out" / "rejected.csv") == []


def test_rows_of_a_csv_name_their_own_label_page_and_license(site, tmp_path):
    site.put("/a.png", image(1))
    site.put("/b.png", image(2))
    listing = tmp_path / "list.csv"
    listing.write_text(
        f"\ufefflabel;url;licence\nbags;{site.url}/a.png;CC BY 4.0\n../evil;{site.url}/b.png;\n"
        f";{site.url}/b.png;\ntest;{site.url}/b.png;\n",
        encoding="utf-8",
    )
    run(tmp_path / "out", "--urls", str(listing))
    (row,) = rows(tmp_path / "out" / "sources.csv")
    assert (row["label"], row["licence"]) == ("bags", "CC BY 4.0")
    assert len(images(tmp_path / "out")) == 1 and not (tmp_path / "evil").exists()
    assert rows(tmp_path / "out" / "rejected.csv")[0]["reason"]


def test_sources_csv_is_itself_a_list_that_collects_the_same_images_again(site, tmp_path):
    run_list(tmp_path / "one", [site.put("/a.png", image(1))], "--licence", "CC0")
    run(tmp_path / "two", "--urls", str(tmp_path / "one" / "sources.csv"))
    assert images(tmp_path / "one") == images(tmp_path / "two")
    assert rows(tmp_path / "two" / "sources.csv")[0]["licence"] == "CC0"


def test_a_page_gives_the_largest_images_of_the_selected_elements(site, tmp_path):
    html = """<html><head><base href="/img/"><link rel="license" href="https://example.com/licence"></head><body>
      <img src="logo.png"><ul><li class=p><img src="data:image/gif;base64,R0lG" data-src="lazy.png"></li>
      <li class=p><img src="small.png" srcset="small.png 100w, ../big,1.png 800w"></li><li class=p><img></li></ul>"""
    page = site.put("/list.html", html, Content_Type="text/html; charset=utf-8")
    for number, name in enumerate(["/img/lazy.png", "/big,1.png", "/img/small.png", "/img/logo.png"]):
        site.put(name, image(number))
    run(tmp_path / "out", "--page", page, "--selector", "li.p img", "--label", "shoes")
    found = {row["address"].removeprefix(site.url): row for row in rows(tmp_path / "out" / "sources.csv")}
    assert set(found) == {"/img/lazy.png", "/big,1.png"}
    assert found["/big,1.png"]["page"] == page and found["/big,1.png"]["licence"] == "https://example.com/licence"
    assert "element without an address" in reasons(tmp_path / "out")["/list.html"]


def test_a_selector_can_follow_links_to_the_full_images(site, tmp_path):
    site.put("/full.png", image(1))
    page = site.put("/p", '<a href="full.png#x"><img src="thumb.png"></a>')
    run(tmp_path / "out", "--page", page, "--selector", "a", "--attribute", "href", "--label", "shoes")
    assert rows(tmp_path / "out" / "sources.csv")[0]["address"] == site.url + "/full.png"


def test_a_page_where_nothing_matches_or_that_opts_out_gives_nothing_and_says_so(site, tmp_path, capsys):
    site.put("/a.png", image(1))
    empty = site.put("/empty", "<p>nothing</p>")
    reserved = site.put("/reserved", '<meta name="Robots" content="noindex, noai"><img src="/a.png">')
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "out", "--page", empty, reserved, site.url + "/404", "--selector", "img", "--label", "x")
    assert stop.value.code == 1 and "no image was taken" in capsys.readouterr().err
    found = reasons(tmp_path / "out")
    assert found["/empty"] == "no element matches: 'img'" and "owner does not allow" in found["/reserved"]
    assert found["/404"] == "HTTP 404"


def test_the_same_image_twice_is_kept_once_and_never_under_two_labels(site, tmp_path):
    urls = [site.put(f"/{name}.png", image(1)) for name in "abc"]
    run_list(tmp_path / "out", urls[:2])
    listing = tmp_path / "other.csv"
    listing.write_text(f"url,label\n{urls[2]},bags\n")
    run(tmp_path / "out", "--urls", str(listing))
    assert [row["status"] for row in rows(tmp_path / "out" / "sources.csv")] == ["saved", "duplicate"]
    assert len(images(tmp_path / "out")) == 1
    assert reasons(tmp_path / "out")["/c.png"].startswith("same image under another label: shoes/")


def test_max_images_stops_a_class(site, tmp_path):
    urls = [site.put(f"/{number}.png", image(number)) for number in range(4)]
    run_list(tmp_path / "out", urls, "--max_images", "2")
    assert len(images(tmp_path / "out")) == 2 and len(site.asked()) == 2


# --- what is not an image -------------------------------------------------------------------------------------------


def png_bomb(width: int, height: int) -> bytes:
    """A small PNG that claims, and would unfold to, width x height pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def scan_bomb() -> bytes:
    """A progressive JPEG that asks for its last scan 300 times."""
    data = image(3, form="JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * 300 + data[-2:]


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
    kinds = {path: reason.split(":")[0] for path, reason in found.items()}
    assert kinds["/page.jpg"] == kinds["/vector.svg"] and "image" in kinds["/page.jpg"]
    assert kinds["/pixel.gif"] == kinds["/small.png"] == "too small"
    assert (kinds["/bomb.png"], kinds["/scans.jpg"], kinds["/blank.png"]) == ("too many pixels", "JPEG bomb", "blank")


def gray_square() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "gray").save(stream, "PNG")
    return stream.getvalue()


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


def hang_up_after(answer):
    def and_close(handler):
        answer(handler)
        handler.close_connection = True

    return and_close


# --- politeness ------------------------------------------------------------------------------------------------------


def test_robots_txt_is_asked_once_and_obeyed(site, tmp_path):
    site.put("/robots.txt", "User-agent: *\nDisallow: /private/\nAllow: /private/free*.png$\n")
    names = ["/open.png", "/private/a.png", "/private/free1.png"]
    urls = [site.put(name, image(number)) for number, name in enumerate(names)]
    urls.append(site.put("/jump.png", status=302, Location="/private/a.png"))
    run_list(tmp_path / "out", urls)
    assert set(reasons(tmp_path / "out")) == {"/private/a.png", "/jump.png"}
    assert set(reasons(tmp_path / "out").values()) == {f"not allowed by robots.txt: {site.url}/robots.txt"}
    assert site.asked(without_robots=False).count("/robots.txt") == 1 and "/private/a.png" not in site.asked()


@pytest.mark.parametrize(
    ("status", "takes"), [(404, True), (401, True), (403, True), (429, False), (500, False), (503, False)]
)
def test_robots_txt_with_4xx_allows_all_and_with_5xx_nothing(site, tmp_path, status, takes):
    site.put("/robots.txt", b"", status)
    urls = [site.put(f"/{number}.png", image(number)) for number in range(2)]
    run_list(tmp_path / "out", urls)
    assert len(images(tmp_path / "out")) == (2 if takes else 0)
    assert takes or all(reason.startswith("robots.txt cannot be read") for reason in reasons(tmp_path / "out").values())


def test_a_redirected_and_oversized_robots_txt_still_counts(site, tmp_path):
    site.put("/robots.txt", status=301, Location="/real-robots.txt")
    site.put("/real-robots.txt", "User-agent: SnapshelfScraper\nDisallow: /no\n\n" + "# padding\n" * 80_000)
    run_list(tmp_path / "out", [site.put("/no.png", image(1)), site.put("/yes.png", image(2))])
    assert list(reasons(tmp_path / "out")) == ["/no.png"]


def gaps(site: Site) -> list[float]:
    times = [moment for moment, _, _ in site.visits]
    return [after - before for before, after in zip(times, times[1:], strict=False)]


def test_requests_to_a_host_keep_their_distance_and_crawl_delay_lengthens_it(site, tmp_path):
    urls = [site.put(f"/{number}.png", image(number)) for number in range(3)]
    run_list(tmp_path / "out", urls, "--delay", "0.06")
    assert len(site.visits) == 4 and min(gaps(site)) > 0.055
    site.visits.clear()
    site.put("/robots.txt", "User-agent: *\nCrawl-delay: 0.12\n")
    run_list(tmp_path / "slow", urls, "--delay", "0.06")
    assert len(site.visits) == 4 and min(gaps(site)) > 0.115


def test_the_default_is_one_request_a_second():
    args = scrape.make_parser().parse_args(["--urls", "x", "--output", "y"])
    assert scrape.make_limits(args).delay_s == 1.0


def test_retry_after_is_waited_for_and_500_is_tried_again(site, tmp_path, monkeypatch):
    busy = site.put_in_turn("/busy.png", 429, then=image(1), Retry_After="1")
    broken = site.put_in_turn("/broken.png", 500, then=image(2))
    run_list(tmp_path / "out", [broken, busy])
    assert len(images(tmp_path / "out")) == 2
    assert site.asked() == ["/broken.png"] * 2 + ["/busy.png"] * 2
    assert gaps(site)[-1] > 0.99


def test_retry_after_may_be_a_date_and_too_long_a_pause_leaves_the_host_alone(site, tmp_path):
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))
    closed = site.put("/closed.png", status=503, Retry_After=date)
    other = site.put("/other.png", image(1))
    start = time.monotonic()
    run_list(tmp_path / "out", [closed, other])
    assert time.monotonic() - start < 2 and site.asked() == ["/closed.png"]
    assert all(reason.startswith("pause asked for is longer") for reason in reasons(tmp_path / "out").values())


def test_a_host_that_keeps_failing_is_left_alone(site, tmp_path):
    urls = [site.put(f"/{number}.png", status=500) for number in range(6)]
    run_list(tmp_path / "out", urls, "--retries", "0")
    assert len(site.asked()) == 3
    assert reasons(tmp_path / "out")["/5.png"].startswith("host left alone after 3 failures")


def test_owners_who_opt_out_of_machine_learning_are_obeyed(site, tmp_path):
    urls = [
        site.put("/a.png", image(1), X_Robots_Tag="noindex, NoAI"),
        site.put("/b.png", image(2), TDM_Reservation="1"),
        site.put("/c.png", image(3), X_Robots_Tag="noindex"),
    ]
    run_list(tmp_path / "out", urls)
    assert list(reasons(tmp_path / "out")) == ["/a.png", "/b.png"]


# --- safety ----------------------------------------------------------------------------------------------------------


NOT_PUBLIC = """
    0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 192.0.0.8 192.0.2.1 192.168.1.1 198.18.0.1
    224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1
    64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1::1 fc00::1 fd12::1 fe80::1 fe80::1%eth0
    fec0::1 ff02::1
"""


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_only_public_addresses_may_be_reached(address):
    assert not may_connect(address)


@pytest.mark.parametrize("address", ["8.8.8.8", PUBLIC, "2606:4700::1111", "2a00:1450:4001::1"])
def test_public_addresses_may_be_reached(address):
    assert may_connect(address)


def test_allow_private_opens_localhost_and_lans_but_not_cloud_metadata():
    assert may_connect("127.0.0.1", True) and may_connect("::1", True) and may_connect("192.168.0.1", True)
    assert not any(may_connect(ip, True) for ip in ("169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1"))


def test_localhost_in_any_spelling_is_refused_without_being_asked(site, tmp_path):
    port = site.port
    urls = [f"http://{host}:{port}/a.png" for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1")]
    urls += [f"http://[::ffff:127.0.0.1]:{port}/a.png", f"http://[::1]:{port}/a.png", f"http://0:{port}/a.png"]
    run_list(tmp_path / "out", urls, private=False)
    assert site.visits == [] and len(rows(tmp_path / "out" / "rejected.csv")) == len(urls)
    assert all(row["reason"].startswith("not a public address") for row in rows(tmp_path / "out" / "rejected.csv"))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("ftp://shop.test/a.png", "not an http(s) address: ftp"),
        ("file:///etc/passwd", "not an http(s) address: file"),
        ("shop.test/a.png", "not an http(s) address: no scheme"),
        ("http://user:secret@shop.test/a.png", "address with a user name or password"),
        ("http:///a.png", "address without a host"),
        ("http://shop.test:0/a.png", "not a host and port"),
        ("http://[bad/a.png", "not a"),
        ("http://shop.test:99999/a.png", "not a host and port"),
        ("http://shop .test/a.png", "not a host and port"),
        ("data:image/png;base64," + "A" * 9_000, "address too long"),
    ],
)
def test_addresses_that_are_not_plain_web_addresses_are_refused(public_site, tmp_path, address, reason):
    run_list(tmp_path / "out", [address], private=False)
    (row,) = rows(tmp_path / "out" / "rejected.csv")
    assert row["reason"].startswith(reason) and len(row["file"]) < 400 and public_site.connected == []


def test_a_redirect_into_the_private_network_is_refused_unless_allowed(public_site, tmp_path):
    public_site.put("/secret.png", image(1))
    public_site.put("/jump.png", status=302, Location=f"{public_site.url}/secret.png")
    run_list(tmp_path / "out", ["http://shop.test/jump.png"], private=False)
    assert reasons(tmp_path / "out")["/jump.png"].startswith("not a public address: 127.0.0.1")
    assert "/secret.png" not in public_site.asked() and set(public_site.connected) == {PUBLIC}
    run_list(tmp_path / "allowed", ["http://shop.test/jump.png"])
    assert len(images(tmp_path / "allowed")) == 1


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://u:p@shop.test/", "//[bad", "ftp://shop.test/a"])
def test_a_redirect_to_something_else_than_a_web_page_is_refused(public_site, tmp_path, target):
    public_site.put("/jump.png", status=301, Location=target)
    run_list(tmp_path / "out", ["http://shop.test/jump.png"], private=False)
    assert reasons(tmp_path / "out")["/jump.png"].startswith("redirected to a refused address")


def test_a_redirect_loop_ends(site, tmp_path):
    run_list(tmp_path / "out", [site.put("/a.png", status=307, Location="/a.png")], "--redirects", "3")
    assert reasons(tmp_path / "out")["/a.png"].startswith("more than 3 redirects") and len(site.asked()) == 4


def test_the_connection_goes_to_the_address_that_was_checked(public_site, tmp_path):
    """DNS rebinding: the second answer for the same name is private; it must be refused, never connected to."""
    public_site.put("/robots.txt", "", Connection="close")
    public_site.pages["/robots.txt"] = hang_up_after(public_site.pages["/robots.txt"])
    public_site.put("/a.png", image(1))
    public_site.names["shop.test"] = [[PUBLIC], ["127.0.0.1"]]
    run_list(tmp_path / "out", ["http://shop.test/a.png"], private=False)
    assert public_site.connected == [PUBLIC] and public_site.asked() == []
    assert reasons(tmp_path / "out")["/a.png"].startswith("not a public address")
    public_site.names["shop.test"] = [PUBLIC]
    run_list(tmp_path / "again", ["http://shop.test/a.png"], private=False)
    assert public_site.visits[-1][2]["Host"] == "shop.test" and len(images(tmp_path / "again")) == 1


def test_a_name_with_one_private_address_among_public_ones_is_refused(public_site, tmp_path):
    public_site.names["shop.test"] = [PUBLIC, "10.0.0.7"]
    run_list(tmp_path / "out", ["http://shop.test/a.png"], private=False)
    assert public_site.connected == [] and "10.0.0.7" in reasons(tmp_path / "out")["/a.png"]


def test_proxies_of_the_environment_are_not_used(public_site, tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    public_site.put("/a.png", image(1))
    run_list(tmp_path / "out", ["http://shop.test/a.png"], private=False)
    assert set(public_site.connected) == {PUBLIC} and len(images(tmp_path / "out")) == 1


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make a certificate")
def test_https_checks_the_certificate_against_the_name_although_the_address_is_pinned(
    public_site, tmp_path, monkeypatch
):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-keyout", key, "-out", certificate, "-subj", "/CN=shop.test", "-addext", "subjectAltName=DNS:shop.test"],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    asked_names = []
    context.sni_callback = lambda _, name, __: asked_names.append(name)
    public_site.server.socket = context.wrap_socket(public_site.server.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    public_site.names["other.test"] = [PUBLIC]
    public_site.put("/a.png", image(1))
    run_list(tmp_path / "out", ["https://shop.test/a.png", "https://other.test/a.png"], private=False)
    assert len(images(tmp_path / "out")) == 1 and set(asked_names) == {"shop.test", "other.test"}
    assert rows(tmp_path / "out" / "rejected.csv")[0]["reason"].startswith("no secure connection: other.test")


# --- going on after a stop -------------------------------------------------------------------------------------------


def test_a_second_run_asks_only_for_what_may_still_come(site, tmp_path):
    urls = [site.put("/good.png", image(1)), site.url + "/missing.png", site.put("/down.png", status=500)]
    run_list(tmp_path / "out", urls)
    site.visits.clear()
    site.put("/missing.png", image(2))
    site.put("/down.png", image(3))
    run_list(tmp_path / "out", urls)
    assert site.asked() == ["/down.png"] and list(reasons(tmp_path / "out")) == ["/missing.png"]
    run_list(tmp_path / "out", urls, "--retry_rejected")
    assert len(images(tmp_path / "out")) == 3 and reasons(tmp_path / "out") == {}


def start_slow_run(site: Site, output: Path, count: int) -> subprocess.Popen:
    """A run in another process, stopped by the caller after it has asked for a few images."""
    urls = [site.put(f"/{number}.png", image(number)) for number in range(count)]
    listing = output.parent / "urls.txt"
    listing.write_text("\n".join(urls))
    command = [sys.executable, "-m", "data_prep.scrape", "--urls", str(listing), "--label", "shoes", "--delay", "0.05"]
    root = Path(__file__).resolve().parents[2]
    running = subprocess.Popen(
        [*command, "--allow_private", "--output", str(output)],
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=listen_to_ctrl_c,
    )
    deadline = time.monotonic() + 30
    while len(site.asked()) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    return running


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_leaves_whole_files_and_goes_on(site, tmp_path, how):
    output = tmp_path / "out"
    running = start_slow_run(site, output, 12)
    os.kill(running.pid, how)
    _, errors = running.communicate(timeout=30)
    if how == signal.SIGINT:
        assert running.returncode == 130 and "goes on" in errors and "Traceback" not in errors
    assert 2 <= len(images(output)) < 12
    for name in images(output):
        Image.open(output / name).load()
    with (output / "sources.csv").open("a") as stream:
        stream.write("http://half/wri")
    run_list(output, [f"{site.url}/{number}.png" for number in range(12)])
    assert len(images(output)) == 12
    asked = site.asked()
    assert {row["address"] for row in rows(output / "sources.csv")} == {site.url + path for path in asked}
    assert set(asked) == {f"/{number}.png" for number in range(12)} and len(asked) <= 13
    assert not list(output.glob(".scrape.partial"))


def test_a_full_disk_stops_with_a_clear_message_and_leaves_no_half_file(site, tmp_path, monkeypatch, capsys):
    urls = [site.put(f"/{number}.png", image(number)) for number in range(3)]
    real_sync, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        real_sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        run_list(tmp_path / "out", urls)
    assert "the disk is full" in capsys.readouterr().err and len(images(tmp_path / "out")) == 1
    run_list(tmp_path / "out", urls)
    assert len(images(tmp_path / "out")) == 3


def test_two_runs_cannot_write_to_one_folder(site, tmp_path, capsys):
    url = site.put("/a.png", image(1))
    run_list(tmp_path / "out", [url])
    with scrape.Collection(tmp_path / "out"), pytest.raises(SystemExit) as stop:
        run_list(tmp_path / "out", [url])
    assert stop.value.code == 2 and "in use by another run" in capsys.readouterr().err


# --- mistakes on the command line ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--page", "http://x/"], "--selector"),
        (["--page", "http://x/", "--selector", "li[", "--label", "a"], "not a CSS selector"),
        (["--search", "shoes"], "--label NAME"),
        (["--urls", "no-such-file"], "is not a file"),
        (["--urls", "LIST", "--label", "a/b"], "path separator"),
        (["--urls", "LIST", "--label", "..\\b"], "starts with a dot"),
        (["--urls", "LIST", "--label", ".hidden"], "starts with a dot"),
        (["--urls", "LIST", "--label", "test"], "read as a split"),
        (["--urls", "LIST"], "no address has a label"),
        (["--urls", "EMPTY", "--label", "a"], "holds no address"),
        (["--urls", "COLUMNS", "--label", "a"], "has no column url"),
        (["--urls", "UTF16", "--label", "a"], "not UTF-8"),
        (["--urls", "LIST", "--label", "a", "--delay", "0.001"], "impolite"),
        (["--urls", "LIST", "--label", "a", "--delay", "nan"], "not a number of seconds"),
        (["--urls", "LIST", "--label", "a", "--max_bytes", "-1"], "not a whole number"),
        (["--urls", "LIST", "--label", "a", "--contact", "me\nX: 1"], "plain ASCII"),
        (["--search", "shoes", "--label", "a", "--provider", "askjeeves"], "bing"),
    ],
)
def test_a_mistake_is_one_clear_line_and_nothing_is_made(tmp_path, capsys, options, message):
    contents = {
        "LIST": b"http://shop.test/a.png\n",
        "EMPTY": b"\n# nothing\n",
        "COLUMNS": b"name,link\na,http://shop.test/a.png\n",
        "UTF16": "http://shop.test/a.png".encode("utf-16"),
    }
    for name, data in contents.items():
        (tmp_path / f"{name}.{'csv' if name == 'COLUMNS' else 'txt'}").write_bytes(data)
    paths = {name: str(next(tmp_path.glob(f"{name}.*"))) for name in contents}
    with pytest.raises(SystemExit) as stop:
        scrape.main([*(paths.get(option, option) for option in options), "--output", str(tmp_path / "out")])
    assert stop.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_foreign_list_is_refused(tmp_path, site, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sources.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SystemExit) as stop:
        run_list(tmp_path / "out", [site.url + "/a.png"])
    assert stop.value.code == 2 and "lacks the columns" in capsys.readouterr().err


# --- search engines --------------------------------------------------------------------------------------------------


class StandIn:
    """Answers instead of a search engine, and notes what it was asked."""

    def __init__(self, body: str):
        self.body, self.asked = body, []

    def get(self, address: str, max_bytes: int) -> fetch.Answer:
        self.asked.append(address)
        return fetch.Answer(address, 200, {}, self.body.encode())


def test_search_takes_addresses_from_icrawler_and_pages_from_our_client():
    pytest.importorskip("icrawler")
    names = [f"https://shop.example/{number}.jpg" for number in range(12)]
    page = "".join(f'<div class="imgpt"><a m="{{&quot;murl&quot;:&quot;{name}&quot;}}"></a></div>' for name in names)
    engine = StandIn(page)
    found = list(addresses.search("red shoes & more", "bing", 30, engine))
    assert [candidate.address for candidate in found[:12]] == names and len(found) == 24
    assert engine.asked[0].startswith("https://www.bing.com/images/async?q=red+shoes+%26+more&first=0")
    assert all(candidate.page.startswith("https://www.bing.com/") for candidate in found)


def test_search_says_when_the_result_page_is_not_understood():
    pytest.importorskip("icrawler")
    for provider in addresses.PROVIDERS:
        (only,) = addresses.search("shoes", provider, 20, StandIn("<html>consent</html>"))
        assert only.problem.startswith("result page")


def test_search_obeys_the_engines_robots_txt_and_says_so(public_site, tmp_path, monkeypatch, capsys):
    bing = pytest.importorskip("icrawler.builtin.bing")
    public_site.put("/robots.txt", "User-agent: *\nDisallow: /images\n")
    monkeypatch.setattr(bing.BingFeeder, "feed", lambda self, **_: self.out_queue.put("http://shop.test/images?q=x"))
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "out", "--search", "x", "--label", "shoes")
    assert stop.value.code == 1 and public_site.asked() == [] and "--urls" in capsys.readouterr().err
    assert reasons(tmp_path / "out")["/images?q=x"].startswith("not allowed by robots.txt")


def test_search_without_icrawler_names_the_cure(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "icrawler", None)
    monkeypatch.setitem(sys.modules, "icrawler.builtin", None)
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "out", "--search", "x", "--label", "shoes")
    assert stop.value.code == 2 and "pip install icrawler" in capsys.readouterr().err


# --- small parts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("srcset", "largest"),
    [
        ("a.jpg 400w, b.jpg 800w, c.jpg 600w", "b.jpg"),
        ("a.jpg, b.jpg 2x, c.jpg 1.5x", "b.jpg"),
        ("w_400,h_300/a.jpg 1x, w_800,h_600/a.jpg 2x", "w_800,h_600/a.jpg"),
        ("only.jpg", "only.jpg"),
        ("", ""),
    ],
)
def test_a_srcset_gives_its_largest_image(srcset, largest):
    assert addresses.largest_of(srcset) == largest


def test_a_hostile_page_is_read_in_time():
    answer = fetch.Answer("http://shop.test/", 200, {}, b"<a " * 300_000)
    start = time.monotonic()
    assert [candidate.problem for candidate in addresses.read_page(answer, "img", "auto")]
    assert time.monotonic() - start < 2


def test_an_error_says_whether_trying_again_makes_sense(site):
    client = fetch.Fetcher(fetch.Limits(delay_s=0, retries=0), allow_private=True)
    for status, retry in ((404, "never"), (410, "never"), (429, "now"), (503, "now"), (501, "later")):
        with pytest.raises(FetchError) as caught:
            client.get(site.put(f"/{status}", status=status))
        assert caught.value.retry == retry
    client.close()
