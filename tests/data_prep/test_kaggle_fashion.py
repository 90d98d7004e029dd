"""The Kaggle source: quirks of the table and the archive, and splits by year."""

import re
import struct
import zipfile
from collections import defaultdict
from pathlib import Path

import datasets
import pytest
from drawings import rejected_of
from kaggle_archives import HEADER, fail, image, line, simple_archive, write_archive

from data_prep import kaggle_fashion
from data_prep.pipeline.card import dataset_fingerprint, read_card


def prepare(archive: Path, output: Path, *options: str) -> datasets.DatasetDict:
    kaggle_fashion.main(["--archive", str(archive), "--output", str(output), "--num_proc", "1", *options])
    return datasets.load_from_disk(output)


def all_rows(prepared: datasets.DatasetDict, *columns: str) -> dict[str, tuple]:
    """{id: (split, values of the columns as text)}"""
    found = {}
    for split, part in prepared.items():
        for row in part.select_columns(["id", *columns]):
            names = {name: part.features[name] for name in columns}
            values = [
                f.int2str(row[name]) if isinstance(f, datasets.ClassLabel) else row[name] for name, f in names.items()
            ]
            found[row["id"]] = (split, *values)
    return found


# --- the archive -----------------------------------------------------------------------------------------------------


def test_every_product_gets_its_labels_title_and_original_bytes(tmp_path, capsys):
    prepared = prepare(simple_archive(tmp_path / "a.zip"), tmp_path / "out")
    assert "30 images, fingerprint" in capsys.readouterr().out
    rows = all_rows(prepared, "articleType", "subCategory", "masterCategory", "gender", "season", "usage", "title")
    assert rows["4"][1:] == ("Watches", "Watches", "Accessories", "Men", "Summer", "Casual", "Product 4")
    split = rows["4"][0]
    raw = prepared[split].cast_column("image", datasets.Image(decode=False))
    row = next(row for row in raw if row["id"] == "4")
    assert row["image"] == {"bytes": image(4), "path": "4.jpg"}
    card = read_card(tmp_path / "out")
    assert card["taxonomy"]["Heels"] == ["Footwear", "Shoes", "Heels"]
    assert card["license"] == "mit"


def test_unquoted_commas_belong_to_the_title(tmp_path):
    titles = {1: "Red, white, and blue", 2: '"Quoted, with a comma"', 3: 'Shorts 3.5" long', 4: "Plain"}
    lines = [line(number, title) for number, title in titles.items()]
    archive = write_archive(tmp_path / "a.zip", lines, {f"{number}.jpg": image(number) for number in titles})
    rows = all_rows(prepare(archive, tmp_path / "out"), "title")
    assert [rows[str(number)][1] for number in titles] == [
        "Red, white, and blue",
        "Quoted, with a comma",
        'Shorts 3.5" long',
        "Plain",
    ]


