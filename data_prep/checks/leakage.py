"""Copies in a dataset: how many there are, which carry different labels, which cross the splits, and what that costs.

Four kinds, from certain to probable: equal bytes, near-equal images (data_prep.pipeline.duplicates), the dataset's own
`group`, equal titles. Nothing here is changed; what could be done about it goes to Proposals.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.checks.checkup import FINE, Checkup, Finding, Proposals, plural
from data_prep.checks.contact_sheet import Band
from data_prep.checks.label_errors import Predictions, accuracy_cell
from data_prep.pipeline.build import name_groups
from data_prep.pipeline.card import table
from data_prep.pipeline.duplicates import group_images, normalize_title
from data_prep.pipeline.splits import STRICTEST_FIRST

EXACT, NEAR, GROUP, TITLE = "equal bytes", "near-equal images", "equal `group`", "equal titles"
SAME_IMAGE = (EXACT, NEAR)  # what may be left out without asking what a title or a group means
MAJORITY = 3 / 4  # of at least three copies: enough to propose their label for the others
GROUPS_SHOWN = 12
COPIES_SHOWN = 6
EXAMPLES = 5
PAIRS = (("test", "train"), ("validation", "train"), ("test", "validation"))


@dataclass(slots=True)
class Copies:
    """For each kind one key per row; rows with an equal, non-empty key are copies of each other."""

    keys: dict[str, list[str]]

    def groups(self, kind: str) -> list[list[int]]:
        """Rows that are copies of each other, two or more together, largest groups first."""
        members = defaultdict(list)
        for index, key in enumerate(self.keys[kind]):
            if key:
                members[key].append(index)
        return sorted((group for group in members.values() if len(group) > 1), key=lambda group: (-len(group), group))


def find_copies(checkup: Checkup) -> Copies:
    """Compare all images with each other."""
    near = group_images(checkup.sha256, checkup.signatures)
    return Copies(
        {
            EXACT: [digest.hex() for digest in checkup.sha256],
            NEAR: name_groups(near, checkup.rows),
            GROUP: [row.group for row in checkup.rows],
            TITLE: [normalize_title(row.title) for row in checkup.rows],
        }
    )


# --- copies ----------------------------------------------------------------------------------------------------------


def describe_copies(checkup: Checkup, copies: Copies) -> Finding:
    """How many images are copies of others; the sheet shows groups whose titles say different products first."""
    rows = []
    for kind in copies.keys:
        groups = copies.groups(kind)
        images = sum(map(len, groups))
        rows.append((kind, f"{len(groups):,}", f"{images:,}", f"{max(map(len, groups), default=0):,}"))
    near = copies.groups(NEAR)
    products = {group[0]: len({copies.keys[TITLE][index] for index in group}) for group in near}
    several = sum(count > 1 for count in products.values())
    loose = sum(differ(group, copies.keys[GROUP]) for group in near)
    shown = first_per_class(sorted(near, key=lambda group: (-products[group[0]], -len(group))), checkup.labels())
    bands = [copies_band(checkup, group, products[group[0]]) for group in shown[:GROUPS_SHOWN]]
    lines = table(["copies by", "groups", "images in them", "largest group"], rows)
    if several:
        lines += ["", f"{plural(several, 'group')} of near-equal images hold products with different titles."]
    advice = "kept together by `group`; harmless within one split" if near else FINE
    if loose:
        advice = f"{plural(loose, 'group')} of near-equal images with different `group`: prepare the dataset again"
    count = sum(map(len, near))
    return Finding("Copies and near-duplicates", plural(count, "image"), advice, lines, "near_duplicates.png", bands)


def first_per_class(groups: Sequence[list[int]], labels: Sequence[str]) -> list[list[int]]:
    """The same groups, the first of each class before all others."""
    seen: set[str] = set()
    firsts = [group for group in groups if not (labels[group[0]] in seen or seen.add(labels[group[0]]))]
    taken = {group[0] for group in firsts}
    return firsts + [group for group in groups if group[0] not in taken]


def copies_band(checkup: Checkup, group: Sequence[int], titles: int) -> Band:
    """One group on the contact sheet."""
    heading = f"{len(group)} near-equal images with {plural(titles, 'title')}"
    return Band(heading, [checkup.tile(index) for index in group[:COPIES_SHOWN]])


# --- copies with different labels ------------------------------------------------------------------------------------


def describe_conflicts(checkup: Checkup, copies: Copies, proposals: Proposals) -> Finding:
    """Copies that carry different labels: at least one of them is wrong, or the label cannot be seen."""
    columns = list(checkup.rows[0].labels)
    labels = {column: checkup.labels(column) for column in columns}
    groups_of = {kind: copies.groups(kind) for kind in (EXACT, NEAR, TITLE)}
    rows = []
    for column in columns:
        counts = [sum(differ(group, labels[column]) for group in groups) for groups in groups_of.values()]
        rows.append((column, *(f"{count:,}" for count in counts)))
    own_labels = labels[checkup.column]
    conflicts = [group for group in groups_of[NEAR] if differ(group, own_labels)]
    for group in conflicts:
        propose_for_conflict(checkup, group, own_labels, proposals)
    bands = [conflict_band(checkup, group, own_labels) for group in conflicts[: 2 * GROUPS_SHOWN]]
    lines = ["Groups of copies in which a label differs:", ""]
    lines += table(["label column", *groups_of], rows)
    titles = [group for group in groups_of[TITLE] if differ(group, own_labels)]
    lines += title_examples(checkup, titles, own_labels)
    advice = "look at the sheet, correct one of them" if conflicts else FINE
    title = f"Copies with different labels in {checkup.column}"
    return Finding(title, plural(len(conflicts), "group"), advice, lines, "conflicts.png", bands)


def differ(group: Sequence[int], labels: Sequence[str]) -> bool:
    """True when the rows do not all have the same label."""
    return any(labels[index] != labels[group[0]] for index in group)


def propose_for_conflict(checkup: Checkup, group: Sequence[int], labels: Sequence[str], proposals: Proposals) -> None:
    """Relabel the odd one out where most copies agree; leave equal files out where nothing decides."""
    counts = Counter(labels[index] for index in group).most_common()
    winner, votes = counts[0]
    majority = len(group) >= 3 and votes >= MAJORITY * len(group)
    same_bytes = len({checkup.sha256[index] for index in group}) == 1
    others = ", ".join(checkup.rows[index].id for index in group[:EXAMPLES])
    for index in group:
        row = checkup.rows[index]
        if majority and labels[index] != winner:
            reason = f"{votes} of {len(group)} near-equal images are {winner}: {others}"
            proposals.rename(row, checkup.column, winner, reason)
        elif not majority and same_bytes:
            proposals.leave_out(row, f"equal files with different labels: {others}")


def conflict_band(checkup: Checkup, group: Sequence[int], labels: Sequence[str]) -> Band:
    """One group on the contact sheet, its rarest labels in red frames."""
    counts = Counter(labels[index] for index in group)
    top = counts.most_common(1)[0][1]
    clear = len(set(counts.values())) > 1
    shown = sorted(group, key=lambda index: counts[labels[index]])[:COPIES_SHOWN]
    heading = " or ".join(f"{label} ({count})" for label, count in counts.most_common())
    return Band(heading, [checkup.tile(index, alarm=clear and counts[labels[index]] < top) for index in shown])


def title_examples(checkup: Checkup, groups: Sequence[Sequence[int]], labels: Sequence[str]) -> list[str]:
    """Titles whose products carry different labels, those with the most even votes first."""
    if not groups:
        return []
    votes = {group[0]: Counter(labels[index] for index in group).most_common() for group in groups}
    disputed = sorted(groups, key=lambda group: (-votes[group[0]][1][1], group[0]))[:EXAMPLES]
    lines = ["", "Equal titles may be different products; these disagree most:", ""]
    for group in disputed:
        text = ", ".join(f"{label} {count}" for label, count in votes[group[0]])
        lines.append(f"- {checkup.rows[group[0]].title}: {text}")
    return lines


# --- leaks -----------------------------------------------------------------------------------------------------------


def describe_leaks(checkup: Checkup, copies: Copies, proposals: Proposals) -> Finding:
    """Images of validation and test that also occur in a split that trains or chooses the model."""
    splits = [row.split for row in checkup.rows]
    sizes = Counter(splits)
    rows, leaking = [], set()
    for kind, keys in copies.keys.items():
        cells = []
        for split, other in PAIRS:
            leaked = rows_with_copy(keys, splits, split, other)
            cells.append(f"{len(leaked):,} ({len(leaked) / sizes[split]:.1%})" if leaked else "0")
            leaking.update(leaked)
        rows.append((kind, *cells))
    for kind in SAME_IMAGE:
        propose_for_leaks(checkup, copies.keys[kind], kind, proposals)
    lines = table(["copies by", *(f"{split} images with a copy in {other}" for split, other in PAIRS)], rows)
    if not leaking:
        lines += ["", "The splits are clean: no image of validation or test has a copy that training could see."]
        return Finding("Leaks between splits", "none", FINE, lines)
    bands = leak_bands(checkup, copies)
    advice = "leave the copies in train out, never those in test"
    return Finding("Leaks between splits", plural(len(leaking), "image"), advice, lines, "leaks.png", bands)


def rows_with_copy(keys: Sequence[str], splits: Sequence[str], split: str, other: str) -> list[int]:
    """The rows of `split` whose key also occurs in `other`."""
    keyed = list(zip(keys, splits, strict=True))
    seen = {key for key, row_split in keyed if row_split == other and key}
    return [index for index, (key, row_split) in enumerate(keyed) if row_split == split and key in seen]


def strictest_holders(checkup: Checkup, keys: Sequence[str]) -> dict[str, int]:
    """For each key a row of the strictest split that has it."""
    rank = {split: number for number, split in enumerate(STRICTEST_FIRST)}
    holders: dict[str, int] = {}
    for index, (key, row) in enumerate(zip(keys, checkup.rows, strict=True)):
        rival = holders.setdefault(key, index)
        if rank[row.split] < rank[checkup.rows[rival].split]:
            holders[key] = index
    return holders


def propose_for_leaks(checkup: Checkup, keys: Sequence[str], kind: str, proposals: Proposals) -> None:
    """Leave out the copy in the less strict split, so that test stays what it was."""
    holders = strictest_holders(checkup, keys)
    for key, row in zip(keys, checkup.rows, strict=True):
        holder = checkup.rows[holders[key]]
        if holder.split != row.split:
            proposals.leave_out(row, f"leak by {kind}: {holder.id} is in {holder.split}")


def leak_bands(checkup: Checkup, copies: Copies) -> list[Band]:
    """The groups that cross splits, the most certain kind first; the copies that should go are in red frames."""
    bands, shown = [], set()
    for kind in copies.keys:
        for group in copies.groups(kind):
            crossed = {checkup.rows[index].split for index in group}
            if len(crossed) > 1 and len(bands) < GROUPS_SHOWN and not shown & set(group):
                shown |= set(group)
                bands.append(leak_band(checkup, group, kind, [split for split in STRICTEST_FIRST if split in crossed]))
    return bands


def leak_band(checkup: Checkup, group: Sequence[int], kind: str, crossed: Sequence[str]) -> Band:
    """One group on the contact sheet, an image of each split first."""
    firsts = [next(index for index in group if checkup.rows[index].split == split) for split in crossed]
    shown = (firsts + [index for index in group if index not in firsts])[:COPIES_SHOWN]
    tiles = [checkup.tile(index, alarm=checkup.rows[index].split != crossed[0]) for index in shown]
    return Band(f"{kind.replace('`', '')}: {', '.join(crossed)}", tiles)


# --- what leaks cost -------------------------------------------------------------------------------------------------


def describe_price(checkup: Checkup, copies: Copies, predictions: Predictions) -> Finding:
    """A model's accuracy on leaked images against the others: what the leaks add to its score."""
    splits = [row.split for row in checkup.rows]
    hits_of_all = predictions.hits(checkup.labels())
    rows, prices = [], []
    for split in ("validation", "test"):
        in_split = np.array([splits[index] == split for index in predictions.indices], dtype=bool)
        indices, hits = predictions.indices[in_split], hits_of_all[in_split]
        before = len(rows)
        for kind, keys in copies.keys.items():
            leaked = np.isin(indices, rows_with_copy(keys, splits, split, "train"))
            if leaked.any():
                price = hits.mean() - hits[~leaked].mean() if not leaked.all() else float("nan")
                prices.append(price)
                cells = (accuracy_cell(hits), accuracy_cell(hits[leaked]), accuracy_cell(hits[~leaked]))
                rows.append((split, kind, *cells, f"{100 * price:+.1f} points"))
        if len(indices) and len(rows) == before:
            rows.append((split, "none", accuracy_cell(hits), "–", "–", "0"))
    header = ["split", "copies in train by", "accuracy", "on leaked images", "on the others", "the leaks add"]
    lines = [f"Accuracy of {predictions.origin} with 95% intervals (Wilson).", "", *table(header, rows)]
    worst = max((price for price in prices if not np.isnan(price)), default=0.0)
    advice = "report the accuracy on the others" if prices else "the score is honest as far as copies go"
    return Finding("Price of the leaks", f"{100 * worst:+.1f} points" if prices else "0 points", advice, lines)
