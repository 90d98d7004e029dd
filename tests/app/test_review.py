"""The review: which images need a person, and the corrections file."""

import io
from pathlib import Path

import pytest
from PIL import Image

from app import app as app_module
from app.errors import UserError
from app.images import ImageError
from app.pages import review_queue
from app.pages.review_queue import ReviewQueue
from app.prediction import Prediction, ScoredLabel
from data_prep.pipeline.corrections import read_corrections

SHIRT = Path(__file__).resolve().parents[2] / "app" / "examples" / "tshirts.jpg"
TSHIRTS = (["Apparel", "Tshirts"], [0.99, 0.98])
CERTAIN = Prediction("ok", "Tshirts", 0.98, *TSHIRTS, *TSHIRTS, [ScoredLabel("Tshirts", 0.98)])
UNCERTAIN = Prediction("review", "Tshirts", 0.4, top_k=[ScoredLabel("Tshirts", 0.4), ScoredLabel("Tops", 0.3)])


def test_review_is_off_unless_asked_for(service, tmp_path, monkeypatch):
    monkeypatch.delenv("SNAPSHELF_REVIEW", raising=False)
    assert app_module.review_queue(service, None, None) is None
    monkeypatch.setenv("SNAPSHELF_REVIEW", "0")
    assert app_module.review_queue(service, None, None) is None
    monkeypatch.setenv("SNAPSHELF_REVIEW", "1")
    assert app_module.review_queue(service, None, tmp_path / "c.csv") is not None


def test_only_images_that_need_a_person_come_to_review(service, tmp_path):
    queue = ReviewQueue(service, tmp_path / "c.csv")
    queue.add("sure.jpg", SHIRT, CERTAIN)
    queue.add("unsure.jpg", SHIRT, UNCERTAIN)
    queue.add("unsure.jpg", SHIRT, UNCERTAIN)
    queue.add("bad.jpg", ImageError("bad"), Prediction("error", error="bad"))
    assert [item.id for item in queue.items] == ["unsure.jpg"]
    assert max(Image.open(io.BytesIO(queue.items[0].image)).size) == review_queue.IMAGE_SIDE
    assert "certain of Tshirts" in review_queue.review_reason(CERTAIN, label="Socks")
    assert not review_queue.review_reason(CERTAIN, label="Tshirts")


def test_corrections_are_appended_and_data_prep_reads_them(service, tmp_path):
    path = tmp_path / "corrections.csv"
    for name in ("a, b.jpg", "c.jpg"):  # two sessions, one header
        queue = ReviewQueue(service, path)
        queue.add(name, SHIRT, UNCERTAIN)
        queue.corrections.append(queue.item(0), "relabel", "Tops", "picked by a person")
        queue.corrections.append(queue.item(0), "quarantine", "", "not usable")
    lines = read_corrections(path, ["label"])
    assert [(line.id, line.action, line.column, line.label) for line in lines] == [
        ("a, b.jpg", "relabel", "label", "Tops"),
        ("a, b.jpg", "quarantine", "label", ""),
        ("c.jpg", "relabel", "label", "Tops"),
        ("c.jpg", "quarantine", "label", ""),
    ]
    again = ReviewQueue(service, path)
    again.add("c.jpg", SHIRT, UNCERTAIN)
    assert again.item(0) is None  # decided before


def test_a_corrections_file_of_another_kind_is_left_alone(service, tmp_path):
    path = tmp_path / "notes.csv"
    path.write_text("name,note\n", encoding="utf-8")
    with pytest.raises(UserError, match="other columns"):
        ReviewQueue(service, path)
    with pytest.raises(UserError, match="no folder"):
        ReviewQueue(service, tmp_path / "absent" / "c.csv")
    assert path.read_text(encoding="utf-8") == "name,note\n"


def test_a_prepared_dataset_is_inspected_for_what_needs_a_person(service, drawn_dataset, tmp_path):
    queue = ReviewQueue(service, tmp_path / "c.csv", drawn_dataset)
    item = queue.item(0)
    assert item is not None and item.column == "articleType" and item.label and item.reason
    number = 0
    while queue.item(number):
        number += 1
    assert queue.num_inspected == 80  # train and validation, never the test split
    with pytest.raises(UserError, match="not a prepared dataset"):
        ReviewQueue(service, tmp_path / "c.csv", tmp_path)


def test_the_command_names_what_is_wrong(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        app_module.main(["--review", str(tmp_path)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "is not a prepared dataset" in error and error.count("\n") == 1
