"""A run that is stopped, killed, or finds a full disk or another run: no half output, no work lost, no worker left."""

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drawings import draw, encode
from pipeline_rows import SOURCE, make_rows, row_of

from app.errors import UserError
from data_prep.pipeline import build, command, facts, images
from data_prep.pipeline.build import write_dataset
from data_prep.pipeline.schema import Options


def test_an_interrupted_run_leaves_no_output_and_does_not_check_again(tmp_path, monkeypatch):
    rows = make_rows(tmp_path / "input", 30)
    (tmp_path / "input" / "bad.jpg").write_bytes(b"x")
    rows.append(row_of(tmp_path / "input", "bad.jpg"))
    with monkeypatch.context() as patch:
        patch.setattr(build, "write_images", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_dataset(list(rows), SOURCE, Options(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    (tmp_path / "input" / "5.jpg").write_bytes(encode(draw(5005)))
    checked = []
    monkeypatch.setattr(facts, "check_image", lambda data: checked.append(data) or images.check_image(data))
    write_dataset(list(rows), SOURCE, Options(tmp_path / "out"))
    assert checked == [(tmp_path / "input" / "5.jpg").read_bytes()]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input", "out"]


def test_two_runs_for_one_output_do_not_mix(tmp_path):
    rows = make_rows(tmp_path / "input", 6)
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    other = facts.FactsCache(partial / "facts.sqlite")
    with pytest.raises(UserError, match="in use by another run"):
        write_dataset(rows, SOURCE, Options(tmp_path / "out"))
    other.close()


def test_a_damaged_cache_is_thrown_away(tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "facts.sqlite").write_bytes(b"no database at all" * 100)
    write_dataset(make_rows(tmp_path / "input", 12), SOURCE, Options(tmp_path / "out"))
    assert (tmp_path / "out" / "dataset_dict.json").is_file()


def test_a_full_disk_is_one_clear_message(tmp_path, monkeypatch, capsys):
    def fill(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "write_images", fill)
    parser = argparse.ArgumentParser(prog="prepare")
    with pytest.raises(SystemExit) as stop, command.clear_errors(parser):
        write_dataset(make_rows(tmp_path / "input", 6), SOURCE, Options(tmp_path / "out"))
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith("prepare: error: the disk is full")
    assert not (tmp_path / "out").exists()


def test_a_changed_image_stops_the_run_instead_of_entering_unchecked(tmp_path, monkeypatch):
    rows = make_rows(tmp_path / "input", 6)
    finish = build.find_groups

    def find_and_change(*arguments):
        prepared = finish(*arguments)
        (tmp_path / "input" / "0.jpg").write_bytes(b"something else")
        return prepared

    monkeypatch.setattr(build, "find_groups", find_and_change)
    with pytest.raises(UserError, match="0.jpg changed while"):
        write_dataset(rows, SOURCE, Options(tmp_path / "out"))


SLOW_SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from data_prep.pipeline.schema import Options, Row, Source
from data_prep.pipeline.build import write_dataset
from data_prep.pipeline.images import FileImage

class Slow(FileImage):
    def read(self):
        time.sleep(0.1)
        return super().read()

if __name__ == "__main__":
    folder = Path({folder!r})
    names = [path.name for path in folder.iterdir()]
    rows = [Row(name, Slow(str(folder), name), name, labels={{"label": "a"}}) for name in names]
    write_dataset(rows, Source("Slow", "tests", "other"), Options(Path({output!r}), num_proc=2))
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_killed_run_leaves_no_workers_and_no_output(tmp_path):
    make_rows(tmp_path / "input", 400)
    script = tmp_path / "slow.py"
    root = str(Path(build.__file__).parents[2])
    script.write_text(SLOW_SCRIPT.format(root=root, folder=str(tmp_path / "input"), output=str(tmp_path / "out")))
    process = subprocess.Popen([sys.executable, script])
    workers = wait_until(lambda: children_of(process.pid), 60)
    assert workers
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_until(lambda: not [pid for pid in workers if is_running(pid)], 60)
    assert not (tmp_path / "out").exists()


def children_of(parent: int) -> list[int]:
    """Worker processes, once both have started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) == parent:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found if len(found) >= 3 else []  # two workers and multiprocessing's resource tracker


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition, seconds: float):
    """The first true value of `condition`, or its last one."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return value
