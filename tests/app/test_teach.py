"""Lessons: photos in, a model out, one at a time and within limits, and nothing that stays longer than promised."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import limits
from app.guard.stored import VARIABLE, upload_folder
from app.limits import BusyError, RequestError
from app.service import Service
from app.teach import offered
from app.teach.photos import Photos
from app.teach.teacher import FAILED, READY, RUNNING, WAITING, Teacher, UnknownLessonError, teaching
from tests.app.lessons import content_of, finish, photos_of, set_mode, write_stand_in, write_zip
from tests.drawings import drawing
from tests.make_tiny_model import save_image

ROOT = Path(__file__).resolve().parents[2]
TWO = ("Shirts", "Tshirts")


@pytest.fixture
def train(tmp_path) -> Path:
    (tmp_path / "repository").mkdir()
    return write_stand_in(tmp_path / "repository")


@pytest.fixture
def uploads(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "uploads"))
    return tmp_path / "uploads"


@pytest.fixture
def teacher(train, uploads) -> Iterator[Teacher]:
    teacher = Teacher(train)
    yield teacher
    teacher.close()


@pytest.fixture
def upload(tmp_path) -> Path:
    return write_zip(tmp_path / "shop.zip", photos_of(TWO))


def lesson_folders(uploads: Path) -> list[Path]:
    return sorted(uploads.glob("**/teach-*"))


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- a lesson --------------------------------------------------------------------------------------------------------


def test_photos_become_a_model_with_scores_that_is_tried_and_downloaded(teacher, upload, uploads, tiny_models):
    lesson = teacher.begin("My shop.zip", upload, "a")
    shares = [status.step.share for status in finish(teacher, lesson)]
    assert shares == sorted(shares) and shares[-1] < 1
    assert (lesson.state, lesson.problem) == (READY, "")
    assert (lesson.scores.right, lesson.scores.photos, lesson.scores.low) == (8, 10, 0.49)
    assert [(pair.one, pair.other, pair.mistakes) for pair in lesson.scores.confused] == [("Shirts", "Tshirts", 2)]
    assert lesson.left_out == [("Shirts/0.jpg", "truncated")]

    red = save_image(upload.with_name("red.png"), "Tshirts")
    answer = Service(tiny_models).classify_by(teacher.classifier(teacher.lesson(lesson.id)), red, 2)
    assert answer.prediction.top_k[0].label == "Tshirts"

    names = content_of(lesson.download)
    assert {"My shop/model.onnx", "My shop/config.json", "My shop/scorecard.json"} <= set(names)
    assert "My shop/.training.lock" not in names
    assert {path.name for path in lesson.folder.iterdir()} == {"photos.zip", "model", "download"}


def test_train_py_is_given_relative_paths_and_no_secret_of_the_server(teacher, upload, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    lesson = teacher.begin("shop.zip", upload, "a")
    finish(teacher, lesson)
    made = json.loads((lesson.folder / "model" / "made.json").read_text())
    assert made["argv"][:2] == ["--dataset", "photos.zip"] and "--frozen" in made["argv"]
    assert not any(os.path.isabs(word) for word in made["argv"])
    assert "HF_TOKEN" not in made["environment"] and made["environment"]["HF_HUB_OFFLINE"] == "1"
    assert [name.split("/")[0] for name in made["photos"]] == ["Shirts"] * 5 + ["Tshirts"] * 5


def test_added_photos_join_the_next_teaching_and_a_failure_keeps_the_model_from_before(teacher, upload, train):
    lesson = teacher.begin("shop.zip", upload, "a")
    finish(teacher, lesson)
    for _ in range(2):  # a double click
        teacher.add_photo(lesson, "Tshirts", drawing(77))
    with pytest.raises(RequestError, match="added to Tshirts before"):
        teacher.add_photo(lesson, "Shirts", drawing(77))
    with pytest.raises(RequestError, match="no category 'Hats'"):
        teacher.add_photo(lesson, "Hats", drawing(78))
    assert lesson.photos.num_new == 1
    set_mode(train, "refuse")
    teacher.again(lesson)
    finish(teacher, lesson)
    assert (lesson.state, lesson.problem) == (READY, "these photos will not do.")
    assert teacher.classifier(lesson).labels and lesson.photos.num_new == 1
    set_mode(train, "ok")
    teacher.again(lesson)
    finish(teacher, lesson)
    made = json.loads((lesson.folder / "model" / "made.json").read_text())
    assert lesson.problem == "" and len(made["photos"]) == 11 and lesson.photos.num_new == 0


def test_a_refusal_of_train_py_is_told_and_leaves_nothing(teacher, upload, uploads, train):
    set_mode(train, "refuse")
    lesson = teacher.begin("shop.zip", upload, "a")
    finish(teacher, lesson)
    assert (lesson.state, lesson.problem) == (FAILED, "these photos will not do.")
    assert not lesson_folders(uploads)
    with pytest.raises(UnknownLessonError):
        teacher.lesson(lesson.id)


# --- what is in the zip ----------------------------------------------------------------------------------------------


def photos(tmp_path, files) -> Photos:
    return Photos.of(write_zip(tmp_path / "upload.zip", files), tmp_path / "photos.zip")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a/readme.txt": b"hello", "b/readme.txt": b"hello"}, "no photos in folders"),
        (["1.jpg", "2.jpg"], "no photos in folders"),
        (photos_of(["Hats"]), "only one category, Hats"),
        ([*photos_of(["Hats"]), "Shoes/1.jpg"], "only one photo: Shoes. Each needs at least 2; 5 are a good start"),
        ([f"class {number}/1.jpg" for number in range(101)], "101 categories; at most 100"),
    ],
)
def test_too_little_or_too_much_is_said_in_plain_words(tmp_path, files, message):
    with pytest.raises(RequestError, match=message):
        photos(tmp_path, files)


def test_another_file_and_a_damaged_zip_are_refused(tmp_path):
    upload = write_zip(tmp_path / "upload.zip", photos_of(TWO))
    for content, message in ((drawing(1), "not a zip"), (upload.read_bytes()[:-40], "damaged")):
        upload.write_bytes(content)
        with pytest.raises(RequestError, match=message):
            Photos.of(upload, tmp_path / "photos.zip")


def test_files_and_bytes_are_limited_before_anything_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_TEACH_FILES", 9)
    with pytest.raises(RequestError, match="10 files; at most 9 photos"):
        photos(tmp_path, photos_of(TWO))
    monkeypatch.setattr(limits, "MAX_TEACH_FILES", 10)
    monkeypatch.setattr(limits, "MAX_TEACH_BYTES", 1000)
    with pytest.raises(RequestError, match="at most 10 photos of 0.000954 MB"):
        photos(tmp_path, photos_of(TWO))
    assert not (tmp_path / "photos.zip").exists()


def test_a_folder_around_all_and_folders_of_splits_are_no_categories(tmp_path):
    files = [f"shop/{split}/{name}" for split in ("train", "test") for name in photos_of(TWO, 2)]
    found = photos(tmp_path, [*files, "__MACOSX/shop/._1.jpg", "shop/.DS_Store"])
    assert found.counts == {"Shirts": 4, "Tshirts": 4}
    deeper = photos(tmp_path, ["Hats/red/1.jpg", "Hats/blue/1.jpg", "Shoes/1.jpg", "Shoes/2.jpg", "cover.jpg"])
    assert deeper.counts == {"Hats": 2, "Shoes": 2}
    assert deeper.left_out == [("cover.jpg", "not in the folder of a category")]


def test_names_from_the_archive_are_never_paths(tmp_path):
    files = [
        "../../Hats/1.jpg",
        "../../Hats/2.jpg",
        "/etc/Shoes/1.jpg",
        "..\\Caps\\1.jpg",
        "..\\Caps\\2.jpg",
        "a:b\n/1.jpg",
    ]
    found = photos(tmp_path, [*files, "a:b\n/2.jpg", "/etc/Shoes/2.jpg"])
    packed = content_of(tmp_path / "photos.zip")
    assert set(found.counts) == {"Hats", "etc", "Caps", "ab"}
    assert not any(".." in name or name.startswith("/") or "\\" in name for name in packed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos.zip", "upload.zip"]


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "limit", "value", "message"),
    [
        ("hang", "MAX_TEACH_SECONDS", 2, "longer than is allowed (2 s)"),
        ("busy", "MAX_TEACH_CPU_SECONDS", 1, "longer than is allowed (1 s)"),
        ("memory", "MAX_TEACH_MEMORY_BYTES", 200 * 2**20, "more space than is allowed"),
        ("disk", "MAX_TEACH_DISK_BYTES", 6 * 2**20, "more space than is allowed"),
    ],
)
def test_a_training_that_takes_too_much_is_ended_and_told(
    teacher, upload, uploads, train, monkeypatch, mode, limit, value, message
):
    monkeypatch.setattr(limits, limit, value)
    set_mode(train, mode)
    lesson = teacher.begin("shop.zip", upload, "a")
    finish(teacher, lesson)
    assert lesson.state == FAILED and message in lesson.problem
    assert not lesson_folders(uploads)
    if mode == "hang":
        pids = [int(pid) for pid in train.with_name("pids.txt").read_text().split()]
        wait_until(lambda: not any(map(is_running, pids)))


def test_a_visitor_who_cancels_or_leaves_ends_the_training_and_all_that_it_started(
    teacher, upload, uploads, train, monkeypatch
):
    set_mode(train, "hang")
    for leaves in (False, True):
        train.with_name("pids.txt").unlink(missing_ok=True)
        lesson = teacher.begin("shop.zip", upload, "a")
        wait_until(lambda: train.with_name("pids.txt").exists() and train.with_name("pids.txt").read_text())
        pids = [int(pid) for pid in train.with_name("pids.txt").read_text().split()]
        assert all(map(is_running, pids))
        if leaves:  # nobody follows it
            monkeypatch.setattr(limits, "LEFT_SECONDS", 0.5)
        else:
            teacher.cancel(lesson)
        wait_until(lambda lesson=lesson: not lesson.is_active)
        assert lesson.problem.startswith("Teaching stopped" if leaves else "Canceled")
        wait_until(lambda pids=pids: not any(map(is_running, pids)))
        assert not lesson_folders(uploads)


def test_one_is_taught_at_a_time_a_few_wait_and_each_client_has_one(teacher, upload, train, monkeypatch):
    monkeypatch.setattr(limits, "MAX_TEACH_WAITING", 1)
    set_mode(train, "0.5")
    first = teacher.begin("shop.zip", upload, "a")
    with pytest.raises(RequestError, match="already teaching"):
        teacher.begin("shop.zip", upload, "a")
    second = teacher.begin("shop.zip", upload, "b")
    wait_until(lambda: first.state == RUNNING)
    assert next(teacher.follow(second)).ahead == 1 and second.state == WAITING
    with pytest.raises(BusyError):
        teacher.begin("shop.zip", upload, "c")
    finish(teacher, first)
    finish(teacher, second)
    assert (first.state, second.state) == (READY, READY)


def test_models_are_known_by_their_id_alone_bounded_in_number_and_gone_after_their_time(
    teacher, upload, uploads, monkeypatch
):
    monkeypatch.setattr(limits, "MAX_TAUGHT", 2)
    lessons = []
    for client in ("a", "b", "c"):
        lessons.append(teacher.begin("shop.zip", upload, client))
        finish(teacher, lessons[-1])
    assert len({lesson.id for lesson in lessons}) == 3 and min(len(lesson.id) for lesson in lessons) >= 32
    for wrong in (lessons[0].id, "", None, "guess"):  # the first gave way to the third
        with pytest.raises(UnknownLessonError):
            teacher.lesson(wrong)
    assert len(lesson_folders(uploads)) == 2
    monkeypatch.setattr(limits, "TAUGHT_SECONDS", 0.1)
    time.sleep(0.2)
    finish(teacher, teacher.begin("shop.zip", upload, "a"))
    with pytest.raises(UnknownLessonError):
        teacher.lesson(lessons[1].id)


# --- the server ------------------------------------------------------------------------------------------------------

CRASH = """
import os, signal, sys, time
from pathlib import Path
from app.guard.stored import upload_folder
from app.teach.teacher import Teacher
with upload_folder():
    teacher = Teacher(Path(sys.argv[1]))
    lesson = teacher.begin("shop.zip", Path(sys.argv[2]), "a")
    pids = Path(sys.argv[1]).with_name("pids.txt")
    while not (pids.exists() and pids.read_text()):
        time.sleep(0.05)
    if sys.argv[3] == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    teacher.close()
