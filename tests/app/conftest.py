"""The page with two copies of the shipped model, the REST API with two tiny ones, and windows of Chromium."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.server import create_app
from app.service import Service
from tests.app.visit import CAMERA, CHROMIUM, SCREENS, SWITCHES, Visit
from tests.make_tiny_model import write_tiny_model
from tests.page_server import serving, two_models


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    return two_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def service(models) -> Service:
    return Service(models)


@pytest.fixture(scope="module")
def address(models) -> Iterator[str]:
    with serving(models) as address:
        yield address


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny_models")
    for name in ("fashion", "other"):
        write_tiny_model(folder / name)
    return folder


@pytest.fixture
def api(tiny_models) -> Iterator[TestClient]:
    """The API without the page, with limits and counters of its own."""
    with TestClient(create_app(Service(tiny_models), page=False), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (requirements-dev.txt)")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=[*SWITCHES, *CAMERA])
        yield browser
        browser.close()


@pytest.fixture(params=SCREENS)
def visit(request, browser, address) -> Iterator[Visit]:
    """A window on the page at `address`, which a module may serve itself."""
    context = browser.new_context(**SCREENS[request.param], accept_downloads=True)
    visit = Visit(context.new_page(), address, request.param)
    yield visit
    context.close()
    assert visit.elsewhere == []
    assert visit.errors == []
