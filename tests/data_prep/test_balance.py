"""Balancing changes the training split only, repeats or changes whole rows, and can be told apart afterwards."""

import io
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from data_prep import balance
from data_prep.pipeline import augmented_copies
from data_prep.pipeline.build import write_dataset
from data_prep.pipeline.card import dataset_fingerprint, read_card
from data_prep.pipeline.images import FileImage
from data_prep.pipeline.schema import Options, Row, Source
from tests.drawings import card_of, drawing, fill, rejected_of

TRAIN = {"shirts": 9, "shoes": 4, "hats": 1}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """9 shirts, 4 shoes and 1 hat to train on, two columns, a taxonomy, one rejected file; shirts 0 to 3 are copies."""
    folder = tmp_path_factory.mktemp("drawn")
    files, rows = {"empty.jpg": b""}, []
    splits = {"train": TRAIN, "validation": dict.fromkeys(TRAIN, 2), "test": dict.fromkeys(TRAIN, 2)}
    for split, counts in splits.items():
        for label, count in counts.items():
            for number in range(count):
                copied = split == "train" and label == "shirts" and number < 4
                seed = 0 if copied else 1 + len(files)
                name = f"{split} {label} {number}.{'png' if label == 'hats' else 'jpg'}"
                files[name] = drawing(seed, "PNG" if label == "hats" else "JPEG")
                labels = {"kind": label, "shop": "feet" if label == "shoes" else "body"}
                rows.append(Row(name, FileImage(str(folder / "files"), name), name, "", labels, split))
    rows.append(Row("empty.jpg", FileImage(str(folder / "files"), "empty.jpg"), "empty", "", labels, "train"))
    fill(folder / "files", files)
    source = Source("Drawn", "made by the tests", "cc0-1.0", ("kind", "shop"), "kind", ("shop", "kind"))
    write_dataset(rows, source, Options(output=folder / "drawn", command="python -m data_prep.drawn"))
    return folder / "drawn"


def run(dataset: Path, output: Path, *more: str) -> datasets.DatasetDict:
    """The balanced dataset, its images undecoded."""
    balance.main([str(dataset), "--output", str(output), "--num_proc", "1", *more])
    return opened(output)


def opened(folder: Path) -> datasets.DatasetDict:
    return datasets.load_from_disk(folder).cast_column("image", datasets.Image(decode=False))


def counts_of(part: datasets.Dataset, column: str = "kind") -> dict[str, int]:
    return dict(Counter(part.features[column].int2str(part[column][:])))


def original_of(part: datasets.Dataset) -> dict[str, dict]:
    """{id: row} without copies."""
    return {row["id"]: row for row in part if "+" not in row["id"]}


