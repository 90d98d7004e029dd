"""How good a taught model is, from the scorecard.json that train.py writes."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..model_json import is_number, read_json

SCORECARD = "scorecard.json"


@dataclass(frozen=True, slots=True)
class Confused:
    """Two categories that were taken for each other so many times, of their photos together."""

    one: str
    other: str
    mistakes: int
    photos: int


@dataclass(frozen=True, slots=True)
class Scores:
    """photos: that were scored, each by a model that had not seen it. accuracy, low, high: shares, 0 to 1."""

    photos: int
    accuracy: float
    low: float
    high: float
    confused: tuple[Confused, ...]

    @property
    def right(self) -> int:
        return round(self.accuracy * self.photos)


def read_scores(folder: Path) -> Scores | None:
    """None where there are none: too few photos were usable to score the model."""
    try:
        card = read_json(folder / SCORECARD, UserError)
        best = card["accuracy"][0]
        (low, high), rows = best["interval"], card["rows"]
        if not all(map(is_number, (rows, best["value"], low, high))) or rows < 1:
            return None
        confused = []
        for pair in card["confused"]:
            one, other = map(str, pair["labels"])
            confused.append(Confused(one, other, int(pair["mistakes"]), int(pair["images"])))
        return Scores(rows, best["value"], low, high, tuple(confused))
    except (UserError, KeyError, IndexError, TypeError, ValueError):
        return None
