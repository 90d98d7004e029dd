"""data_prep.merge: labels by name and by mapping, splits kept, no duplicate of any input across splits."""

from collections import Counter
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from drawings import card_of, drawing, fill, rejected_of, rows_of

from data_prep import image_folder, merge
from data_prep.pipeline import build, schema
from data_prep.pipeline.images import FileImage
from data_prep.pipeline.prepared import load_prepared, open_prepared

SIZES = {"train": 4, "validation": 2, "test": 2}
SPLITS = list(SIZES)


def make(folder: Path, labels: tuple[str, ...], first_seed: int, files: dict[str, bytes] | None = None) -> Path:
    """A prepared dataset with 4 training, 2 validation and 2 test images of each label, and `files`."""
    places = [f"{split}/{label}/{n}.jpg" for label in labels for split in SPLITS for n in range(SIZES[split])]
    drawn = {name: first_seed + index for index, name in enumerate(places)}
    root = fill(folder.with_name(f"{folder.name}-in"), drawn | (files or {}))
    image_folder.main(["--input", str(root), "--output", str(folder), "--num_proc", "1", "--license", folder.name])
    return folder


def make_catalog(folder: Path, first_seed: int = 500) -> Path:
    """A prepared dataset with two label columns and a column of its own."""
    root = fill(folder.with_name(f"{folder.name}-in"), {f"{n}.jpg": first_seed + n for n in range(20)})
    rows = [
        schema.Row(
            file=f"{n}.jpg",
            image=FileImage(str(root), f"{n}.jpg"),
            id=str(n),
            title=f"Product {n}",
            labels={"articleType": ("Caps", "Tshirts")[n % 2], "gender": "Men"},
            extra={"stamped": n % 2 == 0},
        )
        for n in range(20)
    ]
    source = schema.Source(
        name="Catalogue",
        origin="tests",
        license="mit",
        label_columns=("articleType", "gender"),
        stratify_by="articleType",
        features={"stamped": datasets.Value("bool")},
    )
    build.write_dataset(rows, source, schema.Options(folder))
    return folder


def join(output: Path, *options: object) -> Path:
    merge.main([*map(str, options), "--output", str(output), "--num_proc", "1"])
    return output


def refusal(capsys, output: Path, *options: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        join(output, *options)
    message = capsys.readouterr().err
    assert stop.value.code == 2 and message.count("\n") == 1 and not output.exists()
    return message


def write_mapping(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["source,label,target", *lines]))
    return path


def test_labels_are_joined_by_name_and_splits_are_kept(tmp_path):
    first, second = make(tmp_path / "first", ("bag", "hat"), 0), make(tmp_path / "second", ("hat", "shoes"), 100)
    output = join(tmp_path / "out", first, second)
    prepared = load_prepared(str(output), "label", SPLITS)
    assert prepared["train"].features["label"].names == ["bag", "hat", "shoes"]
    assert {split: len(part) for split, part in prepared.items()} == {"train": 16, "validation": 8, "test": 8}
    for split, part in prepared.items():
        assert Counter(part["source"]) == dict.fromkeys(["first", "second"], len(part) // 2)
        assert all(split in identity for identity in part["id"])


def test_images_keep_their_bytes(tmp_path):
    first = make(tmp_path / "first", ("hat",), 0)
    output = join(tmp_path / "out", first, make(tmp_path / "second", ("bag",), 100))
    part = datasets.load_from_disk(output)["test"].cast_column("image", datasets.Image(decode=False))
    original = (tmp_path / "first-in" / "test" / "hat" / "0.jpg").read_bytes()
    assert next(row["image"]["bytes"] for row in part if row["id"] == "test/hat/0.jpg") == original


def test_ids_that_clash_are_told_apart_by_their_source(tmp_path):
    first, second = make(tmp_path / "first", ("bag", "hat"), 0), make(tmp_path / "second", ("hat",), 100)
    ids = rows_of(join(tmp_path / "out", first, second)).keys()
    assert {"first:train/hat/0.jpg", "second:train/hat/0.jpg", "train/bag/0.jpg"} < ids
    assert "train/hat/0.jpg" not in ids and len(ids) == 24


def test_groups_of_different_inputs_are_not_confused(tmp_path):
    first, second = make(tmp_path / "first", ("hat",), 0), make(tmp_path / "second", ("hat",), 100)
    assert "| 1 | 16 |" in card_of(join(tmp_path / "out", first, second))  # equal group names, different images


def test_a_training_image_that_is_a_test_image_of_the_other_input_is_left_out(tmp_path):
    first = make(tmp_path / "first", ("hat",), 0)
    copies = {"train/hat/same.jpg": drawing(6), "train/hat/resaved.png": drawing(7, "PNG"), "val/hat/4.jpg": drawing(0)}
    second = make(tmp_path / "second", ("hat",), 100, copies)
    output = join(tmp_path / "out", first, second)
    left_out = {"second/train/hat/same.jpg", "second/train/hat/resaved.png", "first/train/hat/0.jpg"}
    assert rejected_of(output).keys() == left_out
    assert {"test/hat/0.jpg", "test/hat/1.jpg"} <= {identity.split(":")[-1] for identity in rows_of(output)}


def test_no_group_crosses_splits(tmp_path):
    first, second = make(tmp_path / "first", ("hat",), 0), make(tmp_path / "second", ("hat",), 3)
    prepared = datasets.load_from_disk(join(tmp_path / "out", first, second))
    groups = [set(part["group"]) for part in prepared.values()]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]


