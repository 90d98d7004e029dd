"""data_prep.image_folder: class folders and tables as people have them, and everything that can be wrong with them."""

import codecs
import csv
import os
from collections import Counter
from pathlib import Path

import datasets
import pytest
from drawings import card_of, drawing, fill, rejected_of, rows_of

from data_prep import image_folder
from data_prep.pipeline.class_folders import read_class_folders
from data_prep.pipeline.prepared import load_prepared
from data_prep.pipeline.trees import Folder

CLASSES = ("bag", "hat")
PLAIN = [f"{label}/{number}.jpg" for label in CLASSES for number in range(10)]


def prepare(output: Path, *options: object) -> Path:
    image_folder.main([*map(str, options), "--output", str(output), "--num_proc", "1"])
    return output


def refusal(capsys, output: Path, *options: object) -> str:
    """The one line that a command leaves when it refuses to work."""
    with pytest.raises(SystemExit) as stop:
        prepare(output, *options)
    message = capsys.readouterr().err
    assert stop.value.code == 2 and message.count("\n") == 1 and not output.exists()
    return message


# --- class folders ---------------------------------------------------------------------------------------------------


def test_one_folder_a_class_is_split_80_10_10(tmp_path):
    output = prepare(tmp_path / "out", "--input", fill(tmp_path / "in", PLAIN))
    rows = rows_of(output)
    assert {identity: label for identity, (_, label) in rows.items()} == {name: name[:3] for name in PLAIN}
    assert Counter(split for split, _ in rows.values()) == {"train": 16, "validation": 2, "test": 2}
    assert rejected_of(output) == {}


def test_the_result_is_a_dataset_that_training_reads(tmp_path):
    output = prepare(tmp_path / "out", "--input", fill(tmp_path / "in", PLAIN))
    prepared = load_prepared(str(output), "label", ["train", "validation", "test"])
    assert prepared["train"].column_names == ["image", "id", "title", "group", "label"]
    assert prepared["train"][0]["image"].size == (60, 80)


def test_equal_file_names_in_different_classes_are_different_products(tmp_path):
    output = prepare(tmp_path / "out", "--input", fill(tmp_path / "in", PLAIN))
    assert "| 1 | 20 |" in card_of(output)  # 20 groups of one image


def test_given_splits_are_kept_and_a_missing_test_split_is_cut_from_train(tmp_path):
    names = [f"train/hat/{number}.jpg" for number in range(20)] + [f"val/hat/{number}.jpg" for number in range(5)]
    output = prepare(tmp_path / "out", "--input", fill(tmp_path / "in", names))
    rows = rows_of(output)
    assert all(rows[name][0] == "validation" for name in names[20:])
    assert Counter(split for split, _ in rows.values()) == {"train": 18, "validation": 5, "test": 2}
    assert "no test split: cut from train" in card_of(output)


def test_given_splits_only_leaves_the_missing_split_empty(tmp_path):
    names = [f"{split}/hat/{number}.jpg" for split in ("train", "valid") for number in range(5)]
    output = prepare(tmp_path / "out", "--input", fill(tmp_path / "in", names), "--given_splits_only")
    assert Counter(split for split, _ in rows_of(output).values()) == {"train": 5, "validation": 5}
    assert len(load_prepared(str(output), "label", ["test"])["test"]) == 0


def test_a_folder_with_a_test_split_only_can_be_prepared_for_scoring(tmp_path):
    names = [f"test/{label}/{number}.jpg" for label in CLASSES for number in range(3)]
    output = prepare(tmp_path / "out", "--input", fill(tmp_path / "in", names))
    assert {split for split, _ in rows_of(output).values()} == {"test"}


def leaky(root: Path) -> Path:
    first_seeds = {"train": 0, "validation": 10, "test": 20}
    files = {f"{split}/hat/{n}.jpg": first + n for split, first in first_seeds.items() for n in range(5)}
    return fill(root, files | {"train/hat/copy.jpg": drawing(20), "train/hat/resaved.png": drawing(21, "PNG")})


def test_leaks_between_given_splits_are_kept_and_reported(tmp_path, capsys):
    output = prepare(tmp_path / "out", "--input", leaky(tmp_path / "in"))
    assert "2 images have duplicates in a stricter given split" in capsys.readouterr().out
    assert "leak: 2 images" in card_of(output) and "leaks.csv" in card_of(output)
    with open(output / "leaks.csv", newline="", encoding="utf-8") as stream:
        assert [(row["split"], row["file"]) for row in csv.DictReader(stream)] == [
            ("test", "test/hat/0.jpg"),
            ("train", "train/hat/copy.jpg"),
            ("test", "test/hat/1.jpg"),
            ("train", "train/hat/resaved.png"),
        ]
    assert rows_of(output)["train/hat/copy.jpg"][0] == "train"


