"""3,000 mutated images of eight formats: each is a prediction or an error with a name, within two seconds.

    python -m tests.app.test_fuzz MODEL_FOLDER 0 3000    # classify them and print the outcomes

They are classified in a child process, so that a crash, a hang or too much memory is a failed test.
"""

import base64
import io
import json
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.classifier import Classifier
from tests.app.image_structures import HEIC, change_structure
from tests.drawings import encode
from tests.make_tiny_model import write_tiny_model

ROOT = Path(__file__).resolve().parents[2]
MUTATIONS = 3000
FEW = 300  # in the fast suite: each base image twice with each kind of damage
SECONDS = 2.0  # of processor time, because the tests may share the machine
MEMORY_MIB = 300  # above what the process has after one image
SIZE = (120, 90)
HUGE = (2, 4097, 30_000, 65_535, 2**31 - 1, 2**32 - 1)


def base_images() -> list[bytes]:
    """Two of each format that can be written here, and a HEIC."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    pixels = np.stack([x * 2, y * 2, (x * y) % 256], axis=-1).astype(np.uint8)
    pixels[20:60, 30:90] = np.random.default_rng(0).integers(0, 256, (40, 60, 3))
    image = Image.fromarray(pixels)
    gray16 = Image.fromarray((np.asarray(image.convert("L")).astype(np.uint16) * 257).astype(np.uint16))
    alpha = image.copy()
    alpha.putalpha(image.convert("L"))
    frames = {"save_all": True, "append_images": [image.rotate(90), image.rotate(180)]}
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encode(image, "JPEG", exif=exif),
        encode(image, "JPEG", progressive=True, quality=60),
        encode(alpha, "PNG"),
        encode(gray16, "PNG"),
        encode(image, "WEBP"),
        encode(image, "WEBP", lossless=True, **frames),
        encode(image.quantize(64), "GIF"),
        encode(image.quantize(16), "GIF", **frames),
        encode(image, "AVIF", speed=10),
        encode(alpha, "AVIF", speed=10),
        encode(image, "BMP"),
        encode(image.quantize(200), "BMP"),
        encode(image, "TIFF", compression="tiff_lzw"),
        encode(gray16, "TIFF", compression="tiff_adobe_deflate"),
        base64.b85decode(HEIC.replace("\n", "")),
    ]


def flip_bits(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, len(data), rng.integers(1, 40)):
        data[place] ^= 1 << int(rng.integers(8))


def flip_bits_of_the_header(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, min(200, len(data)), rng.integers(1, 10)):
        data[place] ^= 1 << int(rng.integers(8))


def truncate(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(0, len(data))) :]


def change_header(data: bytearray, rng: np.random.Generator) -> None:
    """Write the header of another format over its own, or before it."""
    other = base_images_once()[int(rng.integers(len(base_images_once())))]
    length = int(rng.integers(2, 40))
    data[: length if rng.integers(2) else 0] = other[:length]


def claim_huge_size(data: bytearray, rng: np.random.Generator) -> None:
    """Where the format keeps its size; PNG's checksum is corrected, or the image would be refused for that."""
    width, height = (int(side) for side in rng.choice(HUGE, 2))
    place, layout = size_field(bytes(data))
    limit = 2 ** (8 * struct.calcsize(layout[:2])) - 1
    struct.pack_into(layout, data, place, min(width, limit), min(height, limit))
    if data.startswith(b"\x89PNG"):
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))


def size_field(data: bytes) -> tuple[int, str]:
    """The position of the two sides, one after the other, and their layout for struct."""
    if data.startswith(b"\xff\xd8"):
        return max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5, ">HH"
    if data.startswith(b"\x89PNG"):
        return 16, ">II"
    if data.startswith(b"GIF"):
        return 6, "<HH"
    if data.startswith(b"BM"):
        return 18, "<II"
    if data.startswith(b"RIFF"):
        return 26 if data[12:16] == b"VP8 " else 24, "<HH"
    if data.startswith((b"II", b"MM")):
        (directory,) = struct.unpack_from("<I", data, 4)
        return min(directory + 10, len(data) - 8), "<II"  # the value of the first tag and what follows it
    return data.find(b"ispe") + 8, ">II"


