"""Train, validation and test: whole duplicate groups, seeded, every class in about the same proportions."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SPLITS = ("train", "validation", "test")
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
STRICTEST_FIRST = ("test", "validation", "train")  # who keeps a group that given splits tear apart


@dataclass(slots=True)
class Group:
    """Images that must stay together."""

    name: str
    size: int
    owner: str  # the rarest class in the group: a rare class cannot afford to lose a group


def split_groups(
    groups: Sequence[str], classes: Sequence[str], seed: int, shares: Mapping[str, float] = SHARES
) -> dict[str, str]:
    """Split of each group name. `groups` and `classes` hold one entry per image.

    A class with at least three groups reaches all three splits, with two train and test, with one train. The result
    depends on the names, the classes and the seed only, not on the order of the images.
    """
    by_owner = defaultdict(list)
    for group in collect_groups(groups, classes):
        by_owner[group.owner].append(group)
    assigned = {}
    for owner in sorted(by_owner):
        assigned.update(split_class(by_owner[owner], random.Random(f"{seed}:{owner}"), shares))
    return assigned


def collect_groups(groups: Sequence[str], classes: Sequence[str]) -> list[Group]:
    """The groups in order of their names."""
    members: dict[str, set] = defaultdict(set)
    for group, label in zip(groups, classes, strict=True):
        members[group].add(label)
    sizes = Counter(groups)
    rarity = Counter(label for labels in members.values() for label in labels)
    return [
        Group(name, sizes[name], min(members[name], key=lambda label: (rarity[label], label)))
        for name in sorted(members)
    ]


def split_class(groups: list[Group], rng: random.Random, shares: Mapping[str, float]) -> dict[str, str]:
    """Deal the groups of one class out, each to the split that lags furthest behind its share and has room for it."""
    rng.shuffle(groups)
    total = sum(group.size for group in groups)
    room = {split: share * total for split, share in shares.items()}
    assigned = {}
    for group in groups:
        fitting = [split for split in room if group.size <= room[split]]
        split = max(fitting, key=lambda name: room[name] / shares[name]) if fitting else max(room, key=room.get)
        room[split] -= group.size
        assigned[group.name] = split
    return fill_empty_splits(groups, assigned, shares)


def fill_empty_splits(groups: list[Group], assigned: Mapping[str, str], shares: Mapping[str, float]) -> dict[str, str]:
    """Also give each empty split a group, the smallest that a split with more than one can spare."""
    order = [split for split in ("train", "test", "validation") if split in shares][: len(groups)]
    if len(groups) <= len(order):
        largest_first = sorted(groups, key=lambda group: -group.size)
        return {group.name: split for group, split in zip(largest_first, order, strict=True)}
    filled = dict(assigned)
    for split in order:
        counts = Counter(filled.values())
        if not counts[split]:
            spare = [group for group in groups if counts[filled[group.name]] > 1]
            filled[min(spare, key=lambda group: group.size).name] = split
    return filled


def keep_given_splits(
    groups: Sequence[str], classes: Sequence[str], given: Sequence[str], seed: int, cut_missing: bool = True
) -> tuple[list[str], list[bool]]:
    """Splits for images that come with some, and whether each image leaks.

    A missing validation or test split is cut from the training groups if `cut_missing`. An image leaks when its group
    also has members in a stricter split (test before validation before train): such an image should be left out.
    """
    holder = {}
    for split in reversed(STRICTEST_FIRST):
        holder.update({group: split for group, own in zip(groups, given, strict=True) if own == split})
    result = list(given)
    missing = [split for split in ("validation", "test") if cut_missing and split not in set(given)]
    if missing:
        shares = {"train": 1 - sum(SHARES[split] for split in missing), **{split: SHARES[split] for split in missing}}
        inside = [index for index, group in enumerate(groups) if holder[group] == "train"]
        cut = split_groups([groups[index] for index in inside], [classes[index] for index in inside], seed, shares)
        for index in inside:
            result[index] = cut[groups[index]]
        holder.update(cut)
    return result, [holder[group] != split for group, split in zip(groups, result, strict=True)]
