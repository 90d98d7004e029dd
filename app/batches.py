"""The images of a batch: uploaded files as they are, or out of zip archives, counted before any is opened."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from . import limits
from .images import ImageError
from .limits import RequestError, TooLargeError, UnreadableError

ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
ZIP_END, ZIP64_END = b"PK\x05\x06", b"PK\x06\x07"
ZIP_END_BYTES = 22 + 0xFFFF  # the last record with the longest comment
MAX_DIRECTORY_BYTES = 2 * 2**20  # a zip's list of files is read whole; a hostile one holds millions
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # LZMA may claim gigabytes for one member
JUNK = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"}

File = tuple[str, Path]  # the name that the user knows, and where the file lies
Image = tuple[str, Path | bytes | ImageError]


class Batch:
    """The images among some files, within the limits of one batch. Iterate over it once for (name, source)."""

    def __init__(self, files: Sequence[File]) -> None:
        """Raises RequestError where there is nothing to classify, or more than one batch may have."""
        if not files:
            raise RequestError("Choose some images or a zip first.")
        self.files = [(name, path, open_zip(path) if is_zip(path) else None) for name, path in files]
        self.count = sum(len(members(archive)) if archive else 1 for _, _, archive in self.files)
        if not self.count:
            raise RequestError("This zip holds no files.")
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


def is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in ZIP_STARTS


def open_zip(path: Path) -> zipfile.ZipFile:
    """Raises RequestError for a damaged archive and for one with a huge list of files."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - ZIP_END_BYTES))
        tail = file.read()
    end = tail.rfind(ZIP_END)
    if ZIP64_END in tail[max(0, end - 20) : max(0, end)]:
        raise TooLargeError("This zip is in the format for huge archives (zip64). Please split it into smaller ones.")
    if 0 <= end <= len(tail) - 16 and struct.unpack_from("<I", tail, end + 12)[0] > MAX_DIRECTORY_BYTES:
        raise TooLargeError(f"This zip holds too many files; one batch may have {limits.MAX_BATCH_FILES:,}.")
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        raise UnreadableError("This zip is damaged. Please make it again and upload it once more.") from None


def members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files in it, without folders, links and what operating systems leave behind."""
    return [
        member
        for member in archive.infolist()
        if not member.is_dir()
        and not stat.S_ISLNK(member.external_attr >> 16)
        and not JUNK.intersection(PurePosixPath(member.filename).parts)
        and not PurePosixPath(member.filename).name.startswith("._")
    ]


def unpacked_bytes(path: Path, archive: zipfile.ZipFile | None) -> int:
    """By the archive's own list, which zipfile never exceeds when it unpacks."""
    return sum(member.file_size for member in members(archive)) if archive else path.stat().st_size


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | ImageError:
    if member.flag_bits & 1:
        return ImageError("protected with a password")
    if member.compress_type not in COMPRESSIONS:
        return ImageError("packed in an unusual way; make the zip with the ordinary method (deflate)")
    if member.file_size > limits.MAX_FILE_BYTES:
        found, allowed = limits.megabytes(member.file_size), limits.megabytes(limits.MAX_FILE_BYTES)
        return ImageError(f"too large ({found}, at most {allowed})")
    try:
        with archive.open(member) as file:
            return file.read()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError):
        return ImageError("damaged in the zip")
