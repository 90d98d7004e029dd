"""The images of a batch: uploaded files as they are, or out of zip archives, counted before any is opened."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from . import limits
from .images import ImageError
from .limits import BatchTime, RequestError, TooLargeError, UnreadableError
from .system_files import is_below_left_behind
from .zip_archive import ORDINARY_COMPRESSIONS, Member, ZipArchive, ZipError, ZipLimitError, is_link, is_zip

MAX_DIRECTORY_BYTES = 2 * 2**20  # a zip's list of files is read whole; a hostile one holds millions
MAX_ENTRIES = 10_000  # with folders and what is passed over

File = tuple[str, Path | BinaryIO]  # the name that the user knows, and where the file lies, or its open file
Image = tuple[str, Path | bytes | ImageError]


class Batch:
    """The images among some files, within the limits of one batch. Iterate over it once for (name, source)."""

    def __init__(self, files: Sequence[File]) -> None:
        """Raises RequestError where there is nothing to classify, or more than one batch may have."""
        if not files:
            raise RequestError("Choose some images or a zip first.")
        self.files = [(name, file, open_archive(file) if is_zip(file) else None) for name, file in files]
        self.count = sum(len(members(archive)) if archive else 1 for _, _, archive in self.files)
        if not self.count:
            raise RequestError("This zip contains no files.")
        check_batch(self.count, sum(unpacked_bytes(file, archive) for _, file, archive in self.files))

    def __iter__(self) -> Iterator[Image]:
        return self.images()

    def images(self, batch_time: BatchTime | None = None) -> Iterator[Image]:
        """No member of an archive is unpacked when its time is over."""
        for name, file, archive in self.files:
            if archive is None:
                yield name, file if isinstance(file, Path) else file.read()
                continue
            with archive:
                for member in members(archive):
                    late = batch_time.over() if batch_time else ""
                    yield member.filename, ImageError(late) if late else read_member(archive, member)


def check_batch(num_files: int, num_bytes: int) -> None:
    """Raises TooLargeError for more than one batch may have."""
    if num_files > limits.MAX_BATCH_FILES:
        raise TooLargeError(
            f"These are {num_files:,} files; one batch may have {limits.MAX_BATCH_FILES:,}. "
            "Please split them into several batches."
        )
    if num_bytes > limits.MAX_BATCH_BYTES:
        raise TooLargeError(
            f"These files have {limits.megabytes(num_bytes)} together; one batch may have "
            f"{limits.megabytes(limits.MAX_BATCH_BYTES)}. Please split them into several batches."
        )


def open_archive(file: Path | BinaryIO) -> ZipArchive:
    """Raises RequestError for a damaged archive and for one with a huge list of files."""
    try:
        opened = file.open("rb") if isinstance(file, Path) else copied(file)
        return ZipArchive(opened, ORDINARY_COMPRESSIONS, MAX_DIRECTORY_BYTES, MAX_ENTRIES)
    except ZipLimitError:
        raise TooLargeError(
            f"This zip contains too many files; one batch may have {limits.MAX_BATCH_FILES:,}."
        ) from None
    except (ZipError, OSError):
        raise UnreadableError("This zip is damaged. Please create and upload it again.") from None


def copied(file: BinaryIO) -> BinaryIO:
    """A nameless file of its own: those of one form share theirs, and an archive is read back and forth."""
    copy = TemporaryFile()  # noqa: SIM115  closed with its archive
    shutil.copyfileobj(file, copy)
    file.seek(0)
    return copy


def members(archive: ZipArchive) -> list[Member]:
    """The files in it, without links and what operating systems leave behind."""
    return [member for member in archive.members if not is_link(member) and not is_below_left_behind(member.filename)]


def unpacked_bytes(file: Path | BinaryIO, archive: ZipArchive | None) -> int:
    """By the archive's own list, which zipfile never exceeds when it unpacks; an open file was counted on arrival."""
    if archive:
        return sum(member.file_size for member in members(archive))
    return file.stat().st_size if isinstance(file, Path) else 0


def read_member(archive: ZipArchive, member: Member) -> bytes | ImageError:
    try:
        return archive.read(member, limits.MAX_FILE_BYTES)
    except ImageError as error:
        return error
