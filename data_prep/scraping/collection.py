"""The folder that scraped images go to, with its lists: sources.csv and rejected.csv."""

import csv
import hashlib
import io
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from app.errors import UserError
from data_prep.pipeline.report import kind_of
from data_prep.scraping.addresses import Candidate

NAME_LENGTH = 16  # hexadecimal digits of the sha256
SHOWN_LENGTH = 300  # of an address or a reason in the lists; data: addresses have megabytes
SOURCE_COLUMNS = ("address", "page", "label", "licence", "date", "sha256", "file", "status")
REJECTED_COLUMNS = ("file", "reason", "retry")


class Collection:
    """OUTPUT with its images, sources.csv and rejected.csv. Whenever it is stopped, what it holds is whole."""

    def __init__(self, output: Path):
        """Entering raises UserError when another run uses the folder or a list in it has other columns."""
        self.output = output
        self.sources_path, self.rejected_path = output / "sources.csv", output / "rejected.csv"
        self._partial = output / ".scrape.partial"
        self._lock = FileLock(output / ".scrape.lock")
        self.files: dict[str, str] = {}  # sha256 -> file
        self.counts: Counter = Counter()  # label -> images
        self._taken: set[str] = set()
        self._rejected: dict[str, dict[str, str]] = {}

    def __enter__(self) -> "Collection":
        self.output.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            message = f"{self.output} is in use by another run; wait for it or choose another --output"
            raise UserError(message) from error
        shutil.rmtree(self._partial, ignore_errors=True)  # what a killed run was writing
        try:
            self._load()
        except UserError:
            self._lock.release()
            raise
        return self

    def _load(self) -> None:
        for row in read_rows(self.sources_path, SOURCE_COLUMNS):
            self._taken.add(row["address"])
            self.files.setdefault(row["sha256"], row["file"])
            self.counts[row["label"]] += row["status"] == "saved"
        for row in read_rows(self.rejected_path, REJECTED_COLUMNS):
            self._rejected[row["file"]] = row

    def __exit__(self, *_) -> None:
        """Leave one row per address in rejected.csv, and none for an address that a later try has taken."""
        rows = [row for address, row in self._rejected.items() if address not in self._taken]
        try:
            self._write(self.rejected_path, table_bytes(REJECTED_COLUMNS, rows, header=True))
            shutil.rmtree(self._partial)
        finally:
            self._lock.release()

    @property
    def reasons(self) -> Counter:
        """Reasons of rejection without their details."""
        return Counter(kind_of(row["reason"]) for row in self._rejected.values())

    def knows(self, address: str, retry_rejected: bool) -> bool:
        """Whether the address was taken, or refused for good, by this run or an earlier one."""
        refused = self._rejected.get(shown(address), {}).get("retry") == "never"
        return address in self._taken or (refused and not retry_rejected)

    def reject(self, address: str, reason: str, final: bool) -> str:
        """Note why nothing was taken from an address."""
        row = {"file": shown(address), "reason": shown(reason), "retry": "never" if final else "next run"}
        self._rejected[row["file"]] = row
        append_row(self.rejected_path, REJECTED_COLUMNS, row)
        return "rejected"

    def save(self, address: str, candidate: Candidate, label: str, license: str, data: bytes, suffix: str) -> str:
        """Write an image under its final name, then its row; an image that is there already gets only a row."""
        sha256 = hashlib.sha256(data).hexdigest()
        file = self.files.get(sha256)
        if file and Path(file).parent.name != label:
            return self.reject(address, f"same image under another label: {file}", final=True)
        status = "duplicate" if file else "saved"
        if not file:
            file = f"{label}/{sha256[:NAME_LENGTH]}{suffix}"
            self._write(self.output / file, data)
            self.counts[label] += 1
        row = {
            "address": address,
            "page": shown(candidate.page),
            "label": label,
            "licence": shown(license),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "sha256": sha256,
            "file": file,
            "status": status,
        }
        append_row(self.sources_path, SOURCE_COLUMNS, row)
        self._taken.add(address)
        self.files[sha256] = file
        return status

    def _write(self, path: Path, data: bytes) -> None:
        """A file that appears under its name only when it is complete."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._partial.mkdir(exist_ok=True)
        partial = self._partial / path.name
        try:
            with partial.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def read_rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a list that an earlier run wrote; a last line that a kill left half written is cut off."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole_lines = data[: data.rfind(b"\n") + 1]
    if len(whole_lines) < len(data):
        os.truncate(path, len(whole_lines))
    rows = list(csv.DictReader(io.StringIO(whole_lines.decode("utf-8", "replace"), newline=""), restval=""))
    if rows and not set(columns) <= rows[0].keys():
        raise UserError(f"{path} lacks the columns {', '.join(columns)}; choose another --output")
    return rows


def append_row(path: Path, columns: tuple[str, ...], row: dict[str, str]) -> None:
    """Add a row in one write; a new file gets its header first."""
    with path.open("ab") as stream:
        stream.write(table_bytes(columns, [row], header=stream.tell() == 0))


def table_bytes(columns: tuple[str, ...], rows: Iterable[dict[str, str]], header: bool) -> bytes:
    """CSV lines. No value holds a line break: see `shown`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def shown(text: str) -> str:
    """A text on one line, cut where it is too long."""
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_LENGTH else text[:SHOWN_LENGTH] + "…"
