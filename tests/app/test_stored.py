"""Uploads of the page on the disk: how many, for how long, under which names."""

import io
import os
import subprocess
import sys
import threading
import time

import pytest

from app import limits
from app.guard.stored import VARIABLE, Store, emptied, files_in, safe_name, upload_folder
from app.limits import BusyError
from benchmarks.processes import ROOT

CRASH = """
import os, signal
from app.guard.stored import upload_folder
with upload_folder() as folder:
    (folder / "photo.jpg").write_bytes(b"x")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def parent(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def save(store: Store, folder, size: int, client: str = "a"):
    return store.save(io.BytesIO(bytes(size)), "photo.jpg", folder, client)


def test_an_upload_goes_after_its_time_and_what_was_there_before_stays(parent, monkeypatch):
    monkeypatch.setattr(limits, "STORED_SECONDS", 0.1)
    with upload_folder() as folder:
        example = folder / "example.jpg"
        example.write_bytes(b"x")
        with emptied(folder):
            uploaded = save(Store(), folder, 10)
            end = time.monotonic() + 20
            while uploaded.exists() and time.monotonic() < end:
                time.sleep(0.02)
            assert not uploaded.parent.exists() and example.exists()


def test_nothing_stays_at_the_end(parent):
    with upload_folder() as folder, emptied(folder):
        save(Store(), folder, 10)
    assert not list(parent.iterdir())
    assert os.environ[VARIABLE] == str(parent)


def test_what_a_crash_left_behind_goes_at_the_next_start_and_another_servers_folder_stays(parent):
    crashed = subprocess.run([sys.executable, "-c", CRASH], cwd=ROOT, capture_output=True, text=True, timeout=60)
    left = crashed.stdout.strip()
    assert os.path.exists(f"{left}/photo.jpg"), crashed.stderr
    with upload_folder() as first:
        assert not os.path.exists(left)
        uploaded = save(Store(), first, 10)
        with upload_folder():
            assert uploaded.exists()


def test_stored_uploads_have_a_limit_in_all_and_for_each_client(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_STORED_BYTES", 3000)
    store = Store()
    save(store, tmp_path, 1000)
    with pytest.raises(BusyError):
        save(store, tmp_path, 1000)  # half of all is for one client
    for client in "bc":
        save(store, tmp_path, 1000, client)
    with pytest.raises(BusyError):
        save(store, tmp_path, 1000, "d")
    assert sum(status.st_size for _, status in files_in(tmp_path)) == 3000


def test_an_old_upload_gives_way_to_a_new_one_of_the_same_client(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_STORED_BYTES", 3000)
    store = Store()
    old, others = save(store, tmp_path, 1000), save(store, tmp_path, 1000, "b")
    for path in (old, others):
        os.utime(path, (0, 0))
    new = save(store, tmp_path, 1000)
    assert (old.exists(), others.exists(), new.exists()) == (False, True, True)


def test_uploads_at_the_same_time_stay_within_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_STORED_BYTES", 5000)
    store, refused = Store(), []

    def upload(client: str) -> None:
        try:
            save(store, tmp_path, 1000, client)
        except BusyError:
            refused.append(client)

    threads = [threading.Thread(target=upload, args=(f"client {number}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 15 and len(files_in(tmp_path)) == 5


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\a.png", "a.png"),
        ("..", "file"),
        ("a\x00\x1b\r\nb.jpg", "ab.jpg"),
        (".lock", "lock"),
        ("é" * 200 + ".jpg", "é" * 73 + ".jpg"),
    ],
)
def test_a_name_keeps_its_ending_and_loses_what_file_systems_dislike(name, safe):
    assert safe_name(name) == safe
