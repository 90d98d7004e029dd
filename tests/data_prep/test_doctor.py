"""The doctor finds what is wrong with a prepared dataset, proposes corrections and changes nothing."""

import subprocess
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from data_prep import balance, doctor, kaggle_fashion
from data_prep.checks import checkup
from data_prep.checks.contact_sheet import WIDTH
from tests.doctor_reports import content_of, draw_image, encode, examine, in_order, prepare, summary_of
from tests.drawings import drawing, fill


@pytest.fixture(scope="module")
def quirky(tmp_path_factory) -> Path:
    """A dataset with one of everything that the doctor looks for."""
    files = {f"shirt {seed}.jpg": (drawing(seed), "shirts", "train") for seed in range(12)}
    files |= {f"shoe {seed}.jpg": (drawing(seed), "shoes", "train") for seed in range(20, 24)}
    files |= {f"hat {seed}.jpg": (drawing(seed), "hats", "test") for seed in range(30, 33)}
    files |= {f"shirt {seed}.jpg": (drawing(seed), "shirts", "validation") for seed in range(40, 43)}
    files |= {
        "blank.png": (encode(Image.new("RGB", (60, 80), "white")), "shirts", "train"),
        "tiny.png": (encode(draw_image(50, size=(20, 24))), "shirts", "train"),
        "long.png": (encode(draw_image(51, size=(400, 60))), "shirts", "train"),
        "misnamed.jpg": (encode(draw_image(52)), "shirts", "train"),
        "print.jpg": (encode(draw_image(53, "CMYK"), "JPEG"), "shirts", "train"),
        "grey.png": (encode(draw_image(54, "L")), "shirts", "train"),
        "grey in colour.png": (encode(draw_image(55, "L").convert("RGB")), "shirts", "train"),
        "conflict.jpg": (drawing(3), "shoes", "train"),
        "leak.jpg": (drawing(30), "hats", "train"),
        "recompressed.jpg": (encode(draw_image(41), "JPEG", quality=95), "shirts", "train"),
        "broken.jpg": (b"no image", "shirts", "train"),
    }
    titles = {"shirt 5.jpg": "A blue shirt", "shirt 42.jpg": "a  Blue shirt"}
    return prepare(tmp_path_factory.mktemp("quirky"), files, titles)


@pytest.fixture(scope="module")
def checked(quirky) -> tuple[str, dict[str, dict], dict[str, dict]]:
    return examine(quirky)


# --- what it finds ----------------------------------------------------------------------------------------------------


def test_the_summary_counts_every_quirk(checked):
    found = summary_of(checked[0])
    assert found["Left out when prepared"] == "1 row"
    assert found["Grayscale images"] == "3 images"  # the blank one has no colour either
    assert found["Suspicious files"] == "5 images"
    assert found["Copies with different labels in label"] == "1 group"
    assert found["Leaks between splits"] == "3 images"
    assert in_order(checked[0]) == "In order: unreadable images (0 images)."


@pytest.mark.parametrize(
    "line",
    [
        "| nearly uniform | 1 |",
        "| a side under 32 pixels | 1 |",
        "| one side over 3 times the other | 1 |",
        "| extension does not fit the content | 1 |",
        "| modes other than RGB and L | 1 | CMYK 1 |",
        "| equal bytes | 2 | 4 | 2 |",
        "| near-equal images | 3 | 6 | 2 |",
        "| equal titles | 1 | 2 | 2 |",
        "| label | 3 | shirts 20 | hats 1 | 20 : 1 | 2 |",
        "Without an image in test: shirts, shoes.",
        "2 are stored in colour",
    ],
)
def test_the_page_states_the_evidence(checked, line):
    assert line in checked[0]


def test_leaks_are_counted_by_kind_and_by_the_splits_they_cross(checked):
    lines = {line.split(" | ")[0]: line for line in checked[0].split("## Leaks")[1].splitlines()}
    assert lines["| equal bytes"] == "| equal bytes | 1 (33.3%) | 0 | 0 |"
    assert lines["| near-equal images"] == "| near-equal images | 1 (33.3%) | 1 (33.3%) | 0 |"
    assert lines["| equal titles"] == "| equal titles | 0 | 1 (33.3%) | 0 |"


