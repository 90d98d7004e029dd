"""What the tests of Teach share: zips of drawn photos, and a stand-in for train.py that is quick or misbehaves."""

import io
import json
import time
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from app.teach.teacher import Lesson, Status, Teacher
from tests.drawings import drawing
from tests.make_tiny_model import write_calibration, write_tiny_model

SCORECARD = {
    "rows": 10,
    "accuracy": [{"level": "label", "value": 0.8, "interval": [0.49, 0.94]}],
    "confused": [{"labels": ["Shirts", "Tshirts"], "mistakes": 2, "images": 10}],
}
# What `train.py` does, by the file mode.txt beside it; its command line is kept in the model's folder.
STAND_IN = """
import json, os, shutil, subprocess, sys, time, zipfile
here, mode = os.path.dirname(os.path.abspath(__file__)), open(__file__.replace("train.py", "mode.txt")).read()
def say(step, done=0, total=0):
    with open("progress.jsonl", "a") as file:
        file.write(json.dumps({"step": step, "done": done, "total": total}) + chr(10))
say("prepare")
if mode == "refuse":
    print("train.py: error: these photos will not do", file=sys.stderr)
    sys.exit(2)
if mode == "memory":
    big = [bytes(2**20) for _ in range(2**12)]
if mode == "disk":
    open("large", "wb").write(bytes(2**22))
    for number in range(100):
        open(f"large{number}", "wb").write(bytes(2**20))
        time.sleep(0.05)
if mode == "busy":
    while True: pass
if mode == "hang":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open(os.path.join(here, "pids.txt"), "w").write(f"{os.getpid()} {child.pid}")
    time.sleep(600)
for done in range(4):
    say("features", done, 4)
    time.sleep(float(mode) if mode[:1].isdigit() else 0.05)
os.makedirs("data/photos")
with open("data/photos/rejected.csv", "w") as file:
    names = zipfile.ZipFile("photos.zip").namelist()
    print("file,reason", names[0] + ",truncated", sep=chr(10), file=file)
shutil.copytree(os.path.join(here, "tiny"), "model")
json.dump({"argv": sys.argv[1:], "environment": dict(os.environ), "photos": names}, open("model/made.json", "w"))
open("model/.training.lock", "w").close()
"""


def write_stand_in(folder: Path, mode: str = "ok") -> Path:
    write_calibration(write_tiny_model(folder / "tiny"))
    (folder / "tiny" / "scorecard.json").write_text(json.dumps(SCORECARD))
    (folder / "train.py").write_text(STAND_IN)
    set_mode(folder / "train.py", mode)
    return folder / "train.py"


def set_mode(train: Path, mode: str) -> None:
    train.with_name("mode.txt").write_text(mode)


def write_zip(path: Path, files: Iterable[str] | Mapping[str, bytes]) -> Path:
    """By name; a photo of its own for each where no bytes are given."""
    given = files if isinstance(files, Mapping) else {name: drawing(seed) for seed, name in enumerate(files)}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in given.items():
            archive.writestr(name, data)
    return path


def photos_of(categories: Iterable[str], each: int = 5) -> list[str]:
    return [f"{category}/{number}.jpg" for category in categories for number in range(each)]


def finish(teacher: Teacher, lesson: Lesson, seconds: float = 120) -> list[Status]:
    """Follow it as a page does."""
    statuses, end = [], time.monotonic() + seconds
    for status in teacher.follow(lesson):
        statuses.append(status)
        assert time.monotonic() < end, status
    return statuses


def content_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
