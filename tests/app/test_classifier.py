"""The classifier behind predict.py and the app: right answers, in order, in constant memory, from checked folders."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.classifier import Classifier
from app.ensemble import Ensemble
from app.images import ImageError
from app.model_files import ModelError
from tests.make_tiny_model import (
    COLOR_FOR_LABEL,
    GAIN,
    LABELS,
    SIDE,
    TAXONOMY,
    WEIGHTS,
    save_image,
    write_tiny_model,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Classifier:
    return Classifier.load(write_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_tiny_model(tmp_path / "model")


def edit_json(path: Path, **changes) -> None:
    """Change keys of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_each_image_gets_its_label_and_its_path_through_the_taxonomy(classifier, tmp_path):
    paths = [save_image(tmp_path / f"{label}.png", label) for label in LABELS]
    predictions = classifier.predict(paths, top_k=2)
    assert [prediction.label for prediction in predictions] == list(LABELS)
    assert [prediction.category_path for prediction in predictions] == [TAXONOMY["paths"][label] for label in LABELS]
    assert all(len(prediction.top_k) == 2 and prediction.status == "review" for prediction in predictions)


def test_confidences_are_the_softmax_of_the_logits(classifier):
    prediction = classifier.predict([Image.new("RGB", (60, 80), COLOR_FOR_LABEL["Shirts"])], top_k=4)[0]
    logits = np.array([-GAIN, GAIN, -GAIN, 0.0])
    expected = np.exp(logits) / np.exp(logits).sum()
    assert [label for label, _ in prediction.top_k] == ["Shirts", "Scarves", "Tshirts", "Flats"]
    assert [c for _, c in prediction.top_k] == pytest.approx(expected[[1, 3, 0, 2]], abs=1e-6)
    assert prediction.confidence == prediction.top_k[0].confidence


def test_confidence_at_a_level_is_the_sum_over_its_leaves(classifier):
    prediction = classifier.predict([Image.new("RGB", (60, 80), (160, 150, 140))], top_k=4)[0]
    leaves = dict(prediction.top_k)
    assert prediction.category_path == ["Apparel", "Topwear", "Tshirts"]
    expected = [1 - leaves["Flats"], leaves["Tshirts"] + leaves["Shirts"], leaves["Tshirts"]]
    assert prediction.path_confidences == pytest.approx(expected, abs=1e-9)


def test_without_a_taxonomy_the_path_is_the_label(folder, tmp_path):
    edit_json(folder / "config.json", taxonomy=None)
    prediction = Classifier.load(folder).predict([save_image(tmp_path / "a.png", "Flats")])[0]
    assert prediction.category_path == ["Flats"]
    assert prediction.path_confidences == [prediction.confidence]


def test_top_k_beyond_the_labels_gives_all_of_them(classifier):
    assert len(classifier.predict([Image.new("RGB", (8, 8))], top_k=99)[0].top_k) == len(LABELS)


def test_paths_bytes_and_open_images_give_equal_predictions(classifier, tmp_path):
    path = save_image(tmp_path / "a.png", "Shirts")
    predictions = classifier.predict([path, str(path), path.read_bytes(), Image.open(path)])
    assert all(prediction == predictions[0] for prediction in predictions)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 7, 500])
def test_results_come_in_input_order_whatever_the_workers_and_batches(folder, workers, batch_size):
    labels = [LABELS[i] for i in np.random.default_rng(0).integers(0, len(LABELS), 203)]
    # Sizes differ widely, so that batches take different times and finish out of order.
    images = [
        Image.new("RGB", (8, 8) if i % 10 else (700, 900), COLOR_FOR_LABEL[label]) for i, label in enumerate(labels)
    ]
    classifier = Classifier.load(folder, workers=workers)
    assert [p.label for p in classifier.stream(images, 1, batch_size)] == labels