def test_it_proposes_to_leave_out_leaks_from_train_empty_images_and_equal_files_that_disagree(checked):
    _, quarantined, relabeled = checked
    assert set(quarantined) == {"blank.png", "leak.jpg", "recompressed.jpg", "conflict.jpg", "shirt 3.jpg"}
    assert quarantined["leak.jpg"]["reason"] == "leak by equal bytes: hat 30.jpg is in test"
    assert relabeled == {}


def test_a_label_that_three_of_four_copies_share_is_proposed_for_the_fourth(tmp_path):
    files = {f"{name}.jpg": (drawing(1), "shirts", "train") for name in "abc"}
    files |= {"d.jpg": (drawing(1), "shoes", "train"), "e.jpg": (drawing(2), "shoes", "train")}
    report, quarantined, relabeled = examine(prepare(tmp_path, files))
    assert quarantined == {}
    assert [(line["id"], line["label"]) for line in relabeled.values()] == [("d.jpg", "shirts")]


def test_every_sheet_of_the_page_is_an_image_in_the_folder(checked, quirky):
    sheets = [line.split("](")[1].rstrip(")") for line in checked[0].splitlines() if line.startswith("![")]
    assert {"classes.png", "suspicious.png", "leaks.png", "near_duplicates.png"} <= set(sheets)
    for name in sheets:
        assert Image.open(quirky.with_name("report") / name).width == WIDTH


