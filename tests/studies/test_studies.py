"""The two studies on drawn images: what is run once, what the pages say, how joint training reads coarse labels."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import models.torchvision_cpu  # noqa: F401  before transformers

import numpy as np
import pytest
import torch
from datasets import load_from_disk
from drawn_products import draw_product
from drawn_screenshots import TILES_PER_PAGE, draw_screenshots, prepared
from PIL import Image
from safetensors.torch import load_file
from scipy.special import softmax

from app.classifier import Classifier
from models.registry import build_model
from studies.common.units import Unit, result_of, run_missing
from studies.domain_gap import study as domain_gap
from studies.domain_gap.adaptation import adapt, information_loss
from studies.domain_gap.batch_norm import adapt_batch_norm
from studies.domain_gap.clustering import mean_answer
from studies.domain_gap.common_labels import COMMON, SHARED, TABLE, among, in_common
from studies.slash8 import study as slash8
from studies.slash8.data import prepare
from studies.slash8.rows import ROWS
from training.frozen_head import held_out_logits, held_out_neighbors
from training.network import Network, linear_head


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory) -> Path:
    return draw_screenshots(tmp_path_factory.mktemp("slash"))


@pytest.fixture(scope="module")
def slash_study(screenshots, tmp_path_factory) -> tuple[list[str], Path]:
    """The arguments of a small study and its folder, with one row run."""
    folder = tmp_path_factory.mktemp("study")
    places = ["--runs", str(folder / "runs"), "--results", str(folder / "results"), "--output", str(folder / "shipped")]
    arguments = ["--dataset", str(screenshots), *places, "--epochs", "1", "--image_size", "32"]
    slash8.main([*arguments, "--only", "basic_cnn"])
    return arguments, folder


def test_images_of_one_screenshot_are_never_torn_apart_by_the_folds(screenshots, tmp_path):
    data = prepare(screenshots, tmp_path)
    page_of = dict(zip(data.rows()["id"], data.rows()["page"], strict=True))
    folds = {}
    for identity, fold in zip(data.pool.ids, data.pool.fold_of, strict=True):
        folds.setdefault(page_of[identity], set()).add(int(fold))
    assert len(data.pool.ids) == 20 * TILES_PER_PAGE and len(folds) == 20
    assert all(len(folds_of_page) == 1 for folds_of_page in folds.values())
    assert len(set(data.pool.fold_of.tolist())) == 5


def test_the_page_has_the_row_that_was_run_and_no_other(slash_study):
    page = (slash_study[1] / "results" / "slash8.md").read_text()
    assert "| basic_cnn |" in page and "out of fold" in page and "| Fashion |" in page
    assert not [row.name for row in ROWS if row.name != "basic_cnn" and f"| {row.name} |" in page]
    figures = slash_study[1] / "results" / "runs" / "slash8_study"
    assert sorted(file.name for file in figures.iterdir()) == ["confusion.png", "mistakes.png"]


def test_a_second_run_trains_nothing_and_keeps_what_a_person_wrote_below(slash_study, capsys):
    arguments, folder = slash_study
    page = folder / "results" / "slash8.md"
    page.write_text(page.read_text() + "\n## Mistakes looked at\n")
    slash8.main([*arguments, "--only", "basic_cnn"])
    assert "5 units, 0 to do" in capsys.readouterr().out
    assert page.read_text().count("## Mistakes looked at") == 1
    assert not list((folder / "runs" / "basic_cnn").glob("*/")), "the folds' models are not needed any more"


def test_a_dry_run_lists_the_units_with_an_estimate(slash_study, capsys):
    slash8.main([*slash_study[0], "--only", "resnet18", "--dry_run"])
    output = capsys.readouterr().out
    assert "5 units, 5 to do, about" in output and "resnet18, fold_4: about" in output
    assert not list((slash_study[1] / "runs").glob("resnet18/*.json"))


def test_a_row_that_does_not_exist_is_refused_with_those_that_do(slash_study, capsys):
    with pytest.raises(SystemExit) as stopped:
        slash8.main([*slash_study[0], "--only", "resnet17"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m studies.slash8: error: --only resnet17") and "resnet18" in error
    assert error.count("\n") == 1


def test_a_row_without_its_weights_fails_alone(slash_study, capsys):
    with pytest.raises(SystemExit, match="not all rows could be run: probe_lite0"):
        slash8.main([*slash_study[0], "--lite0", "nowhere", "--only", "probe_lite0", "basic_cnn"])
    assert "FAILED, the row is left out" in capsys.readouterr().err


def test_the_shipped_model_learned_all_and_brings_its_out_of_fold_answers(slash_study, screenshots):
    import pyarrow.parquet

    slash8.main([*slash_study[0], "--ship", "basic_cnn"])
    shipped = slash_study[1] / "shipped"
    table = pyarrow.parquet.read_table(shipped / "oof.parquet")
    assert table.num_rows == 20 * TILES_PER_PAGE and set(table["label"].to_pylist()) == {"Fashion", "Home"}
    assert (shipped / "model.onnx").is_file()
    card = (shipped / "README.md").read_text()
    assert "Out-of-fold scores" in card and "model-index" not in card and "python predict.py" in card


def test_a_shipped_probe_answers_and_is_calibrated_out_of_fold(slash_study, screenshots, imagenet, tmp_path):
    import calibrate

    arguments = [*slash_study[0], "--lite0", str(imagenet), "--output", str(tmp_path / "probe")]
    slash8.main([*arguments, "--only", "probe_lite0"])
    slash8.main([*arguments, "--ship", "probe_lite0"])
    classifier = Classifier.load(tmp_path / "probe")
    assert classifier.labels == ["Fashion", "Home"]
    oof = str(tmp_path / "probe" / "oof.parquet")
    calibrate.main(["--model", str(tmp_path / "probe"), "--dataset", str(screenshots), "--oof", oof])
    train = load_from_disk(screenshots)["train"]
    before, after = (model.predict(train["image"]) for model in (classifier, Classifier.load(tmp_path / "probe")))
    best_before, best_after = ([answer.top_k[0].label for answer in answers] for answers in (before, after))
    assert best_after == best_before, "temperature keeps order"
    assert all(sum(guess.confidence for guess in answer.top_k) == pytest.approx(1) for answer in after)
    truth = [train.features["label"].names[i] for i in train["label"]]
    assert np.mean(np.array(best_after) == truth) > 0.9, "features of untrained weights tell two drawn kinds apart"


def test_a_linear_layer_tells_apart_what_a_line_can_tell_apart():
    generator = np.random.default_rng(0)
    for classes in (2, 3):
        truth = np.arange(120) % classes
        embeddings = np.eye(classes, 6)[truth] + generator.normal(scale=0.1, size=(2, 120, 6))
        logits = held_out_logits(embeddings, truth, np.arange(120) // 8 % 5)
        assert (logits.argmax(axis=-1) == truth).all() and logits.shape == (2, 120, classes)
        assert (held_out_neighbors(embeddings, truth, np.arange(120) // 8 % 5).argmax(axis=1) == truth).all()


def test_adapting_without_labels_finds_the_classes_of_moved_images(tmp_path, trained):
    network = Network(trained)
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(draw_product("Jeans", n))).resize((32, 32))) for n in range(8)])
    adapt(trained, pixels, classes=[0, 1], steps=2, seed=1, output=tmp_path)
    adapted = Network(tmp_path)
    assert adapted.labels == network.labels
    assert torch.equal(linear_head(adapted.model).weight, linear_head(network.model).weight), "the head stays"
    assert not np.allclose(adapted.embeddings(pixels), network.embeddings(pixels))
    diverse, alike = torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([[9.0, 0.0], [9.0, 0.0]])
    assert information_loss(diverse) < information_loss(alike) < information_loss(torch.zeros(2, 2)) + 0.1


def test_shipping_a_row_that_was_not_run_says_how_to_run_it(slash_study, capsys):
    with pytest.raises(SystemExit) as stopped:
        slash8.main([*slash_study[0], "--ship", "resnet18"])
    assert stopped.value.code == 2
    assert "--ship resnet18: its folds were not run" in capsys.readouterr().err


def test_a_dataset_without_pages_is_refused(drawn_dataset, tmp_path, capsys):
    with pytest.raises(SystemExit):
        slash8.main(["--dataset", str(drawn_dataset), "--runs", str(tmp_path), "--dry_run"])
    assert "no label column 'label'" in capsys.readouterr().err


def counted(calls: list[str], name: str, recipe: str = "plain") -> Unit:
    def work(folder: Path) -> dict[str, np.ndarray]:
        calls.append(name)
        if name == "broken":
            raise SystemExit("no such weights")
        return {"answer": np.arange(3)}

    return Unit(name, "fold_0", {"recipe": recipe}, 1.0, work)


def test_a_finished_unit_is_not_repeated_and_another_recipe_is_another_unit(tmp_path):
    calls: list[str] = []
    for recipe in ("plain", "plain", "other"):
        assert run_missing([counted(calls, "row", recipe)], tmp_path, dry_run=False) == []
    assert calls == ["row", "row"]
    result = result_of(counted(calls, "row"), tmp_path)
    assert result.arrays["answer"].tolist() == [0, 1, 2] and result.facts["made_by"] == {"recipe": "plain"}


def test_a_unit_that_fails_costs_its_row_only(tmp_path):
    calls: list[str] = []
    units = [counted(calls, "broken"), counted(calls, "broken", "second fold"), counted(calls, "row")]
    assert run_missing(units, tmp_path, dry_run=False) == ["broken"]
    assert calls == ["broken", "row"]


def test_a_damaged_result_is_named(tmp_path):
    unit = counted([], "row")
    run_missing([unit], tmp_path, dry_run=False)
    unit.path(tmp_path).with_suffix(".npz").write_bytes(b"")
    with pytest.raises(ValueError, match="damaged"):
        result_of(unit, tmp_path)


def test_a_model_of_article_types_answers_in_the_common_classes_by_sums():
    labels = ["Jeans", "Trousers", "Tshirts", "Lipstick"]
    common = in_common(np.array([[0.3, 0.3, 0.2, 0.2]]), labels)
    assert common[0, COMMON.index("trousers")] == pytest.approx(0.6) and common.sum() == pytest.approx(0.8)
    chosen, truth = among(common, np.array([COMMON.index("trousers")]), SHARED)
    assert chosen[0, truth[0]] == pytest.approx(0.75)


def test_no_class_of_a_source_stands_in_two_lines_of_the_table():
    for source in ("fashion_mnist", "kaggle", "clothing"):
        own = [name for line in TABLE.values() for name in line.get(source, [])]
        assert len(own) == len(set(own)) and own


@pytest.mark.real_data
def test_the_table_names_classes_that_the_sources_have(shared):
    folders = {folder.name for folder in (shared / "data" / "clothing" / "train").iterdir()}
    assert folders == {name for line in TABLE.values() for name in line.get("clothing", [])}
    with zipfile.ZipFile(shared / "data" / "kaggle" / "fashion-product-images-small.zip") as archive:
        styles = next(name for name in archive.namelist() if name.endswith("styles.csv"))
        table = archive.read(styles).decode("utf-8").splitlines()
    article_types = {line.split(",")[4] for line in table if line}
    assert {name for line in TABLE.values() for name in line["kaggle"]} <= article_types


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory) -> Path:
    """What stands for pretrained weights: EfficientNet-Lite0 as it is before training."""
    folder = tmp_path_factory.mktemp("weights") / "efficientnet_lite0"
    build_model("efficientnet_lite0", ["a", "b"], 32, from_scratch=True).save_pretrained(folder)
    shutil.copytree(folder, folder.with_name("efficientnet_lite2"))  # its name alone, which is enough here
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> list[str]:
    """The three sources of the domain gap as options, each with two common classes."""
    folder = tmp_path_factory.mktemp("sources")
    names = {"fashion_mnist": ("Shirt", "Trouser"), "kaggle": ("Shirts", "Jeans"), "clothing": ("shirt", "pants")}
    options = []
    for source, labels in names.items():
        columns = ("articleType",) if source == "kaggle" else ("label",)
        rows = [
            (label, split, article, {})
            for split, count in (("train", 12), ("validation", 4), ("test", 4))
            for label, article in zip(labels, ("Shirts", "Jeans"), strict=True)
            for _ in range(count)
        ]
        options += [f"--{source}", str(prepared(folder / source, rows, columns, {}))]
    return options


@pytest.mark.slow
def test_the_gap_is_measured_joint_training_runs_and_a_missing_start_is_named(sources, imagenet, tmp_path, capsys):
    weights = ["--pretrained", str(imagenet.parent)]
    quick = ["--steps", "1", "--image_size", "32", *weights, "--results", str(tmp_path / "results")]
    arguments = [*sources, *quick, "--runs", str(tmp_path / "runs")]
    with pytest.raises(SystemExit, match="not all rows could be run: few_5"):
        domain_gap.main([*arguments, "--only", "kaggle", "joint", "few_5"])
    assert "run the row kaggle_phone" in capsys.readouterr().err
    page = (tmp_path / "results" / "domain_gap.md").read_text()
    assert "| Kaggle catalogue |" in page and "| kaggle + BatchNorm |" in page and "| joint |" in page
    assert "sample of 900" in page and "| few_5 |" not in page and "Track Pants" in page
    assert (tmp_path / "results" / "runs" / "domain_gap" / "matrix.png").stat().st_size > 1000
    joint = json.loads(next((tmp_path / "runs" / "joint").glob("*.json")).read_text())
    assert joint["made_by"]["source"] == "joint"
    domain_gap.main([*arguments, "--only", "kaggle", "joint"])
    assert "2 units, 0 to do" in capsys.readouterr().out


@pytest.mark.slow
def test_a_joint_training_is_shipped_with_card_graph_and_weights_that_help_rare_classes(
    sources, imagenet, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(domain_gap, "SHIPPED", "fashion_joint")  # which needs neither teachers nor titles
    quick = ["--steps", "1", "--image_size", "32", "--fashion", str(imagenet), "--runs", str(tmp_path / "runs")]
    arguments, output = [*sources, *quick, "--results", str(tmp_path)], tmp_path / "shipped" / "fashion"
    with pytest.raises(SystemExit) as stopped:
        domain_gap.main([*arguments, "--ship", str(output)])
    assert stopped.value.code == 2 and "--only fashion_joint" in capsys.readouterr().err
    domain_gap.main([*arguments, "--only", "fashion_joint"])
    domain_gap.main([*arguments, "--ship", str(output)])
    card = (output / "README.md").read_text()
    assert "It is the row fashion_joint" in card and "| accuracy |" in card
    assert set(Classifier.load(output).labels) == {"Shirts", "Jeans"}
    weights = load_file(output / "model.safetensors")
    trained = load_file(next((tmp_path / "runs" / "fashion_joint").glob("*/model.safetensors")))
    given = weights["timm_model.classifier.bias"].float() - trained["timm_model.classifier.bias"]
    assert given.numpy() == pytest.approx([0.5 * np.log(50 / 12)] * 2, abs=1e-3)  # of classes with 12 images each


@pytest.mark.slow
def test_a_row_that_learns_from_others_waits_for_them(sources, imagenet, tmp_path, capsys):
    quick = ["--steps", "1", "--pretrained", str(imagenet.parent), "--runs", str(tmp_path), "--results", str(tmp_path)]
    shutil.copytree(imagenet, imagenet.with_name("efficientnet_lite1"), dirs_exist_ok=True)
    with pytest.raises(SystemExit, match="not all rows could be run: taught_lite1"):
        domain_gap.main([*sources, *quick, "--only", "taught_lite1"])
    assert "it needs the model of another row; run the row teacher_lite2 first" in capsys.readouterr().err


@pytest.mark.slow
def test_photos_are_sorted_without_their_labels(sources, imagenet, tmp_path):
    quick = ["--steps", "1", "--image_size", "32", "--pretrained", str(imagenet.parent)]
    arguments = [*sources, *quick, "--runs", str(tmp_path / "runs"), "--results", str(tmp_path)]
    domain_gap.main([*arguments, "--only", "kaggle_phone", "clustered"])
    assert "| clustered | photos sorted" in (tmp_path / "domain_gap.md").read_text()


def test_a_class_that_one_answer_rules_out_stays_ruled_out():
    torn, sure = np.array([[0.5, 0.5, 0.0]]), np.array([[0.1, 0.6, 0.3]])
    assert mean_answer([torn, sure]).argmax() == 1 and mean_answer([torn, sure])[0, 2] < 1e-4
    assert mean_answer([torn, sure]).sum() == pytest.approx(1)


def test_batch_norm_adapts_to_images_of_another_brightness(imagenet):
    pixels = np.random.default_rng(0).integers(0, 60, (16, 32, 32, 3), dtype=np.uint8)

    def logits(prior: int | None) -> np.ndarray:
        network = Network(imagenet)
        if prior is not None:
            adapt_batch_norm(network, pixels, prior)
        return network.logits(pixels)

    plain, kept, adapted = logits(None), logits(prior=10**9), logits(prior=0)
    assert np.abs(softmax(plain, axis=1) - softmax(kept, axis=1)).max() < 0.02
    assert np.abs(plain - adapted).max() > 10 * np.abs(plain - kept).max()


def test_batch_norm_cannot_adapt_where_there_is_none():
    network = type("Plain", (), {"model": torch.nn.Linear(2, 2)})()
    with pytest.raises(ValueError, match="no BatchNorm"):
        adapt_batch_norm(network, np.zeros((1, 2, 2, 3), np.uint8))
