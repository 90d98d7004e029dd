"""The card of a prepared dataset, dataset_info.md: front matter for machines, the same facts for people below."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from app.errors import UserError

CARD_NAME = "dataset_info.md"
FINGERPRINT_DIGITS = 16


class DatasetError(UserError):
    """The dataset folder, a split or a column of it cannot be used; the message says what is there."""


def read_card(folder: str | Path) -> dict:
    """The front matter of a prepared dataset: fingerprint, license, source, seed, command, label_columns, taxonomy, ...

    Raises DatasetError when the folder has no card or a damaged one."""
    path = Path(folder) / CARD_NAME
    if not path.is_file():
        raise DatasetError(f"{folder} is not a prepared dataset: it has no {CARD_NAME}; make one with data_prep")
    parts = path.read_text(encoding="utf-8").split("---\n", 2)
    if len(parts) != 3:
        raise DatasetError(f"{path} has no front matter between two lines of ---; prepare the dataset again")
    try:
        facts = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        facts = None
    if not isinstance(facts, dict):
        raise DatasetError(f"the front matter of {path} is damaged; prepare the dataset again")
    return facts


def dataset_fingerprint(folder: str | Path) -> str:
    """The short hash that names the content of a prepared dataset, wherever and in whatever order it was made."""
    return read_card(folder)["fingerprint"]


def fingerprint(rows: Iterable[tuple[str, bytes, Mapping[str, str], str]]) -> str:
    """Hash of all (id, sha256 of the image, labels, split), independent of their order."""
    lines = []
    for identity, sha256, labels, split in rows:
        cells = [identity, sha256.hex(), split, *(f"{column}={labels[column]}" for column in sorted(labels))]
        lines.append("\t".join(cells))
    text = "".join(f"{line}\n" for line in sorted(lines))
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_DIGITS]


def build_taxonomy(
    labels: Iterable[Mapping[str, str]], levels: Sequence[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """`{leaf: [top, ..., leaf]}` and a list of remarks.

    A class with several parents in the data gets the most frequent one (ties: the first in the alphabet), so that the
    result is a tree; each remark says how many images disagree.
    """
    parents = [defaultdict(Counter) for _ in levels[1:]]
    for row in labels:
        for counts, above, below in zip(parents, levels[:-1], levels[1:], strict=True):
            counts[row[below]][row[above]] += 1
    chosen, remarks = [], []
    for counts, above, below in zip(parents, levels[:-1], levels[1:], strict=True):
        chosen.append({name: min(votes, key=lambda parent: (-votes[parent], parent)) for name, votes in counts.items()})
        for name, votes in sorted(counts.items()):
            if len(votes) > 1:
                others = ", ".join(f"{parent} {count}" for parent, count in sorted(votes.items()))
                remarks.append(f"{below} {name} has several parents in {above} ({others}); {chosen[-1][name]} is taken")
    return {leaf: climb(leaf, chosen) for leaf in sorted(chosen[-1])}, remarks


def climb(leaf: str, chosen: Sequence[Mapping[str, str]]) -> list[str]:
    """The path from the top class to the leaf."""
    path = [leaf]
    for parents in reversed(chosen):
        path.insert(0, parents[path[0]])
    return path


def write_card(folder: Path, facts: Mapping, sections: Mapping[str, Sequence[str]]) -> None:
    """Write the card. `facts` become the front matter; `sections` are headings with their Markdown lines."""
    front = yaml.safe_dump(dict(facts), sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    lines = ["---", front.rstrip(), "---", f"# {facts['pretty_name']}", ""]
    for heading, content in sections.items():
        lines += [f"## {heading}", "", *content, ""]
    (folder / CARD_NAME).write_text("\n".join(lines), encoding="utf-8")


def table(header: Sequence[str], rows: Iterable[Sequence]) -> list[str]:
    """A Markdown table."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for row in rows:
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |")
    return lines
