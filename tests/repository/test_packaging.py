"""What is installed, and how: pins in one version, extras that bring no package of ours into site-packages."""

import re
import subprocess
import sys
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


@pytest.mark.parametrize("extra", ["", "app", "train", "track", "scrape"])
def test_an_extra_pins_the_versions_of_requirements_txt(extra):
    metadata = project()["project"]
    requirements = metadata["optional-dependencies"][extra] if extra else metadata["dependencies"]
    pins = pins_of_files()
    different = [line for line in requirements if (match := PIN.match(line)) is None or pins.get(match[1]) != match[2]]
    assert requirements and not different


def test_requirements_txt_has_no_package_that_no_extra_brings():
    metadata = project()["project"]
    extras = metadata["optional-dependencies"]
    lines = (line for extra in ("app", "train", "track", "scrape") for line in extras[extra])
    known = {PIN.match(line)[1] for line in (*metadata["dependencies"], *lines)}
    assert pins_of_files().keys() == known


def test_installing_puts_no_package_of_a_general_name_into_site_packages():
    assert project()["tool"]["setuptools"]["packages"] == []


def locked(name: str) -> dict[str, tuple[str, list[str]]]:
    """Each package of a lock: its version and the hashes of its files."""
    text = (ROOT / "locks" / f"{name}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.lstrip().startswith("#")]
    pins = [re.match(r"([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", line) for line in lines]
    assert all(pins), lines
    hashes = [re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line) for line in lines]
    return {pin[1]: (pin[2], found) for pin, found in zip(pins, hashes, strict=True)}


@pytest.mark.parametrize("name", ["predict", "server", "space"])
def test_a_lock_has_hashes_for_every_package_and_no_address(name):
    text = (ROOT / "locks" / f"{name}.txt").read_text(encoding="utf-8")
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    assert all(hashes for _, hashes in locked(name).values())


@pytest.mark.parametrize(("name", "extras"), [("predict", []), ("server", ["app"])])
def test_a_lock_has_the_versions_of_pyproject(name, extras):
    metadata = project()["project"]
    lines = [
        *metadata["dependencies"],
        *(line for extra in extras for line in metadata["optional-dependencies"][extra]),
    ]
    pins, lock = [PIN.match(line) for line in lines], locked(name)
    different = {pin[1] for pin in pins if lock.get(pin[1].replace("_", "-"), ("",))[0] != pin[2]}
    assert not different, "run: make lock"


def test_the_lock_of_the_space_has_what_the_space_installs():
    lines = (ROOT / "app" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [PIN.match(line.partition("#")[0].strip()) for line in lines if line and not line.startswith("#")]
    lock = locked("space")
    assert not {pin[1] for pin in pins if lock.get(pin[1].replace("_", "-"), ("",))[0] != pin[2]}, "run: make lock"
    sdk = re.search(r"(?m)^sdk_version: (\S+)", (ROOT / "app" / "README.md").read_text(encoding="utf-8"))[1]
    assert lock["gradio"][0] == sdk


def test_the_docker_image_installs_the_lock_and_nothing_else():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"pip install (.+?) &&", text) == ["--no-cache-dir --require-hashes -r server.txt"]
    copied = {line.split()[1].partition("/")[0] for line in text.splitlines() if line.startswith("COPY")}
    let_through = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {f"!{name}" for name in copied} <= set(let_through)


def test_trackers_and_the_scraper_are_not_forced_on_who_trains():
    extras = project()["project"]["optional-dependencies"]
    names = {extra: {PIN.match(line)[1] for line in extras[extra]} for extra in ("train", "track", "scrape")}
    assert {"torch", "transformers", "accelerate", "datasets", "onnx"} <= names["train"]
    assert "wandb" in names["track"] and "httpx" in names["scrape"]
    assert not names["train"] & (names["track"] | names["scrape"])


def test_without_its_packages_the_scraper_says_in_one_line_how_to_get_them():
    program = "import sys; sys.modules['httpx'] = None; sys.argv = ['x']; import data_prep.scrape"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "pip install -e '.[scrape]'" in result.stderr


def test_the_versions_of_python_are_the_same_everywhere():
    metadata = project()["project"]
    prefix = "Programming Language :: Python :: "
    classified = [line.removeprefix(prefix) for line in metadata["classifiers"] if line.startswith(prefix)]
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert re.findall(r'"(3\.\d+)"', re.search(r"python: \[(.*)\]", workflow)[1]) == classified
    least = re.fullmatch(r">=(3\.11\.\d+)", metadata["requires-python"])[1]
    assert least in (ROOT / "docs" / "supply_chain.md").read_text(encoding="utf-8")