def test_everything_that_does_not_fit_is_listed(tmp_path):
    images = {f"{number}.jpg": image(number) for number in range(1, 11)}
    images |= {"5.jpg": b"", "6.jpg": image(6)[:-300], "7.jpg": b"<html>", "99.jpg": image(99), "notes.txt": b"x"}
    images["../../evil.jpg"] = image(98)
    lines = [line(number) for number in range(1, 11)] + [line(12), "../3,Men", line(4), line(7).replace("7,", "x7,", 1)]
    prepared = prepare(write_archive(tmp_path / "a.zip", lines, images), tmp_path / "out")
    reasons = {name: re.split(r":| \(", reason)[0] for name, reason in rejected_of(tmp_path / "out").items()}
    assert reasons == {
        "images/4.jpg": "id used twice",
        "images/5.jpg": "empty file",
        "images/6.jpg": "truncated image",
        "images/7.jpg": "not an image file",
        "images/99.jpg": "no line in styles.csv",
        "images/notes.txt": "file name is not a product number with .jpg",
        "images/../../evil.jpg": "file name is not a product number with .jpg",
        "images/12.jpg": "no image in the archive",
        "styles.csv:13": "too few cells in the line",
        "styles.csv:15": "id is not a number",
    }
    assert set(all_rows(prepared)) == {"1", "2", "3", "4", "8", "9", "10"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


def test_grayscale_images_are_kept_as_they_are(tmp_path):
    images = {"1.jpg": image(1, "L"), "2.jpg": image(2)}
    prepared = prepare(write_archive(tmp_path / "a.zip", [line(1), line(2)], images), tmp_path / "out")
    modes = {row["id"]: row["image"].mode for part in prepared.values() for row in part}
    assert modes == {"1": "L", "2": "RGB"}


def test_an_empty_cell_becomes_the_class_na(tmp_path):
    lines = [line(1, usage=""), line(2, usage="NA"), line(3)]
    archive = write_archive(tmp_path / "a.zip", lines, {f"{number}.jpg": image(number) for number in (1, 2, 3)})
    rows = all_rows(prepare(archive, tmp_path / "out"), "usage")
    assert {number: row[1] for number, row in rows.items()} == {"1": "NA", "2": "NA", "3": "Casual"}


def test_kaggles_double_archive_is_read_once(tmp_path):
    archive = simple_archive(tmp_path / "a.zip", 12)
    with zipfile.ZipFile(archive, "a") as double:
        for info in list(double.infolist()):
            double.writestr("myntradataset/" + info.filename, double.read(info))
    assert len(all_rows(prepare(archive, tmp_path / "out"))) == 12
    assert rejected_of(tmp_path / "out") == {}
    nested = simple_archive(tmp_path / "b.zip", 12, prefix="fashion-product-images-small/")
    prepare(nested, tmp_path / "nested")
    assert dataset_fingerprint(tmp_path / "nested") == dataset_fingerprint(tmp_path / "out")


def test_a_leaf_with_two_parents_gets_the_frequent_one_and_a_remark(tmp_path):
    lines = [line(1), line(2), line(3), line(4).replace("Topwear", "Innerwear")]
    prepare(write_archive(tmp_path / "a.zip", lines, {f"{n}.jpg": image(n) for n in range(1, 5)}), tmp_path / "out")
    assert read_card(tmp_path / "out")["taxonomy"] == {"Tshirts": ["Apparel", "Topwear", "Tshirts"]}
    remark = "articleType Tshirts has several parents in subCategory (Innerwear 1, Topwear 3); Topwear is taken"
    assert remark in (tmp_path / "out" / "dataset_info.md").read_text()


def test_a_member_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.pipeline.images.MAX_BYTES", 100_000)
    images = {"1.jpg": image(1), "2.jpg": image(2) + bytes(200_000)}
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("styles.csv", "\n".join([HEADER, line(1), line(2)]))
        for name, data in images.items():
            archive.writestr(f"images/{name}", data)
    # the archive's own word on the size is a lie
    data = bytearray((tmp_path / "a.zip").read_bytes())
    true_size, lie = struct.pack("<L", len(images["2.jpg"])), struct.pack("<L", 5000)
    (tmp_path / "a.zip").write_bytes(bytes(data).replace(true_size, lie))
    prepare(tmp_path / "a.zip", tmp_path / "out")
    assert set(rejected_of(tmp_path / "out")) == {"images/2.jpg"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no archive .*a.zip; give a zip file, or omit --archive"),
        (b"PK but cut off", "is not a complete zip file .*download it again"),
    ],
)
def test_an_unusable_archive_is_one_clear_message(tmp_path, capsys, content, message):
    if content:
        (tmp_path / "a.zip").write_bytes(content)
    found = fail(capsys, "--archive", str(tmp_path / "a.zip"), "--output", str(tmp_path / "out"))
    assert re.search(message, found)
    assert not (tmp_path / "out").exists()


def test_a_table_without_a_column_names_it(tmp_path, capsys):
    archive = write_archive(tmp_path / "a.zip", [], {}, header="id,gender,masterCategory")
    found = fail(capsys, "--archive", str(archive), "--output", str(tmp_path / "out"))
    assert "lacks the columns articleType, subCategory, baseColour" in found and "found: id, gender" in found


