"""What the page shows: names are escaped, verdicts in words, the leaderboard, the model cards."""

import pytest
from PIL import Image

from app.pages import about, cards, leaderboard
from app.pages.rendering import percent
from app.prediction import Prediction, ScoredLabel
from app.service import Answer

TSHIRTS = (["Apparel", "Tshirts"], [0.99, 0.98])
CERTAIN = Prediction("ok", "Tshirts", 0.98, *TSHIRTS, *TSHIRTS, [ScoredLabel("Tshirts", 0.98)])
UNCERTAIN = Prediction("review", "Tshirts", 0.4, top_k=[ScoredLabel("Tshirts", 0.4), ScoredLabel("Tops", 0.3)])


def test_names_of_files_never_become_markup():
    row = cards.Row("<img src=x onerror=alert(1)>.jpg", "", Prediction("error", error="<b>bad</b>"))
    shown = cards.batch_table([row], calibrated=True) + cards.message("error", "<i>", "<script>")
    assert not any(tag in shown for tag in ("<img src=x", "<b>bad", "<i>", "<script>"))
    assert 'data-value="&lt;img src=x onerror=alert(1)&gt;.jpg"' in shown


def test_names_of_labels_and_models_never_become_markup(service):
    label = "<b>\"'"
    prediction = Prediction("ok", label, 0.9, [label], [0.9], [label], [0.9], [ScoredLabel(label, 0.9)])
    card = cards.answer_card(Answer(prediction, "<i>", 0.1), service.classifier(), with_name=True)
    figure = cards.figure(Image.new("RGB", (8, 8)), label, label)
    row = {"name": "<b>", "accuracy": "0.9", "accuracy_low": "0.8", "accuracy_high": "0.95"}
    section = leaderboard.leaderboard_section("<b>", "test", [row])
    assert not any(tag in card + figure + section for tag in ("<b>", "<i>", "'"))
    assert cards.side_by_side([card]) == f'<div class="side-by-side">{card}</div>'


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100%"), (0.9997, ">99.9%"), (0.834, "83.4%"), (0.0034, "0.34%"), (0.0001, "<0.1%"), (None, "–")],
)
def test_confidences_read_naturally(share, text):
    assert percent(share) == text


def test_the_verdict_says_in_words_what_to_do(service):
    def card(prediction: Prediction, model: str) -> str:
        return cards.answer_card(Answer(prediction, model, 0.1), service.classifier(model), with_name=False)

    assert '<p class="verdict ok"><strong>Publish</strong>' in card(CERTAIN, "fashion")
    assert "99 times in 100" in card(CERTAIN, "fashion")
    assert '<p class="verdict guess"><strong>Best guess</strong>' in card(UNCERTAIN, "plain")
    assert "calibrate.py" in card(UNCERTAIN, "plain")
    assert '<p class="verdict review"><strong>Needs review</strong>' in card(UNCERTAIN, "fashion")
    assert '<p class="verdict unknown"><strong>Unknown product</strong>' in card(Prediction("unknown"), "fashion")


def test_the_leaderboard_draws_every_interval_and_does_without_results(tmp_path):
    rows = leaderboard.read_leaderboard(leaderboard.results_folder() / leaderboard.CSV_FILE)
    assert rows and rows[0]["split"] == "test"
    section = leaderboard.leaderboard_section("data", "test", rows)
    assert section.count('class="whisker"') == len(leaderboard.DRAWN) * len(rows)
    assert leaderboard.read_leaderboard(tmp_path / "absent.csv") == []


def test_the_leaderboard_shows_the_figures_that_there_are(tmp_path, monkeypatch):
    section = leaderboard.figures_section("fashion")
    assert section.count("<figure>") == len(leaderboard.FIGURES) and "answers of fashion" in section
    monkeypatch.setattr(leaderboard, "APP", tmp_path)
    assert "<figure>" not in leaderboard.figures_section("fashion")


def test_a_model_card_is_shown_without_its_front_matter(tmp_path):
    assert about.model_card(tmp_path) == f"# {tmp_path.name}\n\nThis model has no card."
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Socks\n\nGood.\n", encoding="utf-8")
    assert about.model_card(tmp_path) == "# Socks\n\nGood."
