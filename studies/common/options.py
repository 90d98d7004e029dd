"""What every study reads from the command line."""

from argparse import ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import UserError
from studies.common.units import Unit, run_missing
from training.arguments import Parser

RESULTS = Path(__file__).resolve().parents[2] / "results"


class HelpFormatter(RawDescriptionHelpFormatter, ArgumentDefaultsHelpFormatter):
    """Keeps the lines of the description and shows the defaults."""


@dataclass(frozen=True)
class StudyOptions:
    """Each study adds its data and weights, and `ship`."""

    runs: Path = field(default=Path("runs/studies"), metadata={"help": "folder for the results of the units"})
    results: Path = field(default=RESULTS, metadata={"help": "folder of the page"})
    only: list[str] | None = field(default=None, metadata={"help": "only these rows", "metavar": "ROW"})
    dry_run: bool = field(default=False, metadata={"help": "list what is to do, with an estimate of the time"})
    report: bool = field(default=False, metadata={"help": "write the page from what was run, train nothing"})
    image_size: int | None = field(default=None, metadata={"help": "other than the rows say, for a quick try"})

    def run_chosen(self, units: Sequence[Unit], everyday: Sequence[str]) -> list[str]:
        """Run the units of the rows in --only, else of the everyday rows; gives the rows that failed."""
        rows = {unit.row for unit in units}
        unknown = [row for row in self.only or () if row not in rows]
        if unknown:
            raise UserError(f"--only {unknown[0]} is not a row; the rows are {', '.join(sorted(rows))}")
        chosen = [unit for unit in units if unit.row in (self.only or everyday)]
        return run_missing(chosen, self.runs, self.dry_run)


def study_parser(options: type[StudyOptions], study: str, description: str) -> Parser:
    return Parser(options, prog=f"python -m studies.{study}", description=description, formatter_class=HelpFormatter)
