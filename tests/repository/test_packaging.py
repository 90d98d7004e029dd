"""What is installed, and how: pins in one version, extras that bring no package of ours into site-packages."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)$")


def pins_of_files() -> dict[str, str]:
    """What requirements.txt and the Space's file, which it includes, pin."""
    lines = [
        line.partition("#")[0].strip()
        for name in ("requirements.txt", "app/requirements.txt")
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
    ]
    return dict(PIN.match(line).groups() for line in lines if line and not line.startswith("-r "))


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("extra", ["", "app", "train"])
def test_an_extra_pins_the_versions_of_requirements_txt(extra):
    metadata = project()["project"]
    requirements = metadata["optional-dependencies"][extra] if extra else metadata["dependencies"]
    pins = pins_of_files()
    different = [line for line in requirements if (match := PIN.match(line)) is None or pins.get(match[1]) != match[2]]
    assert requirements and not different


def test_requirements_txt_has_no_package_that_no_extra_brings():
    metadata = project()["project"]
    extras = metadata["optional-dependencies"]
    known = {PIN.match(line)[1] for line in (*metadata["dependencies"], *extras["app"], *extras["train"])}
    assert pins_of_files().keys() == known


def test_installing_puts_no_package_of_a_general_name_into_site_packages():
    assert project()["tool"]["setuptools"]["packages"] == []
