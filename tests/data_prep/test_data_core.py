"""The code path that every data source shares: checking, duplicates, splits, corrections, writing, restarting."""

import csv
import io
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from data_prep.pipeline import build, command, facts, images, schema
from data_prep.pipeline.build import write_dataset
from data_prep.pipeline.card import dataset_fingerprint, read_card
from data_prep.pipeline.duplicates import ImageSignature, group_images
from data_prep.pipeline.images import DatasetImage, FileImage, check_image
from data_prep.pipeline.schema import Options, Row, Source
from data_prep.pipeline.splits import keep_given_splits, split_groups
from data_prep.pipeline.storage import read_rows

SOURCE = Source(name="Drawn", origin="made by the tests", license="apache-2.0")


def draw(seed: int, size: tuple[int, int] = (60, 80), mode: str = "RGB") -> Image.Image:
    """A soft pattern of its own for each seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encode(image: Image.Image, image_format: str = "JPEG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def make_rows(folder: Path, count: int, classes: int = 3) -> list[Row]:
    """`count` different images in `folder`, dealt out to the classes in turn."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(encode(draw(number)))
        rows.append(row_of(folder, f"{number}.jpg", f"class {number % classes}"))
    return rows


def row_of(folder: Path, name: str, label: str = "class 0", **fields) -> Row:
    return Row(file=name, image=FileImage(str(folder), name), id=name, labels={"label": label}, **fields)


def rejected_of(output: Path) -> dict[str, str]:
    with open(output / "rejected.csv", newline="", encoding="utf-8") as stream:
        return {row["file"]: row["reason"] for row in csv.DictReader(stream)}


def splits_of(output: Path) -> dict[str, str]:
    """{id: split} of a prepared dataset."""
    prepared = datasets.load_from_disk(output)
    return {identity: split for split in prepared for identity in prepared[split]["id"]}


# --- images ----------------------------------------------------------------------------------------------------------


def bomb() -> bytes:
    """13,000 x 13,000 pixels in a few kilobytes."""
    return encode(Image.new("1", (13000, 13000)), "PNG")


BAD_IMAGES = {
    "zero bytes": b"",
    "not a supported image": b"a text, whatever its name says",
    "truncated": encode(draw(1))[:-200],
    "too small": encode(Image.new("RGB", (1, 1)), "PNG"),
    "too many pixels": bomb(),
    "HEIC image": b"\x00\x00\x00\x18ftypheic" + bytes(100),
}


@pytest.mark.parametrize("reason", BAD_IMAGES)
def test_a_bad_image_gets_its_reason(reason):
    assert check_image(BAD_IMAGES[reason]).reason.startswith(reason)


def test_an_image_without_pixels_is_refused():
    header = bytearray(encode(draw(1), "BMP"))
    header[18:26] = bytes(8)  # width and height
    assert "zero pixels" in check_image(bytes(header)).reason


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_no_damage_makes_the_check_raise(image_format, cut):
    data = encode(draw(1), image_format)
    assert not check_image(data).reason
    damaged = bytearray(data[: int(len(data) * cut)])
    damaged[20:30] = os.urandom(10)
    assert isinstance(check_image(bytes(damaged)).reason, str)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_mode_can_be_described(mode):
    image = draw(1, mode="I").convert("I;16") if mode == "I;16" else draw(1, mode=mode)
    found = check_image(encode(image, "TIFF" if mode == "CMYK" else "PNG"))
    assert (found.reason, found.mode, found.width, found.height) == ("", mode, 60, 80)


def test_transparency_is_seen_as_white():
    clear = Image.new("RGBA", (60, 80), (0, 0, 0, 0))
    assert set(check_image(encode(clear, "PNG")).thumbnail) == {255}


def test_a_flat_image_is_blank_and_a_drawn_one_is_not():
    assert check_image(encode(Image.new("RGB", (60, 80), "red"), "PNG")).is_blank
    assert not check_image(encode(draw(1), "PNG")).is_blank


@pytest.mark.parametrize("name", ["../outside.jpg", "/etc/hostname", "http://127.0.0.1/a.jpg", "link.jpg"])
def test_nothing_outside_the_input_is_read(tmp_path, name):
    folder = tmp_path / "input"
    folder.mkdir()
    (tmp_path / "outside.jpg").write_bytes(encode(draw(1)))
    (folder / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    with pytest.raises(ValueError, match="refused"):
        FileImage(str(folder), name).read()


def test_a_row_that_names_a_url_is_refused(tmp_path):
    write_dataset(make_rows(tmp_path / "input", 12), SOURCE, Options(tmp_path / "data"))
    [path] = (tmp_path / "data" / "train").glob("*.arrow")
    table = pa.ipc.open_stream(path.read_bytes()).read_all()
    image = pa.array(
        [{"bytes": None, "path": "http://127.0.0.1:9/a.jpg"}] * len(table), table.schema.field("image").type
    )
    table = table.set_column(0, table.schema.field("image"), image)
    with pa.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table)
    with pytest.raises(ValueError, match="refused"):
        DatasetImage(str(tmp_path / "data"), "train", 0).read()


