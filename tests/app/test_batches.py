"""Batches and zips: limits and damaged archives."""

import struct
import zipfile
from pathlib import Path

import pytest

from app import batches, limits
from app.batches import Batch
from app.images import ImageError
from app.limits import RequestError, TooLargeError, UnreadableError

SHIRT = Path(__file__).resolve().parents[2] / "app" / "examples" / "tshirts.jpg"


def zip_of(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_zip_gives_its_images_without_what_operating_systems_add(tmp_path):
    shirt = SHIRT.read_bytes()
    files = {"socks/a.jpg": shirt, "__MACOSX/._a.jpg": b"x", ".DS_Store": b"x", "socks/._b.jpg": b"x", "empty/": b""}
    batch = Batch([("mine.zip", zip_of(tmp_path / "mine.zip", files)), ("shirt.jpg", SHIRT)])
    assert batch.count == 2
    assert list(batch) == [("socks/a.jpg", shirt), ("shirt.jpg", SHIRT)]


def test_a_batch_has_limits_of_count_and_bytes(tmp_path, monkeypatch):
    archive = zip_of(tmp_path / "many.zip", {f"{n}.jpg": b"x" * 1000 for n in range(12)})
    monkeypatch.setattr(limits, "MAX_BATCH_FILES", 10)
    with pytest.raises(TooLargeError, match="These are 12 files; one batch may have 10"):
        Batch([("many.zip", archive)])
    monkeypatch.setattr(limits, "MAX_BATCH_FILES", 100)
    monkeypatch.setattr(limits, "MAX_BATCH_BYTES", 10_000)
    with pytest.raises(TooLargeError, match="one batch may have 0.00954 MB"):
        Batch([("many.zip", archive)])
    with pytest.raises(RequestError, match="Choose some images"):
        Batch([])
    with pytest.raises(RequestError, match="contains no files"):
        Batch([("empty.zip", zip_of(tmp_path / "empty.zip", {}))])


def test_a_zip_that_states_less_than_it_contains_gives_no_more_than_it_states(tmp_path):
    path = zip_of(tmp_path / "bomb.zip", {"a.jpg": b"\0" * 5_000_000})
    data = bytearray(path.read_bytes())
    entry = data.rfind(b"PK\x01\x02")
    struct.pack_into("<I", data, entry + 24, 1000)
    path.write_bytes(data)
    ((_, source),) = Batch([("bomb.zip", path)])
    assert isinstance(source, ImageError) or len(source) <= 1000


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_unusual_compression_and_large_members_fail_only_their_row(tmp_path, monkeypatch, compression):
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 100)
    zip_of(tmp_path / "odd.zip", {"a.jpg": b"x"}, compression)
    zip_of(tmp_path / "big.zip", {"a.jpg": b"x" * 1000})
    ((_, odd),), ((_, big),) = (list(Batch([("z", tmp_path / name)])) for name in ("odd.zip", "big.zip"))
    assert "unusual" in str(odd) and "too large" in str(big)


def test_a_damaged_zip_is_rejected_in_one_line(tmp_path, monkeypatch):
    path = zip_of(tmp_path / "a.zip", {"a.jpg": b"x" * 100})
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UnreadableError, match="This zip is damaged"):
        Batch([("damaged.zip", damaged)])
    monkeypatch.setattr(batches, "MAX_DIRECTORY_BYTES", 10)
    with pytest.raises(TooLargeError, match="too many files"):
        Batch([("a.zip", path)])
