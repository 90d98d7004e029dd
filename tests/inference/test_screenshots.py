"""predict.py --screenshots: a row for each product of a page, whatever the pages come in."""

import csv
import json
import zipfile
from pathlib import Path

import pytest

import predict
from tests.shop_pages import TILE, TOP, png, shop_page, text_page


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    """A folder with a shop's page, one without products and a zip with another shop's page."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "a_shop.png").write_bytes(png(shop_page(2)))
    (folder / "b_table.png").write_bytes(png(text_page()))
    with zipfile.ZipFile(folder.parent / "more.zip", "w") as archive:
        archive.writestr("c_shop.png", png(shop_page(1)))
    return folder


def find(pages: Path, output: Path, *options: str) -> int:
    inputs = [str(pages), str(pages.parent / "more.zip")]
    return predict.main(["--screenshots", "--image_path", *inputs, "--output", str(output), *options])


def test_each_product_is_a_row_with_its_box_and_a_page_without_one_says_so(pages, tmp_path):
    assert find(pages, tmp_path / "products.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "products.jsonl").read_text().splitlines()]
    assert [Path(row["image_path"]).name for row in rows] == ["a_shop.png"] * 4 + ["b_table.png"] + ["c_shop.png"] * 2
    assert all(abs(a - b) <= 4 for a, b in zip(rows[0]["box"], (20, TOP, *TILE), strict=True))
    assert list(rows[0])[:3] == ["image_path", "box", "out_of_stock"] and rows[0]["label"]
    assert rows[4]["status"] == "no_products" and rows[4]["box"] is None and rows[4]["label"] is None


def test_csv_and_parquet_hold_the_same_rows(pages, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert find(pages, tmp_path / "products.csv") == find(pages, tmp_path / "products.parquet") == 0
    with open(tmp_path / "products.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    table = parquet.read_table(tmp_path / "products.parquet").to_pylist()
    assert [row["box"] for row in rows] == [",".join(map(str, row["box"] or ())) for row in table]
    assert [row["label"] or None for row in rows] == [row["label"] for row in table]
    assert [row["out_of_stock"] for row in rows] == ["False"] * 4 + [""] + ["False"] * 2


def test_the_model_that_knows_shop_pages_answers_unless_another_is_named(pages, tmp_path, capsys):
    shop = str(pages / "a_shop.png")
    assert predict.main(["--screenshots", "--image_path", shop]) == 0
    assert predict.main(["--screenshots", "--model", "fashion", "--image_path", shop, "--format", "jsonl"]) == 0
    table, rows = capsys.readouterr().out.split("{", 1)
    assert len(table.splitlines()) == 5 and len(rows.splitlines()) == 4
    assert "Topwear" not in table and len(json.loads("{" + rows.splitlines()[0])["category_path"]) == 3


@pytest.mark.parametrize("kept", [0, 1, 3, 4, 5, 6])
def test_an_interrupted_run_goes_on_in_the_middle_of_a_page(pages, tmp_path, monkeypatch, kept):
    output = tmp_path / "products.jsonl"
    find(pages, tmp_path / "whole.jsonl")
    append, rows = predict.Journal.append, []

    def stop(journal, name, prediction):
        if len(rows) == kept:
            raise KeyboardInterrupt
        rows.append(name)
        append(journal, name, prediction)

    with monkeypatch.context() as patch:
        patch.setattr(predict.Journal, "append", stop)
        assert find(pages, output) == 130
    assert find(pages, output, "--resume") == 0
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_an_unreadable_page_is_a_row_with_the_reason_and_fails_the_run(pages, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes((pages / "a_shop.png").read_bytes()[:3000])
    assert predict.main(["--screenshots", "--image_path", str(broken), "--format", "jsonl"]) == 1
    row = json.loads(capsys.readouterr().out)
    assert row["status"] == "error" and "truncated" in row["error"] and row["box"] is None


@pytest.mark.parametrize(
    "option", [["--explain", "why"], ["--engine", "ray"], ["--format", "xlsx", "--output", "a.xlsx"]]
)
def test_what_needs_one_row_per_image_is_rejected_in_one_line(option, capsys):
    with pytest.raises(SystemExit, match="2"):
        predict.main(["--screenshots", "--image_path", "app/examples", *option])
    error = capsys.readouterr().err
    assert "--screenshots" in error and error.count("\n") == 1
