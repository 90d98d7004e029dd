"""One look at an image: what is refused and why, what is described, and which images show the same product."""

import os

import pyarrow as pa
import pytest
from drawings import draw, encode
from PIL import Image
from pipeline_rows import BAD_IMAGES, SOURCE, make_rows

from app.errors import UserError
from data_prep.pipeline.build import write_dataset
from data_prep.pipeline.duplicates import ImageSignature, group_images
from data_prep.pipeline.images import DatasetImage, FileImage, check_image
from data_prep.pipeline.schema import Options


@pytest.mark.parametrize("reason", BAD_IMAGES)
def test_a_bad_image_gets_its_reason(reason):
    assert check_image(BAD_IMAGES[reason]).reason.startswith(reason)


def test_an_image_without_pixels_is_refused():
    header = bytearray(encode(draw(1), "BMP"))
    header[18:26] = bytes(8)  # width and height
    assert check_image(bytes(header)).reason.startswith("damaged image")


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_no_damage_makes_the_check_raise(image_format, cut):
    data = encode(draw(1), image_format)
    assert not check_image(data).reason
    damaged = bytearray(data[: int(len(data) * cut)])
    damaged[20:30] = os.urandom(10)
    assert isinstance(check_image(bytes(damaged)).reason, str)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_every_mode_can_be_described(mode):
    image = draw(1, mode="I").convert("I;16") if mode == "I;16" else draw(1, mode=mode)
    found = check_image(encode(image, "TIFF" if mode == "CMYK" else "PNG"))
    assert (found.reason, found.mode, found.width, found.height) == ("", mode, 60, 80)


def test_transparency_is_seen_as_white():
    clear = Image.new("RGBA", (60, 80), (0, 0, 0, 0))
    assert set(check_image(encode(clear, "PNG")).thumbnail) == {255}


def test_a_flat_image_is_blank_and_a_drawn_one_is_not():
    assert check_image(encode(Image.new("RGB", (60, 80), "red"), "PNG")).is_blank
    assert not check_image(encode(draw(1), "PNG")).is_blank


@pytest.mark.parametrize("name", ["../outside.jpg", "/etc/hostname", "http://127.0.0.1/a.jpg", "link.jpg"])
def test_nothing_outside_the_input_is_read(tmp_path, name):
    folder = tmp_path / "input"
    folder.mkdir()
    (tmp_path / "outside.jpg").write_bytes(encode(draw(1)))
    (folder / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    with pytest.raises(UserError, match="refused"):
        FileImage(str(folder), name).read()


def test_a_row_that_names_a_url_is_refused(tmp_path):
    write_dataset(make_rows(tmp_path / "input", 12), SOURCE, Options(tmp_path / "data"))
    [path] = (tmp_path / "data" / "train").glob("*.arrow")
    table = pa.ipc.open_stream(path.read_bytes()).read_all()
    image = pa.array(
        [{"bytes": None, "path": "http://127.0.0.1:9/a.jpg"}] * len(table), table.schema.field("image").type
    )
    table = table.set_column(0, table.schema.field("image"), image)
    with pa.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table)
    with pytest.raises(UserError, match="refused"):
        DatasetImage(str(tmp_path / "data"), "train", 0).read()


# --- duplicates ------------------------------------------------------------------------------------------------------


def groups_of(images: list[bytes], titles: list[str] | None = None) -> list[int]:
    found = [check_image(image) for image in images]
    keys = [titles] if titles else []
    return group_images([fact.sha256 for fact in found], ImageSignature.of(found, len(found)), keys).tolist()


@pytest.mark.parametrize(
    "copy",
    [
        encode(draw(7, (240, 320)), quality=50),
        encode(draw(7, (240, 320)), "PNG"),
        encode(draw(7, (240, 320)), "WEBP", quality=60),
        encode(draw(7, (240, 320)).resize((120, 160))),
        encode(draw(7, (240, 320)).resize((480, 640))),
        encode(draw(7, (240, 320)).point(lambda value: int(value * 0.9))),
    ],
    ids=["recompressed", "png", "webp", "half", "double", "darker"],
)
def test_a_copy_of_a_photo_joins_its_group(copy):
    original, other = encode(draw(7, (240, 320))), encode(draw(8, (240, 320)))
    first, second, third = groups_of([original, copy, other])
    assert first == second != third


def test_different_images_stay_apart():
    assert len(set(groups_of([encode(draw(seed)) for seed in range(60)]))) == 60


def test_flat_images_of_two_colors_stay_apart():
    flat = [encode(Image.new("RGB", (60, 80), color), "PNG") for color in ("red", "red", "blue")]
    first, second, third = groups_of(flat)
    assert first == second != third


def test_titles_and_looks_join_transitively():
    images = [encode(draw(1), quality=95), encode(draw(1), quality=90), encode(draw(2)), encode(draw(3))]
    first, second, third, fourth = groups_of(images, ["", "shirt", "shirt", ""])
    assert first == second == third != fourth
