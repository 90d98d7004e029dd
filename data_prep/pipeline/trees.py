"""Folders of images, whether they lie on the disk or in a .zip or .tar: their files by name, and each one's bytes.

    tree = open_tree(Path("shop.zip"), copies)
    for name in tree.listing().files: tree.image(name).read()

An archive is known by its content, not by its name, and read within the limits of app/zip_archive.py and
tar_archive.py. Links that lead elsewhere are never followed.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from tarfile import TarInfo
from typing import BinaryIO

from app.errors import UserError, one_line
from app.images import ImageError
from app.system_files import is_below_left_behind, is_left_behind
from app.zip_archive import ZipError, ZipLimitError, is_link, is_zip, open_zip
from data_prep.pipeline.copies import Copies
from data_prep.pipeline.excel_tables import EXCEL_SUFFIXES, WORKBOOK
from data_prep.pipeline.file_names import IMAGE_SUFFIXES, by_stem, existing_name, file_key, meant_name
from data_prep.pipeline.images import FileImage, ImageReference, ZipImage
from data_prep.pipeline.tar_archive import DAMAGED_TAR, FilePart, LinkedMembers, OpenTar, is_tar, pieces_of, read_image
from data_prep.pipeline.text_tables import MAX_TABLE_BYTES

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".jsonl", ".ndjson", ".json", ".parquet")
NOT_FOLLOWED = "link or device, not followed"
HUB_TABLES = ("metadata.csv", "metadata.jsonl")  # of the Hub's ImageFolder: labels beside the images
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(slots=True)
class Listing:
    """What is below a root, by names with forward slashes. rejected: names that cannot be used, with the reason.

    hidden: how many hidden files and folders were passed over. notes: remarks for the card.
    """

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    hidden: int = 0
    notes: list[str] = field(default_factory=list)


class Tree(ABC):
    """kind: in a word, for the card."""

    kind = "folder"

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def listing(self) -> Listing:
        """All files, folder by folder, each sorted."""

    @abstractmethod
    def image(self, name: str) -> ImageReference:
        """The image of this name, which fails when it is read if there is none."""

    @abstractmethod
    def existing(self, name: str) -> str:
        """The name of a file as it was meant: file_names.existing_name."""

    @abstractmethod
    def file(self, name: str) -> Path | None:
        """Where the bytes of a table lie; None where there is none. Raises UserError."""

    def relative(self, name: str) -> str:
        """An absolute path relative to the root, where it is below; anything else as it is."""
        return name


class Folder(Tree):
    def listing(self) -> Listing:
        found, errors = Listing(), []
        for folder, subfolders, files in os.walk(self.path, onerror=errors.append):
            inside = Path(folder).relative_to(self.path).as_posix()
            prefix = "" if inside == "." else f"{inside}/"
            found.hidden += sum(map(is_left_behind, subfolders + files))
            subfolders[:] = sorted(name for name in subfolders if not is_left_behind(name))
            links = [name for name in subfolders if os.path.islink(os.path.join(folder, name))]
            subfolders[:] = [name for name in subfolders if name not in links]
            found.rejected += [(prefix + name, "link to a folder, not followed") for name in links]
            found.folders += [prefix + name for name in subfolders]
            found.files += sorted(prefix + name for name in files if not is_left_behind(name))
        for error in errors:
            name = Path(error.filename).relative_to(self.path).as_posix()
            found.rejected.append((name, f"folder cannot be read: {error.strerror}"))
        return found

    def image(self, name: str) -> ImageReference:
        return FileImage(str(self.path), name)

    def existing(self, name: str) -> str:
        return existing_name(str(self.path), name)

    def file(self, name: str) -> Path | None:
        path = self.path / name
        return path if path.is_file() else None

    def relative(self, name: str) -> str:
        root = self.path.absolute()
        return Path(name).relative_to(root).as_posix() if Path(name).is_relative_to(root) else name


@dataclass(slots=True, frozen=True)
class MissingImage:
    """A name that the archive does not have."""

    name: str

    def read(self) -> bytes:
        raise ImageError("no such file in the archive")

    def key(self) -> str:
        return self.name


class Archive(Tree):
    """Names are relative to the innermost folder that holds everything, so that shop.zip may hold shop/hat/1.jpg."""

    kind = "archive"

    def __init__(self, path: Path, copies: Copies) -> None:
        super().__init__(path)
        self.copies = copies

    @abstractmethod
    def members(self, found: Listing) -> Iterator[tuple[str, ImageReference]]:
        """The files with their names in the archive; what cannot be one is put into `found`."""

    @cached_property
    def _read(self) -> tuple[Listing, dict[str, ImageReference]]:
        found = Listing()
        members = [(clean_name(name), image) for name, image in self.members(found)]
        self.common = common = common_folder([name for name, _ in members])
        if common:
            found.notes.append(f"Everything in {self.path.name} lies in {common.rstrip('/')}, which was passed over.")
        images: dict[str, ImageReference] = {}
        for name, image in sorted(members, key=lambda member: PurePosixPath(member[0]).parts):
            short = name.removeprefix(common)
            found.files.append(short)
            images.setdefault(short, image)
        found.rejected = [(clean_name(name).removeprefix(common), reason) for name, reason in found.rejected]
        found.folders = sorted({str(folder) for name in images for folder in PurePosixPath(name).parents} - {"."})
        return found, images

    def listing(self) -> Listing:
        return self._read[0]

    def image(self, name: str) -> ImageReference:
        return self._read[1].get(name) or MissingImage(name)

    def existing(self, name: str) -> str:
        images = self._read[1]
        found = meant_name(name, images.__contains__, lambda inside: self._stems.get(inside, {}))
        inner = found.replace("\\", "/").removeprefix(self.common)
        if found in images or inner == found:
            return found if found in images or "/" in found else self._anywhere.get(found, found)
        return self.existing(inner)

    @cached_property
    def _stems(self) -> dict[str, dict[str, str]]:
        names: dict[str, list[str]] = {}
        for name in self._read[1]:
            inside, _, last = name.rpartition("/")
            names.setdefault(inside, []).append(last)
        return {inside: by_stem(last) for inside, last in names.items()}

    @cached_property
    def _anywhere(self) -> dict[str, str]:
        """The image of a file name or id that only one folder has: nobody can name a folder of an archive as root."""
        found: dict[str, list[str]] = {}
        for inside, stems in self._stems.items():
            for stem, last in stems.items():
                for key in {stem, last}:
                    found.setdefault(key, []).append(f"{inside}/{last}" if inside else last)
        return {key: names[0] for key, names in found.items() if len(names) == 1}

    def is_passed_over(self, name: str, found: Listing) -> bool:
        hidden = is_below_left_behind(name)
        found.hidden += hidden
        return hidden


class Zip(Archive):
    def members(self, found: Listing) -> Iterator[tuple[str, ImageReference]]:
        try:
            archive = open_zip(self.path)
        except ZipLimitError as error:
            raise UserError(f"{self.path} is too large ({error}); unpack it, or pack it in parts") from None
        except ZipError as error:
            raise UserError(f"{self.path} is not a complete zip file ({error}); make or download it again") from None
        found.notes += archive.notes
        for member in archive.members:
            if self.is_passed_over(member.filename, found):
                continue
            if is_link(member):
                found.rejected.append((member.filename, NOT_FOLLOWED))
                continue
            yield member.filename, ZipImage(str(self.path), member.filename)

    def file(self, name: str) -> Path | None:
        image = self.image(name)
        if not isinstance(image, ZipImage):
            return None
        try:
            with open_zip(self.path).open(image.member, MAX_TABLE_BYTES) as stream:
                return self.copies.table(name, pieces_of(stream))
        except ImageError as error:
            raise UserError(f"{name} in {self.path} cannot be read: {error}") from None


class Tar(Archive):
    def members(self, found: Listing) -> Iterator[tuple[str, ImageReference]]:
        try:
            with self._opened() as file:
                archive = OpenTar(file)
                for member in archive:
                    if member.isdir() or self.is_passed_over(member.name, found):
                        continue
                    try:
                        yield member.name, self._image(archive, member)
                    except ImageError as error:
                        found.rejected.append((member.name, str(error)))
        except DAMAGED_TAR as error:
            found.rejected.append((self.path.name, f"damaged archive ({one_line(error)}); what follows cannot be read"))

    def _opened(self) -> BinaryIO:
        return open(self.path, "rb")

    @cached_property
    def _linked(self) -> LinkedMembers:
        return LinkedMembers(self._opened)

    def _image(self, archive: OpenTar, member: TarInfo) -> FilePart:
        """Raises ImageError."""
        origin = f"{file_key(str(self.path))}|{member.name}"
        if member.islnk():
            return self.copies.add([self._linked.read(member.linkname)], origin)
        if not member.isreg() or member.issparse():
            raise ImageError(NOT_FOLLOWED)
        if archive.is_plain:
            return FilePart(str(self.path), member.offset_data, member.size)
        with archive.opened(member) as stream:
            if member.name.lower().endswith(TABLE_SUFFIXES) and member.size <= MAX_TABLE_BYTES:
                return self.copies.add(pieces_of(stream), origin)
            return self.copies.add([read_image(stream, member.size)], origin)

    def file(self, name: str) -> Path | None:
        part = self.image(name)
        return self.copies.table(name, part.pieces()) if isinstance(part, FilePart) else None


def open_tree(path: Path, copies: Copies) -> Tree | None:
    """None for a file that is not an archive. Raises UserError for what is not there."""
    if path.is_dir():
        return Folder(path)
    if not path.is_file():
        raise UserError(f"no folder {path}" if not path.exists() else f"{path} is not a regular file")
    suffixes = path.name.lower().split(".")[1:]  # which say what a damaged archive was meant to be
    if (is_zip(path) or suffixes[-1:] == ["zip"]) and not is_workbook(path):
        return Zip(path, copies)
    return Tar(path, copies) if is_tar(path) or "tar" in suffixes else None


def is_workbook(path: Path) -> bool:
    """Whether a zip is a table in .xlsx; a damaged one is known by its name."""
    try:
        return any(member.filename == WORKBOOK for member in open_zip(path).members)
    except ZipError:
        return path.suffix.lower() in EXCEL_SUFFIXES


def clean_name(name: str) -> str:
    """Of a member, without what leads nowhere: `tar` writes ./hat/1.jpg, others //hat/1.jpg."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def common_folder(names: Sequence[str]) -> str:
    """The innermost folder that holds everything and is neither a class nor a split, with a slash; else empty."""
    common = ""
    while True:
        below = [name.removeprefix(common).split("/") for name in names]
        tops = {parts[0] for parts in below}
        if len(tops) != 1 or min(map(len, below)) < 2:
            return common
        top = tops.pop()
        beside = [parts[1] for parts in below if len(parts) == 2]
        is_class = len(beside) == len(below) or any(name.lower().endswith(IMAGE_SUFFIXES) for name in beside)
        if top.casefold() in SPLIT_NAMES or (is_class and not set(HUB_TABLES) & set(beside)):
            return common
        common += f"{top}/"
