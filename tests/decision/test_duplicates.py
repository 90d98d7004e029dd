"""Which images count as one product: a wrong join or a missed one moves answers between training and test."""

import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest

from data_prep.pipeline import duplicates
from data_prep.pipeline.duplicates import (
    ImageSignature,
    candidate_pairs,
    correlation,
    factorize,
    group_images,
    join_equal,
    join_verified,
    normalize_title,
    same_signature,
)

SIDE = 768


def thumbnail(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 190, SIDE).astype(np.uint8)


def like(base: np.ndarray, wanted: float) -> np.ndarray:
    """A thumbnail whose correlation with `base` is `wanted`, to about 0.0003."""
    centered = base - base.mean()
    noise = np.random.default_rng(1).normal(size=SIDE)
    noise -= noise.mean() + centered * (noise @ centered) / (centered @ centered)
    noise *= np.linalg.norm(centered) / np.linalg.norm(noise)
    mixed = wanted * centered + np.sqrt(1 - wanted**2) * noise
    return np.clip(np.round(base.mean() + mixed), 0, 255).astype(np.uint8)


def signatures(thumbnails: list[np.ndarray], sizes=None, phashes=None) -> ImageSignature:
    count = len(thumbnails)
    return ImageSignature(
        np.array(phashes if phashes is not None else [0] * count, np.uint64),
        np.stack(thumbnails),
        np.array(sizes or [(100, 100)] * count, np.int32),
    )


def test_titles_are_equal_whatever_their_case_white_space_and_unicode_form():
    assert normalize_title("  Ｔｅｅ\u00a0 STRASSE\n") == normalize_title("tee straße") == "tee strasse"
    assert normalize_title(unicodedata.normalize("NFD", "Café")) == "café"


def test_a_signature_holds_what_the_facts_say():
    facts = [
        SimpleNamespace(phash=bytes([0] * 6 + [1, 2]), thumbnail=bytes([5]) * SIDE, width=30, height=40),
        SimpleNamespace(phash=bytes([1] + [0] * 7), thumbnail=bytes([6]) * SIDE, width=50, height=60),
    ]
    signature = ImageSignature.of(iter(facts), at_most=5)
    assert signature.phashes.tolist() == [258, 1 << 56] and signature.phashes.dtype == np.uint64
    assert signature.thumbnails.shape == (2, SIDE) and signature.thumbnails[:, 0].tolist() == [5, 6]
    assert signature.thumbnails.dtype == np.uint8
    assert signature.sizes.tolist() == [[30, 40], [50, 60]] and signature.sizes.dtype == np.int32


def test_equal_values_have_one_number_and_empty_ones_each_their_own():
    assert factorize(["a", "b", "a", "", ""]).tolist() == [0, 1, 0, 2, 3]


def test_images_are_the_same_only_if_hash_and_thumbnail_are():
    one, other = thumbnail(0), thumbnail(1)
    numbers = same_signature(signatures([one, one, other, one], phashes=[7, 7, 7, 8])).tolist()
    assert numbers[0] == numbers[1] and len({numbers[0], numbers[2], numbers[3]}) == 3


def test_images_are_joined_through_any_column_and_through_each_other():
    columns = [np.array([0, 0, 1, 2, 3]), np.array([5, 6, 6, 7, 8])]
    groups = join_equal(columns, 5)
    assert groups.dtype == np.int64
    assert groups[0] == groups[1] == groups[2] and len({groups[0], groups[3], groups[4]}) == 3
    assert join_equal([np.array([4, 9, 4])], 3).tolist() == [0, 1, 0]


@pytest.mark.parametrize("at_once", [1, 7, 1_000_000])
def test_hashes_at_most_four_bits_apart_are_candidates_in_every_block(monkeypatch, at_once):
    monkeypatch.setattr(duplicates, "COMPARISONS_AT_ONCE", at_once)
    phashes = np.array([0, 0b1111, 0b11111, 1 << 60, 0b1111 << 4], np.uint64)
    pairs = [pair for first, second in candidate_pairs(phashes) for pair in zip(first, second, strict=True)]
    assert sorted((int(first), int(second)) for first, second in pairs) == [(0, 1), (0, 3), (0, 4), (1, 2)]


