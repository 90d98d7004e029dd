"""The scraper obeys robots.txt and opt-outs, keeps its distance and knows when to try again."""

import time

import pytest

from data_prep import scrape
from data_prep.scraping import fetch
from data_prep.scraping.public_network import FetchError
from tests.scrape_runs import image, images, reasons, run_list
from tests.scrape_server import Site


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
    assert scrape.make_parser().parse_args(["--urls", "x", "--output", "y"]).delay == 1.0


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


def test_an_error_says_whether_trying_again_makes_sense(site):
    client = fetch.Fetcher(fetch.Limits(delay_s=0, retries=0), allow_private=True)
    for status, retry in ((404, "never"), (410, "never"), (429, "now"), (503, "now"), (501, "later")):
        with pytest.raises(FetchError) as caught:
            client.get(site.put(f"/{status}", status=status))
        assert caught.value.retry == retry
    client.close()