def test_an_image_gets_the_same_score_alone_and_in_a_batch(classifier):
    noise = np.random.default_rng(0).integers(0, 256, (32, 40, 30, 3), dtype=np.uint8)
    images = [Image.fromarray(pixels) for pixels in noise]
    alone = [classifier.predict([image], top_k=1)[0].confidence for image in images]
    together = [prediction.confidence for prediction in classifier.stream(images, 1, batch_size=32)]
    assert together == pytest.approx(alone, abs=1e-5)


def test_one_corrupt_file_among_many_fails_only_its_own_row(classifier, tmp_path):
    good = save_image(tmp_path / "good.png", "Shirts")
    sources = [good] * 500
    sources[250] = good.read_bytes()[:60]
    predictions = classifier.predict(sources)
    assert [i for i, prediction in enumerate(predictions) if prediction.status == "error"] == [250]
    assert "truncated" in predictions[250].error
    assert predictions[250].label is None
    assert {prediction.label for prediction in predictions} == {"Shirts", None}


def test_an_image_error_among_the_images_comes_out_in_its_place(classifier):
    predictions = classifier.predict([Image.new("RGB", (8, 8)), ImageError("could not be fetched")])
    assert [prediction.error for prediction in predictions] == [None, "could not be fetched"]


def test_a_stream_reads_its_input_only_a_few_batches_ahead(folder):
    read = itertools.count()
    endless = (Image.new("RGB", (8, 8)) for _ in read)
    stream = Classifier.load(folder, workers=2).stream(endless, batch_size=4)
    for _ in range(100):
        next(stream)
    stream.close()
    assert next(read) <= 100 + 4 * (2 * 2 + 2)


def test_nothing_in_gives_nothing_out(classifier):
    assert classifier.predict([]) == []


def test_a_source_that_fails_stops_the_stream_with_its_own_error(classifier):
    def sources():
        yield Image.new("RGB", (8, 8))
        raise ConnectionError("the disk is gone")

    with pytest.raises(ConnectionError, match="the disk is gone"):
        classifier.predict(sources())


@pytest.mark.parametrize("arguments", [{"top_k": 0}, {"batch_size": 0}])
def test_numbers_below_one_are_refused(classifier, arguments):
    with pytest.raises(ValueError, match="at least 1"):
        list(classifier.stream([], **arguments))


def test_logits_that_are_not_finite_are_an_error_of_that_image(tmp_path):
    broken = Classifier.load(write_tiny_model(tmp_path, weights=np.full_like(WEIGHTS, np.nan)))
    (scores,) = broken.stream_scores([Image.new("RGB", (8, 8))])
    assert scores.probabilities is None
    assert "no finite numbers" in scores.error
    assert broken.prediction(scores).error == scores.error


def test_scores_are_the_arrays_behind_the_predictions(classifier):
    images = [Image.new("RGB", (8, 8), color) for color in COLOR_FOR_LABEL.values()]
    sources = [*images[:2], b"", *images[2:]]
    scores = list(classifier.stream_scores(sources, batch_size=2))
    assert [classifier.prediction(row, top_k=2) for row in scores] == classifier.predict(sources, top_k=2)
    assert (scores[2].probabilities, scores[2].error) == (None, "empty file (0 bytes)")
    probabilities = np.stack([row.probabilities for row in scores if row.error is None])
    assert probabilities.dtype == np.float64
    assert probabilities.argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(4))


