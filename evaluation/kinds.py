"""Kinds of image that one model serves, such as catalogue images and people's photos, each with its own class names.

    kinds = read_kinds(classifier, ["data/kaggle_fashion", "data/clothing"], "validation", read_label_map(path))
    images, kind_of = pool(list(kinds.values()))

A class that the model does not tell apart stands for several of its labels: "pants" may be Jeans or Trousers, and
either answer is right. A class is matched by its name with a label or a category of the taxonomy; where names differ,
a label map says it, such as {"pants": ["Jeans", "Trousers"], "shoes": ["Footwear"]}.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.classifier import Classifier
from app.errors import UserError, one_line
from app.taxonomy import Taxonomy
from data_prep.pipeline.prepared import open_prepared
from evaluation.predictions import SplitOutputs, run_images, run_split
from inference.readers.files import local_reader

LabelMap = Mapping[str, Sequence[str]]
SHOWN = 5
MAX_OTHERS = 1000  # images of a folder


def read_label_map(path: Path | None) -> dict[str, list[str]]:
    """{class: [labels or categories of the model]}, {} without a file. Raises UserError."""
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--label_map {path} cannot be read ({one_line(error)})") from None
    lists = isinstance(content, dict) and all(
        isinstance(names, list) and names and all(isinstance(name, str) for name in names) for names in content.values()
    )
    if not lists:
        raise UserError(f'--label_map {path} must be like {{"pants": ["Jeans", "Trousers"], "shoes": ["Footwear"]}}')
    return content


def read_kinds(
    classifier: Classifier, datasets: Sequence[str], split: str, label_map: LabelMap
) -> dict[str, SplitOutputs]:
    """The outputs on one split of each dataset, by the dataset's name. Raises UserError."""
    names = [Path(dataset).resolve().name for dataset in datasets]
    if len(set(names)) < len(names):
        raise UserError(f"two datasets are called {max(names, key=names.count)}: give each a name of its own")
    return {
        name: read_kind(classifier, dataset, split, label_map) for name, dataset in zip(names, datasets, strict=True)
    }


def read_kind(classifier: Classifier, dataset: str, split: str, label_map: LabelMap) -> SplitOutputs:
    """The outputs on a split whose classes may be coarser than the model's labels, or have other names."""
    prepared = open_prepared(Path(dataset))
    learned = classifier.taxonomy.levels[-1]
    column = learned if learned in prepared.card["label_columns"] else prepared.label
    names = prepared.class_names(column)
    if set(names) <= set(classifier.labels):
        return run_split(classifier, dataset, split, label=column)
    rows = prepared.split(split)
    if not len(rows):
        raise UserError(f"the {split} split of {dataset} is empty")
    members = members_of(names, classifier.labels, classifier.taxonomy, label_map, dataset)
    outputs = run_images(classifier, rows, None, f"{Path(dataset).name} {split}")
    return replace(outputs, truth=np.asarray(rows[column]), members=members)


def read_training(classifier: Classifier, datasets: Sequence[str], rows: int) -> dict[str, SplitOutputs]:
    """The outputs on some training images of each dataset, by the dataset's name, without their truth."""
    outputs = {}
    for dataset in datasets:
        images, name = open_prepared(Path(dataset)).split("train"), Path(dataset).resolve().name
        if len(images):
            outputs[name] = run_images(classifier, images, rows, f"{name} train")
    return outputs


def members_of(
    names: Sequence[str], labels: Sequence[str], taxonomy: Taxonomy, label_map: LabelMap, dataset: str
) -> np.ndarray:
    """(classes, labels) bool: the labels that are right for each class. Raises UserError that names the unmatched."""
    by_name: dict[str, np.ndarray] = {}
    for number, path in enumerate([*map(list, taxonomy.paths)]):
        for name in (*path, labels[number]):
            by_name.setdefault(plain(name), np.zeros(len(labels), dtype=bool))[number] = True
    members, unmatched = np.zeros((len(names), len(labels)), dtype=bool), []
    for row, name in enumerate(names):
        wanted = label_map.get(name, [name])
        found = [by_name.get(plain(own)) for own in wanted]
        unmatched += [own for own, known in zip(wanted, found, strict=True) if known is None]
        for known in found:
            members[row] |= False if known is None else known
    if unmatched:
        shown = ", ".join(unmatched[:SHOWN]) + (" …" if len(unmatched) > SHOWN else "")
        raise UserError(
            f"{dataset}: the model has no label or category called {shown}: say what each class means with --label_map "
            'FILE, such as {"pants": ["Jeans", "Trousers"]}'
        )
    return members


def plain(name: str) -> str:
    """A name without case, spaces, punctuation and plural."""
    return re.sub(r"[\W_]", "", name).casefold().removesuffix("s")


def pool(kinds: Sequence[SplitOutputs]) -> tuple[SplitOutputs, np.ndarray]:
    """All rows as one, and the number of the kind of each row."""
    num_labels = kinds[0].logits.shape[1]
    tables = [np.eye(num_labels, dtype=bool) if kind.members is None else kind.members for kind in kinds]
    starts = np.cumsum([0, *map(len, tables)])
    with_embeddings = all(kind.embeddings is not None for kind in kinds)
    images = SplitOutputs(
        np.concatenate([kind.logits for kind in kinds]),
        np.concatenate([kind.embeddings for kind in kinds]) if with_embeddings else None,
        np.concatenate([kind.truth + start for kind, start in zip(kinds, starts[:-1], strict=True)]),
        np.concatenate([np.char.add(f"{number} ", kind.groups.astype(str)) for number, kind in enumerate(kinds)]),
        None if len(kinds) == 1 and kinds[0].members is None else np.concatenate(tables),
    )
    return images, np.repeat(np.arange(len(kinds)), [len(kind.truth) for kind in kinds])


def read_others(classifier: Classifier, folders: Sequence[Path]) -> dict[str, SplitOutputs]:
    """The outputs on folders of images of things that the model does not know, by folder. Raises UserError."""
    others = {}
    for folder in folders:
        sources = [source for _, source in local_reader(str(folder), None)][:MAX_OTHERS] if folder.is_dir() else []
        if not sources:
            raise UserError(f"--others {folder} holds no readable images")
        rows = list(classifier.run_many(sources, ["logits", "embeddings"]))
        logits, embeddings = (np.stack(column) for column in zip(*rows, strict=True))
        truth = np.zeros(len(logits), dtype=int)
        others[folder.name] = SplitOutputs(logits, embeddings, truth, np.arange(len(truth)).astype(str))
    return others
