"""From the titles of a dataset to a folder that reads them: the command, the files, the card, the scores, the pages."""

import json
import shutil

import numpy as np
import pytest

import train
import validate
from app.classifier import Classifier
from app.taxonomy import Taxonomy
from evaluation import titles as report
from evaluation.drawn_titles import DRAWN, SPOILED, drawn, spoiled
from evaluation.leaderboard import tables
from evaluation.predictions import SplitOutputs
from evaluation.runs import read_runs
from evaluation.title_join import TitledOutputs, fit_settings, fit_title_thresholds, fit_weights, joined, wrong_titles
from models.title_model import fit_title_model, tf_idf, title_graph
from training import titles

TAXONOMY = Taxonomy([["A", "a"], ["A", "b"], ["B", "c"]], ["broad", "fine"])


@pytest.fixture(scope="module")
def titled(trained, drawn_dataset, tmp_path_factory):
    """The trained model, after training.titles."""
    folder = tmp_path_factory.mktemp("titled") / "drawn"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("checkpoint-*"))
    titles.main(["--model", str(folder), "--dataset", str(drawn_dataset), "--title_column", "title"])
    return folder


def test_the_command_writes_both_files_and_a_section_of_the_card(titled, drawn_dataset):
    content = json.loads((titled / "titles.json").read_text())
    assert content["title_column"] == "title" and content["dataset"] == "drawn"
    assert content["scores"]["both"]["accuracy"] == 1.0
    card = (titled / "README.md").read_text()
    assert card.count("## Titles") == 1 and card.startswith("---")
    titles.main(["--model", str(titled), "--dataset", str(drawn_dataset), "--title_column", "title"])
    assert (titled / "README.md").read_text() == card


def test_the_folder_answers_from_titles(titled):
    (prediction,) = Classifier.load(titled).predict([None], titles=["Sports Shoes 17"])
    assert (prediction.label, prediction.answered_from) == ("Sports Shoes", "title")


def test_validate_scores_joint_answers_in_a_table_of_their_own(titled, drawn_dataset, tmp_path):
    given = ["--model", str(titled), "--dataset", str(drawn_dataset), "--output", str(tmp_path), "--no-figures"]
    validate.main(given)
    validate.main([*given, "--title_column", "title"])
    runs = read_runs(tmp_path)
    assert [(run["name"], run.get("title_column")) for run in runs] == [("drawn", None), ("drawn_with_titles", "title")]
    page = tables(runs)
    assert page.count("| model | accuracy") == 2 and "images with titles (column `title`)" in page
    assert runs[1]["megabytes"] > runs[0]["megabytes"]


def test_the_report_compares_image_title_and_both(titled, drawn_dataset, tmp_path):
    given = ["--model", str(titled), "--dataset", str(drawn_dataset), "--title_column", "title"]
    report.main([*given, "--output", str(tmp_path), "--splits", "validation"])
    text = (tmp_path / "titles.md").read_text()
    assert "## validation: 16 products" in text and "## test" not in text
    assert all(f"| {how} |" in text for how in ("image", "title", "both", "none", *SPOILED))


@pytest.mark.parametrize(
    ("column", "message"),
    [("name", "has no such column; it has"), ("articleType", "holds no text"), ("image", "holds no text")],
)
def test_a_column_without_titles_is_one_line(trained, drawn_dataset, capsys, column, message):
    with pytest.raises(SystemExit) as stop:
        titles.main(["--model", str(trained), "--dataset", str(drawn_dataset), "--title_column", column])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and message in err and err.count("\n") == 1


def test_train_refuses_titles_that_it_could_not_learn_before_it_trains(drawn_dataset, tmp_path, capsys):
    given = ["--model", "mobilenet_v2", "--from_scratch", "--dataset", str(drawn_dataset), "--label", "articleType"]
    with pytest.raises(SystemExit) as stop:
        train.main([*given, "--output_dir", str(tmp_path / "run"), "--title_column", "nmae"])
    assert stop.value.code == 2 and "no such column" in capsys.readouterr().err


def test_a_new_training_removes_titles_of_the_weights_before(titled, tmp_path):
    from training.model_card import remove_derived

    for name in ("model.onnx", "titles.onnx", "titles.json"):
        shutil.copy(titled / name, tmp_path / name)
    remove_derived(tmp_path)
    assert not list(tmp_path.iterdir())


# --- what is fitted --------------------------------------------------------------------------------------------------