def test_the_blocks_are_as_large_as_memory_allows(monkeypatch):
    monkeypatch.setattr(duplicates, "COMPARISONS_AT_ONCE", 10)
    assert len(list(candidate_pairs(np.zeros(5, np.uint64)))) == 3  # of two rows each
    assert list(candidate_pairs(np.zeros(0, np.uint64))) == []


@pytest.mark.parametrize(
    ("wanted", "second_size", "joined"),
    [
        (0.9985, (100, 100), True),
        (0.9972, (100, 100), False),
        (0.9972, (100, 112), True),  # 12% more pixels: it was resampled
        (0.9972, (112, 100), True),
        (0.9972, (100, 108), False),
        (0.9972, (100, 89), True),
        (0.9920, (100, 200), False),
    ],
)
def test_how_alike_thumbnails_must_be_depends_on_whether_one_was_resampled(wanted, second_size, joined):
    base = thumbnail(3)
    found = signatures([base, like(base, wanted)], [(100, 100), second_size])
    groups = np.array([4, 9])
    join_verified(groups, found, np.array([0]), np.array([1]))
    assert groups.tolist() == ([4, 4] if joined else [4, 9])


def test_a_join_takes_the_whole_group_along():
    base = thumbnail(3)
    found = signatures([base, base, thumbnail(4), thumbnail(5)])
    groups = np.array([0, 1, 1, 2])
    join_verified(groups, found, np.array([0, 0, 0]), np.array([2, 1, 3]))
    assert groups.tolist() == [0, 0, 0, 2]


def test_pairs_of_one_group_are_not_looked_at():
    found = signatures([thumbnail(3), thumbnail(4)])
    groups = np.array([1, 1])
    join_verified(groups, found, np.array([0]), np.array([1]))
    assert groups.tolist() == [1, 1]


def test_correlation_is_pearsons_and_zero_for_a_flat_thumbnail():
    first, second = np.stack([thumbnail(0), thumbnail(1)]), np.stack([like(thumbnail(0), 0.9), thumbnail(2)])
    expected = [np.corrcoef(*pair)[0, 1] for pair in zip(first, second, strict=True)]
    assert correlation(first, second) == pytest.approx(expected, abs=1e-5)
    flat = np.full((1, SIDE), 200, np.uint8)
    assert correlation(flat, first[:1]).tolist() == [0.0]
    faint = flat.copy()
    faint[0, 0] = 201  # the product of the lengths is about 1
    assert correlation(faint, faint) == pytest.approx([767 / 768], abs=1e-4)


@pytest.mark.parametrize("at_once", [1, 2, 4096])
def test_groups_are_made_of_equal_bytes_keys_looks_and_near_duplicates(monkeypatch, at_once):
    monkeypatch.setattr(duplicates, "PAIRS_AT_ONCE", at_once)
    base = thumbnail(9)
    looks = [thumbnail(number) for number in range(6)] + [base, like(base, 0.9990), base]
    far = [1 << (8 * number) | 0xFF << (8 * number) for number in range(6)]
    found = signatures(looks, phashes=[*far, 0b11, 0b111, 0b11 | 0xFF << 48])
    sha256 = [b"a", b"a", *(bytes([number]) for number in range(7))]
    titles, products = [""] * 9, [""] * 9
    titles[2] = titles[3] = "Blue tee"
    products[3] = products[4] = "P1"
    groups = group_images(sha256, found, [titles, products])
    parts = {frozenset(np.flatnonzero(groups == group).tolist()) for group in groups}
    assert parts == {frozenset(part) for part in ([0, 1], [2, 3, 4], [5], [6, 7], [8])}


def test_without_other_columns_only_bytes_and_looks_count():
    found = signatures([thumbnail(0), thumbnail(0), thumbnail(1)], phashes=[1, 1, 1 << 40])
    groups = group_images([b"x", b"y", b"z"], found)
    assert groups[0] == groups[1] != groups[2]
