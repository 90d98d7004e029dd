"""Images in an object store: files, folders, archives and tables, in order, and stores that cannot be read."""

import io
import sys
import time
from collections import Counter

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import predict
from inference.readers import object_store
from inference.readers.base import InputError
from inference.readers.object_store import RemoteFile, fetch_ahead
from inference.readers.parse import parse_readers
from tests.inference.containers import BLUE, EXPECTED, colors, left_out, write_zip
from tests.make_tiny_model import LABELS, write_tiny_model


@pytest.fixture
def store(image_files, monkeypatch):
    """An object store in memory, with images/, shop.zip and t.parquet in it."""
    monkeypatch.setitem(object_store.PACKAGES, "memory", "fsspec")
    filesystem = fsspec.filesystem("memory")
    for path in image_files:
        filesystem.pipe(f"/shop/images/{path.name}", path.read_bytes())
    filesystem.pipe("/shop/images/.hidden/a.png", b"")
    filesystem.pipe("/shop/images/notes.txt", b"")
    members = {path.name: path.read_bytes() for path in image_files}
    filesystem.pipe("/shop/shop.zip", write_zip(image_files[0].with_name("shop.zip"), members).read_bytes())
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": list(members.values())}), buffer)
    filesystem.pipe("/shop/t.parquet", buffer.getvalue())
    yield "memory://shop"
    filesystem.rm("/shop", recursive=True)


def test_an_object_store_gives_images_folders_archives_and_tables(store):
    names = sorted(LABELS)
    color = dict(zip(LABELS, EXPECTED, strict=True))
    folder = {f"{store}/images/{name}.png": color[name] for name in names}
    assert colors([f"{store}/images"]) == folder
    assert left_out(f"{store}/images") == Counter({".txt": 1, "hidden": 1})
    assert colors([f"{store}/images/Flats.png"]) == {f"{store}/images/Flats.png": BLUE}
    assert list(colors([f"{store}/shop.zip"]).values()) == EXPECTED
    assert list(colors([f"{store}/t.parquet"]).values()) == EXPECTED


def test_images_of_a_store_are_classified_in_order(store, capsys, tmp_path):
    model = str(write_tiny_model(tmp_path / "model"))
    code = predict.main(["--model", model, "--image_path", f"{store}/images", "--format", "csv"])
    rows = capsys.readouterr().out.splitlines()[1:]
    assert code == 0
    assert [row.split(",")[1] for row in rows] == sorted(LABELS)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("memory://nowhere/a.png", "there is nothing at this address"),
        ("https://example.com/a.png", "images are not fetched from https://; supported stores are s3://"),
        ("ftp://example.com/a.png", "images are not fetched from ftp://"),
    ],
)
def test_an_address_that_does_not_work_is_a_wrong_usage(store, address, message):
    with pytest.raises(InputError, match=message):
        parse_readers([address])


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_missing_package_is_named(monkeypatch, scheme, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"{scheme}:// needs packages: pip install fsspec {package}"):
        parse_readers([f"{scheme}://bucket/a.png"])


class SlowStore:
    def cat_file(self, path: str) -> bytes:
        time.sleep(0.02)
        return path.encode()


def test_the_last_images_of_a_store_are_not_lost_when_they_are_asked_for_late(monkeypatch):
    monkeypatch.setattr(object_store, "REQUESTS_AHEAD", 2)
    paths = [str(number) for number in range(9)]
    images = list(fetch_ahead((path, RemoteFile(SlowStore(), path, None)) for path in paths))
    assert [(name, source()) for name, source in images] == [(path, path.encode()) for path in paths]
