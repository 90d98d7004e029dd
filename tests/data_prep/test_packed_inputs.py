"""data_prep takes archives where it takes folders, and tables that hold their images, with the limits of predict.py."""

import base64
import csv
import json
import re
import struct
import tarfile
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app import zip_archive
from data_prep import image_folder
from data_prep.image_folder import Input
from data_prep.pipeline.schema import Options
from tests.drawings import card_of, drawing, fill, rejected_of, rows_of
from tests.inference.containers import pack, write_tar, write_zip

NAMES = [f"{label}/{number}.jpg" for label in ("bag", "hat") for number in range(10)]
FILES = {name: drawing(seed) for seed, name in enumerate(NAMES)}


def prepare(given: Path, output: Path, **choices: object) -> Path:
    image_folder.prepare(Input(given, **choices), Options(output))
    return output


def fingerprint(output: Path) -> str:
    return re.search("fingerprint: (.*)", card_of(output))[1]


@pytest.fixture(scope="module")
def of_folder(tmp_path_factory) -> str:
    """The fingerprint of the images in a plain folder."""
    folder = tmp_path_factory.mktemp("folder")
    return fingerprint(prepare(fill(folder / "in", FILES), folder / "out"))


def refusal(capsys, *options: object) -> str:
    with pytest.raises(SystemExit) as stop:
        image_folder.main([*map(str, options), "--num_proc", "1"])
    message = capsys.readouterr().err
    assert stop.value.code == 2 and message.count("\n") == 1
    return message


# --- archives --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "without_ending"])
def test_an_archive_gives_what_its_folder_gives(tmp_path, of_folder, name):
    path = pack(tmp_path / name, FILES)
    assert fingerprint(prepare(path, tmp_path / "out")) == of_folder
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_what_a_program_packs_around_the_classes_is_passed_over(tmp_path, of_folder, name):
    wrapped = {f"my shop/{file}": data for file, data in FILES.items()}
    more = {
        "__MACOSX/my shop/bag/._0.jpg": b"x",
        "my shop/bag/@eaDir/0.jpg/thumb.jpg": b"x",
        "my shop/README.txt": b"x",
    }
    output = prepare(pack(tmp_path / name, wrapped | more), tmp_path / "out")
    assert fingerprint(output) == of_folder
    assert rejected_of(output) == {"README.txt": "not in a class folder"}
    assert "lies in my shop, which was passed over" in card_of(output)


def test_names_with_a_dot_in_front_are_no_class_of_their_own(tmp_path, of_folder):
    path = write_tar(tmp_path / "a.tar", {f"./{file}": data for file, data in FILES.items()}, "w")
    assert fingerprint(prepare(path, tmp_path / "out")) == of_folder


def test_given_splits_in_an_archive_are_kept(tmp_path):
    files = {f"{'val' if file.endswith('0.jpg') else 'train'}/{file}": data for file, data in FILES.items()}
    rows = rows_of(prepare(write_zip(tmp_path / "a.zip", files), tmp_path / "out"))
    assert rows["val/bag/0.jpg"] == ("validation", "bag") and "train/hat/1.jpg" in rows


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_the_metadata_table_of_the_hub_is_read_in_an_archive_too(tmp_path, name):
    listed = "".join(f"images/{number}.jpg,{file[:3]}\n" for number, file in enumerate(NAMES))
    files = {f"x/images/{number}.jpg": data for number, data in enumerate(FILES.values())}
    path = pack(tmp_path / name, {**files, "x/metadata.csv": f"file_name,label\n{listed}".encode(), "x/a.txt": b"text"})
    output = prepare(path, tmp_path / "out")
    assert rows_of(output)["images/12.jpg"][1] == "hat" and rejected_of(output) == {
        "a.txt": "not named in a metadata table"
    }


@pytest.mark.parametrize("column", ["id", "path"])
def test_a_table_beside_or_in_an_archive_names_its_images(tmp_path, column):
    lines = "".join(f"{number},photos/{number}.jpg,{file[:3]}\n" for number, file in enumerate(NAMES))
    table = f"id,path,category\n{lines}99,photos/99.jpg,bag\n".encode()
    files = {f"shop/photos/{number}.jpg": data for number, data in enumerate(FILES.values())}
    (tmp_path / "beside.csv").write_bytes(table)
    path = write_zip(tmp_path / "a.zip", {**files, "shop/catalogue.csv": table})
    for given in (tmp_path / "beside.csv", Path("catalogue.csv")):
        columns = image_folder.Columns(image=column)
        output = prepare(path, tmp_path / f"{given.name}.out", table=given, columns=columns)
        assert len(rows_of(output)) == 20 and rows_of(output)["photos/12.jpg"][1] == "hat"
        assert list(rejected_of(output).values()) == ["no such file in the archive"]


def test_a_mistake_with_a_table_in_an_archive_names_the_table(tmp_path, capsys):
    path = write_zip(tmp_path / "a.zip", {**FILES, "t.csv": b"a,b\n1,2\n"})
    message = refusal(capsys, "--input", path, "--csv", "t.csv", "--image_column", "x", "--output", tmp_path / "out")
    assert "error: t.csv lacks the columns x; it has a, b" in message