def test_drop_leaks_leaves_out_the_training_copy(tmp_path):
    output = prepare(tmp_path / "out", "--input", leaky(tmp_path / "in"), "--drop_leaks")
    assert set(rejected_of(output)) == {"train/hat/copy.jpg", "train/hat/resaved.png"}
    assert "test/hat/0.jpg" in rows_of(output) and not (output / "leaks.csv").exists()


def test_what_is_no_image_of_a_class_is_listed_and_the_rest_goes_on(tmp_path):
    root = fill(tmp_path / "in", PLAIN)
    bad = {"sources.csv": b"address\n", "hat/note.txt": b"text", "hat/cut.jpg": drawing(1)[:-50], "bag/zero.jpg": b""}
    fill(root, bad)
    (root / "shoes").mkdir()
    output = prepare(tmp_path / "out", "--input", root)
    reasons = rejected_of(output)
    assert reasons.keys() == {*bad, "shoes"} and len(rows_of(output)) == 20
    assert reasons["sources.csv"] == "not in a class folder" and reasons["shoes"] == "empty class folder"
    assert reasons["bag/zero.jpg"] == "empty file (0 bytes)"
    assert reasons["hat/cut.jpg"] == "truncated image (the file ends too early)"


def test_hidden_files_are_passed_over(tmp_path):
    root = fill(tmp_path / "in", [*PLAIN, ".git/x.jpg", "hat/.DS_Store", "bag/Thumbs.db", "__MACOSX/hat/0.jpg"])
    output = prepare(tmp_path / "out", "--input", root)
    assert rejected_of(output) == {} and len(rows_of(output)) == 20
    assert "Hidden files and folders passed over: 4." in card_of(output)


def test_nested_folders_belong_to_the_outer_class(tmp_path):
    output = prepare(tmp_path / "out", "--input", fill(tmp_path / "in", [*PLAIN, "hat/winter/wool/0.jpg"]))
    assert rows_of(output)["hat/winter/wool/0.jpg"][1] == "hat"
    assert "Files in subfolders of their class folder: 1;" in card_of(output)


def test_links_never_lead_out_of_the_input(tmp_path):
    root, outside = fill(tmp_path / "in", PLAIN), fill(tmp_path / "outside", ["secret.jpg"])
    (root / "hat" / "file.jpg").symlink_to(outside / "secret.jpg")
    (root / "hat" / "folder").symlink_to(outside)
    (root / "linked").symlink_to(outside)
    (root / "hat" / "loop").symlink_to(root)
    (root / "hat" / "gone.jpg").symlink_to(root / "nothing")
    (root / "hat" / "inside.jpg").symlink_to(root / "hat" / "0.jpg")
    output = prepare(tmp_path / "out", "--input", root)
    reasons = rejected_of(output)
    assert reasons.pop("hat/file.jpg").startswith("outside the input folder")
    assert reasons.pop("hat/gone.jpg") == "no such file"
    assert reasons == dict.fromkeys(["hat/folder", "linked", "hat/loop"], "link to a folder, not followed")
    assert rows_of(output)["hat/inside.jpg"][0] == rows_of(output)["hat/0.jpg"][0]