def test_an_ensemble_averages_models_whose_labels_are_in_another_order(classifier, tmp_path):
    order = [2, 0, 3, 1]
    folder = write_tiny_model(tmp_path, weights=0.5 * WEIGHTS[order])
    edit_json(folder / "config.json", id2label={str(i): LABELS[label] for i, label in enumerate(order)})
    other = Classifier.load(folder)
    ensemble = Ensemble([classifier, other])
    sources = [Image.new("RGB", (8, 8), (200, 100, 50)), b"", Image.new("RGB", (8, 8), "#0000ff")]
    alone, others, together = (list(model.stream_scores(sources)) for model in (classifier, other, ensemble))
    for row in (0, 2):
        expected = (alone[row].probabilities + others[row].probabilities[np.argsort(order)]) / 2
        assert together[row].probabilities == pytest.approx(expected)
    assert together[1].error == "empty file (0 bytes)"
    assert [prediction.label for prediction in ensemble.stream(sources)] == ["Tshirts", None, "Flats"]


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "optimizer.pt", "rng_state.pth", "labels.pkl", "X.PICKLE", "last.ckpt"]
)
def test_a_pickle_in_the_folder_is_refused(folder, name):
    (folder / name).touch()
    with pytest.raises(ModelError, match=f"{name}.*pickle"):
        Classifier.load(folder)


@pytest.mark.parametrize("name", ["model.onnx", "config.json", "preprocessor_config.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} missing"):
        Classifier.load(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        Classifier.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("config.json", {"id2label": {"0": "Tshirts", "1": "Shirts"}}, "names 2 labels"),
        ("config.json", {"id2label": {"1": "Tshirts", "2": "Shirts"}}, "must count from 0 to 1"),
        ("config.json", {"id2label": None}, "no id2label"),
        (
            "config.json",
            {"taxonomy": {"levels": ["a"], "paths": {}}},
            "no path of 1 to 1 categories for Tshirts, Shirts",
        ),
        ("config.json", {"taxonomy": {"paths": TAXONOMY["paths"]}}, "taxonomy must be"),
        ("config.json", {"taxonomy": TAXONOMY | {"levels": ["a", "b"]}}, "no path of 1 to 2 categories"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 256}}, "size is"),
        ("preprocessor_config.json", {"size": {"height": 64, "width": 64}}, "fixed height of 32"),
        ("preprocessor_config.json", {"image_mean": [0.5]}, "image_mean is"),
        ("preprocessor_config.json", {"image_std": [0.5, 0, 0.5]}, "must not contain 0"),
        ("preprocessor_config.json", {"rescale_factor": "1/255"}, "rescale_factor is"),
        ("preprocessor_config.json", {"resample": 9}, "resample is 9"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused_in_one_line(folder, name, changes, message):
    edit_json(folder / name, **changes)
    with pytest.raises(ModelError, match=message) as caught:
        Classifier.load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.onnx", b"no graph"),
        ("model.onnx", b""),
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b"\xff"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=name) as caught:
        Classifier.load(folder)
    assert "\n" not in str(caught.value)


def test_a_graph_exported_for_one_batch_size_is_refused(tmp_path):
    with pytest.raises(ModelError, match="dynamic batch"):
        Classifier.load(write_tiny_model(tmp_path, batch=1))


def test_a_graph_with_free_height_and_width_is_accepted(tmp_path):
    folder = write_tiny_model(tmp_path / "model", side="side")
    assert Classifier.load(folder).image_size == (SIDE, SIDE)


def test_importing_the_classifier_loads_neither_torch_nor_transformers():
    code = "import sys, app.classifier; print(*(name for name in sys.modules if '.' not in name))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"numpy", "onnxruntime", "PIL"} <= set(loaded.split())
    assert not {"torch", "torchvision", "transformers", "onnx", "gradio", "datasets"} & set(loaded.split())


def test_the_app_folder_works_on_its_own(folder, tmp_path):
    space = tmp_path / "space"
    shutil.copytree(ROOT / "app", space / "app", ignore=shutil.ignore_patterns("models", "examples", "__pycache__"))
    image = save_image(tmp_path / "a.png", "Flats")
    code = (
        "import sys; from app.classifier import Classifier; "
        "print(Classifier.load(sys.argv[1]).predict(sys.argv[2:])[0].label)"
    )
    command = [sys.executable, "-c", code, folder, image]
    assert subprocess.run(command, cwd=space, capture_output=True, text=True, check=True).stdout == "Flats\n"
