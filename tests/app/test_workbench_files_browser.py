"""What people and attackers drop into the tab Sort: zips of any program, files that a browser cannot decode."""

import struct
import zipfile
import zlib
from pathlib import Path

from tests.app.visit import EXAMPLES, Visit, browser_tests
from tests.app.workbench_visit import add, names, open_sort

pytestmark = browser_tests

SHIRT = EXAMPLES / "tshirts.jpg"


def zip_with(folder: Path, raw: bytes, extra: bytes = b"") -> Path:
    """A zip of one photo whose name is these bytes, without the flag for UTF-8."""
    path, placeholder = folder / "old.zip", "x" * len(raw)
    member = zipfile.ZipInfo(placeholder)
    member.extra = extra
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, SHIRT.read_bytes())
    path.write_bytes(path.read_bytes().replace(placeholder.encode(), raw))
    return path


def dropped_name(visit: Visit, path: Path) -> str:
    open_sort(visit)
    add(visit, [path], expected=1)
    (name,) = names(visit)
    return name


def test_names_in_a_zip_of_a_chinese_windows_are_guessed_as_elsewhere(visit, tmp_path):
    assert dropped_name(visit, zip_with(tmp_path, "衬衫/连衣裙上衣.jpg".encode("gbk"))) == "衬衫/连衣裙上衣.jpg"


def test_names_in_a_zip_of_a_western_windows_are_guessed_as_elsewhere(visit, tmp_path):
    assert dropped_name(visit, zip_with(tmp_path, "größe\\schön.jpg".encode("cp850"))) == "größe/schön.jpg"


def test_names_in_a_zip_of_a_mac_are_utf8_without_the_flag(visit, tmp_path):
    assert dropped_name(visit, zip_with(tmp_path, "größe/schön.jpg".encode())) == "größe/schön.jpg"


def test_a_name_that_says_its_encoding_is_not_guessed(visit, tmp_path):
    with zipfile.ZipFile(tmp_path / "said.zip", "w") as archive:
        archive.write(SHIRT, "größe/schön.jpg")  # with the flag
    assert dropped_name(visit, tmp_path / "said.zip") == "größe/schön.jpg"


def test_the_unicode_path_of_a_name_counts(visit, tmp_path):
    raw, meant = b"_____.jpg", "рубашка.jpg".encode()
    field = struct.pack("<BI", 1, zlib.crc32(raw)) + meant
    extra = struct.pack("<HH", 0x7075, len(field)) + field
    assert dropped_name(visit, zip_with(tmp_path, raw, extra)) == "рубашка.jpg"


def test_a_photo_that_the_browser_would_decode_for_ever_holds_up_nothing(visit, tmp_path):
    photo, part = SHIRT.read_bytes(), b"\xff\xe1\0\x20Exif\0\0" + b"A" * 24
    slow = tmp_path / "parts.jpg"
    slow.write_bytes(photo[:2] + part * (5_000_000 // len(part)) + photo[2:])
    open_sort(visit)
    counts = add(visit, [slow, EXAMPLES / "watches.jpg"])
    assert (counts["all"], counts["error"]) == (2, 0)
    assert sorted(names(visit)) == ["parts.jpg", "watches.jpg"]


def test_photos_that_are_chosen_before_the_stored_list_is_read_are_not_lost(visit):
    open_sort(visit)
    visit.page.evaluate("snapshelf.workbench.state.ready = () => new Promise((done) => setTimeout(done, 300))")
    assert add(visit, [SHIRT])["all"] == 1