def test_an_unreadable_folder_costs_its_images_only(tmp_path, monkeypatch):
    root = fill(tmp_path / "in", [*PLAIN, "shoes/0.jpg"])
    scan = os.scandir

    def forbid(path):  # chmod would not stop root
        if str(path).endswith("shoes"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", forbid)
    output = prepare(tmp_path / "out", "--input", root)
    assert rejected_of(output) == {"shoes": "folder cannot be read: Permission denied"}
    assert len(rows_of(output)) == 20


def test_a_file_name_that_is_not_unicode_costs_one_row(tmp_path):
    root = fill(tmp_path / "in", PLAIN)
    Path(os.fsdecode(os.fsencode(root) + b"/hat/\xff.jpg")).write_bytes(drawing(99))
    output = prepare(tmp_path / "out", "--input", root)
    assert rejected_of(output) == {"hat/\\udcff.jpg": "file name is not valid Unicode"}


def test_a_class_with_one_image_is_kept_and_named(tmp_path, capsys):
    output = prepare(tmp_path / "out", "--input", fill(tmp_path / "in", [*PLAIN, "shoes/0.jpg"]))
    assert rows_of(output)["shoes/0.jpg"] == ("train", "shoes")
    assert "Classes without an image in test: shoes." in capsys.readouterr().out


def test_classes_that_differ_in_spelling_only_are_pointed_out(tmp_path, capsys):
    names = [f"train/t-shirt/{n}.jpg" for n in range(4)] + [f"val/T-Shirt/{n}.jpg" for n in range(4)]
    prepare(tmp_path / "out", "--input", fill(tmp_path / "in", names))
    assert "nearly the same name: T-Shirt, t-shirt" in capsys.readouterr().out


def test_composed_and_decomposed_letters_make_one_class(tmp_path):
    names = [f"train/caf\u00e9/{n}.jpg" for n in range(4)] + [f"val/cafe\u0301/{n}.jpg" for n in range(4)]
    output = prepare(tmp_path / "out", "--input", fill(tmp_path / "in", names))
    assert {label for _, label in rows_of(output).values()} == {"caf\u00e9"}


def test_folders_that_are_splits_and_classes_at_once_need_a_word(tmp_path, capsys):
    root = fill(tmp_path / "in", [f"{label}/{n}.jpg" for label in ("train", "car") for n in range(5)])
    message = refusal(capsys, tmp_path / "out", "--input", root)
    assert "(train) and others (car)" in message and "--layout classes" in message
    output = prepare(tmp_path / "out", "--input", root, "--layout", "classes")
    assert {label for _, label in rows_of(output).values()} == {"train", "car"}


def test_layout_splits_leaves_other_folders_out(tmp_path):
    root = fill(tmp_path / "in", [*(f"train/hat/{n}.jpg" for n in range(10)), "docs/hat/0.jpg"])
    output = prepare(tmp_path / "out", "--input", root, "--layout", "splits")
    assert rejected_of(output) == {"docs/hat/0.jpg": "not in a folder of a split"}


def test_corrections_reach_a_row_by_its_path(tmp_path, capsys):
    corrections = tmp_path / "fix.csv"
    names = [f"{split}/{label}/{n}.jpg" for split in ("train", "val", "test") for label in CLASSES for n in range(3)]
    corrections.write_text("id,action,label\ntrain/hat/0.jpg,quarantine,\ntrain/hat/1.jpg,relabel,bag\nx,quarantine,\n")
    root = fill(tmp_path / "in", names)
    output = prepare(tmp_path / "out", "--input", root, "--corrections", corrections)
    assert "2 applied, 1 with an id that is not in the data" in capsys.readouterr().out
    assert rows_of(output)["train/hat/1.jpg"][1] == "bag" and set(rejected_of(output)) == {"train/hat/0.jpg"}


# --- tables ----------------------------------------------------------------------------------------------------------

COLUMNS = ("--image_column", "file", "--label_column", "category")
HEADER = "file,category"


def table(root: Path, lines: list[str], encoding: str = "utf-8", header: str = HEADER) -> Path:
    """A CSV file beside `photos/0.jpg` to `photos/9.jpg`, which it lists as hats before `lines`."""
    names = [f"photos/{number}.jpg" for number in range(10)]
    fill(root, names)
    rows = [f"{name},hat" + "," * (header.count(",") - 1) for name in names]
    path = root / "catalogue.csv"
    path.write_bytes("\n".join([header, *rows, *lines, ""]).encode(encoding))
    return path


def test_a_table_names_images_and_classes(tmp_path):
    fill(tmp_path, {"photos/bag.jpg": 50})
    output = prepare(tmp_path / "out", "--csv", table(tmp_path, ["photos/bag.jpg,bag"]), *COLUMNS)
    rows = rows_of(output)
    assert len(rows) == 11 and rows["photos/bag.jpg"][1] == "bag" and rejected_of(output) == {}


def test_attributes_stay_beside_categories_of_any_depth_and_an_empty_one_is_not_stated(tmp_path):
    fill(tmp_path / "in", [f"{number}.jpg" for number in range(12)])
    paths = ["Shop > Apparel > Shirts", "Shop > Shoes"]
    lines = [f"{number}.jpg,{paths[number % 2]},{'red' if number % 3 else ''}" for number in range(12)]
    (tmp_path / "in" / "table.csv").write_text("\n".join(["file,category,colour", *lines]))
    given = ["--input", tmp_path / "in", "--csv", tmp_path / "in" / "table.csv", "--image_column", "file"]
    prepare(tmp_path / "out", *given, "--label_column", "category", "--attribute_columns", "colour")
    train = datasets.load_from_disk(tmp_path / "out")["train"]
    assert train.features["colour"].names == ["NA", "red"]
    columns = [name for name, feature in train.features.items() if isinstance(feature, datasets.ClassLabel)]
    assert len(columns) == 4 and {"Shirts", "Shoes"} in [set(train.features[name].names) for name in columns]


def test_id_title_group_and_split_columns_are_used(tmp_path):
    header = "file,category,number,name,person,part"
    lines = [f"photos/{n}.jpg,hat,a{n},Hat,person {n},{part}" for n, part in enumerate(["train", "val", "TEST"])]
    lines += [f"photos/{n}.jpg,hat,b{n},Hat {n},bob,train" for n in (3, 4)]
    path = table(tmp_path, [])
    path.write_text("\n".join([header, *lines]))
    extra = ("--id_column", "number", "--title_column", "name", "--group_column", "person", "--split_column", "part")
    output = prepare(tmp_path / "out", "--csv", path, *COLUMNS, *extra)
    splits = {identity: split for identity, (split, _) in rows_of(output).items()}
    assert splits == {"a0": "train", "a1": "validation", "a2": "test", "b3": "train", "b4": "train"}
    assert "| 3 | 1 |" in card_of(output) and "| 2 | 1 |" in card_of(output)  # one group by title, one by person


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_usual_encodings_are_found_out(tmp_path, encoding):
    fill(tmp_path, {"photos/10.jpg": 50, "photos/é.jpg": 51})
    lines = ["photos/10.jpg,Hüte", "photos/é.jpg,Hüte"]
    output = prepare(tmp_path / "out", "--csv", table(tmp_path, lines, encoding), *COLUMNS)
    assert rows_of(output)["photos/é.jpg"][1] == "Hüte" and rejected_of(output) == {}
    assert ("read as cp1252" in card_of(output)) == (encoding == "cp1252")


def test_other_encodings_can_be_named(tmp_path):
    fill(tmp_path, {"photos/10.jpg": 50})
    path = table(tmp_path, ["photos/10.jpg,шапка"], "koi8-r")
    output = prepare(tmp_path / "out", "--csv", path, *COLUMNS, "--encoding", "koi8-r")
    assert rows_of(output)["photos/10.jpg"][1] == "шапка"


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_are_found_out(tmp_path, separator):
    path = table(tmp_path, [])
    path.write_text(path.read_text().replace(",", separator))
    assert len(rows_of(prepare(tmp_path / "out", "--csv", path, *COLUMNS))) == 10


def test_odd_spaces_in_names_are_no_mistake(tmp_path):
    fill(tmp_path, {"photos/at 5\u202fPM.jpg": 50})
    path = table(tmp_path, ["photos/at 5\u202fPM.jpg,Sports\u00a0 Shoes"])
    rows = rows_of(prepare(tmp_path / "out", "--csv", path, *COLUMNS))
    assert rows["photos/at 5\u202fPM.jpg"][1] == "Sports Shoes"


def test_paths_may_start_at_another_folder_and_have_backslashes(tmp_path):
    absolute = tmp_path / "images" / "photos" / "absolute.jpg"
    path = table(tmp_path / "images", [f"{absolute},bag", "photos\\win.jpg,bag"])
    fill(tmp_path / "images", {"photos/absolute.jpg": 50, "photos/win.jpg": 51})
    moved = path.rename(tmp_path / "catalogue.csv")
    output = prepare(tmp_path / "out", "--csv", moved, "--input", tmp_path / "images", *COLUMNS)
    assert {"photos/absolute.jpg", "photos/win.jpg"} < rows_of(output).keys() and rejected_of(output) == {}


REFUSED = {
    "http://127.0.0.1:9/x.jpg": "not a file name below the input folder",
    "file:///etc/hostname": "not a file name below the input folder",
    "../outside.jpg": "outside the input folder",
    "photos/../../outside.jpg": "outside the input folder",
    "..\\beside.jpg": "outside the input folder",
    "/etc/hostname": "outside the input folder",
    "photos/link.jpg": "outside the input folder",
    "photos": "a folder, not an image",
    "photos/nothing.jpg": "no such file",
}


def test_rows_that_name_something_else_than_an_image_inside_are_refused(tmp_path):
    fill(tmp_path, {"outside.jpg": 50})
    path = table(tmp_path / "in", [f"{name},bag" for name in REFUSED])
    (tmp_path / "in" / "photos" / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    output = prepare(tmp_path / "out", "--csv", path, *COLUMNS)
    reasons = {file: reason.split(":")[0] for file, reason in rejected_of(output).items()}
    assert reasons == {name.replace("\\", "/"): reason for name, reason in REFUSED.items()}
    assert len(rows_of(output)) == 10


BAD_LINES = {
    "photos/a.jpg,": "empty label",
    f"photos/d.jpg,{'x' * 300}": "label too long",
    "photos/e.jpg,hat,bag": "too many cells",
    ",hat": "no image named",
    f"photos/f.jpg,{'x' * 200_000}": "label too long",
    "photos/0.jpg,hat": "image listed twice: line 2 is kept",
    "photos/1.jpg,bag": "image listed with two labels: line 3 says 'hat' and is kept",
    '"photos/g.jpg,hat\nphotos/h.jpg,hat': "not a file name",
}


def test_a_bad_line_costs_itself(tmp_path):
    output = prepare(tmp_path / "out", "--csv", table(tmp_path, list(BAD_LINES)), *COLUMNS)
    with open(output / "rejected.csv", newline="", encoding="utf-8") as stream:
        reasons = sorted(row["reason"] for row in csv.DictReader(stream))
    expected = sorted(BAD_LINES.values())
    assert len(reasons) == len(expected) and len(rows_of(output)) == 10
    assert all(reason.startswith(start) for reason, start in zip(reasons, expected, strict=True))


def test_lines_after_a_huge_cell_are_read(tmp_path):
    fill(tmp_path, {"photos/10.jpg": 50})
    output = prepare(tmp_path / "out", "--csv", table(tmp_path, ["x" * 200_000, "photos/10.jpg,bag"]), *COLUMNS)
    assert "photos/10.jpg" in rows_of(output) and len(rejected_of(output)) == 1


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path, capsys):
    columns = ("--image_column", "image", "--label_column", "category")
    message = refusal(capsys, tmp_path / "out", "--csv", table(tmp_path, []), *columns)
    assert "lacks the columns image; it has file, category" in message


UNREADABLE = {
    "zip file": b"PK\x03\x04" + bytes(20),
    "UTF-8": HEADER.encode() + b"\n\x81\x8d\x01\x02,hat\n",
    "text": HEADER.encode("utf-16-le") + b"\1\2\3\4",
    "no header": b"",
    "no file": None,
}


@pytest.mark.parametrize("message", UNREADABLE)
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path, capsys, message):
    path = tmp_path / "catalogue.csv"
    if UNREADABLE[message] is not None:
        path.write_bytes(UNREADABLE[message])
    assert message in refusal(capsys, tmp_path / "out", "--csv", path, *COLUMNS)


