"""From rows to a dataset on disk, the path that every source shares: checking, leaks, corrections, writing."""

from pathlib import Path

import datasets
import pytest
from drawings import draw, encode, rejected_of
from pipeline_rows import BAD_IMAGES, SOURCE, make_rows, row_of, splits_of

from app.errors import UserError
from data_prep.pipeline.build import write_dataset
from data_prep.pipeline.card import dataset_fingerprint, read_card
from data_prep.pipeline.prepared import read_rows
from data_prep.pipeline.schema import Options, Report, Row, Source


def test_a_dataset_has_the_agreed_form_and_the_original_bytes(tmp_path):
    rows = make_rows(tmp_path / "input", 40)
    report = write_dataset(rows, SOURCE, Options(tmp_path / "out"))
    prepared = datasets.load_from_disk(tmp_path / "out")
    assert list(prepared) == ["train", "validation", "test"]
    assert prepared["train"].column_names == ["image", "id", "title", "group", "label"]
    names = {tuple(prepared[split].features["label"].names) for split in prepared}
    assert names == {("class 0", "class 1", "class 2")}
    raw = prepared["test"].cast_column("image", datasets.Image(decode=False))[0]
    assert raw["image"]["path"] == raw["id"]
    assert raw["image"]["bytes"] == (tmp_path / "input" / raw["id"]).read_bytes()
    assert rejected_of(tmp_path / "out") == {}
    card = read_card(tmp_path / "out")
    assert card["splits"] == {split: len(prepared[split]) for split in prepared} == report.counts
    assert card["license"] == "apache-2.0" and card["label_columns"] == ["label"]


def test_bad_rows_are_listed_and_the_rest_goes_on(tmp_path):
    folder = tmp_path / "input"
    rows = make_rows(folder, 20)
    for number, data in enumerate(BAD_IMAGES.values()):
        (folder / f"bad{number}.jpg").write_bytes(data)
        rows.append(row_of(folder, f"bad{number}.jpg"))
    rows += [row_of(folder, "absent.jpg"), row_of(folder, "../x.jpg"), row_of(folder, "label.jpg", "a\x07b")]
    rows += [row_of(folder, "empty.jpg", " "), row_of(folder, "0.jpg"), Row(file="known", reject="no image")]
    report = write_dataset(rows, SOURCE, Options(tmp_path / "out"))
    reasons = rejected_of(tmp_path / "out")
    for number, reason in enumerate(BAD_IMAGES):
        assert reasons[f"bad{number}.jpg"].startswith(reason)
    assert reasons["absent.jpg"] == "no such file"
    assert reasons["../x.jpg"].startswith("outside the input folder")
    assert reasons["label.jpg"].startswith("label with a control character")
    assert reasons["empty.jpg"].startswith("empty label")
    assert reasons["0.jpg"].startswith("id used twice")
    assert reasons["known"] == "no image"
    assert sum(report.counts.values()) == 20 and sum(report.rejected.values()) == len(reasons) == 12


