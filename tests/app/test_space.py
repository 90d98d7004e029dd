"""app/push_to_space.py: what goes up and what must not, told to a stand-in for the Hub."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app import push_to_space
from tests.hub_server import running_hub
from tests.space_checkout import CARD, dry_runs_of, write_checkout

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a token of the stand-in"
# Put together here, so that no scanner takes this file for one that leaks a secret.
FAKE_SECRET = "hf" + "_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"


@pytest.fixture
def checkout(tmp_path) -> Path:
    return write_checkout(tmp_path / "checkout")


UPLOADED = [
    "README.md",
    "__init__.py",
    "app.py",
    "deep/inner/__init__.py",
    "deep/inner/module.py",
    "deep/inner/more.py",
    "helper.py",
    "limits.py",
    "models/tiny/config.json",
    "models/tiny/model.onnx",
    "models/tiny/preprocessor_config.json",
    "pages/__init__.py",
    "pages/assets/page.css",
    "pages/cards.py",
    "pages/classify.py",
    "pages/templates/answer.html",
    "requirements.txt",
    "results/leaderboard.csv",
    "results/runs/tiny/confusion.png",
]


@pytest.fixture
def hub():
    with running_hub(TOKEN) as hub:
        yield hub


@pytest.fixture
def dry_run(checkout, monkeypatch, capsys):
    return dry_runs_of(checkout, monkeypatch, capsys)


def push(checkout: Path, endpoint: str, *arguments: str, token: str = TOKEN) -> subprocess.CompletedProcess:
    """The command as a user types it, with a home of its own."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("HF_") and not key.lower().endswith("proxy")
    }
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(checkout / "home"), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_TOKEN": token} if token else {}
    command = [sys.executable, "app/push_to_space.py", *(arguments or ["me/shelf"])]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60)


def test_a_push_creates_a_gradio_space_and_uploads_exactly_what_the_page_needs(checkout, hub):
    result = push(checkout, hub.url)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"{hub.url}/spaces/me/shelf"
    (space,) = hub.created
    assert (space["organization"], space["name"], space["type"], space["sdk"]) == ("me", "shelf", "space", "gradio")
    assert not space.get("private")
    assert space.get("visibility") != "private"
    assert sorted(hub.files) == UPLOADED
    for name in UPLOADED:
        source = checkout / name if name.startswith("results/") else checkout / "app" / name
        assert hub.files[name] == source.read_bytes()


def test_a_private_space_is_asked_for_as_one(checkout, hub):
    assert push(checkout, hub.url, "me/shelf", "--private").returncode == 0
    assert hub.created[0].get("visibility") == "private" or hub.created[0].get("private") is True


def test_a_second_push_removes_files_that_the_page_no_longer_has_and_no_others(checkout, hub):
    assert push(checkout, hub.url).returncode == 0
    hub.files |= {"models/old/model.onnx": b"old", ".gitattributes": b"lfs", "notes.txt": b"written on the Hub"}
    hub.files |= {"assets/page.css": b"where it was before", "page_classify.py": b"", "pages/templates/old.html": b""}
    (checkout / "app" / "helper.py").unlink()
    (checkout / "app" / "pages" / "classify.py").write_text("name = 1\n")
    assert push(checkout, hub.url).returncode == 0
    imported_by_classify = ["deep/inner/__init__.py", "deep/inner/module.py", "deep/inner/more.py", "pages/cards.py"]
    old = ["assets/page.css", "models/old/model.onnx", "page_classify.py", "pages/templates/old.html"]
    assert sorted(hub.deleted) == sorted([*imported_by_classify, *old, "helper.py", "limits.py"])
    assert hub.files["pages/classify.py"] == b"name = 1\n"
    assert {".gitattributes", "notes.txt"} <= set(hub.files)


def test_without_a_token_one_line_says_how_to_get_one_and_nothing_is_asked(checkout, hub):
    result = push(checkout, hub.url, token="")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "hf auth login" in result.stderr
    assert hub.requests == []


def test_a_wrong_token_is_one_line(checkout, hub):
    result = push(checkout, hub.url, token="another")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "does not know this token" in result.stderr
    assert "another" not in result.stderr


def test_a_foreign_namespace_is_one_line(checkout, hub):
    hub.refuse_create = 403
    result = push(checkout, hub.url)
    assert result.returncode == 1
    assert "may not write to me/shelf" in result.stderr
    assert hub.files == {}


def test_a_hub_that_cannot_be_reached_is_one_line(checkout):
    result = push(checkout, "http://127.0.0.1:9")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "http://127.0.0.1:9 cannot be reached" in result.stderr


