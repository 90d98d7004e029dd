"""A small checkout to push as a Space, and the command's dry run in this process."""

import shutil
from collections.abc import Callable
from pathlib import Path

from app import push_to_space
from tests.make_tiny_model import write_tiny_model

ROOT = Path(__file__).resolve().parents[1]
CARD = """---
title: Snapshelf
emoji: 👟
colorFrom: indigo
colorTo: pink
sdk: gradio
sdk_version: 6.31.0
python_version: "3.11"
app_file: app.py
pinned: false
license: apache-2.0
---
# Snapshelf
"""


def write_checkout(folder: Path) -> Path:
    """app/ with a page of a few modules, a model, and what must not be uploaded."""
    app = folder / "app"
    write_tiny_model(app / "models" / "tiny")
    files = {
        "__init__.py": "",
        "app.py": "import os\n\n\ndef start():\n    from .pages.classify import name\n\n    return name\n",
        "helper.py": "from os import path\nname = 'helper'\n",
        "limits.py": "MOST = 1\n",
        "server.py": "",
        "pages/__init__.py": "",
        "pages/classify.py": "from . import cards\nfrom ..helper import name\n",
        "pages/cards.py": "from .. import limits\nimport app.deep.inner.module\n",
        "pages/unused.py": "",
        "pages/assets/page.css": "p {}",
        "pages/templates/answer.html": "<p>",
        "deep/inner/__init__.py": "from .more import *\n",
        "deep/inner/module.py": "",
        "deep/inner/more.py": "",
        "README.md": CARD,
        "requirements.txt": "numpy==2.4.6  # arrays\n\n# a remark\npillow==12.3.0\n",
        "notes.txt": "mine",
        ".env": "KEY=1",
        "models/tiny/training_args.bin": "a pickle",
        "models/tiny/arguments.json": "{}",
        "__pycache__/app.cpython-311.pyc": "",
        "../results/leaderboard.csv": "name,accuracy\n",
        "../results/secret.csv": "",
        "../results/runs/tiny/confusion.png": "drawn",
        "../results/runs/tiny/mistakes.png": "other people's images",
        "../requirements.txt": "-r app/requirements.txt\ngradio[mcp]==6.31.0\n",
    }
    for name, text in files.items():
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).write_text(text, encoding="utf-8")
    for name in ("push_to_space.py", "space_contents.py"):
        shutil.copy(ROOT / "app" / name, app)
    return folder


def dry_runs_of(checkout: Path, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """A function that checks the checkout: exit code, standard output and standard error."""
    monkeypatch.setattr(push_to_space, "CHECKOUT", checkout)
    monkeypatch.delenv("HF_TOKEN", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = push_to_space.main(["me/shelf", "--dry_run", *arguments])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
