"""The documents name what exists: files that are linked, modules and scripts that are to be run."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT) for pattern in ("*.md", "docs/*.md", "results/*.md") for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
COMMAND = re.compile(r"python (-m )?([\w./]+)")
PLACEHOLDERS = ("data_prep.NAME", "benchmarks.NAME", "zipfile", "pytest")


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_link_leads_to_a_file(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert [target for target in LINK.findall(text) if not (ROOT / document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_command_exists(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    names = {(bool(module), name.rstrip(".")) for module, name in COMMAND.findall(text)} - {
        (True, name) for name in PLACEHOLDERS
    }
    missing = [name for module, name in names if not (find_spec(name) if module else (ROOT / name).is_file())]
    assert missing == []


def test_the_readme_stays_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 200 and max(map(len, lines)) <= 120
