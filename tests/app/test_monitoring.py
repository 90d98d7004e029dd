"""The counters: what comes in, how the answers are shared out, and whether that has changed since the calibration."""

import json
import re
from collections import Counter

import pytest
from starlette.testclient import TestClient

from app.api.monitoring import population_stability
from app.guard.exposure import Exposure
from app.server import create_app
from app.service import Service
from tests.make_tiny_model import write_tiny_model
from tests.rest_client import image, post


@pytest.fixture
def service(tmp_path) -> Service:
    """One model whose calibration data were all footwear."""
    folder = write_tiny_model(tmp_path / "tiny")
    (folder / "calibration.json").unlink(missing_ok=True)
    service = Service(tmp_path)
    service.classifier()
    (folder / "calibration.json").write_text(json.dumps({"category_shares": {"Footwear": 1.0}}))
    return service


def value(api: TestClient, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", api.get("/metrics").text, re.MULTILINE)
    assert found, name
    return float(found[1])


def test_shares_of_the_statuses_are_of_the_latest_images(service):
    with TestClient(create_app(service, page=False)) as api:
        post(api, *[(f"{number}.png", image()) for number in range(3)], ("bad.png", b"none"))
        assert value(api, 'snapshelf_share{model="tiny",status="review"}') == 0.75  # it has no thresholds
        assert value(api, 'snapshelf_share{model="tiny",status="error"}') == 0.25
        assert value(api, "snapshelf_queue_length") == 0


def test_the_stability_index_is_small_for_the_same_categories_and_large_for_others(service):
    with TestClient(create_app(service, page=False)) as api:
        post(api, *[(f"{number}.png", image("Flats")) for number in range(60)])
        assert value(api, 'snapshelf_population_stability{model="tiny"}') < 0.1
        post(api, *[(f"{number}.png", image("Tshirts")) for number in range(60)])
        assert value(api, 'snapshelf_population_stability{model="tiny"}') > 0.25


def test_the_index_by_hand():
    assert population_stability({"a": 0.5, "b": 0.5}, Counter(a=5, b=5)) == 0
    assert round(population_stability({"a": 0.5, "b": 0.5}, Counter(a=8, b=2)), 4) == 0.4159


@pytest.mark.parametrize(
    ("metrics", "headers", "status"),
    [
        ("local", {}, 200),
        ("local", {"X-Forwarded-For": "203.0.113.9"}, 404),
        ("on", {"X-Forwarded-For": "203.0.113.9"}, 200),
        ("off", {}, 404),
    ],
)
def test_who_may_read_the_counters_is_an_option(service, metrics, headers, status):
    with TestClient(create_app(service, page=False, exposure=Exposure(metrics))) as api:
        assert api.get("/metrics", headers=headers).status_code == status
