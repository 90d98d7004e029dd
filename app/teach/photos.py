"""What a visitor teaches from: a zip with one folder per category, checked, and packed anew for train.py.

    photos = Photos.of(Path("upload.zip"), folder / "photos.zip")     # RequestError says in plain words what is missing
    photos.add("Hats", data)                                          # a corrected photo joins

A folder around all others, and folders called like splits (train, validation), are not categories. Names from the
archive become labels and file names inside the new one, never a path of this machine.
"""

import hashlib
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import limits
from ..batches import MAX_DIRECTORY_BYTES, MAX_ENTRIES, members
from ..containers import looks_like_image
from ..guard.stored import safe_name
from ..images import ImageError
from ..limits import NotAnImageError, RequestError, TooLargeError, UnreadableError
from ..zip_archive import ORDINARY_COMPRESSIONS, Member, ZipArchive, ZipError, ZipLimitError, is_zip

MIN_CATEGORIES, MIN_PHOTOS = 2, 2
GOOD_START = 5  # photos of a category
MAX_LABEL = 60  # characters
SPLITS = frozenset(("train", "training", "validation", "valid", "val", "dev", "test", "testing"))
SHAPE = "Make a zip with one folder per category, named after it, and put the photos of each inside."
SHOWN = 5


class Photos:
    """The photos in the zip at `path`, which is ours; no bytes of them stay in memory.

    counts: photos of each category. names: for each name in the zip the one that people know. left_out: (name, reason)
    of files that are no use. num_new: photos that no model has learned yet, set to 0 by who teaches them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self.names: dict[str, str] = {}
        self.left_out: list[tuple[str, str]] = []
        self.num_bytes = 0
        self.num_added, self.num_new = 0, 0
        self._added: dict[str, str] = {}  # by the hash of a photo its category

    @classmethod
    def of(cls, upload: Path, path: Path) -> "Photos":
        """Raises RequestError where nothing can be learned from it, or it exceeds a limit."""
        if not is_zip(upload):
            raise NotAnImageError(f"This is not a zip. {SHAPE}")
        try:
            with ZipArchive(upload.open("rb"), ORDINARY_COMPRESSIONS, MAX_DIRECTORY_BYTES, MAX_ENTRIES) as archive:
                photos = cls(path)
                photos._take(archive)
        except ZipLimitError:
            raise TooLargeError(f"This zip holds too much; {allowed()}.") from None
        except (ZipError, OSError):
            raise UnreadableError("This zip is damaged. Please make it again and drop it here once more.") from None
        photos._check()
        return photos

    @property
    def categories(self) -> list[str]:
        return sorted(self.counts)

    def add(self, category: str, data: bytes) -> None:
        """The same photo counts once. Raises RequestError for an unknown category, and for more photos than allowed."""
        if category not in self.counts:
            raise RequestError(f"There is no category {category[:40]!r} to add this photo to.")
        key = hashlib.sha256(data).hexdigest()
        if (before := self._added.get(key)) == category:
            return
        if before:
            raise RequestError(f"This photo was added to {before} before.")
        check_amount(self.counts.total() + 1, self.num_bytes + len(data))
        self.num_added, self.num_new = self.num_added + 1, self.num_new + 1
        with zipfile.ZipFile(self.path, "a", zipfile.ZIP_STORED) as archive:
            self._write(archive, category, f"{category}/photo added {self.num_added}", data)
        self._added[key] = category

    def _take(self, upload: ZipArchive) -> None:
        """Raises RequestError."""
        found = members(upload)
        check_amount(len(found), sum(member.file_size for member in found))
        placed = list(in_categories(found))
        check_categories({category for category, _ in placed if category})
        with zipfile.ZipFile(self.path, "w", zipfile.ZIP_STORED) as archive:
            for category, member in placed:
                try:
                    data = upload.read(member, limits.MAX_FILE_BYTES) if category else b""
                except ImageError as error:
                    self.left_out.append((member.filename, str(error)))
                    continue
                if looks_like_image(data):
                    self._write(archive, category, member.filename, data)
                else:
                    reason = "not a photo" if category else "not in the folder of a category"
                    self.left_out.append((member.filename, reason))

    def _write(self, archive: zipfile.ZipFile, category: str, name: str, data: bytes) -> None:
        packed = f"{category}/{len(self.names):05d} {safe_name(name)}"
        archive.writestr(packed, data)
        self.names[packed] = name
        self.counts[category] += 1
        self.num_bytes += len(data)

    def _check(self) -> None:
        """Raises RequestError where nothing can be learned from these photos."""
        if not self.counts:
            raise RequestError(f"There are no photos in folders of categories in this zip. {SHAPE}")
        if len(self.counts) < MIN_CATEGORIES:
            only = next(iter(self.counts))
            raise RequestError(f"There is only one category, {only}; there must be two or more to tell apart. {SHAPE}")
        few = [name for name, count in self.counts.items() if count < MIN_PHOTOS]
        if few:
            names = ", ".join(few[:SHOWN]) + (", …" if len(few) > SHOWN else "")
            noun = "This category has" if len(few) == 1 else "These categories have"
            raise RequestError(
                f"{noun} only one photo: {names}. Each needs at least {MIN_PHOTOS}; {GOOD_START} are a good start."
            )


def in_categories(found: Sequence[Member]) -> Iterator[tuple[str, Member]]:
    """Each file with the name of its category, "" for none."""
    paths = [[part for part in member.filename.split("/") if part not in ("", ".", "..")] for member in found]
    depth = 0
    while folders := {path[depth] for path in paths if len(path) > depth + 1}:
        deeper = any(len(path) > depth + 2 for path in paths)
        is_around = len(folders) == 1 and deeper and not any(len(path) == depth + 1 for path in paths)
        is_splits = deeper and {name.casefold() for name in folders} <= SPLITS
        if not (is_around or is_splits):
            break
        depth += 1
    for path, member in zip(paths, found, strict=True):
        yield label_of(path[depth]) if len(path) > depth + 1 else "", member


def label_of(folder: str) -> str:
    """A folder's name as the name of a category: in one line, and nothing that a file system dislikes."""
    printable = "".join(character if character.isprintable() else " " for character in folder)
    return safe_name(" ".join(printable.split())[:MAX_LABEL])


def check_categories(names: set[str]) -> None:
    """Raises TooLargeError."""
    if len(names) > limits.MAX_TEACH_CATEGORIES:
        raise TooLargeError(
            f"There are {len(names):,} categories; at most {limits.MAX_TEACH_CATEGORIES:,} can be taught."
        )


def check_amount(files: int, num_bytes: int) -> None:
    """Raises TooLargeError."""
    if files > limits.MAX_TEACH_FILES:
        raise TooLargeError(f"There are {files:,} files; {allowed()}.")
    if num_bytes > limits.MAX_TEACH_BYTES:
        raise TooLargeError(f"The photos have {limits.megabytes(num_bytes)} together; {allowed()}.")


def allowed() -> str:
    return (
        f"at most {limits.MAX_TEACH_FILES:,} photos of {limits.megabytes(limits.MAX_TEACH_BYTES)} in all can be taught"
    )
