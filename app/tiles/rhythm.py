"""The distances that repeat from tile to tile of a page, and the tiles that they reveal where contrast does not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .sheet import FAINT, MIN_ASPECT, MIN_GAP, STRIP_WIDTH, Column, Sheet, Span, length, runs

# Lengths as shares of a column's width
PITCH_TOLERANCE = 0.05
SNAP = 0.04  # how far a deduced edge may move to a visible one
MAX_PITCH = 4  # more text than this between two images is not a rhythm

TEXT_MATCH = 0.5  # correlation of a region with the page's title, price and buttons


@dataclass(frozen=True)
class Rhythm:
    """The distances from tile to tile, in rows: the pitch is the text with the empty rows above and below it."""

    before: int  # empty rows between the buttons and the next tile
    after: int  # empty rows between a tile and its title
    pitch: int  # from the end of a tile to the start of the next


def complete_columns(sheet: Sheet, columns: Sequence[Column]) -> None:
    """Straighten the spans of all columns, in place, and add the tiles that are hidden."""
    rhythm = _measure_rhythm(columns)
    if rhythm is None:
        return
    for column in columns:
        column.spans = _straighten(column, rhythm)
    if any(_room(column, rhythm) for column in columns):
        template = _text_template(sheet, columns, rhythm)
        for column in columns:
            column.spans = _add_hidden(sheet, column, rhythm, template)


def _measure_rhythm(columns: Sequence[Column]) -> Rhythm | None:
    """The rhythm of the page, from the tiles that are clear; None if they do not tell."""
    spans = [(column, span) for column in columns for span in column.spans]
    before = [rows for column, (top, _) in spans if (rows := _blank_rows(column, top, -1))]
    after = [rows for column, (_, bottom) in spans if (rows := _blank_rows(column, bottom, 1))]
    if not before or not after:
        return None
    usual = int(np.median(before))
    texts = [rows for column, (_, bottom) in spans if (rows := _text_rows(column, bottom, usual))]
    gaps = np.array([b[0] - a[1] for column in columns for a, b in zip(column.spans, column.spans[1:], strict=False)])
    tolerance = PITCH_TOLERANCE * columns[0].width
    if texts:
        pitch = int(np.median(texts)) + usual
        gaps = gaps[np.abs(gaps - pitch) <= tolerance]
    elif not len(gaps):
        return None
    if len(gaps):
        pitch = _most_common(gaps, tolerance)
    return Rhythm(usual, int(np.median(after)), pitch) if pitch <= MAX_PITCH * columns[0].width else None


def _blank_rows(column: Column, row: int, step: int) -> int:
    """Number of empty rows from an edge of a tile on, up (step -1) or down (1); 0 if they reach the end of the grid."""
    rows = column.drawn[row : column.rows[1]] if step > 0 else column.drawn[column.rows[0] : row][::-1]
    rim = round(MIN_GAP * column.width)  # noise around the image may reach this far
    return rim + int(np.argmax(rows[rim:])) if rows[rim:].any() else 0


def _text_rows(column: Column, row: int, gap: int) -> int:
    """Number of rows from the end of a tile to the end of its text, which `gap` empty rows follow; 0 if not seen."""
    is_empty = ~column.drawn[row : column.rows[1]]
    for start, end in runs(is_empty):
        if start > MIN_GAP * column.width and end - start >= (0.9 if end < len(is_empty) else 0.5) * gap:
            return start
    return 0


def _most_common(values: np.ndarray, tolerance: float) -> int:
    """Median of the largest cluster of values; of the smaller values if two clusters are equally large."""
    support = (np.abs(values[:, None] - values) <= tolerance).sum(axis=1)
    best = values[support == support.max()].min()
    return int(np.median(values[np.abs(values - best) <= tolerance]))


def _straighten(column: Column, rhythm: Rhythm) -> list[Span]:
    """The clear spans; an edge with more empty rows around it than usual moves to where the text says it is.

    Doubtful spans are accepted if the text agrees with both of their edges.
    """
    tolerance = PITCH_TOLERANCE * column.width
    straight = []
    for top, bottom in column.spans + column.doubtful:
        above = _blank_rows(column, top, -1) - rhythm.before
        below = _blank_rows(column, bottom, 1) - rhythm.after
        if (top, bottom) in column.spans:
            straight.append(
                (top - above if above > tolerance else top, bottom + below if below > tolerance else bottom)
            )
        elif max(abs(above), abs(below)) <= tolerance:
            straight.append((top, bottom))
    return sorted(straight)


def _text_template(sheet: Sheet, columns: Sequence[Column], rhythm: Rhythm) -> np.ndarray:
    """The average of what lies between two tiles of this page: title, avatar, price, buttons; STRIP_WIDTH wide."""
    height = max(4, round(rhythm.pitch * STRIP_WIDTH / columns[0].width))
    samples = []
    for column in columns:
        strip = _shrink(sheet, column)
        scale = STRIP_WIDTH / column.width
        for top, bottom in column.spans:
            for row in (bottom, top - rhythm.pitch):
                start = round(row * scale)
                if row >= sheet.rows[0] and row + rhythm.pitch <= sheet.rows[1] and start + height <= len(strip):
                    samples.append(strip[start : start + height])
    return np.mean(samples, axis=0) if samples else np.zeros((height, STRIP_WIDTH))


def _shrink(sheet: Sheet, column: Column) -> np.ndarray:
    """A column of the page, STRIP_WIDTH pixels wide, as float distances from the page's color."""
    height = max(1, round(len(sheet.distance) * STRIP_WIDTH / column.width))
    strip = Image.fromarray(np.minimum(sheet.distance[:, column.left : column.right], 128))
    return np.asarray(strip.resize((STRIP_WIDTH, height), Image.Resampling.BOX)).astype(np.float32)


