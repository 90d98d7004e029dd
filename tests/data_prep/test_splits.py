"""Splits: whole groups, every class in about the same proportions, given splits kept and their leaks found."""

from collections import Counter, defaultdict

from data_prep.pipeline.splits import keep_given_splits, split_groups


def test_every_class_with_three_groups_reaches_all_splits():
    groups = [
        f"{label}{number}" for label, size in zip("abcde", (1, 2, 3, 4, 400), strict=True) for number in range(size)
    ]
    assigned = split_groups(groups, [group[0] for group in groups], seed=1)
    reached = defaultdict(Counter)
    for group, split in assigned.items():
        reached[group[0]][split] += 1
    assert set(reached["a"]) == {"train"}
    assert set(reached["b"]) == {"train", "test"}
    assert all(set(reached[label]) == {"train", "validation", "test"} for label in "cde")
    assert reached["e"] == {"train": 320, "validation": 40, "test": 40}


def test_a_huge_group_does_not_flood_the_test_split():
    groups = ["huge"] * 300 + [f"single {number}" for number in range(700)]
    for seed in range(20):
        assigned = split_groups(groups, ["x"] * 1000, seed)
        counts = Counter(assigned[group] for group in groups)
        assert 60 <= counts["test"] <= 140 and 60 <= counts["validation"] <= 140


def test_splits_depend_on_the_seed_and_not_on_the_order():
    groups = [f"g{number}" for number in range(200)]
    classes = [str(number % 7) for number in range(200)]
    straight = split_groups(groups, classes, seed=1)
    assert straight == split_groups(groups[::-1], classes[::-1], seed=1)
    assert straight != split_groups(groups, classes, seed=2)


def test_given_splits_are_kept_and_leaks_are_found():
    groups = ["a", "b", "b", "c", "c"]
    result, leaks = keep_given_splits(groups, ["x"] * 5, ["train", "train", "test", "validation", "test"], seed=1)
    assert result == ["train", "train", "test", "validation", "test"]
    assert leaks == [False, True, False, True, False]


def test_a_missing_split_is_cut_from_the_training_groups():
    groups = [f"g{number // 2}" for number in range(200)]
    given = ["train"] * 160 + ["validation"] * 40
    result, leaks = keep_given_splits(groups, ["x"] * 200, given, seed=1)
    assert Counter(result)["test"] == 16 and not any(leaks)
    assert result[160:] == ["validation"] * 40