# --- duplicates ------------------------------------------------------------------------------------------------------


def groups_of(images: list[bytes], titles: list[str] | None = None) -> list[int]:
    found = [check_image(image) for image in images]
    keys = [titles] if titles else []
    return group_images([fact.sha256 for fact in found], ImageSignature.of(found, len(found)), keys).tolist()


@pytest.mark.parametrize(
    "copy",
    [
        encode(draw(7, (240, 320)), quality=50),
        encode(draw(7, (240, 320)), "PNG"),
        encode(draw(7, (240, 320)), "WEBP", quality=60),
        encode(draw(7, (240, 320)).resize((120, 160))),
        encode(draw(7, (240, 320)).resize((480, 640))),
        encode(draw(7, (240, 320)).point(lambda value: int(value * 0.9))),
    ],
    ids=["recompressed", "png", "webp", "half", "double", "darker"],
)
def test_a_copy_of_a_photo_joins_its_group(copy):
    original, other = encode(draw(7, (240, 320))), encode(draw(8, (240, 320)))
    first, second, third = groups_of([original, copy, other])
    assert first == second != third


def test_different_images_stay_apart():
    assert len(set(groups_of([encode(draw(seed)) for seed in range(60)]))) == 60


def test_flat_images_of_two_colors_stay_apart():
    flat = [encode(Image.new("RGB", (60, 80), color), "PNG") for color in ("red", "red", "blue")]
    first, second, third = groups_of(flat)
    assert first == second != third


def test_titles_and_looks_join_transitively():
    images = [encode(draw(1), quality=95), encode(draw(1), quality=90), encode(draw(2)), encode(draw(3))]
    first, second, third, fourth = groups_of(images, ["", "shirt", "shirt", ""])
    assert first == second == third != fourth


# --- splits ----------------------------------------------------------------------------------------------------------


def test_every_class_with_three_groups_reaches_all_splits():
    groups = [
        f"{label}{number}" for label, size in zip("abcde", (1, 2, 3, 4, 400), strict=True) for number in range(size)
    ]
    assigned = split_groups(groups, [group[0] for group in groups], seed=1)
    reached = defaultdict(Counter)
    for group, split in assigned.items():
        reached[group[0]][split] += 1
    assert set(reached["a"]) == {"train"}
    assert set(reached["b"]) == {"train", "test"}
    assert all(set(reached[label]) == {"train", "validation", "test"} for label in "cde")
    assert reached["e"] == {"train": 320, "validation": 40, "test": 40}


def test_a_huge_group_does_not_flood_the_test_split():
    groups = ["huge"] * 300 + [f"single {number}" for number in range(700)]
    for seed in range(20):
        assigned = split_groups(groups, ["x"] * 1000, seed)
        counts = Counter(assigned[group] for group in groups)
        assert 60 <= counts["test"] <= 140 and 60 <= counts["validation"] <= 140


def test_splits_depend_on_the_seed_and_not_on_the_order():
    groups = [f"g{number}" for number in range(200)]
    classes = [str(number % 7) for number in range(200)]
    straight = split_groups(groups, classes, seed=1)
    assert straight == split_groups(groups[::-1], classes[::-1], seed=1)
    assert straight != split_groups(groups, classes, seed=2)


def test_given_splits_are_kept_and_leaks_are_found():
    groups = ["a", "b", "b", "c", "c"]
    result, leaks = keep_given_splits(groups, ["x"] * 5, ["train", "train", "test", "validation", "test"], seed=1)
    assert result == ["train", "train", "test", "validation", "test"]
    assert leaks == [False, True, False, True, False]


def test_a_missing_split_is_cut_from_the_training_groups():
    groups = [f"g{number // 2}" for number in range(200)]
    given = ["train"] * 160 + ["validation"] * 40
    result, leaks = keep_given_splits(groups, ["x"] * 200, given, seed=1)
    assert Counter(result)["test"] == 16 and not any(leaks)
    assert result[160:] == ["validation"] * 40


# --- writing ---------------------------------------------------------------------------------------------------------


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
    rows += [row_of(folder, "absent.jpg"), row_of(folder, "../x.jpg"), row_of(folder, "label.jpg", "a/b")]
    rows += [row_of(folder, "empty.jpg", " "), row_of(folder, "0.jpg"), Row(file="known", reject="no image")]
    report = write_dataset(rows, SOURCE, Options(tmp_path / "out"))
    reasons = rejected_of(tmp_path / "out")
    for number, reason in enumerate(BAD_IMAGES):
        assert reasons[f"bad{number}.jpg"].startswith(reason)
    assert reasons["absent.jpg"] == "missing file"
    assert reasons["../x.jpg"].startswith("outside the input folder")
    assert reasons["label.jpg"].startswith("label with a path separator")
    assert reasons["empty.jpg"].startswith("empty label")
    assert reasons["0.jpg"].startswith("id used twice")
    assert reasons["known"] == "no image"
    assert sum(report.counts.values()) == 20 and sum(report.rejected.values()) == len(reasons) == 12