def test_a_dry_run_lists_the_files_with_their_sizes_and_sends_nothing(checkout, hub):
    result = push(checkout, hub.url, "me/shelf", "--dry_run", token="")
    assert result.returncode == 0
    assert [line.split()[-1] for line in result.stdout.splitlines()[:-1]] == UPLOADED
    assert re.search(r"^ +\d+\.\d\d KiB  README\.md$", result.stdout, re.MULTILINE)
    assert result.stdout.splitlines()[-1].endswith(f"in {len(UPLOADED)} files")
    assert hub.requests == []


@pytest.mark.parametrize("name", ["shelf", "me/shelf/more", "me/", "me/sh elf", "https://example.com/me", "me/--x"])
def test_a_name_that_is_not_a_space_is_rejected(capsys, name):
    with pytest.raises(SystemExit) as stop:
        push_to_space.main([name])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "USER/NAME" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "replacement", "message"),
    [
        ("title: Snapshelf", "title: ''", "title is ''"),
        ("emoji: 👟\n", "", "emoji is None"),
        ("colorFrom: indigo", "colorFrom: orange", "one of red, yellow"),
        ("sdk: gradio", "sdk: docker", "must be 'gradio'"),
        ("sdk_version: 6.31.0", "sdk_version: 6.30.0", "the checkout pins gradio to '6.31.0'"),
        ('python_version: "3.11"', "python_version: 3.10", "python_version is 3.1;"),
        ("app_file: app.py", "app_file: main.py", "'main.py', which is not a file"),
        ("app_file: app.py", "app_file: ../app.py", "'../app.py', which is not a file"),
        ("pinned: false", "pinned: maybe", "true or false"),
        ("license: apache-2.0\n", "", "license is None"),
        ("title: Snapshelf", "title: [", "not YAML"),
    ],
)
def test_front_matter_that_the_hub_would_refuse_is_named(checkout, dry_run, line, replacement, message):
    (checkout / "app" / "README.md").write_text(CARD.replace(line, replacement), encoding="utf-8")
    code, _, err = dry_run()
    assert code == 1
    assert message in err


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ("numpy>=2", "not pinned"),
        ("numpy", "not pinned"),
        ("-r other.txt", "not pinned"),
        ("pkg @ https://example.com/pkg.whl", "not pinned"),
        ("gradio==6.31.0", "comes from sdk_version"),
        ("torch==2.13.0", "too heavy"),
    ],
)
def test_requirements_must_be_pinned_and_light(checkout, dry_run, requirement, message):
    (checkout / "app" / "requirements.txt").write_text(f"pillow==12.3.0\n{requirement}\n")
    code, _, err = dry_run()
    assert code == 1
    assert f"requirements.txt:2: {requirement.partition('==')[0].split()[0]}" in err.replace("'", "")
    assert message in err


def test_a_pickle_under_another_name_does_not_go_up(checkout, dry_run):
    import pickle

    (checkout / "app" / "models" / "tiny" / "model.onnx").write_bytes(pickle.dumps({"weights": [1.0]}))
    code, _, err = dry_run()
    assert code == 1
    assert "models/tiny/model.onnx: a pickle" in err


def test_a_token_in_a_file_is_named_by_its_line_and_not_shown(checkout, dry_run):
    (checkout / "app" / "helper.py").write_text(f"name = 1\nKEY = '{FAKE_SECRET}'\n")
    code, out, err = dry_run()
    assert code == 1
    assert "helper.py: line 2 contains what looks like a Hugging Face token" in err
    assert FAKE_SECRET not in out + err


def test_the_users_own_token_is_found_whatever_it_looks_like(checkout, dry_run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "unlike any other")
    (checkout / "app" / "models" / "tiny" / "config.json").write_text('{"key": "unlike any other"}')
    assert "config.json: contains your own Hugging Face token" in dry_run()[2]


def test_a_link_to_a_file_elsewhere_does_not_go_up(checkout, dry_run, tmp_path):
    (tmp_path / "private.json").write_text("{}")
    (checkout / "app" / "models" / "tiny" / "extra.json").symlink_to(tmp_path / "private.json")
    assert "models/tiny/extra.json: a link" in dry_run()[2]


def test_a_file_that_is_too_large_is_named(checkout, dry_run, monkeypatch):
    monkeypatch.setattr(push_to_space, "MAX_FILE_BYTES", 100)
    code, _, err = dry_run()
    assert code == 1
    assert "model.onnx: " in err
    assert "at most 0.10 KiB per file" in err


def test_a_folder_without_a_model_is_not_a_page(checkout, dry_run):
    shutil.rmtree(checkout / "app" / "models")
    code, _, err = dry_run()
    assert code == 1
    assert "no model folder" in err


def test_all_that_is_wrong_is_told_at_once(checkout, dry_run):
    (checkout / "app" / "README.md").write_text(CARD.replace("pinned: false\n", "").replace("emoji: 👟\n", ""))
    (checkout / "app" / "requirements.txt").write_text("numpy\n")
    code, _, err = dry_run()
    assert code == 1
    assert err.count("\n  ") == 3
