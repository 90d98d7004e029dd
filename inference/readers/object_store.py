"""Images in an object store, through fsspec: s3://bucket/folder, gs://bucket/shop.tar, hf://datasets/me/shoes.

Only an address that the user gives as an argument comes here, and only of a scheme in PACKAGES: never one out of a
table or a list. Credentials are found by the packages themselves, where their own tools find them.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from app.images import HEAD_BYTES, ImageError, check_num_bytes
from app.system_files import is_left_behind
from inference.readers.base import InputError, Lookup, NamedImage, Reader
from inference.readers.files import TABLE_SUFFIXES, container_reader

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from inference.readers.table import TableReader

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}
CREDENTIALS = {
    "s3": "the usual AWS settings (AWS_ACCESS_KEY_ID, ~/.aws, a role)",
    "gs": "Google's application default credentials",
    "hf": "HF_TOKEN",
}
TIMEOUTS: dict[str, dict[str, Any]] = {  # or a machine without a network would wait for minutes
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 3}}},
    "gs": {"timeout": 30},
}
LOCAL_TABLES = tuple(suffix for suffix in TABLE_SUFFIXES if suffix != ".parquet")
REQUESTS_AHEAD = 16  # images that are on their way at the same time
REASON_LENGTH = 200


class StoreReader(Reader):
    """The images at an address: one file, an archive, a parquet table, or all below a folder.

    container: the reader for an archive or a table, else None.
    """

    is_remote = True
    empty_message = "a folder without images"

    def __init__(self, argument: str, lookup: Lookup) -> None:
        super().__init__(argument)
        self.container = container_reader(argument, lookup, open_object)

    def as_table(self) -> "TableReader | None":
        return self.container.as_table() if self.container else None

    def check(self) -> None:
        """Raises InputError where a package or the object is missing, or the store cannot be reached."""
        filesystem, path = open_store(self.argument)
        try:
            filesystem.info(path)
        except Exception as error:  # each store has exceptions of its own
            scheme = self.argument.partition("://")[0]
            cause = "there is nothing at this address" if isinstance(error, FileNotFoundError) else reason(error)
            cure = f"; credentials come from {CREDENTIALS[scheme]}" if scheme in CREDENTIALS else ""
            raise InputError(f"{self.argument} cannot be read: {cause}{cure}") from None
        if self.argument.lower().endswith(LOCAL_TABLES):
            suffix = self.argument.rpartition(".")[2]
            raise InputError(
                f"{self.argument}: a .{suffix} is read only from this machine; parquet with bytes, .zip and .tar work"
            )
        if self.container:
            self.container.check()

    def count(self) -> None:
        return None

    def find(self) -> Iterator[NamedImage]:
        filesystem, path = open_store(self.argument)
        try:
            if self.container:
                yield from self.container
            elif filesystem.isdir(path):
                yield from self._walk(filesystem, path)
            else:
                yield self.argument, RemoteFile(filesystem, path, filesystem.size(path))
        except (InputError, ImageError):
            raise
        except Exception as error:  # each store has exceptions of its own
            yield self.argument, ImageError(f"cannot be fetched ({reason(error)})")
        if self.container:
            self.left_out.update(self.container.left_out)

    def _walk(self, filesystem: "AbstractFileSystem", root: str) -> Iterator[NamedImage]:
        """Folder by folder, each sorted, so that two runs agree."""
        for folder, folders, files in filesystem.walk(root, detail=True, on_error="raise"):
            self.left_out["hidden"] += sum(map(is_left_behind, (*folders, *files)))
            for name in [name for name in folders if is_left_behind(name)]:
                del folders[name]
            inside = folder[len(root.rstrip("/")) :].strip("/")
            for name in sorted(name for name in files if name and not is_left_behind(name)):
                source = RemoteFile(filesystem, files[name]["name"], files[name].get("size"))
                if self.takes(name, source.first_bytes):
                    yield "/".join(part for part in (self.argument.rstrip("/"), inside, name) if part), source


@dataclass(frozen=True)
class RemoteFile:
    """Called, it fetches the bytes of an image. Raises ImageError."""

    filesystem: "AbstractFileSystem"
    path: str
    size: int | None

    def __call__(self) -> bytes:
        if self.size is not None:
            check_num_bytes(self.size)
        return self._fetched()

    def first_bytes(self) -> bytes:
        """Raises ImageError."""
        return self._fetched(start=0, end=min(HEAD_BYTES, self.size or HEAD_BYTES)) if self.size != 0 else b""

    def _fetched(self, **part: int) -> bytes:
        try:
            content: bytes = self.filesystem.cat_file(self.path, **part)
        except FileNotFoundError:
            raise ImageError("no such file") from None
        except Exception as error:  # each store has exceptions of its own
            raise ImageError(f"cannot be fetched ({reason(error)})") from None
        return content


def open_store(address: str) -> tuple["AbstractFileSystem", str]:
    """The store and the path in it. Raises InputError."""
    scheme = address.partition("://")[0]
    if scheme not in PACKAGES:
        known = ", ".join(f"{name}://" for name in PACKAGES)
        raise InputError(f"{address}: images are not fetched from {scheme}://; supported stores are {known}")
    try:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(address, **TIMEOUTS.get(scheme, {}))
    except ImportError:
        raise InputError(f"{scheme}:// needs packages: pip install fsspec {PACKAGES[scheme]}") from None
    except Exception as error:  # each store has exceptions of its own
        raise InputError(f"{address} cannot be opened: {reason(error)}") from None
    return filesystem, path


def open_object(address: str) -> BinaryIO:
    filesystem, path = open_store(address)
    file: BinaryIO = filesystem.open(path, "rb")
    return file


def fetch_ahead(images: Iterable[NamedImage]) -> Iterator[NamedImage]:
    """The same images, with those of a store on their way before they are asked for: a request takes 20-200 ms."""
    ahead: deque[NamedImage] = deque()
    pool = ThreadPoolExecutor(REQUESTS_AHEAD)
    is_complete = False
    try:
        for name, source in images:
            ahead.append((name, pool.submit(source).result if isinstance(source, RemoteFile) else source))
            if len(ahead) > REQUESTS_AHEAD:
                yield ahead.popleft()
        yield from ahead
        is_complete = True
    finally:  # the last images are handed out before they have arrived: only a pass that broke off may cancel them
        pool.shutdown(wait=False, cancel_futures=not is_complete)


def reason(error: Exception) -> str:
    """The first line of what a store's package says."""
    lines = str(error).strip().splitlines() or [""]
    return " ".join(part for part in (type(error).__name__, lines[0][:REASON_LENGTH]) if part)
