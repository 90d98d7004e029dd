"""Contact sheets stay small enough to look through, and show what cannot be shown."""

from PIL import Image

from data_prep.checks.contact_sheet import MAX_TILES, WIDTH, Band, Tile, draw_sheet
from data_prep.pipeline.images import FileImage
from tests.drawings import fill


def test_a_sheet_stops_at_a_number_that_a_person_can_look_through(tmp_path):
    fill(tmp_path, {"a.jpg": 1})
    tile = Tile(FileImage(str(tmp_path), "a.jpg"), ("a title that is much too long for the width of one image",) * 2)
    bands = [Band("first", [tile] * 5), Band("", [tile] * 500)]
    assert draw_sheet(tmp_path / "sheet.png", "Many", bands, side=40) == MAX_TILES


def test_a_sheet_has_room_for_an_image_that_cannot_be_shown(tmp_path):
    fill(tmp_path, {"bad.jpg": b"no image"})
    tiles = [Tile(FileImage(str(tmp_path), name), (name,)) for name in ("bad.jpg", "missing.jpg")]
    assert draw_sheet(tmp_path / "sheet.png", "Bad", [Band("", tiles)]) == 2
    assert Image.open(tmp_path / "sheet.png").width == WIDTH
