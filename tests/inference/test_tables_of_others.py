"""Tables as people have them go in, and come out again with the answers; what would destroy something is refused."""

import base64
import csv
import json
import os
import zipfile

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.readers import references
from inference.readers.base import InputError
from inference.readers.parse import parse_readers
from tests.inference.command import run
from tests.inference.containers import BLACK, BLUE, EXPECTED, GREEN, RED, colors


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030", "cp932", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_any_usual_encoding_and_separator_is_read(image_files, tmp_path, encoding, separator):
    word = {"gb18030": "女装连衣裙", "cp932": "スニーカー"}.get(encoding, "Größe für Damen")
    text = f"name{separator}image\r\n{word}{separator}Tshirts.png\r\n"
    (tmp_path / "images" / "t.csv").write_bytes(text.encode(encoding))
    assert list(colors([tmp_path / "images" / "t.csv"]).values()) == [RED]
    (reader,) = parse_readers([str(tmp_path / "images" / "t.csv")])
    assert next(reader.as_table().table.records()).values[0] == word


def test_a_separator_line_quotes_and_backslashes_are_understood(image_files, tmp_path):
    (tmp_path / "t.csv").write_text('sep=;\n"sku";"image"\n"a;b";"images\\Tshirts.png"\n')
    assert list(colors([tmp_path / "t.csv"]).values()) == [RED]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_stray_zero_a_mark_and_any_end_of_lines_are_no_obstacle(image_files, tmp_path, end):
    lines = ["sku,image,note", '"00\0 7",images/Tshirts.png,"two', 'lines"', "1,23E+5,images/Flats.png", ",,", ""]
    (tmp_path / "t.csv").write_bytes(end.join(lines).encode("utf-8-sig"))
    (reader,) = parse_readers([str(tmp_path / "t.csv")])
    first, second = (record.values for record in reader.as_table().table.records())
    assert first == ["00 7", "images/Tshirts.png", f"two{end}lines"]
    assert second == ["1", "23E+5", "images/Flats.png"]


def test_a_table_of_more_columns_than_a_sheet_has_is_refused_before_its_rows_are_read(tmp_path):
    (tmp_path / "t.jsonl").write_text("\n".join(f'{{"image": "a.png", "key{n}": 1}}' for n in range(17_000)))
    with pytest.raises(InputError, match="has 17,001 columns; at most 16,384 are read"):
        parse_readers([str(tmp_path / "t.jsonl")])


