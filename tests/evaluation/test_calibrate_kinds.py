"""calibrate.py and evaluation.automation with two kinds of image and images of other things, as a user runs them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import calibrate
from app.api.monitoring import calibrated_shares
from app.classifier import Classifier
from evaluation import automation
from tests.evaluation.kind_data import LABEL_MAP, colored, with_embeddings, write_catalog, write_others, write_photos
from tests.make_tiny_model import TAXONOMY, write_tiny_model


@pytest.fixture(scope="module")
def round_trip(tmp_path_factory) -> Path:
    """model, results and calibrate.txt after both commands."""
    home = tmp_path_factory.mktemp("kinds")
    with_embeddings(write_tiny_model(home / "model"))
    catalog, photos = write_catalog(home / "catalog"), write_photos(home / "photos")
    (home / "map.json").write_text(json.dumps(LABEL_MAP))
    others = {part: write_others(home / part / "grays", seed) for part, seed in (("fit", 2), ("test", 3))}
    kinds = ["--dataset", str(catalog), "--dataset", str(photos), "--label_map", str(home / "map.json")]
    given = ["--model", str(home / "model"), *kinds]
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: printed.append(" ".join(map(str, words))))
        calibrate.main([*given, "--others", str(others["fit"]), "--coverage", "0.9"])
        (home / "calibrate.txt").write_text("\n".join(printed))
        automation.main([*given, "--others", str(others["test"]), "--output", str(home / "results")])
    return home


@pytest.fixture(scope="module")
def content(round_trip) -> dict:
    return json.loads((round_trip / "model" / "calibration.json").read_text())


def test_the_calibration_holds_both_kinds(content):
    assert content["rows"] == {"catalog": 440, "photos": 330}
    assert content["dataset"] == "catalog, photos"
    assert content["unknown"]["method"] == "head"


def test_known_things_are_rarely_called_unknown_and_others_mostly(content):
    called = content["unknown"]["called_unknown"]
    assert called["catalog"] <= 0.06 and called["photos"] <= 0.06
    assert called["grays"] > 0.9


def test_a_server_can_compare_its_days_with_the_shares_of_the_categories(round_trip, content):
    shares = calibrated_shares(round_trip / "model")
    assert shares == content["category_shares"]
    assert set(shares) == {"Apparel", "Footwear"} and sum(shares.values()) == pytest.approx(1, abs=1e-4)
    # A quarter of the catalog and a third of the photos are shoes.
    assert shares["Footwear"] == pytest.approx((110 + 110) / 770, abs=0.05)


def test_it_prints_what_can_be_published_of_each_kind_and_suggests_a_target(round_trip):
    printed = (round_trip / "calibrate.txt").read_text()
    for kind in ("catalog", "photos"):
        assert all(f"| {kind} | subCategory | {promise} |" in printed for promise in ("90%", "95%", "98%", "99%"))
    assert re.search(r"^articleType: if at most 1.0% of all products may be published wrong, \S", printed, re.MULTILINE)


def test_the_scorecard_has_a_table_with_intervals_for_each_kind(round_trip):
    text = (round_trip / "results" / "automation.md").read_text()
    sections = {section.split("\n")[0]: section for section in text.split("\n## ")[1:]}
    assert list(sections) == ["catalog", "photos"]
    for section in sections.values():
        for level in (*TAXONOMY["levels"], "subCategory or deeper"):
            rows = [line for line in section.splitlines() if line.startswith(f"| {level} |")]
            assert [line.split("|")[2].strip() for line in rows] == ["95%", "98%", "99%"]
            assert all(re.search(r"\d+\.\d% \(\d+\.\d–\d+\.\d\)", line) for line in rows)
        assert re.search(r"Images in `grays`: AUROC [01]\.\d+ against the products, \d+% of 40 called unknown", section)
    assert "160 images" in sections["catalog"] and "120 images" in sections["photos"]


def test_kinds_of_which_one_has_coarser_classes_need_no_images_of_other_things(round_trip, tmp_path):
    model = with_embeddings(write_tiny_model(tmp_path / "model"))
    kinds = ["--dataset", str(round_trip / "catalog"), "--dataset", str(round_trip / "photos")]
    calibrate.main(["--model", str(model), *kinds, "--label_map", str(round_trip / "map.json")])
    content = json.loads((model / "calibration.json").read_text())
    assert content["unknown"]["method"] == "centres" and content["rows"] == {"catalog": 440, "photos": 330}


def test_predictions_use_what_was_fitted(round_trip):
    classifier = Classifier.load(round_trip / "model")
    generator = np.random.default_rng(9)
    known = classifier.predict([colored("Flats", generator, 0) for _ in range(20)])
    gray = classifier.predict([Image.new("RGB", (10, 12), (level,) * 3) for level in range(180, 240, 3)])
    assert sum(prediction.status == "ok" for prediction in known) >= 18
    assert sum(prediction.status == "unknown" for prediction in gray) >= 18