def test_nothing_usable_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match=r"not one usable image: no such file \(1\)"):
        write_dataset([row_of(tmp_path, "absent.jpg")], SOURCE, Options(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_fingerprint_ignores_order_and_processes_but_not_content(tmp_path):
    rows = make_rows(tmp_path / "input", 120)
    alone = write_dataset(list(rows), SOURCE, Options(tmp_path / "a")).fingerprint
    together = write_dataset(rows[::-1], SOURCE, Options(tmp_path / "b", num_proc=2)).fingerprint
    fewer = write_dataset(rows[1:], SOURCE, Options(tmp_path / "c")).fingerprint
    assert alone == together == dataset_fingerprint(tmp_path / "b") != fewer


def test_no_group_and_no_bytes_cross_the_splits(tmp_path):
    folder = tmp_path / "input"
    rows = make_rows(folder, 60)
    for number in range(0, 60, 2):
        (folder / f"copy{number}.png").write_bytes(encode(draw(number), "PNG"))
        rows.append(row_of(folder, f"copy{number}.png", f"class {number % 3}"))
    write_dataset(rows, SOURCE, Options(tmp_path / "out"))
    split_of = splits_of(tmp_path / "out")
    assert all(split_of[f"{number}.jpg"] == split_of[f"copy{number}.png"] for number in range(0, 60, 2))
    assert set(split_of.values()) == {"train", "validation", "test"}


def test_an_image_that_leaks_between_given_splits_is_left_out_unless_told_otherwise(tmp_path):
    folder = tmp_path / "input"
    rows = make_rows(folder, 12)
    for number, row in enumerate(rows):
        row.split = ("train", "validation", "test")[number % 3]
    (folder / "leak.jpg").write_bytes((folder / "2.jpg").read_bytes())
    rows.append(row_of(folder, "leak.jpg", split="train"))
    report = write_dataset(list(rows), SOURCE, Options(tmp_path / "out"))
    assert report.leaks == 1 and "leak.jpg" in rejected_of(tmp_path / "out")
    keeping = Source(name="Drawn", origin="tests", license="other", drop_leaks=False)
    report = write_dataset(list(rows), keeping, Options(tmp_path / "kept"))
    assert report.leaks == 1 and splits_of(tmp_path / "kept")["leak.jpg"] == "train"
    assert "leak" in (tmp_path / "kept" / "dataset_info.md").read_text()


def test_merging_duplicates_keeps_the_largest_image(tmp_path):
    folder = tmp_path / "input"
    rows = make_rows(folder, 12)
    (folder / "large.jpg").write_bytes(encode(draw(0, (240, 320))))
    rows.append(row_of(folder, "large.jpg"))
    merging = Source(name="Drawn", origin="tests", license="other", merge_duplicates=True)
    write_dataset(rows, merging, Options(tmp_path / "out"))
    assert rejected_of(tmp_path / "out") == {"0.jpg": "duplicate: large.jpg is kept"}


def test_a_source_can_add_columns(tmp_path):
    rows = make_rows(tmp_path / "input", 12)
    for row in rows:
        row.extra = {"out_of_stock": row.id == "3.jpg"}
    source = Source("Drawn", "tests", "other", features={"out_of_stock": datasets.Value("bool")})
    write_dataset(rows, source, Options(tmp_path / "out"))
    again = {row.id: row for row in read_rows(tmp_path / "out")}
    assert again["3.jpg"].extra == {"out_of_stock": True}
    assert again["3.jpg"].labels == {"label": "class 0"}
    assert again["3.jpg"].image.read() == (tmp_path / "input" / "3.jpg").read_bytes()


def test_an_existing_output_is_refused_unless_overwritten(tmp_path):
    rows = make_rows(tmp_path / "input", 12)
    write_dataset(list(rows), SOURCE, Options(tmp_path / "out"))
    with pytest.raises(UserError, match="--overwrite"):
        write_dataset(list(rows), SOURCE, Options(tmp_path / "out"))
    report = write_dataset(rows[:11], SOURCE, Options(tmp_path / "out", overwrite=True))
    assert dataset_fingerprint(tmp_path / "out") == report.fingerprint
    with pytest.raises(UserError, match="not a prepared dataset"):
        write_dataset(list(rows), SOURCE, Options(tmp_path / "input", overwrite=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input", "out"]


# --- corrections -----------------------------------------------------------------------------------------------------


def correct(tmp_path: Path, lines: list[str], **options) -> Report:
    """Prepare forty rows with a corrections file."""
    rows = make_rows(tmp_path / "input", 40)
    path = tmp_path / "corrections.csv"
    path.write_text("\n".join(["id,action,column,label,reason", *lines]))
    return write_dataset(rows, SOURCE, Options(tmp_path / "out", corrections=path, overwrite=True, **options))


def test_corrections_quarantine_and_relabel_but_spare_the_test_split(tmp_path):
    write_dataset(make_rows(tmp_path / "input", 40), SOURCE, Options(tmp_path / "out"))
    before = splits_of(tmp_path / "out")
    train = sorted(identity for identity, split in before.items() if split == "train")
    test = next(identity for identity, split in before.items() if split == "test")
    old = {row.id: row.labels["label"] for row in read_rows(tmp_path / "out")}
    new = next(name for name in ("class 0", "class 1") if name != old[train[1]])
    lines = [
        f"{train[0]},quarantine,,,blurred",
        f"{train[1]},relabel,,{new},wrong",
        f"{test},quarantine,,,x",
        "no,quarantine,,,",
    ]
    report = correct(tmp_path, lines)
    assert (report.corrections.applied, report.corrections.in_test, report.corrections.not_found) == (2, 1, ["no"])
    assert rejected_of(tmp_path / "out") == {train[0]: "quarantine: blurred"}
    after = {row.id: row.labels["label"] for row in read_rows(tmp_path / "out")}
    assert after[train[1]] == new
    assert splits_of(tmp_path / "out") == {
        identity: split for identity, split in before.items() if identity != train[0]
    }
    assert correct(tmp_path, lines, correct_test=True).corrections.applied == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0.jpg,delete,,,", "action 'delete' is unknown; allowed: quarantine, relabel"),
        ("0.jpg,relabel,colour,class 1,", "no label column 'colour'; allowed: label"),
        ("0.jpg,relabel,,,", "relabel needs a label"),
        ("0.jpg,relabel,,hat,", "'hat' is not a class of label; allowed: class 0, class 1, class 2"),
        (",quarantine,,,", "the id is empty"),
    ],
)
def test_a_senseless_correction_is_named(tmp_path, line, message):
    with pytest.raises(UserError, match=message):
        correct(tmp_path, [line], correct_test=True)
