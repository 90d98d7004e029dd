"""Small files that took far too much, at every entrance: seconds of a core and memory stay within bounds."""

import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from gradio_client import Client

from tests import entrances
from tests.drawings import draw, drawing, encode
from tests.shop_pages import png, shop_page

MAX_SECONDS, MAX_MEGABYTES = 2, 300  # for one image, above what the process needs without it
ALLOWANCE = 1.5  # seconds to start Python twice as slowly on a busy machine
pytestmark = pytest.mark.slow


def many_exif_parts() -> bytes:
    image = drawing(1)
    part = b"\xff\xe1" + struct.pack(">H", 32) + b"Exif\0\0" + b"A" * 24
    return image[:2] + part * (5_000_000 // len(part)) + image[2:]


def long_comment() -> bytes:
    image = encode(draw(2).convert("P"), "GIF")
    head = 13 + (3 * 2 ** ((image[10] & 7) + 1) if image[10] & 0x80 else 0)
    return image[:head] + b"!\xfe" + (b"\xff" + b"A" * 255) * 20_000 + b"\0" + image[head:]


def huge_tile(width: int = 32_752, height: int = 16_000) -> bytes:
    """A TIFF of 16 x 16 pixels in one tile that unpacks to 1.5 GB."""
    packer = zlib.compressobj(9)
    raw = b"".join(packer.compress(bytes(2**20)) for _ in range(width * height * 3 // 2**20)) + packer.flush()
    shorts = [(256, 16), (257, 16), (259, 8), (262, 2), (277, 3), (284, 1), (322, width), (323, height)]
    tags = [*((tag, 4, 1, value) for tag, value in shorts), (258, 3, 3, 0), (324, 4, 1, 0), (325, 4, 1, len(raw))]
    bits = 8 + 2 + 12 * len(tags) + 4
    places = {258: bits, 324: bits + 6}
    entries = [struct.pack("<HHII", tag, kind, n, places.get(tag, value)) for tag, kind, n, value in sorted(tags)]
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries)
    return head + struct.pack("<IHHH", 0, 8, 8, 8) + raw


def motion_photo() -> bytes:
    return drawing(3) + b"MotionPhoto_Data" + struct.pack(">I", 24) + b"ftypmp42" + bytes(range(256)) * 20_000


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("hostile")
    made = {"parts.jpg": many_exif_parts(), "comment.gif": long_comment(), "tile.tiff": huge_tile()}
    made |= {"motion.jpg": motion_photo(), "page.png": png(shop_page(30))}
    for name, content in made.items():
        (folder / name).write_bytes(content)
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", b"\xff\xd8\xff\xe0" + bytes(300_000_000))
        archive.writestr("b.jpg", drawing(4))
    (folder / "tiny.jpg").write_bytes(drawing(5))
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("entrance", [entrances.predict, entrances.prepare])
def test_a_command_stays_within_bounds_whatever_it_is_given(entrance, files):
    base = entrance(files["tiny.jpg"])
    for name, path in files.items():
        if entrance is entrances.prepare and name.endswith(".zip"):
            continue  # data_prep.image_folder takes folders
        taken = entrance(path)
        assert "TRACEBACK" not in taken.outcome and "ENDLESS" not in taken.outcome, (name, taken)
        assert taken.seconds - base.seconds < MAX_SECONDS + ALLOWANCE, (name, taken)
        assert taken.megabytes - base.megabytes < MAX_MEGABYTES, (name, taken)


def test_the_server_stays_within_bounds_whatever_it_is_sent(files):
    with entrances.server() as (pid, address):
        client = Client(address, verbose=False)
        entrances.batch(client, files["tiny.jpg"])
        for name, path in files.items():
            for call in (
                lambda path=path: entrances.batch(client, path),
                lambda path=path: entrances.rest(address, path),
            ):
                taken = entrances.watched(pid, call)
                assert taken.seconds < MAX_SECONDS + ALLOWANCE and taken.megabytes < MAX_MEGABYTES, (name, taken)
        assert entrances.rest(address, files["tiny.jpg"]).startswith("200")
