"""app/push_to_space.py stops at secrets, pickles and links, names the file and the line, and never shows the secret."""

import base64
import io
import json
import pickle
import random
import shutil
import string
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.space_checkout import dry_runs_of, write_checkout

RANDOM = random.Random(5)


def letters(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """Random, so that no scanner takes this file for one that leaks a secret; with a digit and both cases."""
    return "".join(RANDOM.choices(alphabet, k=count - 3)) + alphabet[0] + alphabet[-1] + alphabet[-7]


HEX = "abcdef0123456789"
HF_TOKEN = "hf" + "_" + letters(34)
SECRETS = {
    "kaggle.json": ('{"username": "me", "key": "SECRET"}', letters(32, HEX)),
    "a Weights & Biases key in an .env style line": ("WANDB_API_KEY=SECRET", letters(40, HEX)),
    "a Weights & Biases key alone": ("wandb.login('SECRET')", letters(40, HEX)),
    "a new Weights & Biases key": ("x = 'SECRET'", "wandb" + "_v1_" + letters(60)),
    "an AWS access key": ("id: SECRET", "AK" + "IA" + letters(16, string.ascii_uppercase + string.digits)),
    "an AWS secret": ("aws_secret_access_key = SECRET", letters(40, string.ascii_letters + string.digits + "/+")),
    "an AWS secret alone": ("s3('SECRET')", letters(40, string.ascii_letters + string.digits)),
    "a password in an address": ("db = 'postgres://me:SECRET@db.example.com/shelf'", "tulip-9"),
    "a password in an https address": ("curl https://me:SECRET@example.com", "oak%21leaf"),
    "a password": ("PASSWORD = 'SECRET'", "Tulips!in!May"),
    "an Azure key": ("AccountName=me;AccountKey=SECRET;", letters(60) + "=="),
    "a Stripe key": ("pay('SECRET')", "sk" + "_live_" + letters(24)),
    "a JSON web token": ("x: SECRET", "ey" + "J" + letters(20) + ".ey" + "J" + letters(20) + "." + letters(40)),
    "a private key": ("-----BEGIN OPENSSH " + "PRIVATE KEY-----\nSECRET", letters(64)),
    "a Slack address": ("post('https://hooks.slack.com/services/SECRET')", "T" + letters(9) + "/B" + letters(24)),
    "a token in base64": (f"Authorization: Basic {'SECRET'}", base64.b64encode(f"me:{HF_TOKEN}".encode()).decode()),
    "kaggle.json in base64": (
        "data = 'SECRET'",
        base64.b64encode(json.dumps({"username": "me", "key": letters(32, HEX)}).encode()).decode(),
    ),
    "a token in hexadecimal": ("blob = 'SECRET'", HF_TOKEN.encode().hex()),
}


@pytest.fixture
def checkout(tmp_path) -> Path:
    return write_checkout(tmp_path / "checkout")


@pytest.fixture
def dry_run(checkout, monkeypatch, capsys):
    return dry_runs_of(checkout, monkeypatch, capsys)


def test_the_small_checkout_passes(dry_run):
    assert dry_run()[0] == 0


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32"])
def test_a_secret_is_named_by_file_and_line_and_never_shown(checkout, dry_run, kind, encoding):
    line, secret = SECRETS[kind]
    text = "first: line\nsecond: line\n" + line.replace("SECRET", secret) + "\nlast: line\n"
    (checkout / "app" / "models" / "tiny" / "README.md").write_bytes(text.encode(encoding))
    code, out, err = dry_run()
    assert code == 1
    assert "models/tiny/README.md: line 3 contains what looks like a" in err, err
    assert secret not in out + err


def test_kaggle_json_beside_a_model_stops_the_push(checkout, dry_run):
    key = letters(32, HEX)
    (checkout / "app" / "models" / "tiny" / "kaggle.json").write_text(json.dumps({"username": "me", "key": key}))
    code, out, err = dry_run()
    assert code == 1
    assert "models/tiny/kaggle.json: line 1 contains what looks like a key" in err
    assert key not in out + err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_a_token_inside_a_binary_file_is_found(checkout, dry_run, encoding):
    graph = checkout / "app" / "models" / "tiny" / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\x00\xff" + HF_TOKEN.encode(encoding) + b"\x00")
    code, out, err = dry_run()
    assert code == 1
    assert "models/tiny/model.onnx: line " in err and "a Hugging Face token" in err
    assert HF_TOKEN not in out + err


@pytest.mark.parametrize("wrap", [str, lambda key: base64.b64encode(key.encode()).decode()])
def test_the_users_own_keys_are_found_whatever_they_look_like(checkout, dry_run, monkeypatch, wrap):
    monkeypatch.setenv("KAGGLE_KEY", "unlike any other thing")
    (checkout / "app" / "helper.py").write_text(f"name = 1\nx = '{wrap('unlike any other thing')}'\n")
    code, _, err = dry_run()
    assert code == 1
    assert "helper.py: contains your own KAGGLE_KEY (line 2)" in err


@pytest.mark.parametrize(
    "text",
    [
        '"model_sha256": "' + letters(64, HEX) + '"',
        "commit " + letters(40, HEX),
        "see https://huggingface.co/datasets/someone/fashion-product-images-small/blob/main/README.md",
        "from .pages.safe_gradio import SafeBlocks, SafeImage, SafeFile, SafeGallery2",
        "TOKEN = os.environ['HF_TOKEN']",
        "key=lambda name: (name != self.default, name)",
        "password: str = getpass('Password: ')",
        "0.3746531, 0.2837462, 1.7363548, 2.9387465, 0.9384756",
        "http://127.0.0.1:7860/gradio_api/mcp/ or http://[::1]:7860/@me",
    ],
)
def test_what_only_resembles_a_secret_may_go_up(checkout, dry_run, text):
    (checkout / "app" / "models" / "tiny" / "README.md").write_text(f"# Model\n{text}\n")
    assert dry_run()[2] == ""


class Runs:
    def __reduce__(self):
        return print, ("this would run",)


def object_table() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return file.getvalue()


def table_with_an_object_column() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(2, dtype=[("number", "f4"), ("anything", "O")]), allow_pickle=True)
    return file.getvalue()


