"""`python train.py --dataset X` for what a shop has: prepared, trained, calibrated, scored, and said on one screen."""

import contextlib
import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from drawings import draw, encode, fill
from PIL import Image
from transformers import AutoModelForImageClassification

import leaderboard
import predict
import train
import validate
from app.classifier import Classifier
from app.errors import UserError
from app.pages.cards import answer_card
from app.service import Answer
from data_prep import competition
from models import pretrained_graph
from training import one_command

LEAVES = {  # a taxonomy of depth 4 with leaves at depths 2 to 4; the products are drawn
    "Tshirts": "Shop > Apparel > Topwear > Tshirts",
    "Jeans": "Shop > Apparel > Jeans",
    "Sports Shoes": "Shop > Sports Shoes",
}
COLORS = {"Tshirts": "crimson", "Jeans": "navy", "Sports Shoes": "seagreen"}
TINY = ["--image_size", "32", "--per_device_train_batch_size", "16", "--num_train_epochs", "1"]


def draw_catalog(folder: Path, per_class: int = 12) -> list[tuple[str, str]]:
    """(file, product) of soft patterns, each of its own, in the color of the product."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(f"{product}_{seed}.jpg", product) for product in LEAVES for seed in range(per_class)]
    for number, (name, product) in enumerate(rows):
        color = Image.new("RGB", (60, 80), COLORS[product])
        (folder / name).write_bytes(encode(Image.blend(draw(number), color, 0.5)))
    return rows


def write_table(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """Class folders, and tables: of paths, of two columns with gaps, of columns that compete, of goods with titles."""
    folder = tmp_path_factory.mktemp("shop")
    rows = draw_catalog(folder / "photos")
    shelves = ["A" if number % 2 else "B" for number in range(len(rows))]
    lines = [[f"photos/{name}", product, shelf] for (name, product), shelf in zip(rows, shelves, strict=True)]
    write_table(folder / "two.csv", ["file", "what", "shelf"], lines)
    write_table(folder / "catalogue.csv", ["file", "category"], [[file, LEAVES[product]] for file, product, _ in lines])
    coarse = [[file, "Shop", "" if number % 4 == 3 else kind] for number, (file, kind, _) in enumerate(lines)]
    write_table(folder / "coarse.csv", ["file", "department", "kind"], coarse)
    goods = [
        [f"{file} {product}", file, product, shelf if number % 5 else ""]
        for number, (file, product, shelf) in enumerate(lines)
    ]
    write_table(folder / "goods.csv", ["name", "file", "what", "shelf"], goods)
    for name, product in rows:
        place = folder / "classes" / product / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "photos" / name, place)
    return folder


@pytest.fixture
def inside(shop, monkeypatch) -> Path:
    monkeypatch.chdir(shop)
    return shop


@pytest.fixture(scope="module")
def backbone(shop, tmp_path_factory) -> Path:
    """Weights that know colors."""
    output = tmp_path_factory.mktemp("runs") / "backbone"
    with contextlib.chdir(shop):
        given = ["--dataset", "classes", "--model", "basic_cnn", "--image_size", "32", "--num_train_epochs", "12"]
        more = ["--per_device_train_batch_size", "16", "--scorecard", "False", "--export_onnx", "False"]
        train.main([*given, *more, "--output_dir", str(output)])
    return output


@pytest.fixture(scope="module", autouse=True)
def graphs(tmp_path_factory) -> Iterator[None]:
    """The kept graphs of these networks do not go into the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained_graph, "GRAPHS", tmp_path_factory.mktemp("graphs"))
        yield


@pytest.fixture(scope="module")
def frozen(shop, backbone, tmp_path_factory) -> tuple[Path, str]:
    """A folder that one command made of class folders, and what it printed."""
    screen = io.StringIO()
    output = tmp_path_factory.mktemp("runs") / "frozen"
    with contextlib.chdir(shop), contextlib.redirect_stdout(screen):
        given = ["--dataset", "classes", "--model", "basic_cnn", "--pretrained", str(backbone), "--image_size", "32"]
        progress = ["--progress_file", str(output.parent / "progress.jsonl")]
        train.main([*given, "--frozen", "True", "--output_dir", str(output), *progress])
    return output, screen.getvalue()