def _room(column: Column, rhythm: Rhythm) -> list[Span]:
    """Where a column has room for hidden tiles: between two tiles, or before or after all of them."""
    starts = [column.rows[0], *(bottom + rhythm.pitch for _, bottom in column.spans)]
    ends = [*(top - rhythm.pitch for top, _ in column.spans), column.rows[1]]
    return [span for span in zip(starts, ends, strict=True) if length(span) >= MIN_ASPECT * column.width]


def _add_hidden(sheet: Sheet, column: Column, rhythm: Rhythm, template: np.ndarray) -> list[Span]:
    """Complete a column: a hidden tile is what lies between two regions of text, those that look like `template`."""
    texts = _find_texts(sheet, column, template)
    spans = list(column.spans)
    for top, bottom in _room(column, rhythm):
        inner = [row for row in texts if row > top and row + rhythm.pitch / 2 < bottom]
        for start, end in zip([top, *(row + rhythm.pitch for row in inner)], [*inner, bottom], strict=True):
            if start == column.rows[0] and end > start:
                start = _guess_top(column, start, end, rhythm.before)
            if end - start >= MIN_ASPECT * column.width and _has_content(sheet, column, (start, end)):
                spans.append(_snap(sheet, column, (start, end)))
    return sorted(spans)


def _guess_top(column: Column, first: int, end: int, before: int) -> int:
    """Where the first tile of a column begins if its edge cannot be seen: below a text that is cut off, or unknown.

    An unknown one is guessed from what can be seen of the image, which is mostly centered.
    """
    blank = column.blank[first:end][::-1]
    margin = int(np.argmin(blank))  # from the end of the tile up to what can be seen of it
    gaps = [run for run in runs(blank[margin:]) if length(run) >= before]
    if not gaps:
        return first
    low, high = (end - margin - row for row in gaps[0])
    return high + before if high > first else max(first, low - margin)


def _find_texts(sheet: Sheet, column: Column, template: np.ndarray) -> list[int]:
    """First rows of the regions that correlate with the template; one may be cut off by the end of the page."""
    scale = STRIP_WIDTH / column.width
    strip = _shrink(sheet, column)[: round(sheet.rows[1] * scale)]
    matches: list[tuple[float, int]] = []
    for start in range(round(sheet.rows[0] * scale), len(strip) - len(template) // 3):
        window = strip[start : start + len(template)]
        score = _correlation(window, template[: len(window)])
        if score > TEXT_MATCH:
            matches.append((score, start))
    chosen: list[int] = []
    for _, start in sorted(matches, reverse=True):
        if all(abs(start - other) > len(template) for other in chosen):
            chosen.append(start)
    return [round(start / scale) for start in sorted(chosen)]


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation of two arrays; 0 if one is flat."""
    first, second = first - first.mean(), second - second.mean()
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / norm if norm > 0 else 0.0


def _has_content(sheet: Sheet, column: Column, span: Span) -> bool:
    """Whether anything is drawn in the middle of a span."""
    inset = column.width // 8
    inside = sheet.distance[span[0] : span[1], column.left + inset : column.right - inset]
    return bool((inside > sheet.contrast).mean() > 0.02)


def _snap(sheet: Sheet, column: Column, span: Span) -> Span:
    """Move deduced edges to the sharpest change of brightness nearby, if there is one."""
    inset, reach = column.width // 5, round(SNAP * column.width)
    means = sheet.gray[:, column.left + inset : column.right - inset].mean(axis=1)
    edges = []
    for edge in span:
        low = max(1, edge - reach)
        steps = np.abs(np.diff(means[low - 1 : edge + reach]))
        is_sharp = len(steps) and steps.max() >= FAINT and steps.max() > 8 * np.median(steps)
        edges.append(low + int(np.argmax(steps)) if is_sharp else edge)
    return edges[0], edges[1]