def test_links_bombs_and_locked_members_cost_a_row_each(tmp_path):
    path = write_zip(tmp_path / "a.zip", {**FILES, "hat/bomb.jpg": b"\xff\xd8\xff" + bytes(30_000_000)})
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.find(mark) + at] |= 1
    path.write_bytes(data)
    reasons = rejected_of(prepare(path, tmp_path / "out"))
    assert "images never shrink like that" in reasons["hat/bomb.jpg"] and "encrypted" in reasons["bag/0.jpg"]


def test_a_damaged_tar_keeps_what_came_before_and_a_hard_link_its_bytes(tmp_path):
    path = write_tar(tmp_path / "a.tar", FILES, "w")
    with tarfile.open(path, "a") as archive:
        for name, kind in (("hat/link.jpg", tarfile.LNKTYPE), ("hat/soft.jpg", tarfile.SYMTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "hat/0.jpg"
            archive.addfile(link)
        record = b"14 size=-1536\n"
        back = tarfile.TarInfo("././@PaxHeader")
        back.type, back.size = tarfile.XHDTYPE, len(record)
        end = archive.offset
    path.write_bytes(path.read_bytes()[:end] + back.tobuf() + record.ljust(512, b"\0") + bytes(1024) * 20)
    output = prepare(path, tmp_path / "out")
    assert rows_of(output)["hat/link.jpg"][1] == "hat" and len(rows_of(output)) == 21
    assert rejected_of(output)["hat/soft.jpg"] == "link or device, not followed"
    assert "damaged archive" in rejected_of(output)["a.tar"]


def test_a_hostile_list_of_files_is_refused_before_it_is_parsed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(zip_archive, "FEW_ENTRIES", 100)
    entry = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, *[0] * 6) + b"a"
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, 200 * len(entry), 0, 0)
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK\x03\x04".ljust(31, b"\0") + entry * 200 + end)
    message = refusal(capsys, "--input", path, "--output", tmp_path / "out")
    assert "a list of 200 files, at most 100" in message


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_a_damaged_archive_is_called_one(tmp_path, capsys, name):
    (tmp_path / name).write_bytes(b"nothing of the kind")
    message = refusal(capsys, "--input", tmp_path / name, "--output", tmp_path / "out")
    assert "not a complete zip file" in message or "damaged archive" in message


# --- tables that hold their images -----------------------------------------------------------------------------------


def write_table(path: Path, images: list[object]) -> Path:
    labels = [name[:3] for name in NAMES]
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"image": images, "label": labels}), path)
    elif path.suffix == ".jsonl":
        lines = [{"image": image, "label": label} for image, label in zip(images, labels, strict=True)]
        path.write_text("\n".join(map(json.dumps, lines)))
    elif path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        for row in [("image", "label"), *zip(images, labels, strict=True)]:
            book.active.append(row)
        book.save(path)
    else:
        with open(path, "w", newline="") as stream:
            csv.writer(stream).writerows([("image", "label"), *zip(images, labels, strict=True)])
    return path


PACKED = [base64.b64encode(data).decode() for data in FILES.values()]
IMAGES = {
    "base64.csv": PACKED,
    "data_url.jsonl": [f"data:image/jpeg;base64,{text}" for text in PACKED],
    "bytes.parquet": list(FILES.values()),
    "struct.parquet": [{"bytes": data, "path": name} for name, data in FILES.items()],
    "base64.xlsx": PACKED,
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_in_the_cells_of_a_table_are_those_of_the_files(tmp_path, of_folder, name):
    output = prepare(write_table(tmp_path / name, IMAGES[name]), tmp_path / "out")
    rows = rows_of(output)
    assert len(rows) == 20 and rejected_of(output) == {}
    if name.startswith("struct"):  # which has the names too
        assert fingerprint(output) == of_folder
    else:
        assert all(identity.startswith(f"{name}#") for identity in rows)


def test_a_cell_that_cannot_be_an_image_costs_its_row(tmp_path):
    images = ["data:image/jpeg;base64,!!", "", "gone.jpg", *PACKED[3:]]
    reasons = rejected_of(prepare(write_table(tmp_path / "t.csv", images), tmp_path / "out"))
    assert reasons == {
        "t.csv, line 2": "damaged base64 in this row",
        "t.csv, line 3": "no image named",
        "gone.jpg": "no such file",
    }


def test_numbers_of_classes_in_a_table_of_the_hub_become_their_names(tmp_path):
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["bag", "hat"])})
    cells = {"image": [{"bytes": data, "path": None} for data in FILES.values()], "label": [0] * 10 + [1] * 10}
    datasets.Dataset.from_dict(cells, features=features).to_parquet(tmp_path / "t.parquet")
    rows = rows_of(prepare(tmp_path / "t.parquet", tmp_path / "out"))
    assert {label for _, label in rows.values()} == {"bag", "hat"}
