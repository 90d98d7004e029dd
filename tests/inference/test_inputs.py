"""Images out of archives, tables, lists and standard input: in order, in place, in little memory."""

import io
import sys
import tarfile
import zipfile
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import predict
from app.images import HEAD_BYTES
from data_prep.pipeline import tar_archive
from inference.readers import archive as archive_reader
from inference.readers.archive import ZipReader
from inference.readers.base import InputError, Lookup, count_images
from inference.readers.parse import parse_readers
from inference.readers.table import TableReader
from tests.inference.containers import BLACK, BLUE, EXPECTED, GREEN, RED, colors, left_out, pack, write_tar, write_zip
from tests.make_tiny_model import save_image, write_tiny_model


@pytest.mark.parametrize("name", ["shop.zip", "shop.tar", "shop.tar.gz", "shop.tar.xz"])
def test_an_archive_is_read_in_place_in_its_order(image_files, tmp_path, name):
    members = {f"shoes/{path.name}": path.read_bytes() for path in reversed(image_files)}
    members |= {"notes.txt": b"a", ".DS_Store": b"b", "__MACOSX/._Shirts.png": b"c", "broken.png": b"no image"}
    archive = pack(tmp_path / name, members)
    before = sorted(tmp_path.rglob("*"))
    found = colors([archive])
    assert list(found.values())[:4] == EXPECTED[::-1]
    assert list(found)[0] == f"{archive}/shoes/Scarves.png"
    assert "not an image file" in found[f"{archive}/broken.png"]
    assert (len(found), left_out(archive)) == (5, Counter({".txt": 1, "hidden": 2}))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["shop.zip", "shop.tar", "shop.tar.gz"])
def test_odd_names_in_an_archive_are_names_only(image_files, tmp_path, name):
    content = image_files[0].read_bytes()
    odd = ["../../up.png", "/etc/root.png", "a\nb\x1b[2J.png", "ö" * 90 + ".png", "C:\\x.png", "deep/" * 40 + "a.png"]
    before = sorted(tmp_path.rglob("*"))
    archive = pack(tmp_path / name, dict.fromkeys(odd, content))
    assert list(colors([archive]).values()) == [RED] * len(odd)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, archive])


