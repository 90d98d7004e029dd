"""Finished work by key in one SQLite file, so that a run that was stopped goes on where it was."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from app.errors import UserError

COMMIT_EVERY = 500  # results: what a killed run loses at most


class FinishedWork:
    """Rows by key in a file that is locked while it is open."""

    def __init__(self, path: Path, columns: Sequence[str]):
        """Raises UserError when another run holds the file; a damaged file is replaced."""
        self.uncommitted = 0
        self.connection = sqlite3.connect(path, timeout=1)
        try:
            self.connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self.connection.execute("BEGIN EXCLUSIVE")  # the mode alone locks nothing before the first write
            self.connection.execute(f"CREATE TABLE IF NOT EXISTS work (key TEXT PRIMARY KEY, {', '.join(columns)})")
            self.connection.commit()
            self.was_empty = self.connection.execute("SELECT 1 FROM work LIMIT 1").fetchone() is None
        except sqlite3.OperationalError as error:
            raise UserError(
                f"{path.parent} is in use by another run; wait for it or choose another --output"
            ) from error
        except sqlite3.DatabaseError:
            self.connection.close()
            path.unlink()
            FinishedWork.__init__(self, path, columns)

    def __contains__(self, key: str) -> bool:
        return self.connection.execute("SELECT 1 FROM work WHERE key = ?", [key]).fetchone() is not None

    def get(self, key: str) -> tuple | None:
        """The values of a key, None where it is not finished."""
        row = self.connection.execute("SELECT * FROM work WHERE key = ?", [key]).fetchone()
        return row and row[1:]

    def put(self, key: str, values: Sequence) -> None:
        marks = ", ".join("?" * (len(values) + 1))
        self.connection.execute(f"INSERT OR REPLACE INTO work VALUES ({marks})", [key, *values])
        self.uncommitted += 1
        if self.uncommitted >= COMMIT_EVERY:
            self.commit()

    def commit(self) -> None:
        self.connection.commit()
        self.uncommitted = 0

    def close(self) -> None:
        self.commit()
        self.connection.close()
