"""data_prep.scrape against a real server on 127.0.0.1: what becomes of a list, and mistakes on the command line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from data_prep import scrape
from tests.ctrl_c import listen_to_ctrl_c
from tests.scrape_runs import image, images, reasons, rows, run, run_list
from tests.scrape_server import Site


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


def test_a_list_may_be_saved_by_a_spreadsheet_in_utf_16(site, tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_text(site.put("/a.png", image(1)), encoding="utf-16")
    run(tmp_path / "out", "--urls", str(listing), "--label", "shoes")
    assert len(images(tmp_path / "out")) == 1


def test_sources_csv_is_itself_a_list_that_collects_the_same_images_again(site, tmp_path):
    run_list(tmp_path / "one", [site.put("/a.png", image(1))], "--licence", "CC0")
    run(tmp_path / "two", "--urls", str(tmp_path / "one" / "sources.csv"))
    assert images(tmp_path / "one") == images(tmp_path / "two")
    assert rows(tmp_path / "two" / "sources.csv")[0]["licence"] == "CC0"


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
    root = Path(__file__).resolve().parents[3]
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
        (["--urls", "no-such-file"], "no file no-such-file"),
        (["--urls", "LIST", "--label", "a/b"], "path separator"),
        (["--urls", "LIST", "--label", "..\\b"], "starts with a dot"),
        (["--urls", "LIST", "--label", ".hidden"], "starts with a dot"),
        (["--urls", "LIST", "--label", "test"], "read as a split"),
        (["--urls", "LIST"], "no address has a label"),
        (["--urls", "EMPTY", "--label", "a"], "holds no address"),
        (["--urls", "COLUMNS", "--label", "a"], "has no column url"),
        (["--urls", "BINARY", "--label", "a"], "it has NUL bytes"),
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
        "BINARY": b"http://shop.test/a.png\0\xff",
    }
    for name, data in contents.items():
        (tmp_path / f"{name}.{'csv' if name == 'COLUMNS' else 'txt'}").write_bytes(data)
    paths = {name: str(next(tmp_path.glob(f"{name}.*"))) for name in contents}
    with pytest.raises(SystemExit) as stop:
        scrape.main([*(paths.get(option, option) for option in options), "--output", str(tmp_path / "out")])
    [line] = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and message in line
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_foreign_list_is_refused(tmp_path, site, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sources.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SystemExit) as stop:
        run_list(tmp_path / "out", [site.url + "/a.png"])
    assert stop.value.code == 2 and "lacks the columns" in capsys.readouterr().err