def shuffle(data: bytearray, rng: np.random.Generator) -> None:
    """A piece repeated, zeroed or replaced by noise."""
    start, length = int(rng.integers(0, len(data))), int(rng.integers(1, 400))
    piece = bytes(data[start : start + length])
    replacements = (piece * 3, bytes(len(piece)), rng.integers(0, 256, len(piece), np.uint8).tobytes(), b"")
    data[start : start + length] = replacements[int(rng.integers(4))]


DAMAGES: tuple[Callable, ...] = (
    *(flip_bits, flip_bits_of_the_header, truncate, change_header, claim_huge_size, shuffle),
    lambda data, rng: (flip_bits_of_the_header(data, rng), shuffle(data, rng)),
    *(change_structure, change_structure),
    lambda data, rng: (change_structure(data, rng), flip_bits_of_the_header(data, rng)),
)
BASES: list[bytes] = []


def base_images_once() -> list[bytes]:
    if not BASES:
        BASES.extend(base_images())
    return BASES


def mutated(number: int) -> bytes:
    """The same bytes for the same number."""
    bases = base_images_once()
    data = bytearray(bases[number % len(bases)])
    DAMAGES[number // len(bases) % len(DAMAGES)](data, np.random.default_rng(number))
    return bytes(data)


def classify(model: str, start: int, stop: int) -> dict:
    """Run in the child: the outcomes, the slowest image and the peak memory."""
    import resource  # not on Windows

    classifier = Classifier.load(model, workers=1)
    classifier.predict([base_images_once()[0]], top_k=1)
    outcomes, slowest = Counter(), (0.0, -1)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for number in range(start, stop):
        data, begin = mutated(number), time.process_time()
        (prediction,) = classifier.predict([data], top_k=1)
        slowest = max(slowest, (time.process_time() - begin, number))
        outcomes[prediction.status if prediction.status != "error" else prediction.error.split("(")[0].strip()] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"outcomes": outcomes, "slowest": slowest, "peak_mib": peak - base}


def classify_in_child(model: Path, start: int, stop: int) -> Counter:
    """The outcomes, checked for time and memory."""
    command = [sys.executable, "-m", "tests.app.test_fuzz", str(model), str(start), str(stop)]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    result = json.loads(child.stdout)
    assert sum(result["outcomes"].values()) == stop - start
    assert result["slowest"][0] < SECONDS, f"image {result['slowest'][1]} took {result['slowest'][0]:.1f} s"
    assert result["peak_mib"] < MEMORY_MIB
    return Counter(result["outcomes"])


NAMED = (
    "ok",
    "review",
    "damaged image",
    "truncated image",
    "not an image file",
    "too large",
    "empty file",
    "too elongated",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


def test_damaged_images_of_every_format_are_predictions_or_named_errors(model):
    outcomes = classify_in_child(model, 0, FEW)
    assert all(outcome.startswith(NAMED) for outcome in outcomes), outcomes
    assert outcomes["ok"] + outcomes["review"] > 20
    assert outcomes["truncated image"] > 5
    assert outcomes["too large"] > 2


@pytest.mark.slow
def test_three_thousand_damaged_images_are_predictions_or_named_errors(model):
    outcomes = classify_in_child(model, FEW, MUTATIONS)
    assert all(outcome.startswith(NAMED) for outcome in outcomes), outcomes


def test_the_undamaged_images_are_all_classified(model):
    predictions = Classifier.load(model, workers=1).predict(base_images())
    assert [prediction.error for prediction in predictions] == [None] * 15


def test_all_eight_orientations_give_identical_logits(model):
    classifier = Classifier.load(model, workers=1)
    image = Image.open(io.BytesIO(base_images()[2])).convert("RGB")
    turns = (None, 0, 3, 1, 5, 2, 6, 4)  # Pillow's numbers of what turns the upright image into the stored one
    logits = []
    for orientation, turn in enumerate(turns, start=1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = image if turn is None else image.transpose(Image.Transpose(turn))
        logits.append(classifier.logits(classifier.read(encode(stored, "PNG", exif=exif))[None]))
    assert all(np.array_equal(turned, logits[0]) for turned in logits)


if __name__ == "__main__":
    print(json.dumps(classify(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
