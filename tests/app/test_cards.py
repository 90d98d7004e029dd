"""What the page shows: names are escaped, verdicts in words, how accurate it is, the model cards."""

import json
import re
import shutil
from html import unescape

import pytest
from markupsafe import escape
from PIL import Image

from app import limits
from app.pages import about, cards, display_names, leaderboard
from app.pages.rendering import percent
from app.prediction import Attribute, Prediction, ScoredLabel
from app.service import MODELS, Answer, Service

TSHIRTS = (["Apparel", "Topwear", "Tshirts"], [0.99, 0.99, 0.98])
CANDIDATES = [ScoredLabel("Tshirts", 0.6), ScoredLabel("Tops", 0.3), ScoredLabel("Shirts", 0.004)]
CERTAIN = Prediction("ok", "Tshirts", 0.98, *TSHIRTS, *TSHIRTS, [ScoredLabel("Tshirts", 0.98)])
UNCERTAIN = Prediction("review", "Tshirts", 0.6, *TSHIRTS, top_k=CANDIDATES)
TOPWEAR = Prediction("review", "Tshirts", 0.6, *TSHIRTS, ["Apparel", "Topwear"], [0.99, 0.99], CANDIDATES)
UNKNOWN = Prediction("unknown", "Caps", 0.3, top_k=[ScoredLabel("Caps", 0.3)])


@pytest.fixture
def card(service):
    """The card of an answer by a model with thresholds, or by one without."""

    def shown(prediction: Prediction, model: str = "fashion") -> str:
        return cards.answer_card(Answer(prediction, model, 0.1), service.classifier(model))

    return shown


def words(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", html)))


def test_names_of_labels_and_models_never_become_markup(service):
    label = "<b>\"'"
    prediction = Prediction("ok", label, 0.9, [label], [0.9], [label], [0.9], [ScoredLabel(label, 0.9)])
    prediction.attributes["<u>"] = Attribute(label, 0.9, "review")
    card = cards.answer_card(Answer(prediction, "<i>", 0.1), service.classifier(), title="<i>")
    figure = cards.figure(Image.new("RGB", (8, 8)), label, label)
    row = {"name": "<b>", "accuracy": "0.9", "accuracy_low": "0.8", "accuracy_high": "0.95"}
    section = leaderboard.leaderboard_section("<b>", "test", [row])
    message = cards.message("error", "<i>", "<script>", "<b>")
    assert not any(tag in card + figure + section + message for tag in ("<b>", "<i>", "<u>", "<script>", "'"))
    assert cards.side_by_side([card]) == f'<div class="side-by-side">{card}</div>'


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100%"), (0.9997, "99%"), (0.834, "83%"), (0.0134, "1%"), (0.0099, ""), (0.0, ""), (None, "")],
)
def test_confidences_are_whole_percent_and_certain_only_where_they_are(share, text):
    assert percent(share) == text


def test_the_verdict_says_in_words_what_to_do(card):
    assert '<p class="verdict ok"><strong>Ready to publish</strong>' in card(CERTAIN)
    assert "“Ready to publish” is right 99 times in 100." in words(card(CERTAIN))
    assert '<p class="verdict review"><strong>Please check</strong>' in card(TOPWEAR)
    assert "It's topwear. T-shirts or tops?" in words(card(TOPWEAR))
    assert "Please checkT-shirts or tops?" in words(card(UNCERTAIN))
    assert '<p class="verdict unknown"><strong>Not sure what this is</strong>' in card(UNKNOWN)
    assert "Closest match: Caps" in words(card(UNKNOWN))
    assert '<p class="verdict guess"><strong>Best guess</strong>' in card(UNCERTAIN, "plain")
    assert "calibrate.py" in card(UNCERTAIN, "plain") and "times in 100" not in card(UNCERTAIN, "plain")


def test_photo_and_title_that_disagree_ask_a_question(card):
    both = Prediction("review", "Tshirts", 0.6, *TSHIRTS, top_k=CANDIDATES, answered_from="both")
    assert "Photo and title don't quite agree. T-shirts or tops?" in words(card(both))
    assert "Answered from photo and title." in words(card(both))


def test_candidates_are_buttons_and_those_below_one_percent_are_left_out(card):
    assert re.findall(r'data-pick="(\w+)"', card(UNCERTAIN)) == ["Tshirts", "Tops"]
    unlikely = Prediction("unknown", "Caps", 0.004, top_k=[ScoredLabel("Caps", 0.004)])
    assert re.findall(r'data-pick="(\w+)"', card(unlikely)) == ["Caps"]
    assert " hidden>\n<h2>What is it?" in card(CERTAIN) and ">Wrong?</button>" in card(CERTAIN)
    assert ">Wrong?</button>" not in card(UNCERTAIN)


def test_a_label_carries_its_own_name_and_shows_peoples(card):
    shown = card(CERTAIN)
    assert '<span data-label="Tshirts">T-shirts</span>' in shown and '<span data-label="Topwear">Tops</span>' in shown
    assert json.loads(re.search(r'data-answer="([^"]+)"', shown)[1].replace("&#34;", '"'))["label"] == "Tshirts"