def test_links_in_a_tar_are_not_followed(image_files, tmp_path):
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        link = tarfile.TarInfo("passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        archive.add(image_files[0], "a.png")
    assert list(colors([tmp_path / "links.tar"]).values()) == [RED]
    assert left_out(tmp_path / "links.tar") == Counter({"link or device": 1, "hidden": 0})


def test_a_bomb_in_a_zip_costs_its_row_only(image_files, tmp_path):
    members = {"bomb.png": bytes(16 * 2**20), "huge.png": bytes(64 * 2**20), "a.png": image_files[0].read_bytes()}
    archive = write_zip(tmp_path / "bomb.zip", members)
    assert archive.stat().st_size < 200_000
    sources = dict(ZipReader(str(archive)))
    # It does not start like an image, so nothing more is unpacked.
    assert len(sources[f"{archive}/bomb.png"]()) == HEAD_BYTES
    assert "images never shrink like that" in str(colors([archive])[f"{archive}/huge.png"])
    assert list(colors([archive]).values())[2] == RED


def test_a_member_that_is_too_large_is_refused_unread(image_files, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_reader, "MAX_BYTES", 100)
    found = colors([write_zip(tmp_path / "a.zip", {"a.png": bytes(101)})])
    assert "too large" in next(iter(found.values()))


def test_a_compressed_tar_that_claims_to_be_huge_is_stopped(image_files, tmp_path, monkeypatch):
    monkeypatch.setattr(tar_archive, "MAX_HARMLESS", 2**20)
    members = {"a.png": image_files[0].read_bytes(), "big.bin": bytes(20 * 2**20), "b.png": image_files[1].read_bytes()}
    archive = write_tar(tmp_path / "bomb.tar.gz", members, "w:gz")
    found = colors([archive])
    assert found[f"{archive}/a.png"] == RED
    assert "that claim to unpack to" in found[str(archive)]
    assert len(found) == 2


def test_a_hostile_long_name_in_a_tar_is_not_read_into_memory(tmp_path):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**40
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    assert "a header of" in colors([tmp_path / "a.tar"])[str(tmp_path / "a.tar")]


def test_a_damaged_member_costs_its_row_only(image_files, tmp_path):
    members = {path.name: path.read_bytes() for path in image_files}
    archive = write_zip(tmp_path / "a.zip", members, zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    start = content.index(members["Shirts.png"])
    content[start + 20] ^= 255
    archive.write_bytes(content)
    found = list(colors([archive]).values())
    assert [found[0], *found[2:]] == [RED, BLUE, BLACK]
    assert "damaged in its archive" in found[1]


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04", b"\x1f\x8b\x08"])
def test_a_damaged_archive_is_one_row_that_says_so(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (message,) = colors([tmp_path / name]).values()
    assert "damaged archive" in message or "an archive without images" in message


def test_a_truncated_archive_gives_what_can_be_read(image_files, tmp_path):
    members = {f"{i}.png": image_files[i % 4].read_bytes() for i in range(40)}
    archive = write_tar(tmp_path / "a.tar.gz", members, "w:gz")
    archive.write_bytes(archive.read_bytes()[:-30])
    found = list(colors([archive]).values())
    assert found[:4] == EXPECTED
    assert "what follows cannot be read" in found[-1]


def test_an_encrypted_member_has_a_named_error(image_files, tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"a.png": image_files[0].read_bytes()})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    assert list(colors([archive]).values()) == ["encrypted in its archive: pack it without a password"]


def test_a_missing_or_empty_archive_is_a_row(tmp_path):
    write_zip(tmp_path / "empty.zip", {"a.txt": b""})
    found = colors([tmp_path / "gone.zip", tmp_path / "empty.zip"])
    assert list(found.values()) == ["no such file", "an archive without images"]


def test_paths_in_a_csv_are_relative_to_it(image_files, tmp_path):
    (tmp_path / "images" / "t.csv").write_text("sku;image\n1;Tshirts.png\n2;../images/Flats.png\n3;gone.png\n4;\n")
    found = colors([tmp_path / "images" / "t.csv"])
    assert list(found.values()) == [RED, BLUE, "no such file", "no path in this row"]


def test_the_column_of_a_table_can_be_chosen(image_files, tmp_path):
    (tmp_path / "t.csv").write_text("image,front\nimages/Flats.png,images/Shirts.png\n")
    assert list(colors([tmp_path / "t.csv"]).values()) == [BLUE]
    assert list(colors([tmp_path / "t.csv"], column="front").values()) == [GREEN]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/a.png", "https://example.com/a.png", "s3://b/a", "file:///a"])
def test_no_address_in_a_table_or_a_list_is_ever_fetched(tmp_path, monkeypatch, address):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was made"))
    (tmp_path / "t.csv").write_text(f"image\n{address}\n")
    pq.write_table(pa.table({"image": [{"bytes": None, "path": address}]}), tmp_path / "t.parquet")
    (tmp_path / "list.txt").write_text(address)
    for argument in ("t.csv", "t.parquet"):
        assert "an address in a table is not fetched" in colors([tmp_path / argument])[address]
    assert "an address in a list is not fetched" in colors([f"@{tmp_path / 'list.txt'}"])[address]


def test_parquet_may_hold_bytes_paths_or_both(image_files, tmp_path):
    content = [path.read_bytes() for path in image_files]
    pq.write_table(pa.table({"image": content}), tmp_path / "bytes.parquet")
    pq.write_table(pa.table({"image": [f"images/{path.name}" for path in image_files]}), tmp_path / "paths.parquet")
    both = [{"bytes": data, "path": f"{i}.png"} for i, data in enumerate(content)]
    pq.write_table(pa.table({"image": both}), tmp_path / "both.parquet")
    pq.write_table(pa.table({"image": [[1], None]}), tmp_path / "numbers.parquet")
    table = tmp_path / "bytes.parquet"
    assert colors([table]) == {f"{table}#{i}": color for i, color in enumerate(EXPECTED, start=1)}
    assert list(colors([tmp_path / "paths.parquet"]).values()) == EXPECTED
    assert colors([tmp_path / "both.parquet"]) == {f"{i}.png": color for i, color in enumerate(EXPECTED)}
    assert "it must hold paths or bytes" in next(iter(colors([tmp_path / "numbers.parquet"]).values()))


def test_a_parquet_file_of_any_length_takes_little_memory(tmp_path):
    images = [bytes([i % 256]) * 100_000 for i in range(400)]  # as incompressible as images are
    small_pages = {"use_dictionary": False, "write_batch_size": 8}  # a page is read as a whole
    pq.write_table(pa.table({"image": images}), tmp_path / "t.parquet", compression="none", **small_pages)
    before, most = pa.total_allocated_bytes(), 0
    for _ in TableReader(str(tmp_path / "t.parquet"), Lookup()):
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < 10_000_000  # of 40 MB


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("gone.csv", None, None, "there is no table"),
        (
            "t.csv",
            "a,b\n1,2\n",
            None,
            "no column with a usual name, such as image or path: give --image_column, one of a, b",
        ),
        ("t.csv", "image,b\n1,2\n", "c", "no column 'c': give --image_column, one of image, b"),
        ("t.parquet", "no parquet", None, "cannot be read"),
        ("t.csv", "\0\0\0", None, "cannot be read"),
    ],
)
def test_an_unusable_table_is_a_wrong_usage(capsys, tmp_path, name, content, column, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SystemExit) as stop:
        predict.main(["--image_path", str(tmp_path / name), *(["--image_column", column] if column else [])])
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert message in err
    assert len(err.splitlines()) == 1