def products(rows: int = 300, seed: int = 0) -> TitledOutputs:
    """Products whose titles say the label nearly always and whose images are unsure between a and b."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, rows)
    image = generator.normal(0, 1, (rows, 3)) + 3 * np.eye(3)[truth]
    title = generator.normal(0, 0.4, (rows, 3)) + 2 * np.eye(3)[truth]
    outputs = SplitOutputs(image.astype(np.float32), None, truth, np.arange(rows).astype(str))
    return TitledOutputs(outputs, title, np.ones(rows))


def test_the_weights_make_the_joint_answer_better_than_either_and_its_confidence_true():
    held_out, fresh = products(), products(3000, seed=1)
    settings = fit_weights(held_out, 1.0)
    probabilities, _ = joined(TAXONOMY, fresh, settings)
    right = probabilities.argmax(axis=1) == fresh.image.truth
    assert right.mean() > (fresh.image.logits.argmax(axis=1) == fresh.image.truth).mean()
    assert abs(probabilities.max(axis=1).mean() - right.mean()) < 0.01


def test_a_title_model_that_knows_nothing_gets_hardly_any_weight():
    held_out = products(2000)
    noise = np.random.default_rng(3).normal(0, 1, held_out.title_logits.shape)
    settings = fit_weights(TitledOutputs(held_out.image, noise, held_out.known), 1.0)
    assert settings.title_weight < 0.15 * settings.image_weight


def test_wrong_titles_fall_below_the_least_agreement_and_true_ones_rarely_do():
    held_out = products(2000)
    settings = fit_settings(TAXONOMY, held_out, 1.0)
    thresholds = fit_title_thresholds(TAXONOMY, held_out, settings, 0.99)
    _, true_titles = joined(TAXONOMY, held_out, settings)
    wrong = wrong_titles(TAXONOMY, held_out.image.truth)
    broad = np.array([0, 0, 1])
    assert (broad[held_out.image.truth] != broad[held_out.image.truth[wrong]]).all()
    _, contradicting = joined(
        TAXONOMY, TitledOutputs(held_out.image, held_out.title_logits[wrong], held_out.known), settings
    )
    assert true_titles.mean() <= 0.02 and contradicting.mean() > 0.6
    assert set(thresholds) == {"title", "both"} and set(thresholds["both"]["fine"]) == {"a", "b", "c"}


def test_few_rows_hold_the_weights_near_the_prior():
    settings = fit_weights(products(6), 1.0)
    assert 0.1 < settings.image_weight < 1.5 and 1 < settings.title_weight < 9


# --- the graph -------------------------------------------------------------------------------------------------------

TEXTS = ["Blue cotton shirt", "Blue silk shirt", "Red leather shoe", "Red canvas shoe", "Зелёная шапка", "Чёрная шапка"]


@pytest.mark.parametrize(
    "text", [*TEXTS, "blue BLUE blue shoe", "<i>shoe</i>", "шапка shoe", "nothing known whatsoever", "x" * 10_000]
)
def test_the_graph_computes_what_scikit_learn_was_given(tmp_path, text):
    from onnxruntime import InferenceSession

    from app.title_text import clean_title, ngrams
    from app.titles import title_logits

    model = fit_title_model(TEXTS, np.array([0, 0, 1, 1, 2, 2]), 4)
    session = InferenceSession(title_graph(model).SerializeToString())
    logits, known = title_logits(session, text)
    features = tf_idf([ngrams(clean_title(text))], model.hashes, model.rarity)
    expected = (features @ model.weights + model.bias)[0]
    assert logits == pytest.approx(expected, abs=0.02)  # 8 bits
    assert known == pytest.approx(features.power(2).sum(), abs=1e-5)
    assert logits.argmin() == 3  # a label without a title is not expected


def test_titles_of_one_label_or_without_a_common_word_teach_nothing():
    from app.errors import UserError

    with pytest.raises(UserError, match="fewer than two labels"):
        fit_title_model(["a b", "", "c"], np.array([0, 1, 0]), 2)
    with pytest.raises(UserError, match="no two titles"):
        fit_title_model(["ab", "cd"], np.array([0, 1]), 2)


def test_spoiled_and_drawn_titles_are_the_same_for_the_same_seed():
    texts = ["Puma Men Blue Striped T-shirt", "Nike Shoe"]
    for how in SPOILED:
        assert spoiled(texts, how) == spoiled(texts, how) != texts
    for how in DRAWN:
        assert drawn(["dress", "shoes"], how) == drawn(["dress", "shoes"], how)