def refused(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as stop:
        balance.main([str(argument) for argument in arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err


# --- strategies ------------------------------------------------------------------------------------------------------

STRATEGIES = {
    "none": (),
    "cap": ("--cap", "3"),
    "oversample": (),
    "augment": ("--target", "6"),
}


@pytest.fixture(scope="module")
def balanced(drawn, tmp_path_factory) -> dict[str, Path]:
    """The output of each strategy."""
    folder = tmp_path_factory.mktemp("balanced")
    for strategy, limits in STRATEGIES.items():
        run(drawn, folder / strategy, "--strategy", strategy, *limits)
    return {strategy: folder / strategy for strategy in STRATEGIES}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("none", {"shirts": 9, "shoes": 4, "hats": 1}),
        ("cap", {"shirts": 3, "shoes": 3, "hats": 1}),
        ("oversample", {"shirts": 9, "shoes": 9, "hats": 9}),
        ("augment", {"shirts": 9, "shoes": 6, "hats": 6}),
    ],
)
def test_a_strategy_reaches_its_counts(balanced, strategy, expected):
    assert counts_of(opened(balanced[strategy])["train"]) == expected


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("split", ["validation", "test"])
def test_validation_and_test_are_the_same_bytes(drawn, balanced, strategy, split):
    before, after = opened(drawn)[split], opened(balanced[strategy])[split]
    for column in before.column_names:
        assert before.data[column].to_pylist() == after.data[column].to_pylist(), column


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_original_rows_keep_their_bytes_and_columns(drawn, balanced, strategy):
    before = original_of(opened(drawn)["train"])
    for identity, row in original_of(opened(balanced[strategy])["train"]).items():
        row.pop("augmented", None)
        assert row == before[identity]


@pytest.mark.parametrize("strategy", ["oversample", "augment"])
def test_a_copy_has_an_id_of_its_own_and_the_group_and_labels_of_its_original(balanced, strategy):
    train = opened(balanced[strategy])["train"]
    originals = original_of(train)
    assert len(set(train["id"])) == len(train)
    for row in train:
        original = originals[row["id"].rsplit("+", 1)[0]]
        assert [row[name] for name in ("group", "kind", "shop")] == [
            original[name] for name in ("group", "kind", "shop")
        ]


def test_every_image_of_a_class_is_repeated_before_one_is_repeated_twice(balanced):
    train = opened(balanced["oversample"])["train"]
    repeats = Counter(
        row["id"].rsplit("+", 1)[0] for row in train if train.features["kind"].int2str(row["kind"]) == "shoes"
    )
    assert sorted(repeats.values()) == [2, 2, 2, 3]


def test_oversampled_copies_are_the_same_bytes(balanced):
    train = opened(balanced["oversample"])["train"]
    originals = original_of(train)
    assert all(row["image"] == originals[row["id"].rsplit("+", 1)[0]]["image"] for row in train)


def test_augmented_copies_are_marked_and_differ_but_keep_size_and_format(balanced):
    prepared = opened(balanced["augment"])
    originals = original_of(prepared["train"])
    assert not any(row["augmented"] for row in originals.values())
    assert not any(prepared["validation"]["augmented"]) and not any(prepared["test"]["augmented"])
    copies = [row for row in prepared["train"] if "+" in row["id"]]
    assert len(copies) == 7 and all(row["augmented"] for row in copies)
    assert len({row["image"]["bytes"] for row in copies}) == 7
    for row in copies:
        original = originals[row["id"].rsplit("+", 1)[0]]["image"]["bytes"]
        before, after = (Image.open(io.BytesIO(data)) for data in (original, row["image"]["bytes"]))
        assert (before.size, before.format) == (after.size, after.format)
        assert np.abs(np.asarray(before, float) - np.asarray(after, float)).mean() > 3


def test_a_changed_copy_has_no_black_corners():
    stream = io.BytesIO()
    Image.new("RGB", (60, 80), (250, 240, 230)).save(stream, "PNG")
    for seed in range(5):
        changed = np.asarray(Image.open(io.BytesIO(augmented_copies.change(stream.getvalue(), str(seed)))))
        assert (changed == (250, 240, 230)).all()


def test_a_cap_drops_duplicates_before_different_images(drawn, tmp_path):
    train = run(drawn, tmp_path / "out", "--strategy", "cap", "--cap", "6")["train"]
    groups = [row["group"] for row in train if train.features["kind"].int2str(row["kind"]) == "shirts"]
    assert len(set(groups)) == 6  # of nine shirts four are copies of one


def test_cap_and_target_work_together(drawn, tmp_path):
    train = run(drawn, tmp_path / "out", "--strategy", "oversample", "--cap", "5", "--target", "5")["train"]
    assert counts_of(train) == {"shirts": 5, "shoes": 5, "hats": 5}


def test_another_column_can_be_balanced(drawn, tmp_path):
    train = run(drawn, tmp_path / "out", "--strategy", "oversample", "--label", "shop")["train"]
    assert counts_of(train, "shop") == {"body": 10, "feet": 10}


# --- what is written beside ------------------------------------------------------------------------------------------


def test_rejected_files_are_carried_over_and_capped_ones_added(balanced):
    assert rejected_of(balanced["none"]) == {"empty.jpg": "empty file (0 bytes)"}
    rejected = rejected_of(balanced["cap"])
    assert len(rejected) == 8 and rejected["empty.jpg"] == "empty file (0 bytes)"
    assert Counter(rejected.values())["cap: shirts keeps 3 images"] == 6


def test_the_card_keeps_origin_and_taxonomy_and_says_what_was_done(drawn, balanced):
    before, after = read_card(drawn), read_card(balanced["oversample"])
    for name in ("license", "source", "taxonomy", "label_columns"):
        assert after[name] == before[name]
    assert after["balanced_from"] == before["fingerprint"] != after["fingerprint"]
    assert after["splits"] == {"train": 27, "validation": 6, "test": 6}
    assert "--strategy oversample" in after["command"]
    assert "| hats | 1 | 9 |" in card_of(balanced["oversample"])


def test_strategy_none_keeps_the_fingerprint(drawn, balanced):
    assert dataset_fingerprint(balanced["none"]) == dataset_fingerprint(drawn)


@pytest.mark.parametrize("strategy", ["cap", "augment"])
def test_the_seed_decides(drawn, balanced, tmp_path, strategy):
    limits = STRATEGIES[strategy]
    run(drawn, tmp_path / "same", "--strategy", strategy, *limits)
    run(drawn, tmp_path / "other", "--strategy", strategy, *limits, "--seed", "7")
    fingerprints = [dataset_fingerprint(path) for path in (balanced[strategy], tmp_path / "same", tmp_path / "other")]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_a_balanced_dataset_can_be_balanced_again(balanced, tmp_path):
    train = run(balanced["augment"], tmp_path / "out", "--strategy", "augment", "--target", "8")["train"]
    assert counts_of(train) == {"shirts": 9, "shoes": 8, "hats": 8}
    assert len(set(train["id"])) == len(train)
    assert sum(train["augmented"]) == 4 + 7


def test_corrections_come_first(drawn, tmp_path, capsys):
    (tmp_path / "mine.csv").write_text("id,action\ntrain shoes 0.jpg,quarantine\ntest shoes 0.jpg,quarantine\n")
    prepared = run(
        drawn,
        tmp_path / "out",
        "--strategy",
        "oversample",
        "--target",
        "4",
        "--corrections",
        str(tmp_path / "mine.csv"),
    )
    assert counts_of(prepared["train"]) == {"shirts": 9, "shoes": 4, "hats": 4}
    assert "train shoes 0.jpg" not in prepared["train"]["id"] and "test shoes 0.jpg" in prepared["test"]["id"]
    assert "1 applied, 0 with an id that is not in the data, 1 left alone" in capsys.readouterr().out


# --- running ---------------------------------------------------------------------------------------------------------


def test_describe_prints_the_counts_and_writes_nothing(drawn, tmp_path, capsys):
    balance.main([str(drawn), "--strategy", "oversample", "--output", str(tmp_path / "out"), "--describe"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["shoes", "4", "9"] in lines and ["shirts", "9", "9"] in lines
    assert "train 14 -> 27 images" in " ".join(lines[0])
    assert list(tmp_path.iterdir()) == []


def test_two_processes_make_the_same_copies_as_one(drawn, balanced, tmp_path, monkeypatch):
    monkeypatch.setattr(augmented_copies, "FEW_COPIES", 1)
    run(drawn, tmp_path / "out", "--strategy", "augment", *STRATEGIES["augment"], "--num_proc", "2")
    assert dataset_fingerprint(tmp_path / "out") == dataset_fingerprint(balanced["augment"])


def test_a_run_that_was_stopped_goes_on_where_it_was(drawn, balanced, tmp_path, monkeypatch):
    output = tmp_path / "out"

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(balance, "write_images", full)
        with pytest.raises(SystemExit):
            run(drawn, output, "--strategy", "augment", *STRATEGIES["augment"])
    assert not output.exists()
    monkeypatch.setattr(augmented_copies, "change", lambda *_: pytest.fail("made a copy again"))
    run(drawn, output, "--strategy", "augment", *STRATEGIES["augment"])
    assert dataset_fingerprint(output) == dataset_fingerprint(balanced["augment"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_dataset_that_cannot_fit_the_disk_is_refused_at_once(drawn, tmp_path, capsys):
    message = refused(capsys, drawn, "--strategy", "oversample", "--target", 10**12, "--output", tmp_path / "out")
    assert "lower --target or add --cap" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--strategy", "cap"), "--strategy cap needs --cap N"),
        (("--strategy", "cap", "--cap", "0"), "--cap 0 must be at least 1"),
        (("--strategy", "cap", "--cap", "5", "--target", "5"), "--target is for oversample and augment"),
        (("--strategy", "none", "--cap", "5"), "use --strategy cap"),
        (("--strategy", "augment", "--cap", "5", "--target", "6"), "--target 6 is more than --cap 5"),
        (("--strategy", "none", "--label", "colour"), "no label column 'colour'; it has kind, shop"),
        (("--strategy", "smote"), "invalid choice: 'smote'"),
    ],
)
def test_limits_that_make_no_sense_are_refused(drawn, tmp_path, capsys, arguments, message):
    assert message in refused(capsys, drawn, "--output", tmp_path / "out", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_output_and_a_folder_that_is_no_dataset_are_refused(drawn, balanced, tmp_path, capsys):
    assert "add --overwrite" in refused(capsys, drawn, "--strategy", "none", "--output", balanced["none"])
    assert "not a prepared dataset" in refused(capsys, tmp_path, "--strategy", "none", "--output", tmp_path / "out")