def test_a_mapping_renames_and_leaves_out(tmp_path):
    shop, worn = make_catalog(tmp_path / "shop"), make(tmp_path / "worn", ("hat", "bag"), 0)
    mapping = write_mapping(tmp_path / "m.csv", "shop,Caps,hat", "shop,*,", "worn,bag,")
    output = join(tmp_path / "out", shop, worn, "--mapping", mapping)
    assert {label for _, label in rows_of(output).values()} == {"hat"} and len(rows_of(output)) == 18
    reasons = Counter(rejected_of(output).values())
    assert "worn/train/bag/0.jpg" in rejected_of(output)
    assert reasons == {"left out by the mapping: Tshirts": 10, "left out by the mapping: bag": 8}


def test_labels_without_a_line_keep_their_names(tmp_path):
    shop, worn = make_catalog(tmp_path / "shop"), make(tmp_path / "worn", ("hat",), 0)
    output = join(tmp_path / "out", shop, worn, "--mapping", write_mapping(tmp_path / "m.csv", "shop,Caps,hat"))
    assert {label for _, label in rows_of(output).values()} == {"hat", "Tshirts"}


@pytest.mark.parametrize("how", ["its own", "--label", "first of the card"])
def test_the_label_column_can_be_chosen(tmp_path, how):
    shop, worn = make_catalog(tmp_path / "shop"), make(tmp_path / "worn", ("hat",), 0)
    options = {"its own": (f"{shop}:gender", worn), "--label": (shop, worn, "--label", "gender")}.get(how, (shop, worn))
    labels = {label for _, label in rows_of(join(tmp_path / "out", *options)).values()}
    assert labels == ({"Caps", "Tshirts", "hat"} if how == "first of the card" else {"Men", "hat"})


def test_columns_of_one_input_are_kept_and_empty_for_the_other(tmp_path):
    shop, worn = make_catalog(tmp_path / "shop"), make(tmp_path / "worn", ("hat",), 0)
    output = join(tmp_path / "out", shop, worn)
    part = datasets.load_from_disk(output)["test"]
    found = {(row["source"], row["stamped"]) for row in part.remove_columns("image")}
    assert {stamped for source, stamped in found if source == "worn"} == {None}
    assert None not in {stamped for source, stamped in found if source == "shop"}
    assert "not taken over: articleType, gender" not in card_of(output) and "not taken over: gender" in card_of(output)


def test_the_card_names_the_inputs_with_their_fingerprints(tmp_path):
    first, second = make(tmp_path / "first", ("hat",), 0), make(tmp_path / "second", ("hat",), 100)
    card = card_of(join(tmp_path / "out", first, second))
    for folder in (first, second):
        mark = next(line.split()[1] for line in card_of(folder).splitlines() if line.startswith("fingerprint"))
        assert f"{folder.name}: 8 images, label column label, license {folder.name}, fingerprint {mark}." in card
    assert "license: other" in card


def test_the_same_inputs_give_the_same_fingerprint(tmp_path):
    first, second = make(tmp_path / "first", ("hat",), 0), make(tmp_path / "second", ("hat",), 100)
    orders = {"out1": (first, second), "out2": (second, first)}
    cards = [card_of(join(tmp_path / name, *order)) for name, order in orders.items()]
    marks = {next(line for line in card.splitlines() if line.startswith("fingerprint")) for card in cards}
    assert len(marks) == 1