def several_tables() -> bytes:
    file = io.BytesIO()
    np.savez(file, centers=np.array([{"a": 1}], dtype=object))
    return file.getvalue()


def archive_behind_something() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Runs()))
    return b"some bytes before it" + file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        *(
            pickle.dumps(value, protocol)
            for protocol in range(6)
            for value in (Runs(), {"weights": [1.0, 2.5]}, [Runs()])
        ),
        pickle.dumps(Runs(), 0) + b"\n",
        pickle.dumps(Runs(), 4)[:-1],
        object_table(),
        table_with_an_object_column(),
        several_tables(),
        archive_behind_something(),
        b"\x1f\x8b\x08\x00 compressed",
    ],
)
@pytest.mark.parametrize("name", ["unknown_centres.npy", "model.onnx"])
def test_a_pickle_of_any_protocol_under_any_name_does_not_go_up(checkout, dry_run, content, name):
    (checkout / "app" / "models" / "tiny" / name).write_bytes(content)
    code, _, err = dry_run()
    assert code == 1
    assert f"models/tiny/{name}: a pickle" in err or f"models/tiny/{name}: a zip or another archive" in err


def test_the_sha256_of_the_weights_inside_a_graph_may_go_up(checkout, dry_run):
    graph = checkout / "app" / "models" / "tiny" / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\x0a\x06source\x12\x40" + letters(64, HEX).encode() + b"\x00")
    assert dry_run()[0] == 0


def test_a_table_of_numbers_may_go_up(checkout, dry_run):
    np.save(
        checkout / "app" / "models" / "tiny" / "unknown_centres.npy", RANDOM.random() * np.ones((20, 30), np.float32)
    )
    assert dry_run()[0] == 0


@pytest.mark.parametrize("linked", ["app/models", "app/models/tiny", "app/pages", "app/examples", "results/runs"])
def test_the_content_of_a_linked_folder_does_not_go_up(checkout, dry_run, tmp_path, linked):
    elsewhere = tmp_path / "elsewhere"
    if linked == "app/examples":
        elsewhere.mkdir()
        (elsewhere / "private.jpg").write_bytes(b"an image")
    else:
        shutil.move(checkout / linked, elsewhere)
    (checkout / linked).symlink_to(elsewhere)
    code, _, err = dry_run()
    assert code == 1
    assert f"lies in {linked}, a link to another folder" in err
