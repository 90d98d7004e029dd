"""The images of a batch: uploaded files as they are, or out of zip archives, counted before any is opened."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from . import limits
from .images import ImageError
from .limits import RequestError, TooLargeError, UnreadableError
from .zip_archive import ORDINARY_COMPRESSIONS, Member, ZipArchive, ZipError, directory_bytes, is_link, is_zip

MAX_DIRECTORY_BYTES = 2 * 2**20  # a zip's list of files is read whole; a hostile one holds millions
JUNK = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"}

File = tuple[str, Path]  # the name that the user knows, and where the file lies
Image = tuple[str, Path | bytes | ImageError]


class Batch:
    """The images among some files, within the limits of one batch. Iterate over it once for (name, source)."""

    def __init__(self, files: Sequence[File]) -> None:
        """Raises RequestError where there is nothing to classify, or more than one batch may have."""
        if not files:
            raise RequestError("Choose some images or a zip first.")
        self.files = [(name, path, open_archive(path) if is_zip(path) else None) for name, path in files]
        self.count = sum(len(members(archive)) if archive else 1 for _, _, archive in self.files)
        if not self.count:
            raise RequestError("This zip contains no files.")
        if self.count > limits.MAX_BATCH_FILES:
            raise TooLargeError(
                f"These are {self.count:,} files; one batch may have {limits.MAX_BATCH_FILES:,}. "
                "Please split them into several batches."
            )
        num_bytes = sum(unpacked_bytes(path, archive) for _, path, archive in self.files)
        if num_bytes > limits.MAX_BATCH_BYTES:
            raise TooLargeError(
                f"These files have {limits.megabytes(num_bytes)} together; one batch may have "
                f"{limits.megabytes(limits.MAX_BATCH_BYTES)}. Please split them into several batches."
            )

    def __iter__(self) -> Iterator[Image]:
        for name, path, archive in self.files:
            if archive is None:
                yield name, path
                continue
            with archive:
                yield from ((member.filename, read_member(archive, member)) for member in members(archive))


def open_archive(path: Path) -> ZipArchive:
    """Raises RequestError for a damaged archive and for one with a huge list of files."""
    num_bytes = directory_bytes(path)
    if num_bytes is None:
        raise TooLargeError("This zip is in the format for huge archives (zip64). Please split it into smaller ones.")
    if num_bytes > MAX_DIRECTORY_BYTES:
        raise TooLargeError(f"This zip contains too many files; one batch may have {limits.MAX_BATCH_FILES:,}.")
    try:
        return ZipArchive(path.open("rb"), ORDINARY_COMPRESSIONS)
    except (ZipError, OSError):
        raise UnreadableError("This zip is damaged. Please create and upload it again.") from None


def members(archive: ZipArchive) -> list[Member]:
    """The files in it, without links and what operating systems leave behind."""
    return [
        member
        for member in archive.members
        if not is_link(member)
        and not JUNK.intersection(PurePosixPath(member.filename).parts)
        and not PurePosixPath(member.filename).name.startswith("._")
    ]


def unpacked_bytes(path: Path, archive: ZipArchive | None) -> int:
    """By the archive's own list, which zipfile never exceeds when it unpacks."""
    return sum(member.file_size for member in members(archive)) if archive else path.stat().st_size


def read_member(archive: ZipArchive, member: Member) -> bytes | ImageError:
    try:
        return archive.read(member, limits.MAX_FILE_BYTES)
    except ImageError as error:
        return error
