"""Images in an object store, through fsspec: s3://bucket/folder, gs://bucket/shop.tar, hf://datasets/me/shoes.

    for name, source in find_remote("s3://bucket/photos", left_out=Counter()):

Only an address that the user gives as an argument comes here, and only of a scheme in PACKAGES: never one out of a
table or a list. Credentials are found by the packages themselves, where their own tools find them.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.images import MAX_BYTES, ImageError
from inference.readers.find import Input, InputError, is_archive, is_table, is_wanted

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}
CREDENTIALS = {
    "s3": "the usual AWS settings (AWS_ACCESS_KEY_ID, ~/.aws, a role)",
    "gs": "Google's application default credentials",
    "hf": "HF_TOKEN",
}
TIMEOUTS = {  # or a machine without a network would wait for minutes
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 3}}},
    "gs": {"timeout": 30},
}
READERS = 16  # images that are on their way at the same time
REASON_LENGTH = 200


@dataclass(frozen=True)
class RemoteFile:
    """Called, it fetches the bytes of an image. Raises ImageError."""

    filesystem: "AbstractFileSystem"
    path: str
    size: int | None

    def __call__(self) -> bytes:
        if self.size is not None and self.size > MAX_BYTES:
            raise ImageError(f"too large ({self.size / 2**20:.0f} MiB, at most {MAX_BYTES / 2**20:.0f})")
        try:
            return self.filesystem.cat_file(self.path)
        except FileNotFoundError:
            raise ImageError("no such file") from None
        except Exception as error:  # each store has exceptions of its own
            raise ImageError(f"cannot be fetched ({reason(error)})") from None


def check_address(address: str, image_column: str | None) -> None:
    """Raises InputError where a package or the object is missing, or the store cannot be reached."""
    filesystem, path = open_store(address)
    try:
        filesystem.info(path)
    except Exception as error:  # each store has exceptions of its own
        scheme = address.partition("://")[0]
        cause = "there is nothing at this address" if isinstance(error, FileNotFoundError) else reason(error)
        cure = f"; credentials come from {CREDENTIALS[scheme]}" if scheme in CREDENTIALS else ""
        raise InputError(f"{address} cannot be read: {cause}{cure}") from None
    if is_table(address):
        from inference.readers.table import check_table

        if address.lower().endswith(".csv"):
            raise InputError(
                f"{address}: a .csv is read from this machine only; parquet with bytes, .zip and .tar work"
            )
        with filesystem.open(path, "rb") as file:
            check_table(address, image_column, file)


def open_store(address: str) -> tuple["AbstractFileSystem", str]:
    scheme = address.partition("://")[0]
    if scheme not in PACKAGES:
        known = ", ".join(f"{name}://" for name in PACKAGES)
        raise InputError(f"{address}: images are not fetched from {scheme}://; the stores that work are {known}")
    try:
        import fsspec

        return fsspec.core.url_to_fs(address, **TIMEOUTS.get(scheme, {}))
    except ImportError:
        raise InputError(f"{scheme}:// needs packages: pip install fsspec {PACKAGES[scheme]}") from None
    except Exception as error:  # each store has exceptions of its own
        raise InputError(f"{address} cannot be opened: {reason(error)}") from None


def find_remote(address: str, left_out: Counter, image_column: str | None = None) -> Iterator[Input]:
    """The images at an address: one file, an archive, a parquet table, or all below a folder."""
    filesystem, path = open_store(address)
    try:
        if filesystem.isdir(path) and not (is_table(address) or is_archive(address)):
            yield from walk_store(filesystem, address, path, left_out)
        elif is_table(address):
            from inference.readers.table import read_images

            yield from read_images(address, image_column, filesystem.open(path, "rb"))
        elif is_archive(address):
            from inference.readers.archive import find_members

            yield from find_members(address, left_out, filesystem.open(path, "rb"))
        else:
            yield address, RemoteFile(filesystem, path, filesystem.size(path))
    except (InputError, ImageError):
        raise
    except Exception as error:  # each store has exceptions of its own
        yield address, ImageError(f"cannot be fetched ({reason(error)})")


def walk_store(filesystem: "AbstractFileSystem", address: str, root: str, left_out: Counter) -> Iterator[Input]:
    """Folder by folder, each sorted, so that two runs agree."""
    found = False
    for folder, folders, files in filesystem.walk(root, detail=True, on_error="raise"):
        left_out["hidden"] += sum(name.startswith(".") for name in (*folders, *files))
        for name in [name for name in folders if name.startswith(".")]:
            del folders[name]
        inside = folder[len(root.rstrip("/")) :].strip("/")
        for name in sorted(name for name in files if name and not name.startswith(".")):
            if is_wanted(name, left_out):
                found = True
                shown = "/".join(part for part in (address.rstrip("/"), inside, name) if part)
                yield shown, RemoteFile(filesystem, files[name]["name"], files[name].get("size"))
    if not found:
        yield address, ImageError("a folder without images")


def fetch_ahead(inputs: Iterable[Input]) -> Iterator[Input]:
    """The same images, with those of a store on their way before they are asked for: a request takes 20-200 ms."""
    ahead: deque[Input] = deque()
    with ThreadPoolExecutor(READERS) as pool:
        try:
            for name, source in inputs:
                ahead.append((name, pool.submit(source).result if isinstance(source, RemoteFile) else source))
                if len(ahead) > READERS:
                    yield ahead.popleft()
            yield from ahead
        finally:
            pool.shutdown(cancel_futures=True)


def reason(error: Exception) -> str:
    """The first line of what a store's package says."""
    lines = str(error).strip().splitlines() or [""]
    return " ".join(part for part in (type(error).__name__, lines[0][:REASON_LENGTH]) if part)
