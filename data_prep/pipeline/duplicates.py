"""Which images show the same product: equal title, equal bytes, or a near-duplicate photograph.

A near-duplicate has a perceptual hash (pHash, 64 bits) at most 4 bits away AND a 16x16 RGB thumbnail with a normalized
correlation of at least 0.998. Both limits were set by eye on contact sheets of the Kaggle fashion images: the hash
alone also joins shoes, ties and wallets that merely share a pose on white (157,000 pairs at 4 bits), and the thumbnail
alone joins plain wallets of different brands. Together they find copies of one photograph, recoloured ones included
(the shades of a lipstick), and little else. Where the areas of the two images differ by 10%, 0.993 is enough:
resampling moves the thumbnail of a small image more than a second JPEG compression does.

On the 39,612 Kaggle images this joins 346 sets of titles; the largest group, 95 plain wallets, spans 10 titles.

Copies found, in percent of 600 images each, made with Pillow (JPEG quality 90 unless stated):
                  quality 50   quality 20   WebP   half size   double size   10% brighter
  Kaggle, 60x80           78           46     95           8           100             44
  clothing, 256 px       100           82    100         100           100             98
Not found: mirrored, cropped and gray copies.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_prep.pipeline.images import THUMBNAIL_BYTES, ImageFacts

MAX_HASH_DISTANCE = 4  # bits of 64
MIN_CORRELATION = 0.998
MIN_CORRELATION_RESIZED = 0.993
RESIZED_LOG_AREA = 0.1  # areas that differ by 10% mean resampling; a row of pixels less does not
COMPARISONS_AT_ONCE = 1_000_000  # 8 MB of hashes: memory does not depend on the number of images
PAIRS_AT_ONCE = 4096


def normalize_title(title: str) -> str:
    """Titles that differ in case, white space or Unicode form only are the same."""
    return " ".join(unicodedata.normalize("NFKC", title).casefold().split())


@dataclass(slots=True)
class ImageSignature:
    """What n images look like. phashes: `(n,) uint64`; thumbnails: `(n, 768) uint8`; sizes: `(n, 2)` in pixels."""

    phashes: np.ndarray
    thumbnails: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, facts: Iterable[ImageFacts], at_most: int) -> "ImageSignature":
        """Signatures of good images, of which there are no more than `at_most`."""
        phashes = np.empty(at_most, np.uint64)
        thumbnails = np.empty((at_most, THUMBNAIL_BYTES), np.uint8)
        sizes = np.empty((at_most, 2), np.int32)
        count = 0
        for fact in facts:
            phashes[count] = int.from_bytes(fact.phash, "big")
            thumbnails[count] = np.frombuffer(fact.thumbnail, np.uint8)
            sizes[count] = fact.width, fact.height
            count += 1
        return cls(phashes[:count], thumbnails[:count], sizes[:count])


def group_images(
    sha256: Sequence[bytes], signatures: ImageSignature, shared_keys: Sequence[Sequence[str]] = ()
) -> np.ndarray:
    """Group number of each image: `(n,) int64`, equal for images that must stay together.

    shared_keys: columns of n strings (titles, ...), where equal non-empty strings join images. Brute force over the
    hashes: n*n/2 comparisons (2 s for 40,000 images), memory proportional to n.
    """
    columns = [list(sha256), *shared_keys]
    groups = join_equal([*map(factorize, columns), same_signature(signatures)], len(signatures.phashes))
    for first, second in candidate_pairs(signatures.phashes):
        for start in range(0, len(first), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            join_verified(groups, signatures, first[part], second[part])
    return groups


def factorize(values: Sequence) -> np.ndarray:
    """Number of each distinct value; empty values are all different."""
    numbers: dict = {}
    return np.array(
        [numbers.setdefault(value if value else (index,), len(numbers)) for index, value in enumerate(values)]
    )


def same_signature(signatures: ImageSignature) -> np.ndarray:
    """Number of each distinct thumbnail and hash."""
    pairs = zip(signatures.phashes.tolist(), signatures.thumbnails, strict=True)
    return factorize([hash((phash, thumbnail.tobytes())) or 1 for phash, thumbnail in pairs])


def join_equal(columns: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Components of the graph in which images that share a number in any column are joined."""
    edges = []
    for column in columns:
        order = np.argsort(column, kind="stable")
        same = column[order[1:]] == column[order[:-1]]
        edges.append(np.stack([order[:-1][same], order[1:][same]]))
    rows, others = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, others)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def candidate_pairs(phashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(first, second) index arrays of the images whose hashes are near, a block of rows at a time."""
    count = len(phashes)
    rows = max(1, COMPARISONS_AT_ONCE // max(1, count))
    for start in range(0, count, rows):
        block = phashes[start : start + rows, None] ^ phashes[None, start:]
        first, second = np.nonzero(np.bitwise_count(block) <= MAX_HASH_DISTANCE)
        later = second > first
        yield first[later] + start, second[later] + start


def join_verified(groups: np.ndarray, signatures: ImageSignature, first: np.ndarray, second: np.ndarray) -> None:
    """Merge, in place, the groups of those pairs whose thumbnails agree too."""
    apart = groups[first] != groups[second]
    first, second = first[apart], second[apart]
    if not len(first):
        return
    areas = np.log(signatures.sizes.prod(axis=1, dtype=np.int64))
    resized = np.abs(areas[first] - areas[second]) > RESIZED_LOG_AREA
    needed = np.where(resized, MIN_CORRELATION_RESIZED, MIN_CORRELATION)
    near = correlation(signatures.thumbnails[first], signatures.thumbnails[second]) >= needed
    for left, right in zip(first[near], second[near], strict=True):
        if groups[left] != groups[right]:
            groups[groups == groups[right]] = groups[left]


def correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Normalized correlation of each pair of thumbnails, `(n, 768) uint8` each; 0 where one of them is flat."""
    first, second = (
        part - part.mean(axis=1, keepdims=True) for part in (first.astype(np.float32), second.astype(np.float32))
    )
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.einsum("ij,ij->i", first, second) / np.maximum(norms, 1.0)
