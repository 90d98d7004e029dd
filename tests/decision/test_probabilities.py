"""From logits to probabilities: the temperature, the floor, rows that are not finite."""

import warnings

import numpy as np
import pytest
from scipy.special import softmax

from app.probabilities import Softmax, read_floor
from app.probabilities import softmax as own_softmax


def test_calibrated_probabilities_are_the_softmax_at_the_temperature():
    assert Softmax(2.0)(np.array([[2.0, 0.0]])) == pytest.approx(softmax(np.array([[1.0, 0.0]]), axis=1))


def test_a_softmax_is_over_the_last_axis_and_says_nothing_of_rows_that_are_not_finite():
    assert own_softmax(np.zeros((2, 3, 4))) == pytest.approx(np.full((2, 3, 4), 0.25))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(Softmax()(np.array([[np.inf, np.inf]], dtype=np.float32))).all()


def test_a_row_that_is_not_finite_stays_so_and_fails_its_own_image():
    probabilities = Softmax(1.0, np.full(2, 0.1))(np.array([[np.nan, 1.0], [3.0, 1.0]]))
    assert np.isnan(probabilities[0]).all() and probabilities[1].sum() == pytest.approx(1)


def test_a_floor_is_taken_from_every_label_but_the_best():
    smoothed = np.log([[0.90, 0.06, 0.04], [0.48, 0.49, 0.03]])
    floor = np.array([0.05, 0.02, 0.03])
    kept = np.array(
        [[0.90, 0.04, 0.01], [0.43, 0.49, 0.02 * 0.03]]
    )  # a hundredth part or two stays of what is all floor
    assert Softmax(1.0, floor)(smoothed) == pytest.approx(kept / kept.sum(axis=1, keepdims=True))


def test_no_floor_changes_an_answer():
    generator = np.random.default_rng(0)
    logits, floor = generator.normal(0, 2, (500, 20)), generator.uniform(0, 0.2, 20)
    assert np.array_equal(Softmax(0.7, floor)(logits).argmax(axis=1), logits.argmax(axis=1))


@pytest.mark.parametrize("share", [1, 1.5, -0.1, "0.1", None, True])
def test_a_floor_is_a_share_from_zero_to_below_one_for_each_label(share):
    assert read_floor([0, 0.5], 2).tolist() == [0.0, 0.5] and read_floor([0, 0], 2).dtype == np.float64
    with pytest.raises(TypeError, match="floor must be 2 numbers from 0 to below 1"):
        read_floor([0.1, share], 2)
