"""Categories of any depth: paths in one column, several columns, nested folders, a mapping file."""

import csv
import json
from pathlib import Path

import datasets
import pytest
from drawings import drawing, fill

from data_prep import image_folder
from data_prep.pipeline.card import read_card
from data_prep.pipeline.prepared import taxonomy_of

PATHS = [
    "Food > Fruit > Citrus > Lemon",
    "Food > Fruit > Apple",
    "Food > Bread",
    "Garden > Tools > Apple",  # a second Apple
    "Garden > Tools > Rake",
]


def table_of(folder: Path, labels: list[dict[str, str]], per_label: int = 3) -> Path:
    """A CSV with so many drawn images for each of the cells."""
    lines = []
    for number, cells in enumerate(label for label in labels for _ in range(per_label)):
        (folder / f"{number}.jpg").write_bytes(drawing(number))
        lines.append({"file": f"{number}.jpg", **cells})
    with open(folder / "shop.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return folder / "shop.csv"


def prepared(folder: Path, *given: str) -> Path:
    image_folder.main([*given, "--output", str(folder / "out")])
    return folder / "out"


def labels_of(output: Path, column: str) -> list[str]:
    rows = datasets.concatenate_datasets(list(datasets.load_from_disk(output).values()))
    names = rows.features[column].names
    return sorted({names[number] if number >= 0 else "" for number in rows[column]})


def test_paths_become_a_column_for_each_level(tmp_path):
    output = prepared(tmp_path, "--input", str(table_of(tmp_path, [{"label": path} for path in PATHS])))
    card = read_card(output)
    assert card["taxonomy_levels"] == ["level_1", "level_2", "level_3", "label"]
    assert labels_of(output, "level_1") == ["Food", "Garden"]
    assert labels_of(output, "level_2") == ["Bread", "Fruit", "Tools"]
    apples = ["Food > Fruit > Apple", "Garden > Tools > Apple"]
    assert labels_of(output, "label") == ["Bread", apples[0], apples[1], "Lemon", "Rake"]
    assert card["taxonomy"]["Bread"] == ["Food", "Bread"]
    assert card["taxonomy"][apples[1]] == ["Garden", "Tools", "Apple"]


def test_a_coarser_column_is_a_taxonomy_of_its_own(tmp_path):
    output = prepared(tmp_path, "--input", str(table_of(tmp_path, [{"label": path} for path in PATHS])))
    taxonomy = taxonomy_of(output, "level_2", ["Bread", "Fruit", "Tools"])
    assert taxonomy["levels"] == ["level_1", "level_2"]
    assert taxonomy["paths"] == {"Bread": ["Food", "Bread"], "Fruit": ["Food", "Fruit"], "Tools": ["Garden", "Tools"]}


def test_columns_with_empty_fine_cells_are_coarse_labels_that_only_train(tmp_path):
    cells = [
        {"department": "Food", "kind": "Apple"},
        {"department": "Food", "kind": "Bread"},
        {"department": "Food", "kind": ""},
        {"department": "Garden", "kind": ""},  # nothing narrower: a leaf
    ]
    table = table_of(tmp_path, cells, per_label=10)
    output = prepared(tmp_path, "--input", str(table), "--label_columns", "department", "kind")
    splits = datasets.load_from_disk(output)
    assert read_card(output)["taxonomy"]["Garden"] == ["Garden"]
    assert labels_of(output, "kind") == ["", "Apple", "Bread", "Garden"]
    assert sum(number < 0 for number in splits["train"]["kind"]) == 10
    assert all(number >= 0 for split in ("validation", "test") for number in splits[split]["kind"])
    assert "Images with a coarser label only, which train: 10." in (output / "dataset_info.md").read_text()


def test_nested_folders_are_narrower_classes_where_the_user_says_so(tmp_path):
    names = [f"{place}/{number}.jpg" for place in ("Food/Fruit/Apple", "Food/Bread") for number in range(4)]
    root = fill(tmp_path / "in", names)
    output = prepared(tmp_path, "--input", str(root), "--layout", "nested")
    assert read_card(output)["taxonomy"] == {"Apple": ["Food", "Fruit", "Apple"], "Bread": ["Food", "Bread"]}


@pytest.mark.parametrize("ending", [".json", ".csv"])
def test_a_mapping_gives_labels_their_paths(ending, tmp_path):
    root = fill(tmp_path / "in", [f"{label}/{number}.jpg" for label in ("apple", "rake") for number in range(4)])
    mapping = tmp_path / f"paths{ending}"
    paths = {"apple": "Food > Apple", "rake": "Garden > Tools > Rake"}
    if ending == ".json":
        mapping.write_text(json.dumps(paths))
    else:
        mapping.write_text("label,one,two,three\napple,Food,Apple,\nrake,Garden,Tools,Rake\n")
    output = prepared(tmp_path, "--input", str(root), "--taxonomy", str(mapping))
    assert read_card(output)["taxonomy"] == {"Apple": ["Food", "Apple"], "Rake": ["Garden", "Tools", "Rake"]}


def test_a_gap_in_a_path_fails_its_own_row(tmp_path):
    cells = [{"a": "Food", "b": "Fruit", "c": "Apple"}, {"a": "Food", "b": "", "c": "Rake"}]
    output = prepared(tmp_path, "--input", str(table_of(tmp_path, cells, 4)), "--label_columns", "a", "b", "c")
    assert "category without the one above it" in (output / "rejected.csv").read_text()


def test_more_levels_than_columns_are_refused_in_one_line(tmp_path, capsys):
    table = table_of(tmp_path, [{"a": "Food > Fruit", "b": "Apple"}, {"a": "Food", "b": "Bread"}])
    with pytest.raises(SystemExit):
        prepared(tmp_path, "--input", str(table), "--label_columns", "a", "b")
    assert "labels have up to 3 levels, and 2 are named: a, b" in capsys.readouterr().err