def test_an_archive_without_a_table_says_what_was_expected(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    assert "has no styles.csv" in fail(capsys, "--archive", str(tmp_path / "a.zip"), "--output", str(tmp_path / "out"))


def test_an_existing_output_is_refused_before_any_work(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("keep me")
    found = fail(capsys, "--archive", str(tmp_path / "absent.zip"), "--output", str(tmp_path / "out"))
    assert "exists; choose another --output or add --overwrite" in found
    found = fail(capsys, "--archive", str(tmp_path / "absent.zip"), "--output", str(tmp_path / "out"), "--overwrite")
    assert "is not a prepared dataset" in found
    assert (tmp_path / "out" / "precious.txt").read_text() == "keep me"


# --- splits ----------------------------------------------------------------------------------------------------------


def test_equal_titles_share_a_split_whatever_their_case(tmp_path):
    titles = {number: f"Shirt {number // 3}" for number in range(1, 61)}
    lines = [line(number, title.upper() if number % 2 else f" {title}  ") for number, title in titles.items()]
    archive = write_archive(tmp_path / "a.zip", lines, {f"{number}.jpg": image(number) for number in titles})
    rows = all_rows(prepare(archive, tmp_path / "out"), "group")
    sides, groups = defaultdict(set), defaultdict(set)
    for number, title in titles.items():
        sides[title].add(rows[str(number)][0])
        groups[title].add(rows[str(number)][1])
    assert all(len(found) == 1 for found in [*sides.values(), *groups.values()])
    assert {split for found in sides.values() for split in found} == {"train", "validation", "test"}


def test_split_by_year_trains_on_even_years_and_tests_on_odd_ones(tmp_path):
    lines = [line(number, year=str(2008 + number % 4)) for number in range(1, 41)]
    lines += [line(41, "Twin", year="2010"), line(42, "Twin", year="2011"), line(43, year="")]
    images = {f"{number}.jpg": image(number) for number in range(1, 44)}
    archive = write_archive(tmp_path / "a.zip", lines, images)
    rows = all_rows(prepare(archive, tmp_path / "out", "--split_by", "year"))
    assert {rows[str(number)][0] for number in range(1, 41, 2)} == {"test"}
    assert {rows[str(number)][0] for number in range(2, 41, 2)} == {"train", "validation"}
    assert rows["42"][0] == "test"
    assert rejected_of(tmp_path / "out") == {
        "images/41.jpg": "duplicate in a stricter given split: train image left out",
        "images/43.jpg": "no year, which --split_by year needs",
    }


def test_most_frequent_keeps_the_article_types_with_the_most_products(tmp_path):
    kinds = ["Tshirts"] * 12 + ["Heels"] * 8 + ["Watches"] * 8 + ["Watches"]
    lines = [line(number, kind=kind) for number, kind in enumerate(kinds, start=1)]
    images = {f"{number}.jpg": image(number) for number in range(1, len(lines))}  # the last has no image
    archive = write_archive(tmp_path / "a.zip", lines, images)
    rows = all_rows(prepare(archive, tmp_path / "out", "--most_frequent", "2"), "articleType")
    assert len(rows) == 20  # Heels before Watches: as frequent, and first in the alphabet
    reasons = rejected_of(tmp_path / "out")
    assert reasons["images/21.jpg"] == "rarer article type: Watches"
    assert reasons["images/29.jpg"] == "no image in the archive"
    assert "Only the 2 article types" in (tmp_path / "out" / "dataset_info.md").read_text()


def test_most_frequent_must_leave_something_to_tell_apart(tmp_path, capsys):
    archive = simple_archive(tmp_path / "a.zip")
    answer = fail(capsys, "--archive", str(archive), "--output", str(tmp_path / "out"), "--most_frequent", "1")
    assert "--most_frequent 1 must be at least 2" in answer


# --- the real data ---------------------------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.slow
def test_the_real_archive_is_prepared_without_leaks(shared, tmp_path):
    archive = shared / "data" / "kaggle" / "fashion-product-images-small.zip"
    kaggle_fashion.main(["--archive", str(archive), "--output", str(tmp_path / "out")])
    prepared = datasets.load_from_disk(tmp_path / "out")
    sizes = {split: len(part) for split, part in prepared.items()}
    assert sum(sizes.values()) == 39_612 and len(rejected_of(tmp_path / "out")) == 373
    assert 0.095 < sizes["test"] / 39_612 < 0.105 and 0.095 < sizes["validation"] / 39_612 < 0.105
    sides = defaultdict(set)
    for split, part in prepared.items():
        for group, title in zip(part["group"], part["title"], strict=True):
            sides[group].add(split)
            sides[" ".join(title.lower().split())].add(split)
    assert all(len(found) == 1 for found in sides.values())