def give_standard_input(monkeypatch, content: bytes) -> None:
    stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))
    monkeypatch.setattr(sys, "stdin", stream)


def test_an_image_on_standard_input_is_one_row(image_files, monkeypatch):
    give_standard_input(monkeypatch, image_files[1].read_bytes())
    assert colors(["-"]) == {"-": GREEN}


def test_a_list_on_standard_input_names_images(image_files, tmp_path, monkeypatch):
    first = save_image(tmp_path / "BMW II*.png", "Flats")  # starts like a BMP
    monkeypatch.chdir(tmp_path)
    give_standard_input(monkeypatch, "\r\n".join([first.name, "", *map(str, image_files), "gone.png"]).encode())
    found = list(colors(["-"]).values())
    assert found == [BLUE, *EXPECTED, "no such file"]


def test_an_empty_standard_input_is_a_row(monkeypatch):
    give_standard_input(monkeypatch, b"")
    assert colors(["-"]) == {"-": "standard input is empty"}


def test_standard_input_can_be_given_once():
    with pytest.raises(InputError, match="can be read only once"):
        parse_readers(["-", "-"])


def test_a_missing_pyarrow_is_named(monkeypatch, tmp_path):
    (tmp_path / "t.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match="pip install pyarrow"):
        parse_readers([str(tmp_path / "t.parquet")])


@pytest.mark.slow
def test_one_corrupt_image_in_ten_thousand_costs_one_row(capsys, tmp_path):
    image = save_image(tmp_path / "a.png", "Flats", (8, 8)).read_bytes()
    members = dict.fromkeys((f"{i}.png" for i in range(10_000)), image)
    archive = write_zip(tmp_path / "a.zip", members | {"7000.png": image[:50]}, zipfile.ZIP_STORED)
    model = str(write_tiny_model(tmp_path / "model"))
    code = predict.main(["--model", model, "--image_path", str(archive), "--output", str(tmp_path / "r.csv")])
    rows = (tmp_path / "r.csv").read_text().splitlines()[1:]
    assert code == 1
    assert "10,000 images: 9,999 ok, 1 failed" in capsys.readouterr().err
    assert [number for number, row in enumerate(rows) if ",Flats," not in row] == [7000]
    assert "truncated image" in rows[7000]


def test_images_are_counted_where_that_is_quick(image_files, tmp_path):
    folder, archive = image_files[0].parent, write_zip(tmp_path / "a.zip", {"1.png": b"", "2.png": b"", "3.txt": b""})
    pq.write_table(pa.table({"image": ["a.png"] * 5}), tmp_path / "t.parquet")
    (tmp_path / "list.txt").write_text(f"{folder}\n{archive}\ngone.png\n{tmp_path / 't.parquet'}")
    readers = parse_readers(list(map(str, [image_files[0], folder, archive, tmp_path / "t.parquet"])))
    assert [reader.count() for reader in readers] == [1, 4, 2, 5]
    assert count_images(readers) == 12
    assert count_images(parse_readers([f"@{tmp_path / 'list.txt'}"])) == 12
    write_tar(tmp_path / "a.tar", {"1.png": b""}, "w")
    assert count_images([*readers, *parse_readers([str(tmp_path / "a.tar")])]) is None


def test_a_damaged_page_costs_its_row_group_and_names_the_table(image_files, tmp_path, capsys):
    table = tmp_path / "t.parquet"
    content = [path.read_bytes() for path in image_files]
    pq.write_table(pa.table({"image": content}), table, compression="none", row_group_size=2, use_dictionary=False)
    damaged = bytearray(table.read_bytes())
    start = pq.ParquetFile(table).metadata.row_group(0).column(0).data_page_offset
    damaged[start : start + 12] = bytes(12)  # the header of the first page
    table.write_bytes(damaged)
    found = colors([table, image_files[0]])
    assert list(found.values())[1:] == [BLUE, BLACK, RED]
    assert "rows 1 to 2 are damaged" in found[f"{table}#1"]