"""


@pytest.mark.parametrize("how", ["crash", "stop"])
def test_when_the_server_ends_the_training_ends_and_its_photos_go(uploads, upload, train, how):
    set_mode(train, "hang")
    command = [sys.executable, "-c", CRASH, str(train), str(upload), how]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == (-signal.SIGKILL if how == "crash" else 0), ended.stderr
    pid = int(train.with_name("pids.txt").read_text().split()[0])
    wait_until(lambda: not is_running(pid))
    if how == "crash":
        assert lesson_folders(uploads)
        with upload_folder():
            assert not lesson_folders(uploads)
    assert not lesson_folders(uploads)


def test_teach_is_off_unless_asked_for_and_hidden_with_a_reason_where_it_cannot_work(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("SNAPSHELF_TEACH", raising=False)
    with teaching() as teacher:
        assert teacher is None
    assert capsys.readouterr().err == ""
    assert "needs the whole repository" in offered.what_is_missing(tmp_path / "train.py")
    monkeypatch.setattr(offered, "WEIGHTS", ("no_such_package",))
    monkeypatch.setenv("SNAPSHELF_TEACH", "1")
    with teaching() as teacher:
        assert teacher is None
    assert capsys.readouterr().err.startswith("Teach is hidden: Teach needs the weights of no_such_package")
    monkeypatch.setattr(offered, "PACKAGES", ("no_such_torch",))
    assert "Teach needs no_such_torch" in offered.what_is_missing()


@pytest.mark.slow
def test_fifteen_photos_are_taught_by_train_py_itself(uploads, tmp_path):
    files = {f"{name}/{n}.png": drawing(seed * 100 + n, "PNG") for seed, name in enumerate("ABC") for n in range(5)}
    with_one_bad = {**files, "A/bad.jpg": drawing(7)[:300]}
    teacher = Teacher()
    try:
        lesson = teacher.begin("abc.zip", write_zip(tmp_path / "abc.zip", with_one_bad), "a")
        steps = [status.step.name for status in finish(teacher, lesson, 500)]
        assert lesson.problem == "" and lesson.scores.photos == 15
        assert [name for name, _ in lesson.left_out] == ["A/bad.jpg"]
        assert {"prepare", "features"} <= set(steps)
        assert teacher.classifier(lesson).labels == ["A", "B", "C"]
        packed = content_of(lesson.download)
        assert not any(str(Path.home()).encode() + b"/" in data for data in packed.values()), "a path of the server"
        for name, data in packed.items():
            (tmp_path / "models" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "models" / name).write_bytes(data)
        photo = tmp_path / "photo.png"
        photo.write_bytes(files["B/0.png"])
        assert Service(tmp_path / "models").classify(photo, "abc").prediction.top_k[0].label == "B"
        command = [
            sys.executable,
            "predict.py",
            "--model",
            str(tmp_path / "models" / "abc"),
            "--image_path",
            str(photo),
        ]
        assert "B" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    finally:
        teacher.close()