def test_a_clean_dataset_gets_a_clean_bill(tmp_path):
    splits = ("train", "validation", "test")
    files = {f"{seed}.jpg": (drawing(seed), "ab"[seed % 2], splits[seed // 2 % 3]) for seed in range(18)}
    report, quarantined, relabeled = examine(prepare(tmp_path, files))
    assert "The splits are clean" in report and "Nothing is proposed" in report
    for finding in ("unreadable images", "suspicious files", "copies with different labels", "leaks between splits"):
        assert finding in in_order(report)
    assert quarantined == relabeled == {}


def test_rows_that_hold_no_image_are_reported_and_never_opened(tmp_path):
    files = {f"{seed}": (drawing(seed), "a", "train") for seed in range(4)}
    files |= {"v": (drawing(8), "a", "validation"), "t": (drawing(9), "a", "test")}
    dataset = prepare(tmp_path, files)
    secret = fill(tmp_path, {"secret.jpg": 5}) / "secret.jpg"
    images = [
        {"bytes": drawing(0), "path": "good.jpg"},
        {"bytes": drawing(1)[:300], "path": "cut.jpg"},
        {"bytes": None, "path": str(secret)},
        {"bytes": None, "path": "http://127.0.0.1:9/x.jpg"},
    ]
    [stored] = (dataset / "train").glob("*.arrow")
    content = pa.ipc.open_stream(stored.read_bytes()).read_all()
    field = content.schema.field("image")
    content = content.set_column(content.column_names.index("image"), field, pa.array(images, field.type))
    with pa.ipc.new_stream(stored, content.schema) as stream:
        stream.write_table(content)
    (dataset / "rejected.csv").unlink()
    report, quarantined, _ = examine(dataset)
    assert summary_of(report)["Unreadable images"] == "3 images"
    assert {key: "refused" in line["reason"] for key, line in quarantined.items()} == {"1": False, "2": True, "3": True}
    assert "The dataset has no rejected.csv" in report


# --- what it leaves alone ---------------------------------------------------------------------------------------------


def test_the_dataset_is_left_as_it_was(quirky):
    before = content_of(quirky)
    examine(quirky)
    assert content_of(quirky) == before


def test_two_runs_write_the_same_report(quirky):
    examine(quirky)
    first = content_of(quirky.with_name("report"))
    examine(quirky)
    assert content_of(quirky.with_name("report")) == first


def test_the_proposals_can_be_applied_and_leave_the_test_split_alone(quirky, checked, tmp_path, capsys):
    with open(tmp_path / "mine.csv", "w", encoding="utf-8") as stream:
        stream.write((quirky.with_name("report") / "quarantine.csv").read_text() + "hat 31.jpg,quarantine,,,mine\n")
    balance.main(
        [str(quirky), "--strategy", "none", "--output", str(tmp_path / "mended")]
        + ["--corrections", str(tmp_path / "mine.csv")]
    )
    assert "5 applied, 0 with an id that is not in the data, 1 left alone" in capsys.readouterr().out
    found = summary_of(examine(tmp_path / "mended")[0])
    assert "Copies with different labels in label" not in found
    assert found["Leaks between splits"] == "1 image"  # the equal title, which nobody proposed to remove


def test_the_page_says_how_to_apply_both_files_beside_earlier_corrections(tmp_path):
    for name, line in (("old.csv", "1,quarantine"), ("quarantine.csv", "2,quarantine"), ("relabel.csv", "3,relabel")):
        (tmp_path / name).write_text(f"id,action\n{line}\n")
    join, again = doctor.commands_to_apply(
        f"python -m data_prep.image_folder --input 'my photos' --corrections {tmp_path / 'old.csv'} --overwrite",
        [tmp_path / "quarantine.csv", tmp_path / "relabel.csv"],
        tmp_path / "corrections.csv",
    )
    subprocess.run(["bash", "-c", join], check=True)
    assert (tmp_path / "corrections.csv").read_text() == "id,action\n1,quarantine\n2,quarantine\n3,relabel\n"
    options = f"--overwrite --corrections {tmp_path / 'corrections.csv'}"
    assert again == f"python -m data_prep.image_folder --input 'my photos' {options}"


def test_a_run_that_was_stopped_leaves_no_report_and_the_next_one_finishes(quirky, tmp_path, monkeypatch):
    output = tmp_path / "report"

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(doctor, "write_proposals", full)
        with pytest.raises(SystemExit):
            doctor.main([str(quirky), "--output", str(output), "--num_proc", "1"])
    assert not output.exists()
    monkeypatch.setattr("data_prep.pipeline.facts.check_image", lambda data: pytest.fail("checked again"))
    doctor.main([str(quirky), "--output", str(output), "--num_proc", "1"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report"]


# --- the command line -------------------------------------------------------------------------------------------------


def refused(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as stop:
        doctor.main([str(argument) for argument in arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_mistakes_are_told_before_any_image_is_read(quirky, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(checkup, "check_all", lambda *_: pytest.fail("read images"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine")
    (tmp_path / "text.parquet").write_text("no parquet")
    assert "is not a prepared dataset" in refused(capsys, tmp_path / "nothing")
    assert "no label column 'colour'; it has label" in refused(capsys, quirky, "--label", "colour")
    assert "is not a report of the doctor" in refused(capsys, quirky, "--output", tmp_path / "thesis", "--overwrite")
    assert "is inside the dataset" in refused(capsys, quirky, "--output", quirky / "report")
    assert "must be at least 1" in refused(capsys, quirky, "--num_proc", 0)
    assert "as Parquet" in refused(capsys, quirky, "--oof", tmp_path / "text.parquet", "--output", tmp_path / "new")
    assert "no model folder" in refused(capsys, quirky, "--model", tmp_path / "none", "--output", tmp_path / "new")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "mine"


def test_an_existing_report_is_replaced_only_when_asked(quirky, checked, capsys):
    report = quirky.with_name("report")
    assert "add --overwrite" in refused(capsys, quirky, "--output", report)
    (report / "quarantine.csv").write_text("edited by hand")
    examine(quirky)
    assert "edited" not in (report / "quarantine.csv").read_text()


# --- the real data ----------------------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_the_known_quirks_of_the_kaggle_data_are_found(shared, tmp_path):
    wanted = {"44998", "1165", "5062", "13378", "56520", "56522", "11288", *map(str, range(1526, 1600))}
    with zipfile.ZipFile(shared / "data" / "kaggle" / "fashion-product-images-small.zip") as archive:
        header, *lines = archive.read("styles.csv").decode().splitlines()
        lines = [line for line in lines if line.split(",")[0] in wanted]
        members = [name for name in archive.namelist() if Path(name).stem in wanted]
        with zipfile.ZipFile(tmp_path / "sample.zip", "w") as sample:
            sample.writestr("styles.csv", "\n".join([header, *lines]))
            for name in members:
                sample.writestr(name, archive.read(name))
    prepared = ["--archive", str(tmp_path / "sample.zip"), "--output", str(tmp_path / "kaggle"), "--num_proc", "1"]
    kaggle_fashion.main(prepared)
    report, quarantined, _ = examine(tmp_path / "kaggle")
    assert "| no image in the archive | 1 | images/11288.jpg |" in report
    assert quarantined["44998"]["reason"].startswith("empty image")
    assert {"1165", "5062"} <= set(quarantined)  # a jersey and a watch with one and the same image
    assert "Their baseColour: Black 1, Pink 1." in report  # a grey image, and shoes that are said to be pink
    assert "hold products with different titles" in report