def test_a_program_can_read_where_it_is(frozen):
    lines = (frozen[0].parent / "progress.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    names = list(dict.fromkeys(step["step"] for step in steps))
    assert names == ["prepare", "features", "fit", "export", "score"]
    features = [(step["done"], step["total"]) for step in steps if step["step"] == "features"]
    assert features == [(done, len(features) - 1) for done in range(len(features))]


def test_a_process_that_checks_images_does_not_import_what_trains():
    code = "import sys, train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(train.__file__).parent, timeout=60).returncode == 0


def test_one_command_leaves_a_calibrated_folder_with_a_scorecard(frozen):
    card = json.loads((frozen[0] / "scorecard.json").read_text())
    assert card["scored_on"] == "out of fold" and card["rows"] == 36
    assert card["accuracy"][0]["value"] > 0.6, "red, blue and green are easy to tell apart"
    assert {row["target"] for row in card["publishable"]} == {0.95, 0.98, 0.99}
    classifier = Classifier.load(frozen[0])
    assert classifier.calibration is not None and classifier.labels == sorted(LEAVES)


def test_the_last_screen_says_how_good_it_is_and_what_to_type_next(frozen):
    folder, screen = frozen
    assert "out of fold" in screen and "What can be published unseen" in screen and "Fewest training images" in screen
    assert screen.rstrip().endswith(f"python predict.py --model {folder} --image_path photo.jpg")


def test_a_frozen_folder_opens_in_transformers_with_the_same_answers(frozen, shop):
    model = AutoModelForImageClassification.from_pretrained(frozen[0]).eval()
    classifier = Classifier.load(frozen[0], calibrated=False)
    pixels = classifier.read(shop / "photos" / "Jeans_0.jpg")[None]
    with torch.inference_mode():
        expected = model(pixel_values=torch.from_numpy(pixels)).logits.numpy()
    assert np.allclose(classifier.logits(pixels), expected, atol=0.05)


def test_embeddings_are_written_for_each_image(frozen, shop, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    images = [str(shop / "photos" / "Jeans_0.jpg"), str(tmp_path / "broken.jpg")]
    output = tmp_path / "embeddings.parquet"
    predict.main(["--model", str(frozen[0]), "--image_path", *images, "--embed", "--output", str(output)])
    good, bad = pq.read_table(output).to_pylist()
    assert np.allclose(good["embedding"], Classifier.load(frozen[0]).embed(images[:1])[0], atol=1e-5)
    assert bad["embedding"] is None and bad["error"] and good["error"] is None


@pytest.fixture(scope="module")
def deep(shop, tmp_path_factory) -> tuple[Path, str]:
    """A model folder of categories at depths 2 to 4, and the screen of its training."""
    screen, output = io.StringIO(), tmp_path_factory.mktemp("runs") / "deep"
    with contextlib.chdir(shop), contextlib.redirect_stdout(screen):
        given = ["--dataset", "catalogue.csv", "--label_columns", "category", "--model", "basic_cnn", *TINY]
        train.main([*given, "--output_dir", str(output)])
    return output, screen.getvalue()


def test_a_taxonomy_of_any_depth_is_trained_scored_and_answered(deep, inside):
    assert "level_3" in deep[1]
    classifier = Classifier.load(deep[0])
    depths = sorted(len(path) for path in classifier.taxonomy.paths)
    assert depths == [2, 3, 4] and classifier.taxonomy.levels == ["level_1", "level_2", "level_3", "label"]
    (answer,) = classifier.predict([inside / "photos" / "Jeans_0.jpg"])
    assert answer.category_path in classifier.taxonomy.paths
    assert len(answer.path_confidences) == len(answer.category_path)
    assert answer.path_confidences[0] == pytest.approx(1)


def test_categories_of_any_depth_stand_on_leaderboard_page_and_in_the_competition(deep, inside, tmp_path, capsys):
    dataset = str(inside / "data" / "catalogue")
    results = tmp_path / "results"
    validate.main(["--model", str(deep[0]), "--dataset", dataset, "--output", str(results), "--no-figures"])
    leaderboard.main(["--results", str(results)])
    (row,) = csv.DictReader((results / "leaderboard.csv").open(newline=""))
    assert 0 <= float(row["accuracy"]) <= float(row["level_3_accuracy"]) <= float(row["level_1_accuracy"]) == 1
    classifier = Classifier.load(deep[0])
    (answer,) = classifier.predict([inside / "photos" / "Jeans_0.jpg"])
    card = answer_card(Answer(answer, "deep", 0.1), classifier)
    assert all(category in card for category in answer.category_path)
    competition.main(["--dataset", dataset, "--output", str(tmp_path / "kit"), "--seed", "1"])
    kit, sent = tmp_path / "kit", tmp_path / "kit" / "sent.csv"
    sample = ["--submission", str(kit / "sample_submission.csv"), "--output", str(sent)]
    predict.main(["--model", str(deep[0]), "--image_path", str(kit / "test.csv"), *sample])
    capsys.readouterr()
    leaderboard.main(["--score", str(sent), "--solution", str(kit / "solution.csv")])
    assert "private" in capsys.readouterr().out


def test_images_with_a_coarser_label_only_train_too(inside, tmp_path):
    given = ["--dataset", "coarse.csv", "--label_columns", "department", "kind", "--model", "basic_cnn", *TINY]
    train.main([*given, "--output_dir", str(tmp_path / "run")])
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert sorted(config["id2label"].values()) == sorted(LEAVES)


def test_a_tables_titles_and_attributes_are_learned_beside_its_categories(inside, tmp_path, capsys):
    given = ["--dataset", "goods.csv", "--title_column", "name", "--attributes", "shelf", "--model", "basic_cnn", *TINY]
    train.main([*given, "--output_dir", str(tmp_path / "run")])
    classifier = Classifier.load(tmp_path / "run")
    assert classifier.labels == sorted(LEAVES)
    (answer,) = classifier.predict([inside / "photos" / "Jeans_0.jpg"], titles=["red Jeans 77"])
    assert answer.label == "Jeans" and answer.attributes["shelf"].label in ("A", "B")


def test_the_model_is_named_also_where_its_titles_cannot_be_learned(inside, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise UserError("no title says anything")

    monkeypatch.setattr(one_command, "titles_after_training", fail)
    given = ["--dataset", "goods.csv", "--title_column", "name", "--attributes", "shelf", "--model", "basic_cnn", *TINY]
    with pytest.raises(SystemExit):
        train.main([*given, "--output_dir", str(tmp_path / "run")])
    printed = capsys.readouterr()
    assert "no title says anything" in printed.err and f"the model is in {tmp_path / 'run'}. Next:" in printed.out


def test_titles_and_attributes_of_a_folder_are_refused_in_one_line(inside, capsys):
    with pytest.raises(SystemExit):
        train.main(["--dataset", "classes", "--title_column", "name", "--model", "basic_cnn", *TINY])
    assert "--title_column: only used with a table" in capsys.readouterr().err


def test_several_columns_that_can_be_meant_are_listed(inside, capsys):
    with pytest.raises(SystemExit):
        train.main(["--dataset", "two.csv", "--model", "basic_cnn", *TINY])
    error = capsys.readouterr().err
    assert "2 columns that can be meant, what, shelf: choose with --label_columns" in error


def test_one_class_is_refused_before_any_work_with_the_cure(tmp_path, monkeypatch, capsys):
    fill(tmp_path / "photos", [f"hat/{number}.jpg" for number in range(4)])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        train.main(["--dataset", "photos", "--model", "basic_cnn", *TINY])
    assert "all 4 images are of one class, hat, and a classifier needs at least two" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists() and not (tmp_path / "data" / "photos").exists()


def test_what_was_prepared_is_used_again_until_the_input_changes(tmp_path, monkeypatch, backbone, capsys):
    fill(tmp_path / "photos", [f"{label}/{number}.jpg" for label in ("hat", "shoe") for number in range(6)])
    monkeypatch.chdir(tmp_path)
    given = ["--dataset", "photos", "--frozen", "True", "--pretrained", str(backbone), "--model", "basic_cnn"]
    train.main([*given, "--image_size", "32"])
    train.main([*given, "--image_size", "32"])
    assert "was prepared from photos before" in capsys.readouterr().err
    fill(tmp_path / "photos", {"hat/new.jpg": 99})
    train.main([*given, "--image_size", "32"])
    assert "preparing photos as data/photos" in capsys.readouterr().err