def test_a_workbook_that_unpacks_to_far_more_than_sheets_do_is_refused_unread(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["image"])
    book.save(tmp_path / "whole.xlsx")
    with (
        zipfile.ZipFile(tmp_path / "whole.xlsx") as whole,
        zipfile.ZipFile(tmp_path / "t.xlsx", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in whole.namelist():
            bomb.writestr(name, b"<row/>" * 10_000_000 if "sheet1" in name else whole.read(name))
    with pytest.raises(InputError, match="far more than sheets do"):
        parse_readers([str(tmp_path / "t.xlsx")])


@pytest.mark.parametrize("suffix", ["xlsx", "jsonl", "json", "tsv", "parquet"])
def test_every_format_gives_the_same_images(image_files, tmp_path, suffix):
    rows = [("0012", f"images/{path.name}") for path in image_files]
    path = tmp_path / f"t.{suffix}"
    if suffix == "xlsx":
        book = openpyxl.Workbook()
        for row in [("sku", "image"), *rows]:
            book.active.append(row)
        book.save(path)
    elif suffix == "parquet":
        pq.write_table(pa.table({"sku": [row[0] for row in rows], "image": [row[1] for row in rows]}), path)
    elif suffix == "tsv":
        path.write_text("sku\timage\n" + "".join(f"{sku}\t{image}\n" for sku, image in rows))
    else:
        objects = [{"sku": sku, "image": image} for sku, image in rows]
        lines = "\n".join(map(json.dumps, objects))
        path.write_text(json.dumps(objects) if suffix == "json" else lines)
    assert list(colors([path]).values()) == EXPECTED


def test_base64_and_data_urls_of_any_length_are_images(image_files, tmp_path):
    packed = base64.b64encode(image_files[1].read_bytes()).decode()
    longer = base64.b64encode(image_files[0].read_bytes() + bytes(300_000)).decode()
    lines = ["image", packed, f'"data:image/png;base64,{packed}"', longer, '"data:image/png;base64,!!"']
    (tmp_path / "t.csv").write_text("\n".join(lines))
    found = list(colors([tmp_path / "t.csv"]).values())
    assert found[:3] == [GREEN, GREEN, RED]
    assert "damaged base64" in found[3]


def test_ids_find_their_files_below_the_root(image_files, tmp_path):
    image_files[0].rename(tmp_path / "images" / "1000.png")
    (tmp_path / "t.csv").write_text("id\n1000\nFlats\nScarves.png\ngone\n")
    found = list(colors([tmp_path / "t.csv"], column="id", image_root=str(tmp_path / "images")).values())
    assert found == [RED, BLUE, BLACK, "no such file"]


def test_a_list_of_windows_is_read(image_files, tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_bytes("images\\Tshirts.png\r\n".encode("utf-16"))
    assert list(colors([f"@{tmp_path / 'list.txt'}"]).values()) == [RED]
    assert list(colors([f"@{tmp_path / 'list.txt'}"], image_root=str(tmp_path)).values()) == [RED]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "gbk"])
def test_a_list_in_any_usual_encoding_and_with_quotes_finds_its_files(image_files, tmp_path, encoding):
    name = "衬衫连衣裙.png" if encoding == "gbk" else "Größe für Damen.png"
    image_files[0].rename(tmp_path / "images" / name)
    (tmp_path / "list.txt").write_bytes(f'images\\{name}\r\n"images\\Flats.png"\r\n'.encode(encoding))
    assert list(colors([f"@{tmp_path / 'list.txt'}"]).values()) == [RED, BLUE]


def test_addresses_are_fetched_only_when_asked_for_and_never_from_this_machine(tmp_path):
    (tmp_path / "t.csv").write_text("image\nhttp://127.0.0.1:9/a.png\nftp://example.com/a.png\n")
    assert "add --fetch_urls" in next(iter(colors([tmp_path / "t.csv"]).values()))
    references.fetcher.cache_clear()
    refused = list(colors([tmp_path / "t.csv"], fetch_urls=True).values())
    assert "not a public address" in refused[0]
    assert "only http:// and https://" in refused[1]


def sheet(tmp_path, image_files):
    rows = ["sku,label,note,image", "007,=1+1,-5,images/Tshirts.png", "008,@a,+49 30,images/gone.png"]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "t.csv"


def test_the_sheet_comes_back_with_the_answers_behind_it(capsys, model, image_files, tmp_path):
    run(capsys, model, sheet(tmp_path, image_files), "--output", tmp_path / "a.csv")
    header, first, second = csv.reader((tmp_path / "a.csv").read_text().splitlines())
    assert header[:6] == ["sku", "label", "note", "image", "label_predicted", "confidence"]
    assert first[:5] == ["007", "'=1+1", "-5", "images/Tshirts.png", "Tshirts"]
    assert second[:4] == ["008", "'@a", "'+49 30", "images/gone.png"]
    assert second[header.index("error")] == "no such file"


def test_a_workbook_holds_the_same_and_runs_nothing(capsys, model, image_files, tmp_path):
    run(capsys, model, sheet(tmp_path, image_files), "--output", tmp_path / "a.xlsx")
    rows = list(openpyxl.load_workbook(tmp_path / "a.xlsx")["answers"].iter_rows())
    assert [cell.value for cell in rows[1]][:5] == ["007", "=1+1", "-5", "images/Tshirts.png", "Tshirts"]
    assert {cell.data_type for cell in rows[1][:4]} == {"s"}


def test_parquet_keeps_its_types_and_mixed_inputs_their_names(capsys, model, image_files, tmp_path):
    images = [path.read_bytes() for path in image_files]
    pq.write_table(pa.table({"n": [1, 2, 3, 4], "image": images}), tmp_path / "t.parquet")
    run(capsys, model, tmp_path / "t.parquet", "--output", tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names[:3] == ["n", "image", "label"] and table.column("n").to_pylist() == [1, 2, 3, 4]
    assert table.column("image").to_pylist() == images
    run(capsys, model, tmp_path / "t.parquet", image_files[0], "--output", tmp_path / "b.csv")
    rows = list(csv.DictReader((tmp_path / "b.csv").read_text().splitlines()))
    assert [row["n"] for row in rows] == ["1", "2", "3", "4", ""]
    assert rows[4]["image_path"] == str(image_files[0])


def test_a_table_that_would_unpack_to_far_more_than_it_has_is_refused_unread(tmp_path):
    large = b"\xff\xd8\xff\xe0" + bytes(30_000_000)
    pq.write_table(pa.table({"image": [large] * 4}), tmp_path / "t.parquet", compression="zstd")
    before = pa.total_allocated_bytes()
    (message,) = colors([tmp_path / "t.parquet"]).values()
    assert "rows 1 to 4 are not read" in message and pa.total_allocated_bytes() - before < 1_000_000


@pytest.mark.parametrize(
    ("header", "row", "answer"),
    [("filename,category", "Tshirts.png,04", "Tshirts.png"), ("Id,Category", "Tshirts,0", "Tshirts")],
)
def test_any_sample_submission_is_filled(capsys, model, image_files, tmp_path, header, row, answer):
    (tmp_path / "sample.csv").write_text(f"{header}\n{row}\ngone,04\n".replace("gone,04\n", ""))
    arguments = ["--submission", tmp_path / "sample.csv", "--output", tmp_path / "s.csv"]
    assert run(capsys, model, image_files[0], *arguments)[0] == 0
    assert (tmp_path / "s.csv").read_text() == f"{header}\n{answer},Tshirts\n"


@pytest.mark.parametrize("name", ["t.csv", "list.csv", "photo.csv"])
def test_what_is_read_is_never_overwritten(capsys, model, image_files, tmp_path, name):
    (tmp_path / "t.csv").write_text("image\nimages/Tshirts.png\n")
    (tmp_path / "list.csv").write_text(str(image_files[0]))
    os.link(image_files[0], tmp_path / "photo.csv")
    before = (tmp_path / name).read_bytes()
    code, _, err = run(capsys, model, tmp_path / "t.csv", f"@{tmp_path / 'list.csv'}", "--output", tmp_path / name)
    assert (code, len(err.splitlines())) == (2, 1)
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("content", [b"my notes\n", b'{"version": 2}\n', b"\x89PNG", b'{"a": 1}\n[1]\n'])
def test_a_partial_file_of_somebody_else_is_left_alone(capsys, model, image_files, tmp_path, content):
    (tmp_path / "a.csv.partial").write_bytes(content)
    for more in ([], ["--resume"]):
        code, _, err = run(capsys, model, image_files[0], "--output", tmp_path / "a.csv", *more)
        assert code == 2 and "is not a journal of predict.py" in err
    assert (tmp_path / "a.csv.partial").read_bytes() == content