def test_no_machine_details_stand_on_the_card(card):
    assert not re.search(r"\d ?ms\b|thread|milliseconds", words(card(CERTAIN)))


@pytest.mark.parametrize(
    ("label", "name"),
    [("Topwear", "topwear"), ("Tshirts", "T-shirts"), ("Casual Shoes", "casual shoes"), ("Ipad", "iPads"), ("", "")],
)
def test_a_name_inside_a_sentence_is_in_small_letters(label, name):
    assert display_names.in_a_sentence(label) == name


def test_display_names_stand_for_labels_of_the_shipped_models():
    known = {name for model in ("fashion", "slash8") for name in names_of(model)}
    assert set(display_names.DISPLAY_NAMES) <= known
    assert display_names.model_title("fashion", 141) == "Clothing, 141 types"
    assert display_names.model_title("slash8", 8) == "Shopping app, 8 departments"
    assert display_names.model_title("my_shop", 3) == "My shop, 3 categories"


def names_of(model: str) -> set[str]:
    config = json.loads((MODELS / model / "config.json").read_text(encoding="utf-8"))
    return {name for path in config["taxonomy"]["paths"].values() for name in path}


@pytest.mark.parametrize(
    ("error", "heading", "reason"),
    [
        (limits.UnreadableError("This image cannot be used: it is truncated."), "We couldn't read this file.", True),
        (limits.NotAnImageError("This is a PDF."), "We couldn't read this file.", True),
        (limits.TooLargeError("This file has 30 MB."), "This didn't work", False),
        (limits.BusyError(), "Please wait", False),
    ],
)
def test_errors_are_said_for_people_with_the_reason_folded(error, heading, reason):
    shown = cards.error_message(error)
    assert f"<strong>{escape(heading)}</strong>" in shown and str(error) in words(shown)
    assert ("<details" in shown) is reason and ("Use a JPG, PNG, WebP or HEIC." in words(shown)) is reason


def test_the_leaderboard_draws_every_interval_and_does_without_results(tmp_path):
    rows = leaderboard.read_leaderboard(leaderboard.results_folder() / leaderboard.CSV_FILE)
    assert rows and rows[0]["split"] == "test"
    section = leaderboard.leaderboard_section("data", "test", rows, {"fashion": "photos"})
    assert section.count('class="whisker"') == len(leaderboard.DRAWN) * len(rows)
    assert section.count("used here for photos") == sum(row["name"] == "fashion" for row in rows)
    assert leaderboard.read_leaderboard(tmp_path / "absent.csv") == []


def test_the_leaderboard_has_a_column_for_every_level_of_a_taxonomy():
    scores = {"accuracy": "0.8", "shelf_accuracy": "0.875", "subCategory_accuracy": "0.9"}
    ends = {f"{score}_{end}": value for score, value in scores.items() for end in ("low", "high")}
    section = leaderboard.leaderboard_section("data", "test", [{"name": "mine", **scores, **ends}])
    assert all(text in words(section) for text in ("shelf", "87.5", "Group", "90.0"))


def test_accuracy_is_three_sentences_and_every_shipped_model_has_its_row():
    service = Service(MODELS)
    rows = [*leaderboard.read_leaderboard(leaderboard.results_folder() / leaderboard.CSV_FILE)]
    rows += leaderboard.card_rows(service)
    assert {"fashion", "slash8"} <= {row["name"] for row in rows}
    row = next(row for row in rows if row["name"] == "slash8")
    assert (row["dataset"], row["split"]) == ("slash", "out of fold")
    assert float(row["accuracy_low"]) < float(row["accuracy"]) < float(row["accuracy_high"])
    clothing, app, promise = leaderboard.sentences(service, rows)
    assert re.match(r"Clothing, 141 types: right for \d\d of 100 product images, .* people's own photos", clothing)
    assert re.match(r"Shopping app, 8 departments: right for \d\d of 100 product images\.", app)
    assert "99 times in 100 with Clothing and 95 times in 100 with Shopping app" in promise


def test_without_results_nothing_is_claimed(tmp_path):
    folder = tmp_path / "models" / "mine"
    ignored = shutil.ignore_patterns("README.md", "calibration.json", "attributes*")
    shutil.copytree(MODELS / "fashion", folder, ignore=ignored)
    assert leaderboard.sentences(Service(folder.parent), []) == []


def test_the_leaderboard_shows_the_figures_that_there_are(tmp_path, monkeypatch):
    section = leaderboard.figures_section("fashion")
    assert section.count("<figure>") == len(leaderboard.FIGURES) and "answers of fashion" in section
    monkeypatch.setattr(leaderboard, "APP", tmp_path)
    assert "<figure>" not in leaderboard.figures_section("fashion")


def test_a_model_card_is_shown_without_its_front_matter(tmp_path):
    assert about.model_card(tmp_path) == f"# {tmp_path.name}\n\nThis model has no card."
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Socks\n\nGood.\n", encoding="utf-8")
    assert about.model_card(tmp_path) == "# Socks\n\nGood."