def test_nothing_usable_is_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match=r"not one usable image: missing file \(1\)"):
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
    with pytest.raises(ValueError, match="--overwrite"):
        write_dataset(list(rows), SOURCE, Options(tmp_path / "out"))
    report = write_dataset(rows[:11], SOURCE, Options(tmp_path / "out", overwrite=True))
    assert dataset_fingerprint(tmp_path / "out") == report.fingerprint
    with pytest.raises(ValueError, match="not a prepared dataset"):
        write_dataset(list(rows), SOURCE, Options(tmp_path / "input", overwrite=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input", "out"]


# --- corrections -----------------------------------------------------------------------------------------------------


def correct(tmp_path: Path, lines: list[str], **options) -> schema.Report:
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
        ("0.jpg,relabel,,hat,", "'hat' is no class of label; allowed: class 0, class 1, class 2"),
        (",quarantine,,,", "the id is empty"),
    ],
)
def test_a_senseless_correction_is_named(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        correct(tmp_path, [line], correct_test=True)


# --- interruptions ---------------------------------------------------------------------------------------------------


def test_an_interrupted_run_leaves_no_output_and_does_not_check_again(tmp_path, monkeypatch):
    rows = make_rows(tmp_path / "input", 30)
    (tmp_path / "input" / "bad.jpg").write_bytes(b"x")
    rows.append(row_of(tmp_path / "input", "bad.jpg"))
    with monkeypatch.context() as patch:
        patch.setattr(build, "write_staging", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_dataset(list(rows), SOURCE, Options(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    (tmp_path / "input" / "5.jpg").write_bytes(encode(draw(5005)))
    checked = []
    monkeypatch.setattr(facts, "check_image", lambda data: checked.append(data) or images.check_image(data))
    write_dataset(list(rows), SOURCE, Options(tmp_path / "out"))
    assert checked == [(tmp_path / "input" / "5.jpg").read_bytes()]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input", "out"]


def test_two_runs_for_one_output_do_not_mix(tmp_path):
    rows = make_rows(tmp_path / "input", 6)
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    other = facts.FactsCache(partial / "facts.sqlite")
    with pytest.raises(ValueError, match="in use by another run"):
        write_dataset(rows, SOURCE, Options(tmp_path / "out"))
    other.close()


def test_a_damaged_cache_is_thrown_away(tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "facts.sqlite").write_bytes(b"no database at all" * 100)
    write_dataset(make_rows(tmp_path / "input", 12), SOURCE, Options(tmp_path / "out"))
    assert (tmp_path / "out" / "dataset_dict.json").is_file()


def test_a_full_disk_is_one_clear_message(tmp_path, monkeypatch, capsys):
    import argparse

    def fill(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "write_staging", fill)
    parser = argparse.ArgumentParser(prog="prepare")
    with pytest.raises(SystemExit) as stop, command.clear_errors(parser):
        write_dataset(make_rows(tmp_path / "input", 6), SOURCE, Options(tmp_path / "out"))
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith("prepare: error: the disk is full")
    assert not (tmp_path / "out").exists()


def test_a_changed_image_stops_the_run_instead_of_entering_unchecked(tmp_path, monkeypatch):
    rows = make_rows(tmp_path / "input", 6)
    finish = build.find_groups

    def find_and_change(*arguments):
        prepared = finish(*arguments)
        (tmp_path / "input" / "0.jpg").write_bytes(b"something else")
        return prepared

    monkeypatch.setattr(build, "find_groups", find_and_change)
    with pytest.raises(ValueError, match="0.jpg changed while"):
        write_dataset(rows, SOURCE, Options(tmp_path / "out"))


SLOW_SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from data_prep.pipeline.schema import Options, Row, Source
from data_prep.pipeline.build import write_dataset
from data_prep.pipeline.images import FileImage

class Slow(FileImage):
    def read(self):
        time.sleep(0.1)
        return super().read()

if __name__ == "__main__":
    folder = Path({folder!r})
    names = [path.name for path in folder.iterdir()]
    rows = [Row(name, Slow(str(folder), name), name, labels={{"label": "a"}}) for name in names]
    write_dataset(rows, Source("Slow", "tests", "other"), Options(Path({output!r}), num_proc=2))
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_killed_run_leaves_no_workers_and_no_output(tmp_path):
    make_rows(tmp_path / "input", 400)
    script = tmp_path / "slow.py"
    root = str(Path(build.__file__).parents[2])
    script.write_text(SLOW_SCRIPT.format(root=root, folder=str(tmp_path / "input"), output=str(tmp_path / "out")))
    process = subprocess.Popen([sys.executable, script])
    workers = wait_until(lambda: children_of(process.pid), 60)
    assert workers
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_until(lambda: not [pid for pid in workers if is_running(pid)], 60)
    assert not (tmp_path / "out").exists()


def children_of(parent: int) -> list[int]:
    """Worker processes, once both have started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) == parent:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found if len(found) >= 3 else []  # two workers and multiprocessing's resource tracker


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition, seconds: float):
    """The first true value of `condition`, or its last one."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return value
