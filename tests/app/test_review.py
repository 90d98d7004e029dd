"""A prepared dataset in the tab Sort: which images need a person, and the corrections file."""

import pytest

from app import app as app_module
from app.errors import UserError
from app.pages import review_queue
from app.pages.review_queue import Corrections, Item, ReviewQueue
from app.prediction import Prediction, ScoredLabel
from data_prep.pipeline.corrections import read_corrections

TSHIRTS = (["Apparel", "Tshirts"], [0.99, 0.98])
CERTAIN = Prediction("ok", "Tshirts", 0.98, *TSHIRTS, *TSHIRTS, [ScoredLabel("Tshirts", 0.98)])
UNCERTAIN = Prediction("review", "Tshirts", 0.4, top_k=[ScoredLabel("Tshirts", 0.4), ScoredLabel("Tops", 0.3)])


def item(name: str) -> Item:
    return Item(name, b"", UNCERTAIN, "The model is not certain.")


def test_no_dataset_is_reviewed_unless_asked_for(service, tmp_path, drawn_dataset, monkeypatch):
    monkeypatch.delenv("SNAPSHELF_REVIEW", raising=False)
    assert app_module.review_queue(service, None, None) is None
    monkeypatch.setenv("SNAPSHELF_REVIEW", "0")
    assert app_module.review_queue(service, None, None) is None
    monkeypatch.setenv("SNAPSHELF_REVIEW", "1")
    with pytest.raises(UserError, match="takes a prepared dataset"):
        app_module.review_queue(service, None, tmp_path / "c.csv")
    monkeypatch.setenv("SNAPSHELF_REVIEW", str(drawn_dataset))
    assert app_module.review_queue(service, None, tmp_path / "c.csv") is not None


def test_a_person_is_asked_where_the_model_is_unsure_or_the_data_says_something_else():
    assert "not certain" in review_queue.review_reason(UNCERTAIN)
    assert "certain of Tshirts" in review_queue.review_reason(CERTAIN, label="Socks")
    assert not review_queue.review_reason(CERTAIN, label="Tshirts")
    assert not review_queue.review_reason(Prediction("error", error="bad"))


def test_corrections_are_appended_and_data_prep_reads_them(tmp_path):
    path = tmp_path / "corrections.csv"
    for name in ("a, b.jpg", "c.jpg"):  # two sessions, one header
        corrections = Corrections(path)
        corrections.append(item(name), "relabel", "Tops", "picked by a person")
        corrections.append(item(name), "quarantine", "", "not usable")
    lines = read_corrections(path, ["label"])
    assert [(line.id, line.action, line.column, line.label) for line in lines] == [
        ("a, b.jpg", "relabel", "label", "Tops"),
        ("a, b.jpg", "quarantine", "label", ""),
        ("c.jpg", "relabel", "label", "Tops"),
        ("c.jpg", "quarantine", "label", ""),
    ]


def test_a_decision_that_is_taken_back_leaves_no_line_and_the_others_stay(tmp_path):
    corrections = Corrections(tmp_path / "corrections.csv")
    corrections.take_back(item("a, b.jpg"))  # nothing was written
    for name in ("a, b.jpg", "c.jpg", "a, b.jpg"):
        corrections.append(item(name), "relabel", "Tops", "picked by a person")
    corrections.take_back(item("a, b.jpg"))
    assert [line.id for line in read_corrections(corrections.path, ["label"])] == ["c.jpg"]
    assert corrections.ids == {"c.jpg"}


def test_a_corrections_file_of_another_kind_is_left_alone(tmp_path):
    path = tmp_path / "notes.csv"
    path.write_text("name,note\n", encoding="utf-8")
    with pytest.raises(UserError, match="other columns"):
        Corrections(path)
    with pytest.raises(UserError, match="no folder"):
        Corrections(tmp_path / "absent" / "c.csv")
    assert path.read_text(encoding="utf-8") == "name,note\n"


def test_a_prepared_dataset_is_inspected_for_what_needs_a_person(service, drawn_dataset, tmp_path):
    queue = ReviewQueue(service, tmp_path / "c.csv", drawn_dataset)
    (first,) = queue.items_from(0, 1)
    assert first.column == "articleType" and first.label and first.reason
    items = queue.items_from(0, 1000)
    assert items[0] is first and queue.items_from(len(items), 10) == []
    assert queue.num_inspected == 80  # train and validation, never the test split
    queue.correct([{"id": first.id, "action": "relabel", "label": "Jeans"}])
    again = ReviewQueue(service, tmp_path / "c.csv", drawn_dataset)
    assert first.id not in {one.id for one in again.items_from(0, 1000)}  # decided before
    with pytest.raises(UserError, match="not a prepared dataset"):
        ReviewQueue(service, tmp_path / "c.csv", tmp_path)


def test_the_command_names_what_is_wrong(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        app_module.main(["--review", str(tmp_path)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "is not a prepared dataset" in error and error.count("\n") == 1
