"""Archives as other programs write them, and as nobody should: names, separators, links, claims, damage."""

import gzip
import io
import random
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app import zip_archive
from inference.readers.parse import parse_readers
from tests.inference.containers import GREEN, RED, colors, left_out, write_tar, write_zip

MUTANTS = 250  # of each kind of archive


def zip_of_names(path: Path, names: dict[bytes, bytes], flag: int = 0, extra: bytes = b"") -> Path:
    """A zip whose names are exactly these bytes, with or without the flag for UTF-8."""

    class Info(zipfile.ZipInfo):
        def _encodeFilenameFlags(self):  # noqa: N802  zipfile's own
            return self.raw, flag

    with zipfile.ZipFile(path, "w") as archive:
        for raw, content in names.items():
            info = Info("x")
            info.raw, info.extra = raw, extra
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "Schuhe größe/Dämen.png"),
        ("gbk", "女装/连衣裙.png"),
        ("cp932", "靴/白い靴.png"),
        ("cp949", "신발/운동화.png"),
        ("cp850", "Schuhe größe/Dämen.png"),
        ("cp1251", "обувь/ботинки.png"),
    ],
)
def test_names_are_shown_as_their_writer_meant_them(image_files, tmp_path, encoding, name):
    archive = zip_of_names(tmp_path / "a.zip", {name.encode(encoding): image_files[0].read_bytes()})
    assert colors([archive]) == {f"{archive}/{name}": RED}
    (reader,) = parse_readers([str(archive)])
    list(reader)
    assert any("was guessed" in note for note in reader.notes) == (encoding != "utf-8")


def test_the_unicode_path_in_the_extra_field_counts(image_files, tmp_path):
    raw, name = b"Gr\x94\xe1e.png", "Größe 尺.png"
    field = struct.pack("<BI", 1, zlib.crc32(raw)) + name.encode()
    extra = struct.pack("<HH", 0x7075, len(field)) + field
    archive = zip_of_names(tmp_path / "a.zip", {raw: image_files[0].read_bytes()}, extra=extra)
    assert list(colors([archive])) == [f"{archive}/{name}"]


def test_a_backslash_is_a_separator_and_may_end_a_folder(image_files, tmp_path):
    names = {b"photos\\": b"", b"photos\\a.png": image_files[0].read_bytes(), b"__MACOSX\\._a.png": b"x"}
    archive = zip_of_names(tmp_path / "a.zip", names)
    assert colors([archive]) == {f"{archive}/photos/a.png": RED}


def test_system_folders_are_passed_over_and_odd_names_are_known_by_content(image_files, tmp_path):
    image = image_files[0].read_bytes()
    names = ["@eaDir/a.png", "#recycle/a.png", "$RECYCLE.BIN/a.png", "System Volume Information/a.png"]
    names += [".AppleDouble/a.png", "lost+found/a.png", "in/@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg"]
    members = {**dict.fromkeys(names, image), "b.jpg_large": image, "c": image, "d.jpg?w=1": image, "e.doc": b"text"}
    for path in (write_zip(tmp_path / "a.zip", members), write_tar(tmp_path / "a.tar", members, "w")):
        assert sorted(name.rpartition("/")[2] for name in colors([path])) == ["b.jpg_large", "c", "d.jpg?w=1"]
        assert left_out(path) == {"hidden": len(names), ".doc": 1}
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "folder")
    assert len(colors([tmp_path / "folder"])) == 3


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_hard_link_in_a_tar_has_the_bytes_of_its_member(image_files, tmp_path, mode):
    path = write_tar(tmp_path / "a.tar", {"a.png": image_files[0].read_bytes(), "b.png": b"no"}, mode)
    with tarfile.open(tmp_path / "links.tar", mode) as archive, tarfile.open(path) as source:
        for member in source:
            archive.addfile(member, source.extractfile(member))
        for name, target in (("link.png", "a.png"), ("again.png", "link.png"), ("lost.png", "gone.png")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.LNKTYPE, target
            archive.addfile(link)
    found = list(colors([tmp_path / "links.tar"]).values())
    assert (found[0], found[2:4]) == (RED, [RED, RED])
    assert "a hard link to 'gone.png', which is not in the archive" in found[4]


def test_thousands_of_links_to_one_large_image_wait_unread(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    with tarfile.open(write_tar(tmp_path / "a.tar", {"a.png": file.getvalue()}, "w"), "a") as archive:
        for number in range(300):
            link = tarfile.TarInfo(f"{number}.png")
            link.type, link.linkname = tarfile.LNKTYPE, "a.png"
            archive.addfile(link)
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes(), 1))
    tracemalloc.start()
    sources = [source for _, source in parse_readers([str(packed)])[0]]
    assert len(sources) == 301 and tracemalloc.get_traced_memory()[1] < 30_000_000  # 300 of them are 1.3 GB
    tracemalloc.stop()
    assert sources[-1]() == file.getvalue()


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_member_of_a_compressed_tar_that_grows_as_no_image_does_fails_alone(image_files, tmp_path, mode):
    image = image_files[0].read_bytes()
    path = write_tar(tmp_path / "a.tar", {"a.png": image, "big.png": image + bytes(60_000_000), "b.png": image}, mode)
    first, second, third = colors([path]).values()
    assert (first, third) == (RED, RED) and "bytes that unpack to more than" in second


