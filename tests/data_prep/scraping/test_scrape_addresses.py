"""Where addresses come from: web pages and search engines."""

import sys
import time

import pytest

from data_prep.scraping import addresses, fetch
from tests.scrape_runs import image, reasons, rows, run


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
