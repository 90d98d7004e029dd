"""The example alerts and the example board ask for metrics that the server has, with labels that they have."""

import json
import re
from pathlib import Path

import pytest
import yaml

from app.api.monitoring import PATHS, STATUSES, Metrics
from app.service import Service
from tests.make_tiny_model import write_tiny_model

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLES = ("prometheus_rules.yml", "grafana_board.json")
SUFFIX = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


@pytest.fixture(scope="module")
def metrics(tmp_path_factory) -> set[str]:
    """The names under which Prometheus stores what the server tells."""
    models = tmp_path_factory.mktemp("models")
    write_tiny_model(models / "tiny")
    registry = Metrics(Service(models)).registry
    return {family.name + suffix for family in registry.collect() for suffix in SUFFIX[family.type]}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_metric_of_an_example_is_one_of_the_server(name, metrics):
    used = set(re.findall(r"(?:snapshelf|process)_\w+", (DOCS / name).read_text(encoding="utf-8")))
    assert used and used <= metrics, used - metrics


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_path_and_status_of_an_example_exists(name):
    text = (DOCS / name).read_text(encoding="utf-8").replace('\\"', '"')
    paths, statuses = re.findall(r'path="([^"]+)"', text), re.findall(r'snapshelf_share\{status="(\w+)"', text)
    assert set(paths) <= set(PATHS) and set(statuses) <= set(STATUSES)


def test_the_document_lists_every_metric_of_the_server(metrics):
    text = (DOCS / "observability.md").read_text(encoding="utf-8")
    ours = {re.sub("_(bucket|sum|count)$", "", name) for name in metrics if name.startswith("snapshelf_")}
    assert {name for name in ours if f"`{name}`" not in text} == set()


def test_the_alerts_have_what_prometheus_asks_for():
    groups = yaml.safe_load((DOCS / "prometheus_rules.yml").read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) >= 5
    for rule in rules:
        assert {"alert", "expr", "for", "labels", "annotations"} <= rule.keys()
        assert re.fullmatch(r"\d+[mh]", rule["for"]) and rule["expr"].count("(") == rule["expr"].count(")")


def test_the_board_has_panels_that_do_not_overlap():
    board = json.loads((DOCS / "grafana_board.json").read_text(encoding="utf-8"))
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(places) == len(set(places)) >= 6
    assert all(panel["targets"] and panel["title"] for panel in board["panels"])
