"""A tree whose leaves lie at different depths and share names: what is summed, what is published, under which name."""

import numpy as np
import pytest

from app.calibration import Calibration, decide
from app.taxonomy import Taxonomy
from tests.drawn_outputs import TREE

PATHS = [["Food", "Fruit", "Apple"], ["Food", "Fruit", "Lemon"], ["Food", "Bread"], ["Garden", "Tools", "Apple"]]
LEVELS = ["department", "category", "kind"]


@pytest.fixture
def taxonomy() -> Taxonomy:
    return Taxonomy(PATHS, LEVELS)


def calibration(taxonomy: Taxonomy, *least: float | None) -> Calibration:
    """One threshold for all categories of a level."""
    thresholds = [dict.fromkeys(names, value) for names, value in zip(taxonomy.categories, least, strict=True)]
    return Calibration(1.0, 0.9, thresholds)


def test_equal_names_under_different_parents_are_called_by_their_paths(taxonomy):
    assert taxonomy.categories[2] == ["Food > Fruit > Apple", "Lemon", "Bread", "Garden > Tools > Apple"]
    assert taxonomy.categories[0] == ["Food", "Food", "Food", "Garden"]


def test_a_leaf_above_the_deepest_level_stands_for_itself_below(taxonomy):
    assert taxonomy.categories[1] == ["Fruit", "Fruit", "Bread", "Tools"]
    probabilities = np.array([0.3, 0.3, 0.35, 0.05])
    assert taxonomy.best(probabilities, 1)[0] == 0 and taxonomy.best(probabilities, 2)[0] == 2
    assert taxonomy.path_confidences(probabilities, 2) == pytest.approx([0.95, 0.35])
    assert taxonomy.path_confidences(probabilities, 0) == pytest.approx([0.95, 0.6, 0.3])


def test_a_short_path_is_published_whole_as_soon_as_it_is_certain_at_its_own_level(taxonomy):
    certain_bread = np.array([0.05, 0.05, 0.85, 0.05])
    decision = decide(calibration(taxonomy, 0.9, 0.8, 0.9), taxonomy, certain_bread, None)
    assert decision.status == "ok" and decision.path == ["Food", "Bread"]


def test_a_category_above_the_leaf_is_published_for_review(taxonomy):
    decision = decide(calibration(taxonomy, 0.9, 0.8, 0.9), taxonomy, np.array([0.5, 0.4, 0.05, 0.05]), None)
    assert decision.status == "review" and decision.path == ["Food", "Fruit"]


def test_a_confidence_on_a_path_is_at_most_one_whatever_rounding_does():
    probabilities = np.array([0.6, 0.4 + 1e-9, 0.0, 0.0])
    assert TREE.path_confidences(probabilities, 0)[0] == 1.0 and TREE.best(probabilities, 0) == (0, 1.0)
