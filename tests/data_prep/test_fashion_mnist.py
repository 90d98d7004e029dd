"""data_prep.fashion_mnist: IDX files of either part, packed or not, the download, and damaged files."""

import gzip
import hashlib
import struct
import threading
import tracemalloc
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import datasets
import numpy as np
import pytest
from drawings import card_of, rejected_of, rows_of

from data_prep import fashion_mnist

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def pixels_of(count: int, seed: int) -> np.ndarray:
    """`(count, 28, 28) uint8`, all different."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 7, 7), np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def write_part(folder: Path, part: str = "t10k", count: int = 100, seed: int = 0, packed: bool = True) -> np.ndarray:
    """Both files of one part; the labels are 0, 1, ... 9, 0, ..."""
    folder.mkdir(exist_ok=True)
    pixels = pixels_of(count, seed)
    write(folder / f"{part}-images-idx3-ubyte", struct.pack(">4I", 0x803, count, 28, 28) + pixels.tobytes(), packed)
    labels = bytes(index % 10 for index in range(count))
    write(folder / f"{part}-labels-idx1-ubyte", struct.pack(">2I", 0x801, count) + labels, packed)
    return pixels


def write(path: Path, data: bytes, packed: bool) -> None:
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, mtime=0))
    else:
        path.write_bytes(data)


def prepare(output: Path, *options: object) -> Path:
    fashion_mnist.main([*map(str, options), "--output", str(output), "--num_proc", "1"])
    return output


def refusal(capsys, output: Path, *options: object) -> str:
    """The one line that a command leaves when it refuses to work; progress bars of downloads may stand before it."""
    with pytest.raises(SystemExit) as stop:
        prepare(output, *options)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip() and "%|" not in line]
    assert stop.value.code == 2 and len(lines) == 1 and not output.exists()
    return lines[0]


def test_one_part_alone_is_split_80_10_10_and_says_so(tmp_path, capsys):
    write_part(tmp_path / "in")
    output = prepare(tmp_path / "out", "--input", tmp_path / "in")
    assert Counter(split for split, _ in rows_of(output).values()) == {"train": 80, "validation": 10, "test": 10}
    said = "Only the t10k part was given: all three splits are cut from it."
    assert said in capsys.readouterr().out and said in card_of(output)


def test_images_and_class_names_are_those_of_the_files(tmp_path):
    pixels = write_part(tmp_path / "in", packed=False)
    prepared = datasets.load_from_disk(prepare(tmp_path / "out", "--input", tmp_path / "in"))
    for part in prepared.values():
        for row in part:
            index = int(row["id"].removeprefix("t10k-"))
            assert row["image"].format == "PNG" and np.array_equal(np.asarray(row["image"]), pixels[index])
            assert part.features["label"].int2str(row["label"]) == fashion_mnist.CLASSES[index % 10]


def test_the_class_names_are_torchvisions_but_for_the_slash():
    from torchvision.datasets import FashionMNIST

    assert [name.replace("/top", "") for name in FashionMNIST.classes] == list(fashion_mnist.CLASSES)


def test_the_official_test_part_stays_the_test_split(tmp_path):
    write_part(tmp_path / "in", "train", 200, seed=1)
    write_part(tmp_path / "in", "t10k", 50, seed=2)
    rows = rows_of(prepare(tmp_path / "out", "--input", tmp_path / "in"))
    assert {identity for identity in rows if rows[identity][0] == "test"} == {f"t10k-{n:05d}" for n in range(50)}
    assert Counter(split for split, _ in rows.values()) == {"train": 180, "validation": 20, "test": 50}


def test_packed_and_unpacked_files_give_the_same_dataset(tmp_path):
    write_part(tmp_path / "packed")
    write_part(tmp_path / "plain", packed=False)
    outputs = [prepare(tmp_path / f"{name}.out", "--input", tmp_path / name) for name in ("packed", "plain")]
    prints = {fashion_mnist_print(output) for output in outputs}
    assert len(prints) == 1


def fashion_mnist_print(output: Path) -> str:
    return next(line for line in card_of(output).splitlines() if line.startswith("fingerprint"))


def test_the_fingerprint_does_not_depend_on_the_machine(tmp_path):
    """PNG compression differs between versions of zlib; stored bytes do not."""
    write_part(tmp_path / "in", count=1)
    image = fashion_mnist.IdxImage(str(tmp_path / "in" / f"{IMAGES}.gz"), 0)
    assert len(image.read()) > 28 * 28


def test_an_unknown_class_number_costs_one_row(tmp_path):
    write_part(tmp_path / "in")
    write(tmp_path / "in" / LABELS, struct.pack(">2I", 0x801, 100) + bytes([11, *range(10)] * 10)[:100], True)
    output = prepare(tmp_path / "out", "--input", tmp_path / "in")
    assert set(rejected_of(output).values()) == {"unknown class number: 11, allowed: 0 to 9"}


def damaged(header: tuple[int, ...], body: int) -> bytes:
    return struct.pack(f">{len(header)}I", *header) + bytes(body)


DAMAGES = {
    "starts with 0x00000801 instead of 0x00000803": (IMAGES, damaged((0x801, 100, 28, 28), 78400)),
    "ends within its header": (IMAGES, b"\0\0\x08"),
    "truncated: 5,016 bytes instead of 78,416": (IMAGES, damaged((0x803, 100, 28, 28), 5000)),
    "goes on after the 78,416 bytes": (IMAGES, damaged((0x803, 100, 28, 28), 80000)),
    "32x32 pixels": (IMAGES, damaged((0x803, 100, 32, 32), 102400)),
    "99 images but": (IMAGES, damaged((0x803, 99, 28, 28), 99 * 784)),
    "states 4,294,967,295 entries": (IMAGES, damaged((0x803, 2**32 - 1, 28, 28), 784)),
    "states 0 entries": (LABELS, damaged((0x801, 0), 0)),
    "50 labels": (LABELS, damaged((0x801, 50), 50)),
}


@pytest.mark.parametrize("packed", [True, False])
def test_a_damaged_idx_file_is_named_with_its_damage(tmp_path, capsys, packed):
    for number, (message, (name, data)) in enumerate(DAMAGES.items()):
        folder = tmp_path / str(number)
        write_part(folder, packed=packed)
        write(folder / name, data, packed)
        said = refusal(capsys, tmp_path / "out", "--input", folder)
        assert message in said and name in said


@pytest.mark.parametrize("damage", ["no gzip", "no end", "flipped bits"])
def test_a_damaged_gzip_file_is_named(tmp_path, capsys, damage):
    write_part(tmp_path / "in")
    path = tmp_path / "in" / f"{IMAGES}.gz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes({"no gzip": b"not gzip", "no end": path.read_bytes()[:-2000], "flipped bits": bytes(data)}[damage])
    message = refusal(capsys, tmp_path / "out", "--input", tmp_path / "in")
    assert path.name in message and ("damaged" in message or "truncated" in message)


def test_a_gzip_bomb_is_not_unpacked(tmp_path, capsys):
    write_part(tmp_path / "in")
    with gzip.open(tmp_path / "in" / f"{IMAGES}.gz", "wb", compresslevel=1) as stream:
        stream.write(damaged((0x803, 100, 28, 28), 0))
        for _ in range(100):
            stream.write(bytes(1_000_000))
    tracemalloc.start()
    message = refusal(capsys, tmp_path / "out", "--input", tmp_path / "in")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "goes on after" in message and peak < 10_000_000


def test_a_folder_without_a_whole_part_is_refused(tmp_path, capsys):
    assert "no folder" in refusal(capsys, tmp_path / "out", "--input", tmp_path / "nowhere")
    assert "has no t10k-images" in refusal(capsys, tmp_path / "out", "--input", tmp_path)
    write_part(tmp_path / "in")
    (tmp_path / "in" / f"{LABELS}.gz").unlink()
    assert "only the images of the t10k part" in refusal(capsys, tmp_path / "out", "--input", tmp_path / "in")


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder whose files torchvision downloads instead of the official ones."""
    from torchvision.datasets import FashionMNIST

    folder = tmp_path / "mirror"
    write_part(folder, "train", 100, seed=1)
    write_part(folder, "t10k", 20, seed=2)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    resources = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in sorted(folder.iterdir())]
    monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(FashionMNIST, "resources", resources)
    yield folder
    server.shutdown()
    server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


def test_the_download_is_prepared(tmp_path, mirror):
    output = prepare(tmp_path / "data" / "fashion_mnist")
    assert Counter(split for split, _ in rows_of(output).values()) == {"train": 90, "validation": 10, "test": 20}


def test_a_file_that_was_changed_on_the_way_is_refused(tmp_path, mirror, capsys):
    (mirror / f"{LABELS}.gz").write_bytes(b"an error page")
    assert "corrupted" in refusal(capsys, tmp_path / "out")


def test_without_a_network_one_line_says_what_to_do(tmp_path, monkeypatch, capsys):
    from torchvision.datasets import FashionMNIST

    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    message = refusal(capsys, tmp_path / "out")
    assert "cannot be downloaded" in message and "refused" in message and "--input" in message


@pytest.mark.real_data
def test_the_900_real_images_are_90_a_class(tmp_path, shared):
    output = prepare(tmp_path / "out", "--input", shared / "data" / "fashion_mnist_900")
    rows = rows_of(output)
    assert set(Counter(label for _, label in rows.values()).values()) == {90}
    assert Counter(split for split, _ in rows.values()) == {"train": 720, "validation": 90, "test": 90}