def header(name: str, kind: bytes, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def test_a_tar_that_goes_back_or_on_for_ever_is_one_row_and_the_others_go_on(image_files, tmp_path):
    image = image_files[0].read_bytes()
    good = header("a.png", tarfile.REGTYPE, len(image)) + image + bytes(-len(image) % 512)
    record = b"14 size=-1536\n"
    back = header("././@PaxHeader", tarfile.XHDTYPE, len(record)) + record + bytes(-len(record) % 512)
    (tmp_path / "back.tar").write_bytes(good + back + header("loop.png", tarfile.REGTYPE, 0) + bytes(1024))
    chain = (header("././@LongLink", tarfile.GNUTYPE_LONGNAME, 10) + b"a" * 10 + bytes(502)) * 3000
    (tmp_path / "chain.tar").write_bytes(good + chain + bytes(1024))
    found = list(colors([tmp_path / "back.tar", tmp_path / "chain.tar", image_files[1]]).values())
    assert [found[0], found[2], found[4]] == [RED, RED, GREEN]
    assert all("damaged archive" in found[number] for number in (1, 3))


def test_a_list_of_files_that_a_second_end_record_hides_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_archive, "MAX_LIST_BYTES", 1000)
    local = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    entry = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    listed = entry * 100
    end = b"PK\x05\x06" + b"PK\x05\x06" + struct.pack("<HHIIH", 1, 1, len(listed), 0, 0)
    with pytest.raises(zip_archive.ZipLimitError, match="list of files"):
        zip_archive.ZipArchive(io.BytesIO(local + listed + end), max_list_bytes=1000)


def test_only_an_archive_with_room_for_as_many_images_may_list_very_many(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_archive, "FEW_ENTRIES", 100)
    for content, expected in ((b"", "a list of 300 files, at most"), (bytes(400), "not an image file")):
        members = {f"{number}.jpg": content for number in range(300)}
        path = write_zip(tmp_path / f"{len(content)}.zip", members, zipfile.ZIP_STORED)
        assert any(expected in found for found in colors([path]).values())


def test_a_list_of_files_that_is_mostly_extra_fields_is_refused_before_it_is_parsed(tmp_path):
    extra = b"\x99\x99\0\0" * 16_000
    path = zip_of_names(tmp_path / "a.zip", {b"%d.png" % number: b"x" for number in range(40)}, extra=extra)
    assert any("a list of 40 files that has 2," in found for found in colors([path]).values())


def test_a_pipe_named_like_an_archive_is_a_row(tmp_path):
    import os

    os.mkfifo(tmp_path / "a.zip")
    os.mkfifo(tmp_path / "a.tar")
    assert set(colors([tmp_path / "a.zip", tmp_path / "a.tar"]).values()) == {"not a regular file"}


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_no_mutated_archive_ends_the_run_or_has_rows_without_end(image_files, tmp_path, kind):
    members = {f"{number}.png": path.read_bytes() for number, path in enumerate(image_files * 2)}
    path = tmp_path / f"a.{kind}"
    whole = (write_zip(path, members) if kind == "zip" else write_tar(path, members, "w")).read_bytes()
    generator = random.Random(13)
    places = [at for mark in (b"PK", b"ustar") for at in range(len(whole)) if whole.startswith(mark, at)]
    for _ in range(MUTANTS):
        path.write_bytes(mutated(bytearray(whole), places, generator))
        zip_archive._kept_open.cache_clear()
        assert len(colors([path])) <= 4 * len(members)


def mutated(data: bytearray, places: list[int], generator: random.Random) -> bytes:
    """Fields near the marks of the structure changed, a part repeated, left out, or the end cut off."""
    for _ in range(generator.randint(1, 4)):
        place = max(0, min(len(data) - 8, generator.choice(places) + generator.randint(-260, 60)))
        value = generator.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"-153", b"7777", generator.randbytes(4)])
        match generator.randrange(4):
            case 0 | 1:
                data[place : place + 4] = value
            case 2:
                data[place:place] = data[place : place + generator.randint(1, 600)]
            case 3:
                del data[place : place + generator.randint(1, 600)]
    return bytes(data[: generator.choice([len(data), len(data), generator.randint(0, len(data))])])
