"""python -m evaluation.wrong_answers as a user runs it, on a model of drawn images."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.classifier import Classifier
from evaluation import wrong_answers
from evaluation.predictions import calibrated_probabilities, load_split


@pytest.fixture(scope="module")
def confused(trained, drawn_dataset, tmp_path_factory) -> tuple[list[str], Path]:
    """The arguments and the folder; the model is spoiled, so that it is wrong about most images."""
    import onnx
    from onnx import numpy_helper

    folder = tmp_path_factory.mktemp("wrong")
    model = folder / "model"
    model.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (model / name).write_bytes((trained / name).read_bytes())
    graph = onnx.load(trained / "model.onnx")
    (bias,) = (w for w in graph.graph.initializer if "classifier" in w.name and "bias" in w.name)
    values = numpy_helper.to_array(bias)
    favored = np.where(np.arange(len(values)) == 0, 50, 0).astype(np.float32)
    bias.CopyFrom(numpy_helper.from_array(values + favored, bias.name))
    onnx.save(graph, model / "model.onnx")
    arguments = ["--model", str(model), "--dataset", str(drawn_dataset), "--output", str(folder / "out")]
    wrong_answers.main([*arguments, "--title_column", "title", "--count", "5"])
    return arguments, folder


def table(folder: Path) -> list[dict]:
    with open(folder / "out" / "wrong_answers.csv", newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_the_drawn_answers_are_wrong_ones_with_label_answer_and_title(confused, drawn_dataset):
    model = Path(confused[0][1])
    classifier = Classifier.load(model)
    rows, truth = load_split(classifier, drawn_dataset, "test")
    predicted = calibrated_probabilities(classifier, rows)[0].argmax(axis=1)
    place = {identity: row for row, identity in enumerate(rows["id"])}
    answers = table(confused[1])
    assert len(answers) == len({answer["id"] for answer in answers}) == 5
    for answer in answers:
        row = place[answer["id"]]
        assert answer["label"] == classifier.labels[truth[row]] != answer["answer"]
        assert answer["answer"] == classifier.labels[predicted[row]]
        assert answer["title"] == (rows["title"][row] or "") and answer["verdict"] == ""


def test_the_draw_is_the_same_with_the_same_seed_and_another_with_another(confused):
    first = table(confused[1])
    wrong_answers.main([*confused[0], "--title_column", "title", "--count", "5"])
    assert table(confused[1]) == first
    wrong_answers.main([*confused[0], "--title_column", "title", "--count", "5", "--seed", "1"])
    assert table(confused[1]) != first


def test_the_sheet_and_the_pairs_are_images(confused):
    for name in ("wrong_answers.png", "pairs.png"):
        with Image.open(confused[1] / "out" / name) as image:
            assert image.format == "PNG" and image.width > 300


def test_a_count_that_no_sheet_holds_is_refused_in_one_line(confused, capsys):
    with pytest.raises(SystemExit):
        wrong_answers.main([*confused[0], "--count", "1000"])
    assert "--count 1000 must be from 1 to 240" in capsys.readouterr().err


def test_a_model_without_mistakes_leaves_nothing_to_draw(trained, drawn_dataset, monkeypatch, tmp_path, capsys):
    def always_right(classifier, rows):
        _, truth = load_split(classifier, drawn_dataset, "test")
        return np.eye(len(classifier.labels))[truth], None, 1.0

    monkeypatch.setattr(wrong_answers, "calibrated_probabilities", always_right)
    with pytest.raises(SystemExit):
        wrong_answers.main(["--model", str(trained), "--dataset", str(drawn_dataset), "--output", str(tmp_path / "o")])
    assert "there is nothing to draw" in capsys.readouterr().err and not (tmp_path / "o").exists()
