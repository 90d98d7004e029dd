"""Which images a model learns from and which judge it: to the last group, so that no draw changes unnoticed."""

import random

import pytest

from data_prep.pipeline.splits import (
    SHARES,
    Group,
    collect_groups,
    fill_empty_splits,
    keep_given_splits,
    split_class,
    split_groups,
)


def test_a_group_belongs_to_its_rarest_class_and_among_equals_to_the_first_in_the_alphabet():
    groups = ["one", "one", "two", "three", "tie", "tie"]
    classes = ["a", "z", "a", "a", "d", "c"]
    owners = {group.name: (group.owner, group.size) for group in collect_groups(groups, classes)}
    assert owners == {"one": ("z", 2), "three": ("a", 1), "tie": ("c", 2), "two": ("a", 1)}


def test_groups_come_in_the_order_of_their_names():
    assert [group.name for group in collect_groups(["b", "c", "a"], ["x"] * 3)] == ["a", "b", "c"]


def test_groups_and_classes_of_different_lengths_are_an_error():
    with pytest.raises(ValueError):
        collect_groups(["a", "b"], ["x"])


def test_a_group_goes_where_the_share_lags_most_and_where_it_fits():
    groups = [Group(name, size, "x") for name, size in (("a", 4), ("b", 3), ("c", 1), ("d", 1), ("e", 1), ("f", 2))]
    shares = {"train": 0.5, "validation": 0.25, "test": 0.25}  # of 12 images: 6, 3 and 3
    shuffled = list(groups)
    random.Random(3).shuffle(shuffled)
    assert [group.name for group in shuffled] == ["a", "c", "d", "f", "e", "b"]
    assigned = split_class(groups, random.Random(3), shares)
    # All lag alike, so a goes to the first; f fills validation to the last image; b fits nowhere; train has most room.
    assert assigned == {"a": "train", "c": "validation", "d": "test", "f": "validation", "e": "test", "b": "train"}


def test_a_group_that_fills_a_split_to_the_last_image_fits():
    groups = [Group(name, 1, "x") for name in "abcdefghij"]
    assigned = split_class(groups, random.Random(0), {"train": 0.8, "validation": 0.1, "test": 0.1})
    order = [group.name for group in groups]  # as it was shuffled
    assert [assigned[name] for name in order[:3]] == ["train", "validation", "test"]
    assert sorted(assigned.values()).count("train") == 8


def test_three_groups_or_fewer_go_to_train_test_and_validation_by_their_size():
    groups = [Group("small", 1, "x"), Group("large", 3, "x"), Group("middle", 2, "x")]
    everything_in_train = dict.fromkeys(("small", "large", "middle"), "train")
    assert fill_empty_splits(groups, everything_in_train, SHARES) == {
        "large": "train",
        "middle": "test",
        "small": "validation",
    }
    assert fill_empty_splits(groups[:2], everything_in_train, SHARES) == {"large": "train", "small": "test"}
    assert fill_empty_splits(groups[:1], everything_in_train, SHARES) == {"small": "train"}


def test_an_empty_split_gets_the_smallest_group_that_another_can_spare():
    sizes = {"big": 9, "middle": 5, "less": 4, "tiny": 1}
    groups = [Group(name, size, "x") for name, size in sizes.items()]
    assigned = {"big": "train", "middle": "train", "less": "train", "tiny": "test"}
    assert fill_empty_splits(groups, assigned, SHARES) == {**assigned, "less": "validation"}
    assigned = {"big": "train", "middle": "train", "less": "validation", "tiny": "validation"}
    assert fill_empty_splits(groups, assigned, SHARES) == {**assigned, "tiny": "test"}


def test_a_class_without_training_groups_gets_one():
    groups = [Group(name, size, "x") for name, size in (("a", 1), ("b", 2), ("c", 3), ("d", 4))]
    assigned = {"a": "validation", "b": "validation", "c": "test", "d": "test"}
    assert fill_empty_splits(groups, assigned, SHARES) == {**assigned, "a": "train"}


def test_only_the_splits_that_have_a_share_are_filled():
    groups = [Group(name, 1, "x") for name in "abc"]
    filled = fill_empty_splits(groups, dict.fromkeys("abc", "train"), {"train": 0.9, "test": 0.1})
    assert filled == {"a": "test", "b": "train", "c": "train"}


def test_the_draw_of_a_seed_is_the_same_in_every_version():
    groups = [f"g{number}" for number in range(12)]
    classes = ["a" if number % 2 else "b" for number in range(12)]
    held_out = {group: split for group, split in split_groups(groups, classes, seed=7).items() if split != "train"}
    assert held_out == {"g0": "validation", "g1": "validation", "g2": "test", "g5": "test"}


def test_given_splits_that_are_all_there_stay_as_they_are():
    groups = [f"g{number}" for number in range(40)]
    given = ["train"] * 30 + ["validation"] * 5 + ["test"] * 5
    assert keep_given_splits(groups, ["x"] * 40, given, seed=1) == (given, [False] * 40)


@pytest.mark.parametrize("missing", ["validation", "test"])
def test_a_missing_split_is_cut_from_train_with_its_share_and_by_the_seed(missing):
    other = "test" if missing == "validation" else "validation"
    groups = [f"g{number}" for number in range(50)]
    classes = ["x" if number % 3 else "y" for number in range(50)]
    given = ["train"] * 40 + [other] * 10
    result, leaks = keep_given_splits(groups, classes, given, seed=5)
    expected = split_groups(groups[:40], classes[:40], 5, {"train": 0.9, missing: 0.1})
    assert result[:40] == [expected[group] for group in groups[:40]] and set(result[:40]) == {"train", missing}
    assert result[40:] == given[40:] and not any(leaks)


def test_two_missing_splits_are_cut_with_their_shares():
    groups = [f"g{number}" for number in range(40)]
    result, _ = keep_given_splits(groups, ["x"] * 40, ["train"] * 40, seed=2)
    assert [result.count(split) for split in ("train", "validation", "test")] == [32, 4, 4]


def test_missing_splits_stay_empty_if_only_the_given_ones_count():
    assert keep_given_splits(["a", "b"], ["x"] * 2, ["train"] * 2, seed=1, cut_missing=False)[0] == ["train", "train"]


def test_a_group_belongs_to_its_strictest_split_and_its_other_images_leak():
    groups, given = ["a"] * 3, ["train", "validation", "test"]
    assert keep_given_splits(groups, ["x"] * 3, given, seed=1) == (given, [True, True, False])
    groups, given = ["a", "a", "b"], ["train", "validation", "test"]
    assert keep_given_splits(groups, ["x"] * 3, given, seed=1)[1] == [True, False, False]


def test_given_splits_of_another_length_are_an_error():
    with pytest.raises(ValueError):
        keep_given_splits(["a", "b"], ["x", "x"], ["train"], seed=1)