# --- the command line ------------------------------------------------------------------------------------------------

MISTAKES = {
    (): "give --input with a folder, an archive or a table",
    ("--input", "nowhere"): "no folder nowhere",
    ("--csv", "unusual.csv"): "no column called image_path or image or path or file: give --image_column, one of a, b",
    ("--input", ".", "--id_column", "a"): "--id_column: only used together with --csv",
    ("--csv", "x.csv", *COLUMNS, "--layout", "splits"): "only used without a table",
    ("--csv", "nothing.csv", *COLUMNS): "no file nothing.csv",
    ("--csv", "catalogue.csv", *COLUMNS, "--encoding", "klingon"): "unknown encoding 'klingon'",
    ("--csv", "catalogue.csv", *COLUMNS, "--encoding", "ascii"): "not ascii text",
    ("--input", "empty"): "not one usable image",
    ("--input", "photos", "--layout", "splits"): "no folder called train",
}


@pytest.mark.parametrize("options", MISTAKES, ids=MISTAKES.values())
def test_a_mistake_is_answered_in_one_line(tmp_path, capsys, monkeypatch, options):
    (tmp_path / "empty").mkdir()
    (tmp_path / "unusual.csv").write_text("a,b\n1,2\n")
    table(tmp_path, ["photos/0.jpg,Hüte"])
    monkeypatch.chdir(tmp_path)
    assert MISTAKES[options] in refusal(capsys, tmp_path / "out", *options)


def test_the_marks_of_both_utf16_orders_are_known(tmp_path):
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        path = table(tmp_path / encoding, [])
        path.write_bytes(mark + path.read_text().encode(encoding))
        assert len(rows_of(prepare(tmp_path / f"{encoding}.out", "--csv", path, *COLUMNS))) == 10


@pytest.mark.real_data
def test_the_given_validation_images_of_the_clothing_data_stay_validation(shared):
    rows, notes = read_class_folders(Folder(shared / "data" / "clothing"), "auto")
    assert Counter(row.split for row in rows if not row.reject) == {"train": 3068, "validation": 341}
    assert len({row.labels["label"] for row in rows}) == 10 and not notes