def test_a_row_that_names_an_address_instead_of_holding_an_image_is_refused(tmp_path):
    """Decoding such a row would fetch the address."""
    hostile = make(tmp_path / "hostile", ("hat",), 0)
    part = datasets.load_from_disk(hostile)["train"].data
    images = part["image"].to_pylist()
    images[0] = {"bytes": None, "path": "http://127.0.0.1:9/x.jpg"}
    images[1] = {"bytes": None, "path": str(tmp_path / "hostile-in" / "train" / "hat" / "1.jpg")}
    images[2] = None
    changed = part.table.set_column(0, part.schema.field("image"), pa.array(images, part.schema.field("image").type))
    stored = next((hostile / "train").glob("*.arrow"))
    stored.unlink()  # the old file is still mapped into memory
    with pa.ipc.new_stream(stored, changed.schema) as stream:
        stream.write_table(changed)
    output = join(tmp_path / "out", hostile, make(tmp_path / "second", ("hat",), 100))
    reasons = [reason.split(":")[0] for reason in rejected_of(output).values()]
    assert sorted(reasons) == ["names a file instead of holding an image"] * 2 + ["no image"]
    assert len(rows_of(output)) == 8 + 8 - 3


BAD_MAPPINGS = {
    "has no label 'Hut'; it has bag, hat": "worn,Hut,hat",
    "no input is called 'other'; the inputs are worn, shop": "other,hat,bag",
    "'hat' of worn has two targets, 'cap' and 'bag'": "worn,hat,cap\nworn,hat,bag",
    "too many cells": "worn,hat,bag,shoes",
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    return make(folder / "worn", ("bag", "hat"), 0), make_catalog(folder / "shop")


@pytest.mark.parametrize("message", BAD_MAPPINGS)
def test_a_mapping_that_cannot_mean_anything_is_refused(tmp_path, capsys, pair, message):
    mapping = write_mapping(tmp_path / "m.csv", BAD_MAPPINGS[message])
    assert message in refusal(capsys, tmp_path / "out", *pair, "--mapping", mapping)


def test_a_mapping_needs_its_columns(tmp_path, capsys, pair):
    (tmp_path / "m.csv").write_text("from,to\na,b\n")
    assert "lacks the columns source, label, target" in refusal(
        capsys, tmp_path / "out", *pair, "--mapping", tmp_path / "m.csv"
    )


def test_a_target_with_a_slash_is_a_label_like_any_other(tmp_path, pair):
    output = join(tmp_path / "out", *pair, "--mapping", write_mapping(tmp_path / "m.csv", "worn,hat,a/b"))
    assert rejected_of(output) == {}
    assert "a/b" in open_prepared(output).class_names()


def test_inputs_that_cannot_be_joined_are_refused_in_one_line(tmp_path, capsys, pair):
    worn, shop = pair
    (tmp_path / "empty").mkdir()
    twin = tmp_path / "worn"
    twin.symlink_to(worn.with_name("worn"))
    mistakes = {
        "no folder": (worn, tmp_path / "nowhere"),
        "is not a prepared dataset": (worn, tmp_path / "empty"),
        "two inputs are called worn": (worn, twin),
        "no label column 'colour'; it has articleType, gender": (f"{shop}:colour", worn),
        "no label column 'colour' but articleType, gender": (shop, worn, "--label", "colour"),
        "no input has this label column": (worn, "--label", "colour"),
    }
    for message, options in mistakes.items():
        assert message in refusal(capsys, tmp_path / "out", *options)


def test_a_damaged_dataset_is_named(tmp_path, capsys):
    broken = make(tmp_path / "broken", ("hat",), 0)
    next((broken / "test").glob("*.arrow")).write_bytes(b"damaged")
    assert "broken cannot be opened" in refusal(capsys, tmp_path / "out", broken)
    (broken / "dataset_info.md").write_text("---\n{a: [\n---\n")
    assert "is damaged" in refusal(capsys, tmp_path / "out", broken)


def test_a_dataset_that_names_an_address_is_no_folder(tmp_path, capsys):
    assert "no folder s3://bucket" in refusal(capsys, tmp_path / "out", "s3://bucket/dataset")
